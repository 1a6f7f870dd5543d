"""What is a borrowed pose worth? Errors of what each frame of a window lends to its centre, before
the mean is taken: how far the deformation carries, and how much there is to gain. Measures and
their figures, of evaluations that were made with `--sources`.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.evaluation.result import Data
from benchmarks.evaluation.scored import Scored, read_dataset
from benchmarks.figures.curves import OCCLUSION_EDGES
from benchmarks.figures.style import (
    DASHES,
    GREY,
    MARKERS,
    PALETTE,
    binned,
    binned_intervals,
    new_figure,
    set_title,
    styled,
)
from deformer.hand.align import align_procrustes, align_root, point_errors_mm

BEST = "best single pose, chosen by the truth"
"""Low by being chosen, and no bound of what a mean of several can reach."""


@dataclass(frozen=True, eq=False)
class Errors:
    """Of W windows of T frames, mm, mean over joints."""

    lent: np.ndarray
    """(W, T) of each frame's pose deformed to the centre, there."""
    copied: np.ndarray
    """(W, T) of each frame's pose as it is, at the centre: as if nothing moved."""
    at_home: np.ndarray
    """(W, T) of each frame's own pose at its own time: where the error begins."""
    fused: np.ndarray
    """(W,) of the result."""


@dataclass(frozen=True, eq=False)
class Lending:
    """W windows of T frames."""

    offset: np.ndarray
    """(W, T) frames from the centre, negative before it."""
    is_lender: np.ndarray
    """(W, T) bool: of a frame that a window repeats, the position nearest to the centre."""
    occlusion: np.ndarray
    """(W, T) 0-1, NaN where not known."""
    centre: int
    recording: np.ndarray
    """(W,) int."""
    pa: Errors
    """Procrustes-aligned."""
    ra: Errors
    """Root-aligned."""
    explained: np.ndarray
    """(W, T) Σ‖m‖² − Σ‖m − p‖² over joints, m² : m the true motion of the root-aligned joints from
    a frame to the centre, p the predicted one."""
    motion: np.ndarray
    """(W, T) Σ‖m‖²."""


def lending(scored: Scored) -> Lending | None:
    """None where the evaluation has no sources, its windows are not known or not what its result is
    of alone, or no window has labels of all its frames."""
    if "lent_joints_m" not in scored.predictions or scored.window_rows is None:
        return None
    if (scored.predictions["num_windows"] > 1).any():  # of --combine overlap
        return None
    use = ~scored.is_borrowed
    rows, source = scored.window_rows[use], scored.source[use]
    W = len(rows)

    def joints(name: str) -> np.ndarray:
        return scored.predictions[name][source].reshape(W, -1, 21, 3).astype(np.float64)

    own, lent, fused = joints("own_joints_m"), joints("lent_joints_m"), joints("joints_m")[:, 0]
    truth, row = scored.truth, scored.truth.row
    at = np.minimum(np.searchsorted(row, rows), len(row) - 1)  # (W, T)
    there = align_root(truth.joints_m[at])
    here = there[:, scored.centre]
    known = (row[at] == rows).all(1) & np.isfinite(there).all((1, 2, 3))
    if not known.any():
        return None
    rows, at, own, lent, fused, there, here, recording = (
        value[known]
        for value in (rows, at, own, lent, fused, there, here, scored.comparison.sequence[use])
    )
    frame = read_dataset(scored.data).numbers["frame"].astype(int)[rows]
    true, predicted = here[:, None] - there, lent - own
    motion = np.square(true).sum((-2, -1))
    return Lending(
        frame - frame[:, [scored.centre]],
        nearest_of_repeats(rows, scored.centre),
        truth.frames["occlusion"].to_numpy().astype(float)[at],
        scored.centre,
        np.unique(recording, return_inverse=True)[1],
        _errors(align_procrustes, own, lent, fused, there, here),
        _errors(lambda points, _: points, own, lent, fused, there, here),
        motion - np.square(true - predicted).sum((-2, -1)),
        motion,
    )


def nearest_of_repeats(rows: np.ndarray, centre: int) -> np.ndarray:
    """rows (W, T): of positions that hold the same frame, which is nearest to the centre, (W, T)
    bool; the centre itself is."""
    changes = np.diff(rows, axis=1) != 0  # (W, T−1)
    chosen = np.ones(rows.shape, bool)
    chosen[:, :centre] = changes[:, :centre]
    chosen[:, centre + 1 :] = changes[:, centre:]
    return chosen


def _errors(
    align, own: np.ndarray, lent: np.ndarray, fused: np.ndarray, there: np.ndarray, here: np.ndarray
) -> Errors:
    """own, lent, there (W, T, 21, 3); fused, here (W, 21, 3)."""
    everywhere = np.broadcast_to(here[:, None], own.shape)

    def error(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return point_errors_mm(align(points, truth), truth).mean(-1)

    return Errors(
        error(lent, everywhere), error(own, everywhere), error(own, there), error(fused, here)
    )


# ---------------------------------------------------------------------------------------- figures


@styled
def borrowed_error_figure(lending: Lending, data: Data) -> Figure:
    """By distance: error of borrowed poses, deformed and not, less that of the centre's own; how
    much motion the deformation has right. With intervals over recordings."""
    figure = new_figure(height_in=7.6)
    set_title(figure, f"What a borrowed pose is worth: {_count(lending)}", data)
    distance = np.where(lending.is_lender, np.abs(lending.offset), -1)
    distances = np.unique(distance[lending.is_lender])
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    for ax, errors, words in (
        (top, lending.pa, "Procrustes-aligned"), (middle, lending.ra, "root-aligned"),
    ):  # fmt: skip
        own = errors.lent[:, lending.centre]
        for k, (label, values) in enumerate((
            ("deformed to the centre", errors.lent), ("taken as it is", errors.copied),
            ("where it comes from", errors.at_home),
        )):  # fmt: skip
            _draw_line(ax, distances, distance, values - own[:, None], lending, k, label)
        fused = (errors.fused - own).mean()
        ax.axhline(fused, color=PALETTE[3], linewidth=1.2, linestyle=DASHES[3], label="fused")
        _set_panel(ax, words, own)
    further = distances[distances > 0]
    chosen = [distance == d for d in further]
    shares = [explained_share(lending, each) for each in chosen]
    limits = np.array([explained_interval(lending, each) for each in chosen]).reshape(-1, 2).T
    bottom.bar(further, shares, 0.6 * np.diff(distances).min(initial=10), color=PALETTE[5],
               yerr=np.abs(limits - shares), capsize=3, ecolor=GREY)  # fmt: skip
    bottom.axhline(0, color=GREY, linewidth=0.9)
    bottom.set(xlabel="frames to the centre", ylabel="of the motion", xticks=distances)
    bottom.set_title("true motion that the deformation explains", loc="left", color=GREY)
    bottom.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_line(
    ax: Axes, at: np.ndarray, x: np.ndarray, y: np.ndarray, lending: Lending, k: int, label: str
) -> None:
    """Mean of y (W, T) where x (W, T) is each of `at`, with a band."""
    edges = np.append(at, at[-1] + 1) - 0.5
    recording = np.broadcast_to(lending.recording[:, None], x.shape).ravel()
    mean, *_ = binned(x.ravel(), y.ravel(), edges)
    _draw_band(ax, at, mean, binned_intervals(x.ravel(), y.ravel(), edges, recording), k, label)


def _set_panel(ax: Axes, words: str, own: np.ndarray) -> None:
    ax.axhline(0, color=GREY, linewidth=0.9)
    ax.set(ylabel="mm")
    ax.set_title(f"{words}; the frame's own pose: {own.mean():.1f} mm", loc="left", color=GREY)


def _draw_band(
    ax: Axes, at: np.ndarray, mean: np.ndarray, limits: np.ndarray, k: int, label: str
) -> None:
    look = {"linestyle": DASHES[k], "marker": MARKERS[k], "markersize": 4.5}
    ax.plot(at, mean, color=PALETTE[k], label=label, **look)
    ax.fill_between(at, *limits, color=PALETTE[k], alpha=0.15, linewidth=0)


def explained_share(lending: Lending, chosen: np.ndarray) -> float:
    """1 − Σ‖true − predicted motion‖² / Σ‖true motion‖² over chosen (W, T) bool: 1 if all motion is
    right, 0 as good as none, below 0 worse than none. NaN where nothing moves."""
    total = lending.motion[chosen].sum()
    return float(lending.explained[chosen].sum() / total) if total > 0 else float("nan")


def explained_interval(
    lending: Lending, chosen: np.ndarray, *, seed: int = 0, num_draws: int = 1000
) -> tuple[float, float]:
    """95 % of `explained_share`, recordings drawn with replacement; NaN with fewer than two."""
    recording = lending.recording
    explained, motion = (
        np.bincount(recording, np.where(chosen, values, 0).sum(1))
        for values in (lending.explained, lending.motion)
    )
    G = len(motion)
    times = np.random.default_rng(seed).multinomial(G, np.full(G, 1 / G), num_draws)
    if G < 2 or not (times @ motion > 0).all():
        return float("nan"), float("nan")
    low, high = np.percentile(times @ explained / (times @ motion), [2.5, 97.5])
    return float(low), float(high)


@styled
def headroom_figure(lending: Lending, data: Data) -> Figure:
    """By occlusion of the centre: errors of `candidates`, less that of its own pose. With intervals
    over recordings."""
    figure = new_figure(height_in=6.2)
    set_title(figure, f"What there is to borrow, by occlusion: {_count(lending)}", data)
    hidden = lending.occlusion[:, lending.centre]
    axes = figure.subplots(2, 1, sharex=True)
    for ax, errors, words in (
        (axes[0], lending.pa, "Procrustes-aligned"), (axes[1], lending.ra, "root-aligned"),
    ):  # fmt: skip
        own = errors.lent[:, lending.centre]
        for k, (label, errors_mm) in enumerate(candidates(lending, errors).items()):
            values = errors_mm - own
            mean, *_ = binned(hidden, values, OCCLUSION_EDGES)
            at, *_ = binned(hidden, hidden, OCCLUSION_EDGES)
            limits = binned_intervals(hidden, values, OCCLUSION_EDGES, lending.recording)
            _draw_band(ax, at, mean, limits, k, label)
        ax.set(xlim=(0, 1))
        _set_panel(ax, words, own)
    axes[1].set_xlabel("share of the hand that objects hide")
    axes[1].xaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=1)
    return figure


def candidates(lending: Lending, errors: Errors) -> dict[str, np.ndarray]:
    """Errors (W,) of what could be taken for the centre's pose instead of its own."""
    windows = np.arange(len(errors.fused))
    seen = np.where(lending.is_lender, np.nan_to_num(lending.occlusion, nan=1.0), np.inf)
    # At equal occlusion the nearest: none is farther than 1e3 frames
    clearest = (seen + 1e-6 * np.abs(lending.offset)).argmin(1)
    lent = np.where(lending.is_lender, errors.lent, np.inf)
    return {
        "fused": errors.fused,
        "of the frame least hidden": errors.lent[windows, clearest],
        BEST: lent.min(1),
    }


def _count(lending: Lending) -> str:
    return f"{len(lending.offset):,} windows"
