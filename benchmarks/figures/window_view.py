"""Frames ready to be drawn: images, true and predicted meshes, errors, weights."""

from dataclasses import dataclass

import numpy as np

from benchmarks.evaluation.scored import Scored, read_dataset
from benchmarks.evaluation.truth import pose_meshes
from benchmarks.figures.draw_hand import is_in_front
from deformer.data.augment import Draw
from deformer.data.batch import collate, read_window
from deformer.data.store import ClipReader, open_store
from deformer.hand.align import align_procrustes, point_errors_mm
from deformer.hand.mano import HandArrays, Hands

TILE_PX = 224


@dataclass(frozen=True, eq=False)
class Meshes:
    """The hands of a frame: (778, 3) each, camera frame, metres; None where not known."""

    true_m: np.ndarray | None = None
    predicted_m: np.ndarray | None = None
    """As the frame's own window predicts it."""
    is_placed: bool = False
    """The prediction would be behind the camera, so it stands at the true wrist."""
    aligned_m: np.ndarray | None = None
    """The prediction, Procrustes-aligned with the truth."""
    errors_mm: np.ndarray | None = None
    """(778,) of the aligned vertices."""
    pa_mm: float = np.nan
    """Procrustes-aligned error of the joints."""


@dataclass(frozen=True, eq=False)
class FrameView:
    """One frame of a window."""

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
    hand: HandArrays
    """Of its side."""
    meshes: Meshes


@dataclass(frozen=True, eq=False)
class WindowView:
    """The different frames of a window, in the order of time."""

    frames: tuple[FrameView, ...]
    name: str
    """Subject, sequence and camera."""

    @property
    def centre(self) -> FrameView:
        return next(frame for frame in self.frames if frame.is_centre)


def view_window(scored: Scored, hands: Hands, at: int, whole: bool = True) -> WindowView:
    """Frame `at` of `Scored` and the window around it; whole False: the frame alone.

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
    frames = tuple(
        FrameView(
            images[i], read.K[0, i].double().numpy(), int(index.numbers["frame"][distinct[i]]),
            i == centre, float(read.occlusion[0, i]), float(summed[i]),
            hands.left if index.is_left[row] else hands.right,
            _meshes(scored, hands, int(distinct[i])),
        )
        for i in range(len(distinct))
    )  # fmt: skip
    about = scored.truth.frames.slice(int(scored.at[at]), 1).to_pylist()[0]
    return WindowView(frames, " / ".join(str(about[k]) for k in ("subject", "sequence", "camera")))


def _meshes(scored: Scored, hands: Hands, row: int) -> Meshes:
    """Of a row of `frames.parquet`."""
    truth, i = scored.truth, _position(scored.truth.row, row)
    if i is None or not truth.is_labelled[i]:
        return Meshes()
    is_left, wrist_m = truth.is_left[i : i + 1], truth.joints_m[i, :1]
    true_m = None
    if truth.vertices_m is not None and np.isfinite(truth.vertices_m[i]).all():
        true_m = truth.vertices_m[i]
    elif np.isfinite(truth.pose_rotvec[i]).all():
        pose, betas = truth.pose_rotvec[i : i + 1], truth.betas[i : i + 1]
        true_m = pose_meshes(hands, pose, betas, is_left)[0] + wrist_m
    p = _position(scored.predictions["row"], row)
    if p is None:
        return Meshes(true_m)
    pose, betas = (scored.predictions[k][p : p + 1] for k in ("pose_rotvec", "betas"))
    relative = pose_meshes(hands, pose, betas, is_left)[0].astype(np.float64)
    predicted_m = relative + scored.predictions["wrist_cam_m"][p]
    if is_placed := not is_in_front(predicted_m):
        predicted_m = relative + wrist_m
    aligned_m = errors_mm = None
    if true_m is not None:
        aligned_m = align_procrustes(relative[None], true_m[None])[0]
        errors_mm = point_errors_mm(aligned_m, true_m)
    m = _position(scored.row, row)
    pa_mm = np.nan if m is None else float(scored.pa_mm[m])
    return Meshes(true_m, predicted_m, is_placed, aligned_m, errors_mm, pa_mm)


def _position(rows: np.ndarray, row: int) -> int | None:
    """Where a row stands among rising rows."""
    i = int(np.searchsorted(rows, row))
    return i if i < len(rows) and rows[i] == row else None
