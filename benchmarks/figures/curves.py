"""Curves that compare runs: error by occlusion, PCK, and training."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from benchmarks.evaluation.metrics import AUC_THRESHOLDS_MM, auc_shares, pck
from benchmarks.evaluation.result import Data
from benchmarks.evaluation.training_log import TrainingLog
from benchmarks.figures.style import GREY, new_figure, no_data, set_title, styled
from deformer.data.occlusion_bins import bin_of

OCCLUSION_EDGES = np.linspace(0, 1, 11)


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a figure: a run, or the pooled seeds of a run."""

    label: str
    occlusion: np.ndarray
    """(N,) 0-1, NaN if not known."""
    pa_mm: np.ndarray
    """(N, 21) per joint."""
    ra_mm: np.ndarray
    """(N, 21) root-aligned."""


def mean_by_occlusion(occlusion: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (10,) of values (N,) in each range between `OCCLUSION_EDGES`; NaN
    for an empty range."""
    num_ranges = len(OCCLUSION_EDGES) - 1
    which = bin_of(occlusion, OCCLUSION_EDGES)
    parts = [values[which == k] for k in range(num_ranges)]
    found = [(part.mean(), part.std()) if len(part) else (np.nan, np.nan) for part in parts]
    mean, deviation = np.array(found).T
    return mean, deviation


@styled
def error_by_occlusion(lines: list[Line], data: Data) -> Figure:
    """Fig. 5: the mean PA error by ranges of 10 % occlusion. A single line also shows its standard
    deviation over frames, which would hide the differences between several lines.

    A range without frames is a gap in the line.
    """
    is_alone = len(lines) == 1
    figure = new_figure(height_in=3.7 + 0.3 * len(lines))
    words = "mean ± deviation" if is_alone else "mean"
    set_title(figure, f"Error against occlusion (Fig. 5): {words}", data)
    ax = figure.subplots()
    middles = (OCCLUSION_EDGES[:-1] + OCCLUSION_EDGES[1:]) / 2
    for line in lines:
        mean, deviation = mean_by_occlusion(line.occlusion, line.pa_mm.mean(1))
        ax.errorbar(
            middles, mean, deviation if is_alone else None, marker="o", markersize=3.5,
            linewidth=1.2, capsize=3, elinewidth=1.1, label=line.label,
        )  # fmt: skip
    ax.set(xlim=(0, 1), xlabel="share of the hand that objects hide", ylabel="PA-MPJPE, mm")
    if is_alone:  # several lines are drawn large, to show their differences
        ax.set_ylim(bottom=0)
    ax.set_xticks(OCCLUSION_EDGES[::2])
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    if not any(np.isfinite(line.occlusion).any() for line in lines):
        no_data(ax, "the occlusion of these frames is not known")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left")
    return figure


@styled
def pck_curves(lines: list[Line], data: Data) -> Figure:
    """The share of joints within a distance, root-aligned and Procrustes-aligned; AUC ×100."""
    figure = new_figure(height_in=3.7 + 0.2 * len(lines))
    set_title(figure, "PCK: joints within a distance of the truth", data)
    axes = figure.subplots(1, 2, sharey=True)
    for ax, name, title in (
        (axes[0], "ra_mm", "root-aligned"), (axes[1], "pa_mm", "Procrustes-aligned"),
    ):  # fmt: skip
        for line in lines:
            ax.plot(AUC_THRESHOLDS_MM, pck(getattr(line, name)))
        ax.set(xlim=(0, 50), ylim=(0, 1.01), xlabel="distance, mm")
        ax.set_title(title, loc="left", color=GREY)
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    axes[0].set_ylabel("joints")
    words = [f"{x.label} · AUC {_auc(x.ra_mm)}, {_auc(x.pa_mm)}" for x in lines]
    figure.legend(axes[0].lines, words, loc="outside lower left")
    return figure


def _auc(errors_mm: np.ndarray) -> str:
    """AUC ×100, as in the tables."""
    return f"{100 * auc_shares(errors_mm).mean():.1f}" if errors_mm.size else "–"


# ----------------------------------------------------------------------------------- trainings

TRAINING_CAPTION = (
    "From the top: errors on the validation split; the sum of all losses, which differ between "
    "kinds of runs; and the discriminator's loss, which is 0.5 if it cannot tell real from "
    "predicted motion."
)
"""The caption of `training_curves`."""

_PANELS = {
    "pa_mpjpe_mm": "validation, PA-MPJPE, mm",
    "mpjpe_mm": "validation, root-aligned MPJPE, mm",
    "total": "total loss",
    "discriminator": "loss of the discriminator",
}
"""Logged value → title of its panel."""


@styled
def training_curves(logs: list[TrainingLog], origin: str) -> Figure:
    """Validation error, loss and discriminator of runs. origin: the runs and their data, for the
    title. Panels without data are left out."""
    panels = [name for name in _PANELS if any(_has(log, name) for log in logs)]
    figure = new_figure(height_in=0.9 + 1.85 * max(1, len(panels)) + 0.22 * len(logs))
    set_title(figure, "Training", origin)
    if not panels:
        no_data(figure.subplots(), "nothing was logged")
        return figure
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, name in zip(axes, panels, strict=True):
        for log in logs:  # even without values, so that a run has the same colour in all panels
            ax.plot(*(_values(log, name) if _has(log, name) else ([], [])), label=log.name)
        ax.set_title(_PANELS[name], loc="left", color=GREY, fontsize=10.5)
    axes[-1].set_xlabel("step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=1)
    return figure


def _values(log: TrainingLog, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The steps and the values logged at them."""
    if name.endswith("_mm"):
        return log.validation_step, log.validation.get(name)
    return log.step, log.train.get(name)


def _has(log: TrainingLog, name: str) -> bool:
    _, values = _values(log, name)
    return values is not None and bool(np.isfinite(values).any())
