"""Figures of numbers: error by occlusion, PCK, occlusion of the frames, acceleration over time.

Each is a pure function from arrays to a matplotlib figure.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from benchmarks.evaluation.metrics import AUC_THRESHOLDS_MM, acceleration_errors, auc_shares, pck
from benchmarks.evaluation.protocol import BINS
from benchmarks.evaluation.result import Data
from benchmarks.figures.style import (
    DASHES,
    FAINT,
    GREY,
    INK,
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
TABLE_BORDERS = sorted({border for limits in BINS.values() if limits for border in limits})
"""Of the occlusion ranges of Tables 1, 4 and 5."""


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


@styled
def occlusion_histogram(occlusion: np.ndarray, data: Data) -> Figure:
    """How many of the evaluated frames are hidden how much; the ranges of the tables marked."""
    known = occlusion[~np.isnan(occlusion)]
    figure = new_figure(height_in=3.4)
    set_title(figure, "Occlusion of the evaluated frames", data)
    ax = figure.subplots()
    ax.set(xlim=(0, 1), xlabel="share of the hand that objects hide", ylabel="frames")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xticks([0, *TABLE_BORDERS])
    if not known.size:
        no_data(ax, "the occlusion of these frames is not known")
        return figure
    counts, *_ = ax.hist(known, np.linspace(0, 1, 21), color=PALETTE[0], rwidth=0.88)
    ax.set_ylim(0, 1.22 * counts.max())
    ax.grid(False, axis="x")
    borders = [0.0, *TABLE_BORDERS]
    numbers = binned(known, known, np.array(borders))[2]
    for low, high, number in zip(borders[:-1], borders[1:], numbers, strict=True):
        ax.axvline(low, color=GREY, linewidth=0.8, linestyle=":")
        ax.text(
            (low + high) / 2, 0.985, f"{number:,}\n{number / known.size:.0%}", ha="center",
            va="top", transform=ax.get_xaxis_transform(), color=INK, fontsize=10,
        )  # fmt: skip
    if missing := occlusion.size - known.size:
        ax.annotate(
            f"not known: {missing:,} frames", (1, 1.02), xycoords="axes fraction", ha="right",
            color=GREY, fontsize=10,
        )  # fmt: skip
    return figure


@styled
def acceleration_over_time(
    predicted_m: np.ndarray,
    truth_m: np.ndarray,
    frame: np.ndarray,
    occlusion: np.ndarray,
    name: str,
    data: Data,
) -> Figure:
    """One camera-sequence: how fast the motion changes, predicted and true; its occlusion below.

    predicted_m, truth_m (N, 21, 3) metres; frame, occlusion (N,). ‖Δ²x‖ of the root-aligned joints,
    mean over joints, mm/frame²; gaps where frames do not follow each other.
    """
    order = np.argsort(frame)
    frame, occlusion = frame[order], occlusion[order]
    still, one = np.zeros_like(truth_m), np.zeros(len(frame), int)
    numbers = np.arange(frame[0], frame[-1] + 1) if len(frame) else np.zeros(0, int)

    def over_time(values: np.ndarray) -> np.ndarray:
        filled = np.full(len(numbers), np.nan)
        filled[frame - numbers[:1]] = values
        return filled

    figure = new_figure(height_in=4.3)
    set_title(figure, f"Acceleration over time\n{name}", data)
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for k, (label, points) in enumerate((("predicted", predicted_m), ("true", truth_m))):
        values = acceleration_errors(points[order], still, one, frame).mean(1)
        color, dash = ((PALETTE[1], "-"), (INK, "--"))[k]
        ax.plot(numbers, over_time(values), dash, color=color, label=label, linewidth=1.5)
    ax.set(ylabel="mm/frame²")
    ax.set_ylim(bottom=0)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    hidden = over_time(occlusion)
    below.fill_between(numbers, hidden, step="mid", color=FAINT)
    below.plot(numbers, hidden, color=GREY, linewidth=1, drawstyle="steps-mid")
    below.set(ylim=(0, 1), xlabel="frame", ylabel="occlusion")
    below.yaxis.set_major_formatter(PercentFormatter(1))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels()
    return figure


def _legend(figure: Figure, ax: Axes, num_lines: int) -> None:
    if num_lines > 3:  # below, where it hides no line
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    elif num_lines > 1:
        ax.legend(loc="upper left")
