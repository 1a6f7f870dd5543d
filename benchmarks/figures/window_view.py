"""Frames ready to be drawn: images, true and predicted meshes, errors, weights."""

from dataclasses import dataclass

import numpy as np

from benchmarks.evaluation.scored import Scored, read_dataset
from benchmarks.evaluation.truth import pose_meshes, true_meshes
from deformer.data.augment import Draw
from deformer.data.batch import collate, read_window
from deformer.data.store import ClipReader, open_store
from deformer.hand.mano import Hands

TILE_PX = 224


@dataclass(frozen=True, eq=False)
class FrameView:
    """One frame of a window. Meshes (778, 3) are in the camera's frame, m; None where not known."""

    image: np.ndarray
    """(TILE_PX, TILE_PX, 3) uint8, RGB: the hand's box."""
    K: np.ndarray
    """(3, 3) for the pixels of the image."""
    frame: int
    is_centre: bool
    occlusion: float
    """0-1, NaN where not known."""
    weight: float
    """Its share in the pose of the frame in the middle; NaN where not known."""
    faces: np.ndarray
    true_m: np.ndarray | None
    predicted_m: np.ndarray | None
    """As the frame's own window predicts it."""
    pa_mm: float
    """Procrustes-aligned error of the joints; NaN where not known."""


def view_window(scored: Scored, hands: Hands, at: int, whole: bool = True) -> list[FrameView]:
    """The different frames of the window around frame `at` of `Scored`, in the order of time; whole
    False: the frame alone.

    Raises `CorruptMemberError` when an image cannot be read, `FileNotFoundError` without shards.
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
    summed = np.bincount(where, weights, len(distinct))  # a frame may stand in a window repeatedly
    faces = (hands.left if index.is_left[row] else hands.right).faces
    return [
        FrameView(
            images[i], read.K[0, i].double().numpy(), int(index.numbers["frame"][distinct[i]]),
            i == centre, float(read.occlusion[0, i]), float(summed[i]), faces,
            *_meshes(scored, hands, int(distinct[i])),
        )
        for i in range(len(distinct))
    ]  # fmt: skip


def _meshes(
    scored: Scored, hands: Hands, row: int
) -> tuple[np.ndarray | None, np.ndarray | None, float]:
    """True and predicted vertices of a row of `frames.parquet`, and the error of its joints."""
    truth, i = scored.truth, _position(scored.truth.row, row)
    if i is None or not truth.is_labelled[i]:
        return None, None, np.nan
    (true_m,) = true_meshes(truth, np.array([i]), hands)
    if not np.isfinite(true_m).all():
        true_m = None
    p = _position(scored.predictions["row"], row)
    if p is None:
        return true_m, None, np.nan
    pose, betas = (scored.predictions[k][p : p + 1] for k in ("pose_rotvec", "betas"))
    relative = pose_meshes(hands, pose, betas, truth.is_left[i : i + 1])[0]
    m = _position(scored.row, row)
    pa_mm = np.nan if m is None else float(scored.pa_mm[m])
    return true_m, relative + scored.predictions["wrist_cam_m"][p].astype(np.float64), pa_mm


def _position(rows: np.ndarray, row: int) -> int | None:
    """Where a row stands among rising rows."""
    i = int(np.searchsorted(rows, row))
    return i if i < len(rows) and rows[i] == row else None
