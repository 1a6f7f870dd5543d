"""The curves of trainings as a figure."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

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
from benchmarks.figures.training_log import TrainingLog


@styled
def training_curves(logs: list[TrainingLog], origin: str) -> Figure:
    """Validation error, loss, learning rate, discriminator: of at most `MAX_LINES` runs.

    origin: of which data, for the title.
    """
    logs = logs[:MAX_LINES]
    figure = new_figure(height_in=12.0 + 0.22 * (len(logs) if len(logs) > 1 else 0))
    set_title(figure, "Training", origin)
    axes = figure.subplots(6, 1, sharex=True)
    for k, log in enumerate(logs):
        _draw_run(axes, log, PALETTE[k], DASHES[k], alone=len(logs) == 1)
    titles = (
        "validation, PA-MPJPE, mm", "validation, root-aligned MPJPE, mm", "total loss",
        "learning rate of the model",
        "discriminator's loss, model's adversarial loss",
        "saturation of the discriminator",
    )  # fmt: skip
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, loc="left", color=GREY, fontsize=10.5)
        if not ax.lines:
            no_data(ax, "not known: it was not logged, or there is no checkpoint")
            ax.set_yticks([])
    low, high = axes[2].get_ylim()
    if axes[2].lines and low > 0 and high > 20 * low:
        axes[2].set_yscale("log")
    axes[3].set_ylim(bottom=0)
    axes[3].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes[5].set_ylim(-0.03, 1.03)
    axes[5].set_xlabel("step")
    axes[5].xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    if len(logs) > 1:
        handles = [
            next(line for ax in axes for line in ax.lines if line.get_label() == log.name)
            for log in logs
        ]
        figure.legend(handles, [log.name for log in logs], loc="outside lower left", ncols=1)
    else:
        for ax in (axes[0], axes[4]):
            if ax.lines:
                ax.legend(loc="best")
    return figure


def _draw_run(axes: list[Axes], log: TrainingLog, color: str, dash, alone: bool) -> None:
    """One run into the six panels; of several runs, one line each."""

    def draw(ax: Axes, x: np.ndarray, values: dict, name: str, label: str, k: int = 0) -> None:
        if name in values and np.isfinite(values[name]).any():
            used, kind = (PALETTE[k], DASHES[k]) if alone else (color, dash)
            marker = "o" if np.isfinite(values[name]).sum() < 20 else None
            shown = label if alone else log.name
            ax.plot(x, values[name], color=used, linestyle=kind, marker=marker, markersize=3.5,
                    label=shown)  # fmt: skip

    draw(axes[0], log.validation_step, log.validation, "pa_mpjpe_mm", "all")
    if alone:
        draw(axes[0], log.validation_step, log.validation, "pa_mpjpe_occluded_mm", "occluded", 1)
    draw(axes[1], log.validation_step, log.validation, "mpjpe_mm", "all")
    draw(axes[2], log.step, log.train, "total", "total")
    if (rate := log.learning_rate) is not None:
        draw(axes[3], log.step, {"rate": rate}, "rate", "rate")
    draw(axes[4], log.step, log.train, "discriminator", "discriminator")
    if alone:
        draw(axes[4], log.step, log.train, "adversarial", "adversarial", 1)
    draw(axes[5], log.step, log.train, "saturation", "saturation")
