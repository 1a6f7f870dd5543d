"""`<stem>.hands.parquet`: the hands of a video, a row per frame and hand.

Metres, radians, pixels (centres at integers); camera frame x right, y down, z forward; joints in
dataset order. The file's footer says where everything came from (`HandsInfo`).
"""

import json
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import NamedTuple, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deformer.data.dataset import read_table
from deformer.files.foreign import UnreadableFileError, one_line
from deformer.files.patient import is_damage, patiently
from deformer.files.sealed import ChangedFileError, check_parquet, write_parquet
from deformer.files.tables import DAMAGE, fitted, vectors
from deformer.files.wellformed import (
    check_types,
    is_plain_name,
    read_json_object,
    shown,
)
from deformer.hand.conventions import SIDES, TIPS

HANDS_SUFFIX = ".hands.parquet"
FORMAT = 1
_KEY = b"deformer_hands"
_AGAIN = "python -m deformer.predict writes it again"


class HandRows(NamedTuple):
    """N hands in the order of frames, then of tracks; at most one row per frame and track."""

    frame: np.ndarray
    """(N,) int64, from 0."""
    time_s: np.ndarray
    """(N,) float64, of the frame, from the first frame."""
    track: np.ndarray
    """(N,) int64, from 0: one hand of one person for as long as it is followed."""
    is_left: np.ndarray
    """(N,) bool, constant in a track."""
    is_observed: np.ndarray
    """(N,) bool: whether the hand was found in this frame. If not, the fusion filled it in."""
    detection: np.ndarray
    """(N,) float32 in [0, 1]: the detector's confidence; NaN where it does not give one."""
    box_px: np.ndarray
    """(N, 4) float32: square box that the network saw, x0 y0 x1 y1; may exceed the image."""
    joints_px: np.ndarray
    """(N, 21, 2) float32: 2D joints, of the network, or the projection of a fitted hand."""
    joints_cam_m: np.ndarray
    """(N, 21, 3) float32: joints of the mesh, placed so that they project best on `joints_px`."""
    pose_rotvec: np.ndarray
    """(N, 48) float32: MANO pose, 16 axis-angles."""
    betas: np.ndarray
    """(N, 10) float32: MANO shape."""
    scale: np.ndarray
    """(N,) float32: factor on the hand that pose and shape give; 1 without a measured length."""
    weights: np.ndarray
    """(N, T) float32: how much each frame of the window counts in the pose."""
    spread_mm: np.ndarray
    """(N,) float32: how far the window's frames disagree about the pose: the weighted root mean
    square distance of their joints, wrist-aligned, from the fused ones."""

    @property
    def wrist_cam_m(self) -> np.ndarray:
        """(N, 3)."""
        return self.joints_cam_m[:, 0]

    def at(self, chosen: np.ndarray) -> "HandRows":
        """Rows by mask or index."""
        return HandRows(*(value[chosen] for value in self))


@dataclass(frozen=True)
class HandsInfo:
    """Where the hands of a file came from."""

    source: str
    """Name of the video, without its folder."""
    fps: float
    width: int
    height: int
    num_frames: int
    K: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
    """Intrinsics, 3 × 3."""
    K_from: str
    """"given", or how it was assumed."""
    checkpoint: str
    checkpoint_sha256: str
    licence: str
    """Of the checkpoint."""
    hand_model: str
    hand_model_sha256: str
    detector: str
    fitted: bool
    """Whether hands were moved onto the detector's landmarks."""
    smoothed: bool
    config_sha256: str
    """Hash of all options that shape the rows."""
    tips: str = "dexycb"
    """Fingertips of the joints, as the network's: "dexycb" or "ho3d"."""

    def __post_init__(self) -> None:
        if not (0 < self.fps < inf and min(self.width, self.height) >= 1 and self.tips in TIPS):
            raise ValueError(
                f"{self.fps} frames per second, {self.width} × {self.height} px, tips {self.tips}"
            )


_MEANINGS = {
    "frame": (pa.int32(), "frame number, from 0"),
    "time_s": (pa.float64(), "time of the frame, s"),
    "track": (pa.int32(), "one hand for as long as it is followed"),
    "side": (pa.string(), "right or left, of the person"),
    "is_observed": (pa.bool_(), "found in this frame; otherwise filled in from its neighbours"),
    "detection": (pa.float32(), "the detector's confidence, 0 to 1; NaN: none given"),
    "box_px": (4, "square hand box, x0 y0 x1 y1, px"),
    "joints_px": (42, "21 × 2, px"),
    "joints_cam_m": (63, "21 × 3, camera frame, m"),
    "wrist_cam_m": (3, "the first of joints_cam_m"),
    "pose_rotvec": (48, "MANO pose, 16 axis-angles, rad"),
    "betas": (10, "MANO shape"),
    "scale": (pa.float32(), "factor on the hand of pose and betas"),
    "weights": (0, "how much each frame of the window counts in the pose"),
    "spread_mm": (pa.float32(), "how far the frames of the window disagree, mm"),
}


def _type(kind: int | pa.DataType) -> pa.DataType:
    if isinstance(kind, int):  # a vector; 0: as long as the window
        return pa.list_(pa.float32(), kind) if kind else pa.list_(pa.float32())
    return kind


SCHEMA = pa.schema(
    [
        pa.field(name, _type(kind), nullable=False, metadata={"meaning": meaning})
        for name, (kind, meaning) in _MEANINGS.items()
    ]
)


def write_hands(path: Path, hands: HandRows, info: HandsInfo) -> None:
    """Write the file whole or not at all. No rows make an empty, valid file."""
    columns = {
        field.name: _column(field.type, getattr(hands, field.name))
        for field in SCHEMA
        if field.name != "side"
    }
    columns["side"] = pa.array([SIDES[int(left)] for left in hands.is_left], pa.string())
    footer = json.dumps({"format": FORMAT} | asdict(info))
    table = pa.table(columns, schema=SCHEMA.with_metadata({_KEY: footer}))
    write_parquet(path, table)


def _column(dtype: pa.DataType, values: np.ndarray) -> pa.Array:
    if pa.types.is_fixed_size_list(dtype):
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), dtype.list_size)
    if pa.types.is_list(dtype):
        return pa.array(list(np.asarray(values, np.float32)), dtype)
    return pa.array(values, dtype)


def read_hands(path: Path) -> tuple[HandRows, HandsInfo]:
    """Raises `FileNotFoundError` for a missing file, `UnreadableFileError` for a damaged one or one
    of something else."""
    table = read_table(path, again=_AGAIN)
    info = _info(path, table.schema)
    table = fitted(table, SCHEMA, path, _AGAIN)
    columns = {name: vectors(table[name], name, path, _AGAIN) for name in table.column_names}
    columns["is_left"] = columns.pop("side") == SIDES[1]
    for name in ("joints_px", "joints_cam_m"):
        columns[name] = columns[name].reshape(len(table), 21, columns[name].shape[1] // 21)
    return HandRows(**{name: columns[name] for name in HandRows._fields}), info


def read_hands_info(path: Path) -> HandsInfo:
    """What the footer says, and no hands; raises as `read_hands`."""
    try:
        check_parquet(path)
        schema = patiently(path, lambda: pq.read_schema(path))
    except (ChangedFileError, *DAMAGE) as error:
        if not is_damage(error):
            raise
        return read_hands(path)[1]  # says what is wrong
    return _info(path, schema)


def _info(path: Path, schema: pa.Schema) -> HandsInfo:
    footer = (schema.metadata or {}).get(_KEY)
    if missing := [name for name in SCHEMA.names if name not in schema.names]:
        raise UnreadableFileError(
            f"{path} holds no predicted hands (no {', '.join(missing)}): {_AGAIN}"
        )
    if footer is None:
        raise UnreadableFileError(
            f"{path} has lost its footer, which says where its hands are from: correct hands by "
            "read_hands and write_hands of deformer.video.hands_file, which keep it"
        )
    try:
        content = read_json_object(footer)
        if (version := content.get("format")) != FORMAT:
            raise ValueError(f"it has format {shown(version)}, this program reads {FORMAT}")
        stated = {"tips": HandsInfo.tips} | content  # older files lack it
        kinds = get_type_hints(HandsInfo)
        stated = {name: value for name, value in stated.items() if name in kinds}
        check_types(stated, kinds)
        if not is_plain_name(stated["source"]):  # a path would lead elsewhere
            raise ValueError(f"{shown(stated['source'])} is no name of a video")
        return HandsInfo(**stated | {"K": tuple(map(tuple, stated["K"]))})
    except ValueError as error:
        raise UnreadableFileError(
            f"{path} does not say where its hands are from ({one_line(error)}): {_AGAIN}"
        ) from None
