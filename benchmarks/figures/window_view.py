"""One window, ready to be drawn: images, true and predicted meshes, errors, weights."""

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
class FrameView:
    """One frame. Meshes are (778, 3) in the camera's frame, metres; None: not known."""

    image: np.ndarray
    """(TILE_PX, TILE_PX, 3) uint8, RGB: the hand's box."""
    K: np.ndarray
    """(3, 3) for the pixels of the image."""
    frame: int
    is_centre: bool
    occlusion: float
    """0-1, NaN where not known."""
    weight: float
    """How much it counts in the pose of the frame in the middle; NaN where not known."""
    times: int
    """So often it stands in the window."""
    hand: HandArrays
    """Of its side."""
    true_m: np.ndarray | None
    predicted_m: np.ndarray | None
    """As its own window predicts it."""
    is_placed: bool
    """The predicted hand would be behind the camera, so it stands at the true wrist."""
    aligned_m: np.ndarray | None
    """The predicted mesh, Procrustes-aligned with the true one."""
    errors_mm: np.ndarray | None
    """(778,) of the aligned vertices."""
    pa_mm: float
    """Procrustes-aligned error of the joints; NaN where not known."""


@dataclass(frozen=True, eq=False)
class WindowView:
    """The different frames of a window, in the order of time."""

    frames: tuple[FrameView, ...]
    clip: str
    name: str
    """Subject, sequence and camera; the object."""

    @property
    def centre(self) -> FrameView:
        return next(frame for frame in self.frames if frame.is_centre)

    @property
    def largest_mm(self) -> float:
        """The top of the scale of errors: the 98th percentile, rounded up to a full 5 mm."""
        errors = [frame.errors_mm for frame in self.frames if frame.errors_mm is not None]
        top = np.percentile(np.concatenate(errors), 98) if errors else 5.0
        return float(5 * np.ceil(max(top, 1e-6) / 5))


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
    meshes = [_meshes(scored, hands, int(r)) for r in distinct]
    frames = tuple(
        FrameView(
            images[i], read.K[0, i].double().numpy(), int(index.numbers["frame"][distinct[i]]),
            i == centre, float(read.occlusion[0, i]), float(summed[i]), int((where == i).sum()),
            hands.left if index.is_left[row] else hands.right, *meshes[i],
        )
        for i in range(len(distinct))
    )  # fmt: skip
    about = scored.truth.frames.slice(int(scored.at[at]), 1).to_pylist()[0]
    name = " / ".join(str(about[key]) for key in ("subject", "sequence", "camera"))
    return WindowView(frames, about["clip"], name)


def _meshes(scored: Scored, hands: Hands, row: int) -> tuple:
    """The last fields of `FrameView`, from `true_m` on, of a row of `frames.parquet`."""
    true_m = predicted_m = aligned_m = errors_mm = None
    is_placed, pa_mm = False, np.nan
    truth, i = scored.truth, _position(scored.truth.row, row)
    is_left = None
    if i is not None and truth.is_labelled[i]:
        is_left = np.array([truth.frames["side"][i].as_py() == "left"])
        if truth.vertices_m is not None and np.isfinite(truth.vertices_m[i]).all():
            true_m = truth.vertices_m[i]
        elif np.isfinite(truth.pose_rotvec[i]).all():
            pose, betas = truth.pose_rotvec[i : i + 1], truth.betas[i : i + 1]
            true_m = pose_meshes(hands, pose, betas, is_left)[0] + truth.joints_m[i, :1]
    p = _position(scored.predictions["row"], row)
    if p is not None and is_left is not None:
        pose, betas = (scored.predictions[k][p : p + 1] for k in ("pose_rotvec", "betas"))
        relative = pose_meshes(hands, pose, betas, is_left)[0].astype(np.float64)
        predicted_m = relative + scored.predictions["wrist_cam_m"][p]
        if not is_in_front(predicted_m):
            predicted_m, is_placed = relative + truth.joints_m[i, :1], True
        if true_m is not None:
            aligned_m = align_procrustes(relative[None], true_m[None])[0]
            errors_mm = point_errors_mm(aligned_m, true_m)
        m = _position(scored.row, row)
        pa_mm = np.nan if m is None else float(scored.pa_mm[m])
    return true_m, predicted_m, is_placed, aligned_m, errors_mm, pa_mm


def _position(rows: np.ndarray, row: int) -> int | None:
    """Where a row stands among rising rows."""
    i = int(np.searchsorted(rows, row))
    return i if i < len(rows) and rows[i] == row else None
