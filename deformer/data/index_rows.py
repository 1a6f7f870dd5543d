"""The contract: the rows of a clip in `frames.parquet` and in `annotations.parquet`."""

import json
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from deformer.data.clip import FIELD, FIELDS, SCHEMA_VERSION, SPLIT_COLUMNS, ClipMeta, Field


@dataclass(frozen=True)
class Locator:
    """Position of a member's bytes in its shard."""

    offset: int
    size: int
    crc32: int


_ARROW = {"str": pa.string(), "rle": pa.binary(), "bool": pa.bool_()}


def _arrow_type(field: Field) -> pa.DataType:
    scalar = _ARROW.get(field.dtype) or getattr(pa, field.dtype)()
    return pa.list_(scalar, int(np.prod(field.shape))) if field.shape else scalar


def _column(name: str, dtype: pa.DataType, meaning: str, nullable=False, **more) -> pa.Field:
    return pa.field(name, dtype, nullable=nullable, metadata={"meaning": meaning, **more})


def _columns(table: str) -> list[pa.Field]:
    return [
        _column(f.name, _arrow_type(f), f.meaning, f.nullable, shape=json.dumps(f.shape))
        for f in FIELDS
        if f.table in (table, "both")
    ]


_IDENTITY = {
    "dataset": "whose recordings these are",
    "subject": "the person, or as much of it as the dataset tells",
    "sequence": "the recording",
    "camera": "which camera of the recording",
    "side": "right or left",
    "object": "name of the grasped object",
}
_FOOTER = {
    "deformer.schema_version": str(SCHEMA_VERSION),
    "deformer.units": "m, rad, px of the crop; camera frame x right, y down, z forward",
}


FRAMES_SCHEMA = pa.schema(
    [
        _column("clip", pa.string(), "key of the clip"),
        _column("clip_index", pa.int32(), "position of the frame in its clip"),
        *(_column(name, pa.string(), meaning) for name, meaning in _IDENTITY.items()),
        *(
            _column(name, pa.string(), "train, val, test or evaluation", nullable=True)
            for name in SPLIT_COLUMNS
        ),
        *_columns("frames"),
        _column("shard", pa.string(), "file name of the tar"),
        _column("offset", pa.int64(), "of the image in the tar, bytes", nullable=True),
        _column("size", pa.int32(), "of the image, bytes", nullable=True),
        _column("crc32", pa.uint32(), "of the image", nullable=True),
        _column("labels_offset", pa.int64(), "of the clip's labels.npz in the tar, bytes"),
        _column("labels_size", pa.int32(), "of the clip's labels.npz, bytes"),
        _column("labels_crc32", pa.uint32(), "of the clip's labels.npz"),
    ],
    metadata=_FOOTER,
)

_DEPTH_COLUMNS = (
    _column("depth_offset", pa.int64(), "of the depth image in the tar, bytes", nullable=True),
    _column("depth_size", pa.int32(), "of the depth image, bytes", nullable=True),
    _column("depth_crc32", pa.uint32(), "of the depth image", nullable=True),
)

ANNOTATIONS_SCHEMA = pa.schema(
    [
        _column("clip", pa.string(), "key of the clip"),
        _column("side", pa.string(), _IDENTITY["side"]),
        *_columns("annotations"),
    ],
    metadata=_FOOTER,
)


def frames_schema(with_depth: bool) -> pa.Schema:
    """Of `frames.parquet`: `FRAMES_SCHEMA`, and in a build with depth three columns more."""
    if not with_depth:
        return FRAMES_SCHEMA
    return pa.schema([*FRAMES_SCHEMA, *_DEPTH_COLUMNS], metadata=_FOOTER)


def _values(field: Field, labels: dict, num_frames: int) -> pa.Array:
    """One field of a clip as an Arrow column, NaN rows and empty masks as null."""
    arrow_type = _arrow_type(field)
    if field.name not in labels:
        return pa.nulls(num_frames, arrow_type)
    value = labels[field.name]
    if field.dtype == "rle":
        return pa.array([run or None for run in value], arrow_type)
    if field.dtype == "str":
        return pa.array(value.tolist(), arrow_type)
    is_null = np.isnan(value).reshape(num_frames, -1).any(1) if field.nullable else None
    if not field.shape:
        return pa.array(value, arrow_type, mask=is_null)
    mask = None if is_null is None else pa.array(is_null)
    flat = pa.array(value.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=arrow_type, mask=mask)


def clip_rows(
    meta: ClipMeta,
    labels: dict[str, np.ndarray],
    shard: str,
    images: list[Locator | None],
    labels_at: Locator,
    depths: list[Locator | None] | None = None,
) -> tuple[pa.Table, pa.Table]:
    """The rows of a clip in `frames.parquet` and in `annotations.parquet`.

    images, depths: places of the frames' members; depths None: of a build without depth.
    """
    n = meta.num_frames
    of_clip = {"clip": meta.key, "shard": shard}
    of_clip |= {name: getattr(meta, name) for name in _IDENTITY}
    of_clip |= {name: meta.splits.get(name) for name in SPLIT_COLUMNS}
    of_clip |= {f"labels_{key}": value for key, value in asdict(labels_at).items()}
    columns = {name: [value] * n for name, value in of_clip.items()}
    for prefix, places in (("", images), ("depth_", depths or [])):
        for key in ("offset", "size", "crc32"):
            columns[prefix + key] = [place and getattr(place, key) for place in places]
    columns["clip_index"] = list(range(n))

    def column(spec: pa.Field) -> pa.Array:
        if spec.name in FIELD:
            return _values(FIELD[spec.name], labels, n)
        return pa.array(columns[spec.name], spec.type)

    return tuple(
        pa.Table.from_arrays([column(spec) for spec in schema], schema=schema)
        for schema in (frames_schema(depths is not None), ANNOTATIONS_SCHEMA)
    )
