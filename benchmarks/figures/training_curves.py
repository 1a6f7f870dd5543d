"""The curves of trainings as a figure."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.evaluation.training_log import TrainingLog
from benchmarks.figures.style import (
    DASHES,
    GREY,
    MAX_LINES,
    PALETTE,
    new_figure,
    no_data,
    set_title,
    styled,
)

CAPTION = (
    "From above: the errors on the validation split; the sum of all losses, which are not the same "
    "in all runs; the learning rate; the discriminator's loss, which is at 0.5 where it cannot "
    "tell real from predicted motion; and its saturation, 0 to 1: near 1 for long, it has won and "
    "teaches nothing."
)
"""What `training_curves` shows."""

_PANELS = (
    ("validation, PA-MPJPE, mm", "pa_mpjpe_mm"),
    ("validation, root-aligned MPJPE, mm", "mpjpe_mm"),
    ("total loss", "total"),
    ("learning rate of the model", "rate"),
    ("loss of the discriminator; dotted: it says ½ to everything", "discriminator"),
    ("saturation of the discriminator", "saturation"),
)
"""Title, and the value by which a panel is there."""


@styled
def training_curves(logs: list[TrainingLog], origin: str) -> Figure:
    """Validation error, loss, learning rate, discriminator: of at most `MAX_LINES` runs, on the
    data of the title `origin`. A panel that none has data of is left out."""
    logs = logs[:MAX_LINES]
    panels = [panel for panel in _PANELS if any(_has(log, panel[1]) for log in logs)]
    more = 0.22 * len(logs) if len(logs) > 1 else 0
    figure = new_figure(height_in=0.9 + 1.85 * max(1, len(panels)) + more)
    set_title(figure, "Training", origin)
    if not panels:
        no_data(figure.subplots(), "nothing was logged")
        return figure
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (title, name) in zip(axes, panels, strict=True):
        for k, log in enumerate(logs):
            _draw(ax, log, name, PALETTE[k], DASHES[k])
        ax.set_title(title, loc="left", color=GREY, fontsize=10.5)
        _set_scale(ax, name)
    axes[-1].set_xlabel("step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    if len(logs) > 1:
        lines = {line.get_label(): line for ax in axes for line in ax.lines}
        shown = [log.name for log in logs if log.name in lines]
        figure.legend([lines[name] for name in shown], shown, loc="outside lower left", ncols=1)
    return figure


def _values(log: TrainingLog, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Steps and what was logged at them."""
    if name.endswith("_mm"):
        return log.validation_step, log.validation.get(name)
    return log.step, log.learning_rate if name == "rate" else log.train.get(name)


def _has(log: TrainingLog, name: str) -> bool:
    _, values = _values(log, name)
    return values is not None and bool(np.isfinite(values).any())


def _draw(ax: Axes, log: TrainingLog, name: str, color: str, dash) -> None:
    if _has(log, name):
        steps, values = _values(log, name)
        marker = "o" if np.isfinite(values).sum() < 20 else None
        ax.plot(steps, values, color=color, linestyle=dash, marker=marker, markersize=3.5,
                label=log.name)  # fmt: skip


def _set_scale(ax: Axes, name: str) -> None:
    low, high = ax.get_ylim()
    if name == "total" and low > 0 and high > 20 * low:
        ax.set_yscale("log")
    elif name == "rate":
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    elif name == "discriminator":  # as `deformer.network.losses.discriminator_loss` has it
        ax.axhline(0.5, color=GREY, linewidth=1.1, linestyle=":")
        ax.set_ylim(bottom=0, top=max(high, 0.55))
    elif name == "saturation":
        ax.set_ylim(-0.03, 1.03)
