"""`predictions.parquet`: what a model predicts for a split, a row per frame.

Metres, radians, camera frame x right, y down, z forward; joints in dataset order.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from deformer.data.dataset import read_table
from deformer.data.index import FrameIndex
from deformer.files.foreign import UnreadableFileError
from deformer.files.sealed import write_parquet
from deformer.files.tables import fitted, vectors
from deformer.hand.conventions import NUM_VERTICES
from deformer.inference import Predicted

PREDICTIONS_FILE = "predictions.parquet"
_AGAIN = "delete it, and python -m benchmarks.evaluate predicts again"


def _fixed(name: str, dtype: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, dtype, nullable=False, metadata={"meaning": meaning})


_OPTIONAL = ("pose_rotvec", "betas", "weights", "vertices_m")
"""What a network without MANO, or without fusion, does not predict."""


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
        # `_OPTIONAL` from here on
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
    """Columns of `predictions.parquet` as arrays, vectors and lists of equal length (N, length).

    Raises `FileNotFoundError`, and `UnreadableFileError` for a damaged file or another one.
    """
    table = read_table(path, again=_AGAIN)
    lacks = set(_OPTIONAL) - set(table.column_names)
    if "pose_rotvec" not in lacks:
        lacks.discard("betas")  # one needs the other
    fields = [field for field in SCHEMA if field.name not in lacks]
    table = fitted(table, pa.schema(fields), path, _AGAIN)
    arrays = {name: vectors(table[name], name, path, _AGAIN) for name in table.column_names}
    if len(np.unique(arrays["row"])) < len(table) or arrays["row"].min(initial=0) < 0:
        raise UnreadableFileError(f"{path} has two predictions of one row, or negative rows")
    return arrays


def joints_cam_m(predictions: dict[str, np.ndarray], source: np.ndarray) -> np.ndarray:
    """Joints (M, 21, 3) in the camera frame, m, of the rows `source` (M,)."""
    wrist = predictions["wrist_cam_m"][source].astype(np.float64)[:, None]
    return predictions["joints_m"][source].reshape(-1, 21, 3) + wrist


def add_vertices(path: Path, vertices_m: np.ndarray) -> None:
    """Add the column `vertices_m`, 778 × 3 float32 relative to the wrist, to an existing file."""
    table = read_table(path, again=_AGAIN)
    write_parquet(path, table.append_column(SCHEMA.field("vertices_m"), _vectors(vertices_m)))
