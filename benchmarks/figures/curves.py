"""Figures of numbers, of runs beside each other: error by occlusion, and PCK."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.evaluation.metrics import AUC_THRESHOLDS_MM, auc_shares, pck
from benchmarks.evaluation.result import Data
from benchmarks.figures.style import (
    DASHES,
    GREY,
    MARKERS,
    MAX_LINES,
    PALETTE,
    binned,
    new_figure,
    no_data,
    set_title,
    styled,
)

OCCLUSION_EDGES = np.linspace(0, 1, 11)


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a figure: a run, or the seeds of a run together."""

    label: str
    occlusion: np.ndarray
    """(N,) 0-1, NaN where not known."""
    pa_mm: np.ndarray
    """(N, 21) per joint."""
    ra_mm: np.ndarray
    """(N, 21) root-aligned."""
    num_runs: int = 1


@styled
def error_by_occlusion(lines: list[Line], data: Data) -> Figure:
    """Fig. 5: the mean PA error by ranges of 10 % occlusion; of one line alone ± its standard
    deviation over frames, which would hide the differences of several.

    A range without frames is a gap in the line. At most `MAX_LINES` lines.
    """
    lines = lines[:MAX_LINES]
    figure = new_figure(height_in=3.9 + 0.15 * max(0, len(lines) - 4))
    alone = len(lines) == 1
    words = "mean ± deviation" if alone else "mean"
    labels, of_runs = _labels(lines)
    set_title(figure, f"Error against occlusion (Fig. 5): {words}{of_runs}", data)
    ax = figure.subplots()
    middles = (OCCLUSION_EDGES[:-1] + OCCLUSION_EDGES[1:]) / 2
    for k, line in enumerate(lines):
        mean, deviation, _ = binned(line.occlusion, line.pa_mm.mean(1), OCCLUSION_EDGES)
        ax.errorbar(
            middles, mean, deviation if alone else None, color=PALETTE[k], linestyle=DASHES[k],
            marker=MARKERS[k], markersize=3.5, linewidth=1.2, capsize=3, elinewidth=1.1,
            label=labels[k],
        )  # fmt: skip
    ax.set(xlim=(0, 1), xlabel="share of the hand that objects hide", ylabel="PA-MPJPE, mm")
    if alone:  # of several the differences are looked at
        ax.set_ylim(bottom=0)
    ax.set_xticks(OCCLUSION_EDGES[::2])
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    if not any(np.isfinite(line.occlusion).any() for line in lines):
        no_data(ax, "the occlusion of these frames is not known")
    _legend(figure, ax, len(lines))
    return figure


@styled
def pck_curves(lines: list[Line], data: Data) -> Figure:
    """The share of joints within a distance, root-aligned and Procrustes-aligned; AUC ×100."""
    lines = lines[:MAX_LINES]
    stacked = len(lines) > 2
    figure = new_figure(height_in=6.2 + 0.2 * len(lines) if stacked else 3.7)
    labels, of_runs = _labels(lines)
    set_title(figure, f"PCK: joints within a distance of the truth{of_runs}", data)
    axes = figure.subplots(2, 1, sharex=True) if stacked else figure.subplots(1, 2, sharey=True)
    for ax, name, title in (
        (axes[0], "ra_mm", "root-aligned"), (axes[1], "pa_mm", "Procrustes-aligned"),
    ):  # fmt: skip
        for k, line in enumerate(lines):
            errors = getattr(line, name)
            words = f"{labels[k]} · " if len(lines) > 1 else ""
            ax.plot(
                AUC_THRESHOLDS_MM, pck(errors), color=PALETTE[k], linestyle=DASHES[k],
                label=f"{words}AUC {_auc(errors)}",
            )  # fmt: skip
        ax.set(xlim=(0, 50), ylim=(0, 1.01))
        ax.set_title(title, loc="left", color=GREY)
        ax.yaxis.set_major_formatter(PercentFormatter(1))
        if not stacked:
            ax.legend(loc="best", handlelength=2.4)
    axes[0].set_ylabel("joints")
    for ax in axes[1:] if stacked else axes:
        ax.set_xlabel("distance, mm")
    if stacked:  # below, where it hides no line
        words = [
            f"{label} · AUC {_auc(line.ra_mm)}, {_auc(line.pa_mm)}"
            for label, line in zip(labels, lines, strict=True)
        ]
        figure.legend(axes[0].lines, words, loc="outside lower left")
    return figure


def _labels(lines: list[Line]) -> tuple[list[str], str]:
    """What lines are called, and what the title says of all of them: of how many runs each is, if
    all are of as many; else each line says it."""
    numbers = {line.num_runs for line in lines}
    if len(numbers) == 1:
        (n,) = numbers
        return [line.label for line in lines], f", {n} runs each" if n > 1 else ""
    return [f"{line.label} ({line.num_runs} run{'s' * (line.num_runs > 1)})" for line in lines], ""


def _auc(errors_mm: np.ndarray) -> str:
    """×100, as the tables have it."""
    return f"{100 * auc_shares(errors_mm).mean():.1f}" if errors_mm.size else "–"


def _legend(figure: Figure, ax: Axes, num_lines: int) -> None:
    if num_lines > 3:  # below, where it hides no line
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    elif num_lines > 1:
        ax.legend(loc="upper left")
