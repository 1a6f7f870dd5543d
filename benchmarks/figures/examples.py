"""The frames that figures show, chosen by a rule instead of by hand, and what is drawn of them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks.evaluation.predictions import joints_cam_m
from benchmarks.evaluation.scored import Scored, read_dataset
from benchmarks.evaluation.truth import predicted_meshes, true_meshes
from deformer.data.augment import Draw
from deformer.data.batch import collate, read_window
from deformer.data.occlusion_bins import BINS, HIDDEN, SEEN, is_in_bin
from deformer.data.store import ClipReader, open_store
from deformer.hand.mano import Hands

TILE_PX = 224
MIN_DISTINCT = 3
"""A window with fewer different frames offers the fusion hardly anything."""
GROUPS = {"seen": SEEN, "hidden": HIDDEN}
"""The shown frames by their range of occlusion."""


@dataclass(frozen=True)
class Choice:
    """A chosen frame, and the reason."""

    at: int
    """Its place among the M frames of `Scored`."""
    reason: str
    """Text for the caption."""


def typical_frames(scored: Scored, limits: tuple[float, float], count: int = 4) -> list[int]:
    """At most `count` frames of a range of occlusion with errors nearest to the range's median,
    least hidden first; from different recordings if there are enough."""
    can_show = is_in_bin(scored.occlusion, limits) & ~scored.is_borrowed
    if not can_show.any():
        return []
    distance = np.abs(scored.pa_mm - np.median(scored.pa_mm[can_show]))
    nearest = np.argsort(np.where(can_show, distance, np.inf), kind="stable")[: can_show.sum()]
    first: dict[str, int] = {}  # cameras and neighbouring frames of a recording look alike
    for at in nearest.tolist():
        first.setdefault(scored.comparison.sequence[at], at)
    chosen = list(dict.fromkeys([*first.values(), *nearest.tolist()]))[:count]
    return sorted(chosen, key=lambda at: scored.occlusion[at])


def largest_gain(scored: Scored) -> Choice | None:
    """The window that fusion helps most; None if no window shows a gain.

    The error without fusion is not known, so the gain is measured against equally hidden frames:
    (median error of the frame's bin in `BINS` − error of the frame) × (share of the pose that comes
    from other frames). Frames that are only in the bin `all` need no help.
    """
    if scored.window_rows is None:
        return None
    rows = scored.window_rows
    is_own = rows == rows[:, scored.centre][:, None]  # a window may repeat the frame in the middle
    borrowed = 1 - (scored.window_weights * is_own).sum(1)
    less_mm = np.full(len(borrowed), np.nan)
    for limits in filter(None, BINS.values()):
        if (inside := is_in_bin(scored.occlusion, limits)).any():
            less_mm[inside] = np.median(scored.pa_mm[inside]) - scored.pa_mm[inside]
    distinct = 1 + (np.diff(rows, axis=1) != 0).sum(1)  # rows rise in a window
    can_show = (distinct >= MIN_DISTINCT) & ~scored.is_borrowed
    gain = np.nan_to_num(np.where(can_show, less_mm * borrowed, 0.0))
    at = int(gain.argmax())
    if gain[at] <= 0:
        return None
    return Choice(
        at,
        f"{scored.occlusion[at]:.0%} hidden, {borrowed[at]:.0%} of the pose taken from other "
        f"frames, and still {less_mm[at]:.1f} mm less error than the median frame of its occlusion "
        "range",
    )


# --------------------------------------------------------------------------- ready to be drawn


@dataclass(frozen=True, eq=False)
class FrameView:
    """One frame of a window. Meshes (778, 3) are in the camera's frame, m; None if not known."""

    image: np.ndarray
    """(TILE_PX, TILE_PX, 3) uint8, RGB: the hand's box."""
    K: np.ndarray
    """(3, 3) for the pixels of the image."""
    frame: int
    is_centre: bool
    occlusion: float
    """0-1, NaN if not known."""
    weight: float
    """Its share in the pose of the middle frame; NaN if not known."""
    faces: np.ndarray
    true_m: np.ndarray | None
    predicted_m: np.ndarray | None
    """The prediction of the frame's own window; None also where the network predicts no mesh."""
    joints_m: np.ndarray | None
    """(21, 3) likewise: every network predicts them."""
    pa_mm: float
    """Procrustes-aligned error of the joints; NaN if not known."""


def view_window(scored: Scored, hands: Hands, at: int, whole: bool = True) -> list[FrameView]:
    """The distinct frames of the window around frame `at` of `Scored`, in time order. whole: False
    gives the frame alone.

    Raises `CorruptMemberError` if an image cannot be read, `FileNotFoundError` without shards.
    """
    store, _ = open_store(scored.data)
    index = read_dataset(scored.data)
    row = int(scored.row[at])
    has_window = whole and scored.window_rows is not None
    rows = scored.window_rows[at] if has_window else np.array([row])
    weights = scored.window_weights[at] if has_window else np.array([np.nan])
    distinct, where = np.unique(rows, return_inverse=True)
    centre = int(np.searchsorted(distinct, row))
    images = np.empty((len(distinct), TILE_PX, TILE_PX, 3), np.uint8)
    window = read_window(ClipReader(store, index, 1), distinct, centre, Draw(), images)
    read = collate(images[None], [window], [False])
    summed = np.bincount(where, weights, len(distinct))  # a window may repeat a frame
    faces = (hands.left if index.is_left[row] else hands.right).faces
    return [
        FrameView(
            images[i], read.K[0, i].double().numpy(), int(index.numbers["frame"][distinct[i]]),
            i == centre, float(read.occlusion[0, i]), float(summed[i]), faces,
            *_points(scored, hands, int(distinct[i])),
        )
        for i in range(len(distinct))
    ]  # fmt: skip


class _Points(NamedTuple):
    """The last fields of `FrameView`."""

    true_m: np.ndarray | None = None
    predicted_m: np.ndarray | None = None
    joints_m: np.ndarray | None = None
    pa_mm: float = np.nan


def _points(scored: Scored, hands: Hands, row: int) -> _Points:
    """True and predicted points of a row of `frames.parquet`."""
    truth, i = scored.truth, _position(scored.truth.row, row)
    if i is None or not truth.is_labelled[i]:
        return _Points()
    (true_m,) = true_meshes(truth, np.array([i]), hands)
    if not np.isfinite(true_m).all():
        true_m = None
    p = _position(scored.predictions["row"], row)
    if p is None:
        return _Points(true_m)
    source = np.array([p])
    meshes = predicted_meshes(scored.predictions, source, hands, truth.is_left[[i]])
    (joints_m,) = joints_cam_m(scored.predictions, source)
    m = _position(scored.row, row)
    pa_mm = np.nan if m is None else float(scored.pa_mm[m])
    return _Points(true_m, None if meshes is None else meshes[0], joints_m, pa_mm)


def _position(rows: np.ndarray, row: int) -> int | None:
    """The position of a row in sorted rows; None if it is not there."""
    i = int(np.searchsorted(rows, row))
    return i if i < len(rows) and rows[i] == row else None
