"""The contract: fields of a clip, and their encoding.

One clip is a run of frames of one camera of one sequence. In a shard it is one WebDataset sample:

    <key>.000000.jpg, <key>.000001.jpg, …   the cropped frames; a frame without a crop has none
    <key>.000000.depth.png, …               in a build with depth: the same crops of depth images
    <key>.labels.npz                        the arrays of `FIELDS`, one row per frame
    <key>.json                              what is constant (`ClipMeta`)

The same `FIELDS` make the columns of `frames.parquet` (narrow) and `annotations.parquet` (wide):
`index_rows.py`.
Pixel coordinates are those of the crop; `crop_xywh` is its place in the source image.
`shards/README.md` lists all fields in a table.
"""

import io
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import get_type_hints

import numpy as np

from deformer.files.wellformed import check_types, read_json_object, read_npz

SCHEMA_VERSION = 1

FRAMES_PER_SECOND = 30
"""Of the cameras of DexYCB and HO-3D."""

REASONS = {
    "no_hand": "the labels say that there is no hand in the frame",
    "hand_outside_image": "there is a hand, but no joint of it lies inside the image",
    "joints_behind_camera": "a joint lies at or behind the camera's plane, so it has no image",
    "image_missing": "the image file is absent",
    "image_corrupt": "the image file is truncated or does not decode",
    "image_format": "the image is a JPEG of a kind that is not read, such as CMYK or 12 bits",
    "image_size": "the image has another size than the dataset's",
    "depth_missing": "in a build with depth: the depth image is absent",
    "depth_corrupt": "in a build with depth: the depth image is truncated, or no grey PNG of 16 "
    "bits of the image's size",
    "labels_missing": "the label file is absent",
    "labels_corrupt": "the label file is truncated, or an array is absent or of the wrong shape",
    "labels_none": "the dataset gives no annotation for this frame",
    "labels_filled_in": "the hand was not found in this frame: its labels are a guess between "
    "those of its neighbours",
    "labels_uncertain": "the labels are predictions beyond the limits of quality",
    "labels_not_finite": "a label holds NaN or infinity",
    "labels_contradict": "the labels contradict each other: 3D joints, 2D joints, camera matrix, "
    "the posed hand, its size, or where the image shows it",
    "labels_refused": "the label file is a pickle that asks for more than arrays",
    "intrinsics_missing": "the frame has no camera matrix",
}
"""Why a frame is not valid. A valid frame's reason is empty."""


@dataclass(frozen=True)
class Field:
    """An array over the frames of a clip, and the column of an index."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """Per frame."""
    table: str
    """"frames", "annotations", or "both"."""
    meaning: str
    nullable: bool = True
    """Null is NaN (or an empty mask) in the npz and null in Parquet. A clip whose array is all null
    has no such array in its npz."""


FIELDS = (
    Field("frame", "int32", (), "both", "frame number in the source", nullable=False),
    Field("is_halo", "bool", (), "frames", "here only as a neighbour of others", nullable=False),
    Field("valid", "bool", (), "both", "image whole, hand there and in view", nullable=False),
    Field("reason", "str", (), "frames", "why not valid; empty where valid", nullable=False),
    Field("joints_in_image", "int8", (), "frames", "joints inside the source image, 0-21; "
          "−1 where no joints are known", nullable=False),
    Field("occlusion", "float32", (), "frames", "share of the hand's amodal silhouette that an "
          "object is in front of, 0-1"),
    Field("occlusion_grasped", "float32", (), "frames", "the same, by the grasped object alone"),
    Field("visibility", "float32", (), "frames", "share of the amodal silhouette that the "
          "segmentation calls hand, 0-1"),
    Field("crop_xywh", "int32", (4,), "both", "the crop in the source image, px; width 0 where "
          "there is none", nullable=False),
    Field("box_px", "float32", (4,), "frames", "tight box of the 2D joints: x0 y0 x1 y1, px of "
          "the crop, not clipped to it"),
    Field("K", "float32", (3, 3), "annotations", "intrinsics of the crop, px"),
    Field("joints_cam_m", "float32", (21, 3), "annotations", "joints in dataset order, camera "
          "frame, m"),
    Field("joints_px", "float32", (21, 2), "annotations", "their projection by K, px of the crop"),
    Field("pose_rotvec", "float32", (48,), "annotations", "MANO pose, 16 axis-angles in MANO's "
          "order, the first global, mean pose included, rad"),
    Field("betas", "float32", (10,), "annotations", "MANO shape"),
    Field("trans_m", "float32", (3,), "annotations", "MANO translation, camera frame, m"),
    Field("vertices_cam_m", "float32", (778, 3), "annotations", "vertices, only where the dataset "
          "gives them instead of MANO parameters, camera frame, m"),
    Field("mask_hand", "rle", (), "annotations", "visible hand, COCO RLE of the crop"),
    Field("mask_object", "rle", (), "annotations", "visible objects, COCO RLE of the crop"),
    Field("mask_amodal", "rle", (), "annotations", "posed hand alone, COCO RLE of the crop"),
)  # fmt: skip
FIELD = {field.name: field for field in FIELDS}
_NUMPY = {"str": "U32", "rle": "uint8"}

SPLIT_COLUMNS = ("s0", "s1", "s2", "s3", "split")


@dataclass(frozen=True)
class ClipMeta:
    """The constant part of a clip: `<key>.json`."""

    key: str
    dataset: str
    subject: str
    sequence: str
    camera: str
    side: str
    object: str
    splits: dict[str, str]
    num_frames: int
    image_size: tuple[int, int]
    """(width, height) of the source images, px."""
    hand: str
    """The hand model of the MANO fields: "mano", "standin", or "none"."""
    tips: str
    """Fingertip convention of the joints: "dexycb" or "ho3d"."""


@dataclass(frozen=True)
class Clip:
    """A clip to write: constant part, arrays by field name, one image or None per frame."""

    meta: ClipMeta
    labels: dict[str, np.ndarray]
    images: list[bytes | None]
    depths: list[bytes | None] | None = None
    """In a build with depth, one depth image just where there is an image: PNG, uint16, mm."""


# ---------------------------------------------------------------------------- members of a sample


def image_member(key: str, index: int) -> str:
    return f"{key}.{index:06d}.jpg"


def depth_member(key: str, index: int) -> str:
    return f"{key}.{index:06d}.depth.png"


def labels_member(key: str) -> str:
    return f"{key}.labels.npz"


def meta_member(key: str) -> str:
    return f"{key}.json"


def encode_meta(meta: ClipMeta) -> bytes:
    return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(meta)}, indent=1).encode()


def decode_meta(data: bytes) -> ClipMeta:
    """Raises `ValueError` for anything but a clip's JSON of this schema version."""
    raw = read_json_object(data)
    version = raw.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"clip {raw.get('key')!r} has schema version {version}, this program reads "
            f"{SCHEMA_VERSION}: build the shards again"
        )
    check_types(raw, get_type_hints(ClipMeta))
    return ClipMeta(**{**raw, "image_size": tuple(raw["image_size"])})


def encode_labels(labels: dict[str, np.ndarray], num_frames: int) -> bytes:
    """Encode arrays by field name, one row per frame, as an uncompressed npz.

    The bytes depend only on the values. A mask field is a list of `bytes` (b"" for none) and
    becomes two arrays: `<name>` (all bytes concatenated) and `<name>_offsets` (num_frames + 1).

    Raises `ValueError` naming the field when a field is unknown, missing, or of the wrong shape.
    """
    if unknown := labels.keys() - FIELD.keys():
        raise ValueError(f"labels hold {sorted(unknown)}, which FIELDS does not name")
    arrays = {}
    for field in FIELDS:
        if field.name not in labels:
            continue
        value = labels[field.name]
        if field.dtype == "rle":
            arrays[field.name] = np.frombuffer(b"".join(value), np.uint8)
            sizes = [len(run) for run in value]
            arrays[f"{field.name}_offsets"] = np.cumsum([0, *sizes], dtype=np.int32)
            continue
        array = np.ascontiguousarray(value, _NUMPY.get(field.dtype, field.dtype))
        if not (field.nullable and np.isnan(array).all()):
            arrays[field.name] = array
    _check_arrays(arrays, list(FIELDS), num_frames)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def decode_labels(data: bytes, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The inverse of `encode_labels`: arrays by field name, masks as lists of bytes.

    names: read only "frame" and these fields, none of them a mask; None reads all.
    Fields that are null throughout the clip are absent.
    Raises `ValueError` when the bytes are no whole npz of this schema.
    """
    if names is not None:
        names = {"frame", *names}
    arrays = read_npz(data, names)
    fields = [field for field in FIELDS if names is None or field.name in names]
    _check_arrays(arrays, fields, arrays["frame"].size if "frame" in arrays else 0)
    for field in fields:
        if field.dtype == "rle" and field.name in arrays:
            offsets, runs = arrays.pop(f"{field.name}_offsets"), arrays[field.name].tobytes()
            if offsets[0] != 0 or offsets[-1] != len(runs) or (np.diff(offsets) < 0).any():
                raise ValueError(
                    f"{field.name}_offsets do not rise from 0 to the {len(runs)} bytes of "
                    f"{field.name}"
                )
            arrays[field.name] = [runs[a:b] for a, b in pairwise(offsets)]
    return arrays


def _check_arrays(arrays: dict[str, np.ndarray], fields: list[Field], num_frames: int) -> None:
    """Raises `ValueError` unless the arrays are those of the fields; null ones may be absent."""
    kind = "{} of shape {}".format
    expected = {}
    for field in fields:
        if field.nullable and field.name not in arrays:
            continue
        shape = (num_frames, *field.shape)
        if field.dtype == "rle":
            expected[f"{field.name}_offsets"] = kind("int32", (num_frames + 1,))
            shape = (arrays[field.name].size,)
        expected[field.name] = kind(np.dtype(_NUMPY.get(field.dtype, field.dtype)), shape)
    found = {name: kind(array.dtype, array.shape) for name, array in arrays.items()}
    for name in sorted(found.keys() | expected.keys()):
        is_there, must_be = (kinds.get(name, "absent") for kinds in (found, expected))
        if is_there != must_be:
            raise ValueError(f"{name} of the labels is {is_there}, must be {must_be}")
