"""`predictions.parquet`: what a model says of every frame of a split, a row per frame.

Metres, radians, camera frame x right, y down, z forward; joints in dataset order.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from deformer.data.index import FrameIndex
from deformer.files.whole import whole_file
from deformer.hand.conventions import NUM_VERTICES
from deformer.hand.rotations import rot6d_to_rotmat, rotmat_to_rotvec

PREDICTIONS_FILE = "predictions.parquet"


def _fixed(name: str, dtype: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, dtype, nullable=False, metadata={"meaning": meaning})


def _vector(length: int) -> pa.DataType:
    return pa.list_(pa.float32(), length)


SCHEMA = pa.schema(
    [
        _fixed("clip", pa.string(), "key of the clip"),
        _fixed("frame", pa.int32(), "frame number in the source"),
        _fixed("row", pa.int64(), "row of the dataset's frames.parquet"),
        _fixed("num_windows", pa.int32(), "windows that saw the frame, of which this is the mean"),
        _fixed("joints_m", _vector(63), "21 × 3, from the wrist, axes of the camera, m"),
        _fixed("wrist_cam_m", _vector(3), "fitted to the predicted 2D joints under K, m"),
        _fixed("pose_rotvec", _vector(48), "MANO pose, 16 axis-angles, rad"),
        _fixed("betas", _vector(10), "MANO shape"),
        pa.field("weights", pa.list_(pa.float32()), metadata={
            "meaning": "how much each frame of the window around this one counts in its pose"}),
    ]
)  # fmt: skip

_SOURCES = (
    pa.field("own_joints_m", pa.list_(pa.float32()), metadata={
        "meaning": "T × 21 × 3: each frame of the window by itself, at its own time, as joints_m"}),
    pa.field("lent_joints_m", pa.list_(pa.float32()), metadata={
        "meaning": "T × 21 × 3: those poses deformed to this frame, before their mean is taken"}),
)  # fmt: skip


def finish_rows(
    index: FrameIndex,
    frames: np.ndarray,
    totals: dict[str, np.ndarray],
    of_window: dict[str, np.ndarray],
) -> pa.Table:
    """Sums over windows, and values of the window around each frame → a table of `SCHEMA`.

    frames (N,): rows of `frames.parquet`. totals: `count` (N,) and the sums `joints_m` (N, 21, 3),
    `wrist_cam_m` (N, 3), `rot6d` (N, 96), `betas` (N, 10). of_window: `weights` (N, T), and where
    the sources are asked for `own_joints_m` and `lent_joints_m` (N, T·63), two more columns.
    Rotations are averaged in 6D and made orthonormal again.
    """
    count = totals["count"]

    def mean(name: str) -> np.ndarray:
        return totals[name].reshape(len(frames), -1) / count[:, None]

    rotmats = rot6d_to_rotmat(torch.from_numpy(mean("rot6d").reshape(-1, 16, 6)))
    pose = rotmat_to_rotvec(rotmats).numpy().reshape(-1, 48)

    def vectors(values: np.ndarray) -> pa.Array:
        flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])

    columns = {
        "clip": pa.array([index.clips[c] for c in index.clip[frames]]),
        "frame": pa.array(index.numbers["frame"][frames], pa.int32()),
        "row": pa.array(frames, pa.int64()),
        "num_windows": pa.array(count.astype(np.int32)),
        "joints_m": vectors(mean("joints_m")),
        "wrist_cam_m": vectors(mean("wrist_cam_m")),
        "pose_rotvec": vectors(pose),
        "betas": vectors(mean("betas")),
        **{name: pa.array(list(x), pa.list_(pa.float32())) for name, x in of_window.items()},
    }
    sources = [field for field in _SOURCES if field.name in of_window]
    return pa.table(columns, schema=pa.schema([*SCHEMA, *sources]))


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """Columns of `predictions.parquet` as arrays, vectors and lists of equal length (N, length)."""
    table = pq.read_table(path)
    arrays = {}
    for name in table.schema.names:
        column = table[name].combine_chunks()
        if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            arrays[name] = column.flatten().to_numpy().reshape(len(table), -1)
        else:
            arrays[name] = column.to_numpy(zero_copy_only=False)
    return arrays


def add_vertices(path: Path, vertices_m: np.ndarray) -> None:
    """Add the column `vertices_m`, 778 × 3 float32 from the wrist, to a file that is there."""
    table = pq.read_table(path)
    flat = pa.array(np.ascontiguousarray(vertices_m, np.float32).reshape(-1))
    field = _fixed("vertices_m", _vector(3 * NUM_VERTICES), "778 × 3, from the wrist, m")
    column = pa.FixedSizeListArray.from_arrays(flat, 3 * NUM_VERTICES)
    with whole_file(path) as file:
        pq.write_table(table.append_column(field, column), file)
