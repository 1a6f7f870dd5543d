"""Does the confidence do what it is for? Weights against occlusion, blur and likeness within
windows, and which frames a pose is borrowed from. Measures and their figures.

Weights have the mean 1 in every window, while windows differ in how much is hidden: so a frame is
compared with the others of its window only.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter
from scipy.stats import rankdata

from benchmarks.evaluation.result import Data
from benchmarks.evaluation.scored import Scored, read_dataset
from benchmarks.evaluation.truth import Truth
from benchmarks.figures.examples import MIN_DISTINCT, count_distinct
from benchmarks.figures.style import (
    GREY,
    PALETTE,
    binned,
    binned_intervals,
    new_figure,
    no_data,
    set_title,
    styled,
)
from benchmarks.words import signed
from deformer.hand.align import align_root, point_errors_mm
from deformer.hand.box import hand_box
from deformer.network.fusion import WITH_CONFIDENCE


@dataclass(frozen=True, eq=False)
class Confidence:
    """W windows of T frames, each with what may have made a frame count more or less, (W, T). NaN
    where not known, and where a window repeats a frame."""

    weight: np.ndarray
    """Of the frame in the window; 1 is an equal share of it."""
    occlusion: np.ndarray
    """0-1."""
    motion: np.ndarray
    """Way of the hand in the image from frame to frame, in sides of its box, which is what blurs
    it."""
    likeness: np.ndarray
    """Minus the distance of the true root-aligned joints from their mean over the window, mm, mean
    over joints."""
    place: np.ndarray
    """In the window, from 0: later frames are of later in the recording."""
    recording: np.ndarray
    """(W,) int."""


@dataclass(frozen=True)
class Correlation:
    """Of ranks within windows."""

    value: float
    """NaN where no window tells."""
    interval: tuple[float, float] | None
    """95 %, over recordings; None with fewer than two."""
    num_windows: int

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "not known"
        limits = [signed(limit, 2) for limit in self.interval or ()]
        return signed(self.value, 2) + (f" [{', '.join(limits)}]" if limits else "")


@dataclass(frozen=True, eq=False)
class Borrowing:
    """Windows without a repeated frame: N of them."""

    offset: np.ndarray
    """(N, T) frames from the middle one, negative before it."""
    weight: np.ndarray
    """(N, T)."""


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
    recording = np.unique(scored.comparison.sequence[_usable(scored)], return_inverse=True)[1]
    place = np.broadcast_to(np.arange(T), rows.shape)
    likeness = _likeness(scored.truth, rows, first)
    values = (mean[number], occlusion[rows], motion[rows], likeness, place)
    return Confidence(*(np.where(first, value, np.nan) for value in values), recording)


def _likeness(truth: Truth, rows: np.ndarray, first: np.ndarray) -> np.ndarray:
    """As `Confidence.likeness`, of windows (W, T) whose frames count where they stand first."""
    at = np.minimum(np.searchsorted(truth.row, rows), len(truth.row) - 1)
    joints = align_root(truth.joints_m[at])
    is_known = (truth.row[at] == rows) & first & np.isfinite(joints).all((2, 3))
    with np.errstate(invalid="ignore"):
        mean = (np.where(is_known[..., None, None], joints, 0).sum(1)
                / is_known.sum(1)[:, None, None])  # fmt: skip
    return np.where(is_known, -point_errors_mm(joints, mean[:, None]).mean(-1), np.nan)


def borrowing(scored: Scored) -> Borrowing | None:
    """None where `confidence` is, or every window repeats a frame, as at a clip's border."""
    window = _windows(scored)
    if window is None:
        return None
    is_whole = count_distinct(window[0]) == window[0].shape[1]
    if not is_whole.any():
        return None
    rows, weights = (values[is_whole] for values in window)
    frame = read_dataset(scored.data).numbers["frame"].astype(int)
    return Borrowing(frame[rows] - frame[rows[:, scored.centre]][:, None], weights)


def _usable(scored: Scored) -> np.ndarray:
    """(M,) bool: windows with weights of several different frames."""
    usable = ~scored.is_borrowed & np.isfinite(scored.window_weights).all(1)
    return usable & (count_distinct(scored.window_rows) >= MIN_DISTINCT)


def _windows(scored: Scored) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows and weights (N, T) of the usable windows."""
    fusion = getattr(scored.evaluation.run, "fusion", None)
    if scored.window_rows is None or fusion not in WITH_CONFIDENCE:
        return None
    if not (use := _usable(scored)).any():
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


def rank_correlation(
    x: np.ndarray,
    y: np.ndarray,
    recording: np.ndarray,
    given: np.ndarray | None = None,
    *,
    seed: int = 0,
    num_draws: int = 2000,
) -> Correlation:
    """Spearman's ρ of x and y within windows, (W, T) each: do frames with more of x than others of
    their window have more of y? recording (W,) int. given (W, T): what is left of ρ at equal
    values of it, a little too much, as ranks of few frames are coarse.

    Frames with a value of all of them are ranked in their window; products of ranks, less their
    mean, are summed over windows. Windows of fewer than `MIN_DISTINCT` such frames, or where one
    of them does not vary, tell nothing and are left out.
    """
    variables = np.stack([v for v in (x, y, given) if v is not None])
    is_known = np.isfinite(variables).all(0)
    ranks = rankdata(np.where(is_known, variables, np.nan), axis=2, nan_policy="omit")
    count = is_known.sum(1)
    centred = np.where(is_known, ranks - (count[:, None] + 1) / 2, 0)
    products = np.einsum("awt,bwt->wab", centred, centred)
    tells = (count >= MIN_DISTINCT) & (products.diagonal(0, 1, 2) > 0).all(1)
    if not tells.any():
        return Correlation(float("nan"), None, 0)
    names, group = np.unique(recording[tells], return_inverse=True)
    sums = np.zeros((len(names), *products.shape[1:]))
    np.add.at(sums, group, products[tells])
    shares = np.full(len(names), 1 / len(names))
    times = np.random.default_rng(seed).multinomial(len(names), shares, num_draws)
    value, *draws = _correlation(np.concatenate([sums.sum(0)[None], np.tensordot(times, sums, 1)]))
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    interval = (float(low), float(high)) if len(names) > 1 else None
    return Correlation(float(value), interval, int(tells.sum()))


def _correlation(products: np.ndarray) -> np.ndarray:
    """Of the first two of 2 or 3 variables, beside the third: products (D, V, V) → (D,)."""
    scale = np.sqrt(products.diagonal(0, 1, 2))
    r = products / scale[:, :, None] / scale[:, None, :]
    if r.shape[1] == 2:
        return r[:, 0, 1]
    a, b = r[:, 0, 2], r[:, 1, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (r[:, 0, 1] - a * b) / np.sqrt((1 - a**2) * (1 - b**2))


# ---------------------------------------------------------------------------------------- figures


@styled
def confidence_figure(c: Confidence, data: Data) -> Figure:
    """Weight of a frame by what it has more or less of than the others of its window."""
    figure = new_figure(height_in=8.0)
    set_title(figure, "What a frame counts, beside others of its window", data)
    at_motion, at_time = (
        rank_correlation(c.occlusion, c.weight, c.recording, given) for given in (c.motion, c.place)
    )
    for ax, values, label, more in zip(
        figure.subplots(3, 1), (c.occlusion, c.motion, c.likeness),
        ("share hidden − window's mean, points",
         "image motion − window's mean, % of the box",
         "nearness to mean pose − window's mean, mm"),
        (f"; at equal motion {at_motion};\nat equal time {at_time}", "", ""), strict=True,
    ):  # fmt: skip
        found = rank_correlation(values, c.weight, c.recording)
        with warnings.catch_warnings():  # of windows in which nothing is known
            warnings.simplefilter("ignore", RuntimeWarning)
            more_than_others = values - np.nanmean(values, 1, keepdims=True)
        _draw_means(ax, more_than_others.ravel(), c)
        ax.axhline(1, color=GREY, linewidth=0.9, linestyle=":")
        ax.set(xlabel=label, ylabel="weight ÷ equal share")
        if values is not c.likeness:
            ax.xaxis.set_major_formatter(FuncFormatter(_in_hundredths))
        ax.set_title(f"ρ {found}{more}", loc="left", color=GREY, fontsize=9.5)
    return figure


def _in_hundredths(value: float, _) -> str:
    return f"{100 * value:g}".replace("-", "−")


@styled
def borrowing_figure(b: Borrowing, data: Data) -> Figure:
    """Which places in the window a pose is taken from."""
    figure = new_figure(height_in=3.4)
    set_title(figure, f"Which frames poses are borrowed from: {len(b.weight):,} windows", data)
    ax = figure.subplots()
    offsets = np.unique(b.offset)
    totals = [(b.weight * (b.offset == k)).sum(1).mean() for k in offsets]
    width = 0.6 * np.diff(offsets).min(initial=10)
    colours = [PALETTE[0] if k == 0 else PALETTE[5] for k in offsets]
    ax.bar(offsets, totals, width, color=colours)
    ax.set(xlabel="frames from the middle of the window", ylabel="mean weight", xticks=offsets)
    if len(offsets) > 13:
        ax.set_xticks(offsets[:: len(offsets) // 7])
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.grid(False, axis="x")
    return figure


def _draw_means(ax, x: np.ndarray, c: Confidence) -> None:
    """Mean weight by bins of x (W·T,), with intervals, each at the mean of its x."""
    known = x[np.isfinite(x)]
    if not known.size:
        no_data(ax, "not known")
        return
    edges = np.unique(np.quantile(known, np.linspace(0.01, 0.99, 11)))
    if len(edges) < 2:
        edges = edges[0] + np.array([-0.5, 0.5])
    y, recording = c.weight.ravel(), np.repeat(c.recording, c.weight.shape[1])
    mean, _, _ = binned(x, y, edges)
    at, _, _ = binned(x, x, edges)
    low, high = binned_intervals(x, y, edges, recording)
    ax.errorbar(at, mean, (mean - low, high - mean), color=PALETTE[0], marker="o", markersize=4.5,
                capsize=3, elinewidth=1.1)  # fmt: skip
