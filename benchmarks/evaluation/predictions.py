"""`predictions.parquet`: what a model predicts for a split, a row per frame.

Metres, radians, camera frame x right, y down, z forward; joints in dataset order.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from deformer.data.dataset import read_table
from deformer.data.index import FrameIndex
from deformer.files.sealed import write_parquet
from deformer.hand.conventions import NUM_VERTICES
from deformer.inference import Predicted

PREDICTIONS_FILE = "predictions.parquet"
_AGAIN = "delete it, and python -m benchmarks.evaluate predicts again"


def _fixed(name: str, dtype: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, dtype, nullable=False, metadata={"meaning": meaning})


def _vector(length: int) -> pa.DataType:
    return pa.list_(pa.float32(), length)


SCHEMA = pa.schema(
    [
        _fixed("clip", pa.string(), "key of the clip"),
        _fixed("frame", pa.int32(), "frame number in the source"),
        _fixed("row", pa.int64(), "row of the dataset's frames.parquet"),
        _fixed("num_windows", pa.int32(), "windows that saw the frame; values are their mean"),
        _fixed("joints_m", _vector(63), "21 × 3, relative to the wrist, axes of the camera, m"),
        _fixed("wrist_cam_m", _vector(3), "fitted to the predicted 2D joints under K, m"),
        # A network without MANO, or without fusion, lacks the following
        _fixed("pose_rotvec", _vector(48), "MANO pose, 16 axis-angles, rad"),
        _fixed("betas", _vector(10), "MANO shape"),
        pa.field("weights", pa.list_(pa.float32()), metadata={
            "meaning": "how much each frame of the window around this one counts in its pose"}),
        # Vertices that no pose gives, or that --vertices asks for
        _fixed("vertices_m", _vector(3 * NUM_VERTICES), "778 × 3, relative to the wrist, m"),
    ]
)  # fmt: skip


def as_rows(index: FrameIndex, row: np.ndarray, predicted: Predicted) -> pa.Table:
    """Predictions of M frames, rows (M,) of `frames.parquet` → a table of those columns of `SCHEMA`
    that the network predicts."""
    columns = {
        "clip": pa.array([index.clips[c] for c in index.clip[row]]),
        "frame": pa.array(index.numbers["frame"][row], pa.int32()),
        "row": pa.array(row, pa.int64()),
        "num_windows": pa.array(predicted.num_windows, pa.int32()),
        "joints_m": _vectors(predicted.joints_m),
        "wrist_cam_m": _vectors(predicted.wrist_cam_m),
    }
    if predicted.pose_rotvec is not None:
        columns["pose_rotvec"] = _vectors(predicted.pose_rotvec)
        columns["betas"] = _vectors(predicted.betas)
    elif predicted.vertices_m is not None:
        columns["vertices_m"] = _vectors(predicted.vertices_m)
    if predicted.weights is not None:
        columns["weights"] = pa.array(list(predicted.weights), pa.list_(pa.float32()))
    return pa.table(columns, pa.schema([field for field in SCHEMA if field.name in columns]))


def _vectors(values: np.ndarray) -> pa.FixedSizeListArray:
    """(M, …) → M float32 vectors."""
    flat = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """Columns of `predictions.parquet` as arrays, vectors and lists of equal length (N, length)."""
    table = read_table(path, again=_AGAIN)
    arrays = {}
    for name in table.schema.names:
        column = table[name].combine_chunks()
        if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            arrays[name] = column.flatten().to_numpy().reshape(len(table), -1)
        else:
            arrays[name] = column.to_numpy(zero_copy_only=False)
    return arrays


def joints_cam_m(predictions: dict[str, np.ndarray], source: np.ndarray) -> np.ndarray:
    """Joints (M, 21, 3) in the camera frame, m, of the rows `source` (M,)."""
    wrist = predictions["wrist_cam_m"][source].astype(np.float64)[:, None]
    return predictions["joints_m"][source].reshape(-1, 21, 3) + wrist


def add_vertices(path: Path, vertices_m: np.ndarray) -> None:
    """Add the column `vertices_m`, 778 × 3 float32 relative to the wrist, to an existing file."""
    table = read_table(path, again=_AGAIN)
    write_parquet(path, table.append_column(SCHEMA.field("vertices_m"), _vectors(vertices_m)))
