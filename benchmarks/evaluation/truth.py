"""The ground truth of a split, and predictions paired with it frame by frame."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from benchmarks.evaluation.protocol import Comparison
from benchmarks.evaluation.result import Counts, Data
from deformer.data.dataset import (
    ANNOTATIONS_FILE,
    FRAMES_FILE,
    PREDICTED,
    REPAIR,
    dataset_sha256,
    labels_of,
    read_columns,
    read_info,
    split_column,
)
from deformer.data.index_rows import ANNOTATIONS_SCHEMA, FRAMES_SCHEMA
from deformer.data.store import Store
from deformer.files.foreign import UnreadableFileError
from deformer.hand.conventions import NUM_VERTICES
from deformer.hand.mano import HandLayer, Hands
from deformer.hand.rotations import rotvec_to_rotmat

_FRAMES_COLUMNS = [
    "dataset", "clip", "subject", "sequence", "camera", "frame", "side", "is_halo", "valid",
    "occlusion", "joints_in_image", "s0", "s1", "s2", "s3", "split",
]  # fmt: skip
_HANDS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Truth:
    """The N frames of a split without the halo, in the order of the index."""

    info: dict
    """The content of `dataset.json`."""
    frames: pa.Table
    """Columns of `frames.parquet`."""
    row: np.ndarray
    """(N,) rows in `frames.parquet`."""
    joints_m: np.ndarray
    """(N, 21, 3) camera frame, dataset order; NaN without a labelled hand."""
    pose_rotvec: np.ndarray
    """(N, 48); NaN where not known."""
    betas: np.ndarray
    """(N, 10); NaN where not known."""
    vertices_m: np.ndarray | None
    """(N, 778, 3) camera frame; only HO-3D's evaluation set gives them, else None."""

    @property
    def dataset(self) -> str:
        """The source of the recordings or of the layout: "dexycb", "ho3d", or your own."""
        return self.info["parameters"]["dataset"]

    @property
    def is_left(self) -> np.ndarray:
        """(N,) bool."""
        return pc.equal(self.frames["side"], "left").to_numpy(zero_copy_only=False)

    @property
    def is_labelled(self) -> np.ndarray:
        """(N,) bool: frames that count. Their hand is labelled, even if outside the image."""
        return np.isfinite(self.joints_m).all((1, 2))


def read_truth(folder: Path, split: str, rows: np.ndarray | None = None) -> Truth:
    """Read a split of a built dataset. rows: read only these rows of `frames.parquet`.

    Raises `FileNotFoundError` without a dataset, `ValueError` for an unknown split.
    """
    info = read_info(folder)
    frames = read_columns(folder / FRAMES_FILE, _FRAMES_COLUMNS, FRAMES_SCHEMA)
    wanted = pc.invert(frames["is_halo"])
    if found := split_column(info, None if split == "all" else split):
        column, part = found
        wanted = pc.and_kleene(wanted, pc.equal(frames[column], part))
    row = np.flatnonzero(wanted.fill_null(False).to_numpy(zero_copy_only=False))
    if rows is not None:
        row = row[np.isin(row, rows)]
    labels = ["joints_cam_m", "pose_rotvec", "betas", "vertices_cam_m"]
    wide = read_columns(folder / ANNOTATIONS_FILE, labels, ANNOTATIONS_SCHEMA)
    if len(wide) != len(frames):
        raise UnreadableFileError(
            f"{folder / ANNOTATIONS_FILE} has {len(wide)} rows, {FRAMES_FILE} {len(frames)}; "
            f"{REPAIR.format(folder=folder)}"
        )
    wide = wide.take(row)
    vertices = wide["vertices_cam_m"]
    return Truth(
        info,
        frames.take(row),
        row,
        _floats(wide["joints_cam_m"]).reshape(-1, 21, 3),
        _floats(wide["pose_rotvec"]),
        _floats(wide["betas"]),
        None if vertices.null_count == len(vertices) else _floats(vertices).reshape(-1, 778, 3),
    )


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """Vectors (N, length) float64, NaN for null."""
    array = column.combine_chunks()
    length = column.type.list_size
    values = np.full((len(array), length), np.nan)
    there = array.is_valid().to_numpy(zero_copy_only=False)
    values[there] = array.flatten().to_numpy().reshape(-1, length)
    return values


def data_of(store: Store, truth: Truth, split: str, num_frames: int) -> Data:
    """The description of what was scored: `num_frames` frames of a built dataset. split: its name,
    followed by the filter."""
    if labels_of(truth.info) == PREDICTED:
        logging.warning(
            f"the labels of {store.name} were predicted by a network, not measured: errors say how "
            "far two networks differ"
        )
    return Data(
        name=store.name,
        dataset=truth.frames["dataset"][0].as_py(),
        split=split,
        synthetic=truth.info["synthetic"] is not None,
        frames=num_frames,
        sha256=dataset_sha256(store.folder),
    )


@dataclass(frozen=True, eq=False)
class Paired:
    """Predictions of the M labelled frames, in the order of `Truth`."""

    at: np.ndarray
    """(M,) positions of the frames in `Truth`."""
    source: np.ndarray
    """(M,) the row of the predictions that a frame takes; −1: none."""
    is_borrowed: np.ndarray
    """(M,) bool: the frame takes another frame's prediction."""
    counts: Counts


def pair_predictions(truth: Truth, row: np.ndarray) -> Paired:
    """Give every labelled frame its own prediction, or that of the nearest frame of its clip.

    row (P,): the predicted frames, as rows of `frames.parquet`. Only frames without an image borrow
    (their hand is outside the image, and DexYCB's protocol counts them). A frame that has an image
    but no prediction could not be read, and gets none.
    """
    at = np.flatnonzero(truth.is_labelled)
    clip = truth.frames["clip"].combine_chunks().dictionary_encode().indices.to_numpy()
    frame = truth.frames["frame"].to_numpy().astype(np.int64)
    valid = truth.frames["valid"].to_numpy()
    own = np.isin(truth.row[at], row)
    known = np.flatnonzero(np.isin(truth.row, row))  # (K,) predicted frames
    known = known[np.lexsort((frame[known], clip[known]))]
    order = np.argsort(row)
    index_of = order[np.searchsorted(row, truth.row[known], sorter=order)]
    asks = np.flatnonzero(own | ~valid[at])
    source = np.full(len(at), -1, np.int64)
    source[asks] = np.append(index_of, -1)[_nearest(clip, frame, at[asks], known)]
    has_one = source >= 0
    counts = Counts(
        predicted=int(own.sum()),
        borrowed=int((has_one & ~own).sum()),
        lost=int((~has_one & ~valid[at]).sum()),
        corrupt=int((~has_one & valid[at]).sum()),
    )
    return Paired(at, source, has_one & ~own, counts)


def _nearest(clip: np.ndarray, frame: np.ndarray, of: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(M,) places in `among`, frames sorted by clip and number, of the frame of the same clip that
    is nearest to each frame in `of`, the earlier of two; −1 where the clip has none."""
    reach = int(frame.max(initial=0)) + 1
    key = clip.astype(np.int64) * 2 * reach + frame  # clips lie further apart than any two frames
    far = np.iinfo(np.int64).max // 2
    keys = np.concatenate([[-far], key[among], [far]])
    after = np.searchsorted(keys, key[of])
    to_after, to_before = keys[after] - key[of], key[of] - keys[after - 1]
    place = np.where(to_before <= to_after, after - 1, after) - 1
    return np.where(np.minimum(to_before, to_after) < reach, place, -1)


def compare(
    truth: Truth,
    at: np.ndarray,
    joints_m: np.ndarray,
    vertices_m: np.ndarray | None,
    truth_vertices_m: np.ndarray | None,
) -> Comparison:
    """Predictions (M, …) in the camera frame beside the truth of the frames `at` (M,). The mesh is
    left out if either side has no vertices."""
    if vertices_m is None or truth_vertices_m is None:
        vertices_m = truth_vertices_m = None
    frames = truth.frames.take(at)
    names = {k: frames[k].to_pylist() for k in ("subject", "sequence", "camera")}
    sequence = np.array([f"{a}/{b}" for a, b in zip(names["subject"], names["sequence"],
                                                    strict=True)])  # fmt: skip
    camera = np.array([f"{a}/{b}" for a, b in zip(sequence, names["camera"], strict=True)])
    return Comparison(
        joints_m=joints_m,
        truth_joints_m=truth.joints_m[at],
        sequence=sequence,
        camera_sequence=camera,
        frame=frames["frame"].to_numpy(),
        occlusion=frames["occlusion"].to_numpy().astype(np.float64),
        vertices_m=vertices_m,
        truth_vertices_m=truth_vertices_m,
    )


def true_meshes(truth: Truth, at: np.ndarray, hands: Hands | None) -> np.ndarray:
    """Vertices (M, 778, 3) of the frames `at`, camera frame, m: the dataset's own, else posed from
    its MANO parameters by these hands, else NaN."""
    if truth.vertices_m is not None:
        return truth.vertices_m[at]
    if hands is None:
        return np.full((len(at), NUM_VERTICES, 3), np.nan)
    posed = pose_meshes(hands, truth.pose_rotvec[at], truth.betas[at], truth.is_left[at])
    return posed + truth.joints_m[at, :1]


def predicted_meshes(
    predictions: dict[str, np.ndarray], source: np.ndarray, hands: Hands, is_left: np.ndarray
) -> np.ndarray | None:
    """Vertices (M, 778, 3) of the rows `source` (M,) of `predictions.parquet`, camera frame, m: the
    network's own, else posed from its MANO parameters; None where it predicts joints alone."""
    if "vertices_m" in predictions:
        relative = predictions["vertices_m"][source].reshape(-1, NUM_VERTICES, 3)
    elif "pose_rotvec" in predictions:
        pose, betas = predictions["pose_rotvec"][source], predictions["betas"][source]
        relative = pose_meshes(hands, pose, betas, is_left)
    else:
        return None
    return relative + predictions["wrist_cam_m"][source].astype(np.float64)[:, None]


def pose_meshes(
    hands: Hands, pose_rotvec: np.ndarray, betas: np.ndarray, is_left: np.ndarray
) -> np.ndarray:
    """Poses (N, 48), shapes (N, 10) → vertices (N, 778, 3) float32 relative to the wrist, m."""
    layer = HandLayer(hands)
    parts = []
    for i in range(0, len(pose_rotvec), _HANDS_AT_ONCE):
        part = slice(i, i + _HANDS_AT_ONCE)
        rotmats = rotvec_to_rotmat(torch.tensor(pose_rotvec[part]).float().view(-1, 16, 3))
        shapes, sides = torch.tensor(betas[part]).float(), torch.tensor(is_left[part])
        vertices, joints = layer(rotmats, shapes, sides)
        parts.append((vertices - joints[:, :1]).numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 778, 3), np.float32)
