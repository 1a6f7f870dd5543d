"""Does the confidence do what it is for? Weights against occlusion and blur, and how far a pose is
borrowed from. Measures and their figures.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.stats import spearmanr

from benchmarks.evaluation import Data
from benchmarks.figures.examples import MIN_DISTINCT, count_distinct
from benchmarks.figures.scored import Scored, read_dataset
from benchmarks.figures.style import (
    GREY,
    PALETTE,
    binned,
    new_figure,
    no_data,
    set_title,
    signed,
    styled,
)
from deformer.box import hand_box


@dataclass(frozen=True, eq=False)
class Confidence:
    """Frames of windows, each with what may have made it count more or less: N pairs."""

    weight: np.ndarray
    """(N,) of the frame in the window; 1 is an equal share of it."""
    occlusion: np.ndarray
    """(N,) 0-1, NaN where not known."""
    motion: np.ndarray
    """(N,) way of the hand in the image from frame to frame, in sides of its box, which is what
    blurs it; NaN where not known."""


@dataclass(frozen=True, eq=False)
class Borrowing:
    """Windows of several different frames: N of them."""

    offset: np.ndarray
    """(N, T) frames from the middle one, negative before it."""
    weight: np.ndarray
    """(N, T)."""
    pa_mm: np.ndarray
    """(N,)."""


def confidence(scored: Scored) -> Confidence | None:
    """None where weights are not learned, or no window holds several frames."""
    window = _windows(scored)
    if window is None:
        return None
    rows, weights = window
    T = rows.shape[1]
    occlusion, motion = _of_rows(scored)
    first = np.diff(rows, axis=1, prepend=-1) != 0
    number = first.cumsum(1) - 1 + T * np.arange(len(rows))[:, None]  # frames of all windows
    total = np.bincount(number.ravel(), weights.ravel(), len(rows) * T)
    count = np.bincount(number.ravel(), minlength=len(rows) * T)
    with np.errstate(invalid="ignore"):
        mean = T * total / count
    seen = rows[first]
    return Confidence(mean[number[first]], occlusion[seen], motion[seen])


def borrowing(scored: Scored) -> Borrowing | None:
    """None where `confidence` is."""
    window = _windows(scored)
    if window is None:
        return None
    rows, weights = window
    frame = read_dataset(scored.data).numbers["frame"].astype(int)
    use = _usable(scored)
    offset = frame[rows] - frame[rows[:, scored.centre]][:, None]
    return Borrowing(offset, weights, scored.pa_mm[use])


def _usable(scored: Scored) -> np.ndarray:
    """(M,) bool: windows with weights of several different frames."""
    usable = ~scored.is_borrowed & np.isfinite(scored.window_weights).all(1)
    return usable & (count_distinct(scored.window_rows) >= MIN_DISTINCT)


def _windows(scored: Scored) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows and weights (N, T) of the usable windows."""
    is_learned = getattr(scored.evaluation.run, "fusion", None) in ("dynamic", "nearby")
    if scored.window_rows is None or not is_learned or not (use := _usable(scored)).any():
        return None
    return scored.window_rows[use], scored.window_weights[use]


def _of_rows(scored: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Occlusion and motion of every row of `frames.parquet`, NaN outside the split."""
    index, truth = read_dataset(scored.data), scored.truth
    occlusion = np.full(len(index.clip), np.nan)
    occlusion[truth.row] = truth.frames["occlusion"].to_numpy()
    motion = np.full(len(index.clip), np.nan)
    motion[truth.row] = image_motion(*_joints_px(scored), index.clip[truth.row],
                                     index.numbers["frame"][truth.row])  # fmt: skip
    return occlusion, motion


def _joints_px(scored: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Of the split's frames: 2D joints (N, 21, 2) in the source image, side of the box (N,)."""
    path = scored.data / "annotations.parquet"
    table = pq.read_table(path, columns=["joints_px", "crop_xywh"]).take(scored.truth.row)
    joints = np.full((len(table), 42), np.nan)
    column = table["joints_px"].combine_chunks()
    known = column.is_valid().to_numpy(zero_copy_only=False)
    joints[known] = column.drop_null().flatten().to_numpy().reshape(-1, 42)
    joints = joints.reshape(-1, 21, 2)
    corner = table["crop_xywh"].combine_chunks().flatten().to_numpy().reshape(-1, 4)[:, :2]
    tight = np.concatenate([joints.min(1), joints.max(1)], 1)
    return joints + corner[:, None], hand_box(tight)[1]


def image_motion(
    joints_px: np.ndarray, side_px: np.ndarray, clip: np.ndarray, frame: np.ndarray
) -> np.ndarray:
    """Way of the joints in the image per frame, in sides of the hand's box: (N,).

    joints_px (N, 21, 2), side_px, clip, frame (N,), rows of a clip together, frames rising. Mean
    over joints, and over the steps before and after the frame that are there; NaN without any.
    """
    follows = (np.diff(clip) == 0) & (np.diff(frame) == 1)
    step = np.linalg.norm(np.diff(joints_px, axis=0), axis=-1).mean(-1)
    step = np.where(follows, step, np.nan)
    both = np.stack([np.append(step, np.nan), np.insert(step, 0, np.nan)])
    count = (~np.isnan(both)).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nansum(both, 0) / count / side_px


def rank_correlation(x: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """Spearman's ρ of what is known of both, and how many pairs that is; NaN where one of them does
    not vary."""
    known = ~(np.isnan(x) | np.isnan(y))
    x, y = x[known], y[known]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), len(x)
    return float(spearmanr(x, y).statistic), len(x)


# ---------------------------------------------------------------------------------------- figures


@styled
def confidence_figure(c: Confidence, data: Data) -> Figure:
    """Weight of a frame in its windows by its occlusion and by its motion in the image."""
    figure = new_figure(height_in=5.4)
    set_title(figure, "Confidence against occlusion and motion blur", data)
    for ax, x, label, edges in zip(
        figure.subplots(2, 1), (c.occlusion, c.motion),
        ("share of the hand that objects hide",
         "way of the hand in the image per frame, % of its box"),
        (np.linspace(0, 1, 11), _quantile_edges(c.motion)), strict=True,
    ):  # fmt: skip
        rho, count = rank_correlation(x, c.weight)
        _mean_and_deviation(ax, x, c.weight, edges)
        ax.axhline(1, color=GREY, linewidth=0.9, linestyle=":")
        ax.set(xlabel=label, ylabel="weight ÷ equal share")
        low, high = ax.get_xlim()
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if high - low > 0.04 else 1))
        found = "not known" if np.isnan(rho) else signed(rho, 2)
        ax.set_title(f"rank correlation ρ = {found}, {count:,} pairs", loc="left", color=GREY)
    return figure


@styled
def borrowing_figure(b: Borrowing, data: Data) -> Figure:
    """Which frames a pose is taken from, and whether it suffers when they are far away."""
    figure = new_figure(height_in=5.4)
    set_title(figure, "How far poses are borrowed from", data)
    above, below = figure.subplots(2, 1)
    offsets = np.unique(b.offset)
    totals = [(b.weight * (b.offset == k)).sum(1).mean() for k in offsets]
    width = 0.6 * np.diff(offsets).min(initial=10)
    colours = [PALETTE[0] if k == 0 else PALETTE[5] for k in offsets]
    above.bar(offsets, totals, width, color=colours)
    above.set(xlabel="frames from the middle of the window", ylabel="mean weight", xticks=offsets)
    if len(offsets) > 13:
        above.set_xticks(offsets[:: len(offsets) // 7])
    above.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    above.grid(False, axis="x")
    distance = (b.weight * np.abs(b.offset)).sum(1)
    rho, count = rank_correlation(distance, b.pa_mm)
    _mean_and_deviation(below, distance, b.pa_mm, _quantile_edges(distance))
    below.set(xlabel="mean distance of the borrowed frames, weighted", ylabel="PA-MPJPE, mm")
    below.set_ylim(bottom=0)
    found = "not known" if np.isnan(rho) else signed(rho, 2)
    below.set_title(f"rank correlation ρ = {found}, {count:,} windows", loc="left", color=GREY)
    return figure


def _mean_and_deviation(ax, x: np.ndarray, y: np.ndarray, edges: np.ndarray) -> None:
    """Mean ± standard deviation by bins, each at the mean of its x."""
    mean, deviation, count = binned(x, y, edges)
    at, *_ = binned(x, x, edges)
    if not count.any():
        no_data(ax, "not known")
        return
    ax.errorbar(at, mean, deviation, color=PALETTE[0], marker="o", markersize=5, capsize=3,
                elinewidth=1.1)  # fmt: skip


def _quantile_edges(x: np.ndarray, bins: int = 10) -> np.ndarray:
    """Borders with equally many values between them, the outermost hundredth left out."""
    known = x[~np.isnan(x)]
    if not known.size:
        return np.array([0.0, 1.0])
    edges = np.unique(np.quantile(known, np.linspace(0.0, 0.99, bins + 1)))
    return edges if len(edges) > 1 else edges[0] + np.array([-0.5, 0.5])
