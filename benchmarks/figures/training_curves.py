"""The curves of trainings as a figure."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.evaluation.training_log import TrainingLog
from benchmarks.figures.style import GREY, new_figure, no_data, set_title, styled

CAPTION = (
    "From above: the errors on the validation split; the sum of all losses, which are not the same "
    "in all runs; and the discriminator's loss, which is at 0.5 where it cannot tell real from "
    "predicted motion."
)
"""What `training_curves` shows."""

_PANELS = {
    "pa_mpjpe_mm": "validation, PA-MPJPE, mm",
    "mpjpe_mm": "validation, root-aligned MPJPE, mm",
    "total": "total loss",
    "discriminator": "loss of the discriminator",
}
"""What is logged → title of its panel."""


@styled
def training_curves(logs: list[TrainingLog], origin: str) -> Figure:
    """Validation error, loss and discriminator of runs on the data of the title `origin`. A panel
    that none has data of is left out."""
    panels = [name for name in _PANELS if any(_has(log, name) for log in logs)]
    figure = new_figure(height_in=0.9 + 1.85 * max(1, len(panels)) + 0.22 * len(logs))
    set_title(figure, "Training", origin)
    if not panels:
        no_data(figure.subplots(), "nothing was logged")
        return figure
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, name in zip(axes, panels, strict=True):
        for log in logs:  # also without values, for the same colour in every panel
            ax.plot(*(_values(log, name) if _has(log, name) else ([], [])), label=log.name)
        ax.set_title(_PANELS[name], loc="left", color=GREY, fontsize=10.5)
    axes[-1].set_xlabel("step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=1)
    return figure


def _values(log: TrainingLog, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Steps and what was logged at them."""
    if name.endswith("_mm"):
        return log.validation_step, log.validation.get(name)
    return log.step, log.train.get(name)


def _has(log: TrainingLog, name: str) -> bool:
    _, values = _values(log, name)
    return values is not None and bool(np.isfinite(values).any())
