"""Marks: a finished shard's record and index rows, kept while its dataset is being built."""

import hashlib
import io
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from deformer.files.patient import is_file, read_file, status
from deformer.files.sealed import (
    SEAL,
    UNSEALED,
    ChangedFileError,
    parse_sealed_json,
    write_json,
)
from deformer.files.whole import whole_file

BUILD_FOLDER = ".deformer-build"
"""Inside a dataset while it is being built."""
_SUM_BYTES = 32


@dataclass(frozen=True)
class ShardMark:
    """The record of a finished shard."""

    name: str
    size: int
    sha256: str
    clips: int
    frames: int


def _mark_path(out: Path, name: str) -> Path:
    return out / BUILD_FOLDER / f"{name}.json"


def _rows_path(out: Path, name: str) -> Path:
    return out / BUILD_FOLDER / f"{name}.arrow"


def write_mark(out: Path, mark: ShardMark, rows: tuple[pa.Table, pa.Table]) -> None:
    """Mark a shard as finished. rows: as `index_shard` read them."""
    kept = io.BytesIO()
    for table in rows:
        with pa.ipc.new_stream(kept, table.schema) as stream:
            stream.write_table(table)
    with whole_file(_rows_path(out, mark.name)) as file:
        file.write(_sum(kept.getbuffer()))
        file.write(kept.getbuffer())
    write_json(_mark_path(out, mark.name), asdict(mark) | UNSEALED)


def read_rows(out: Path, name: str) -> tuple[pa.Table, pa.Table]:
    """The rows that `index_shard` read from a finished shard. Raises `ChangedFileError` where they
    are not those that were written: Arrow would read others."""
    data = read_file(_rows_path(out, name))
    rows = memoryview(data)[_SUM_BYTES:]
    if data[:_SUM_BYTES] != _sum(rows):
        raise ChangedFileError
    file = pa.BufferReader(rows)
    return pa.ipc.open_stream(file).read_all(), pa.ipc.open_stream(file).read_all()


def _sum(data: memoryview) -> bytes:
    return hashlib.sha256(data).digest()


def read_mark(out: Path, name: str) -> ShardMark | None:
    """The mark of a finished shard; None when the shard is yet to be made."""
    try:
        content = parse_sealed_json(read_file(_mark_path(out, name)))
        del content[SEAL]
        mark = ShardMark(**content)
        is_there = status(out / name).st_size == mark.size and is_file(_rows_path(out, name))
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # absent, or damaged
        return None
    return mark if is_there else None


def remove_mark(out: Path, name: str) -> None:
    """Remove a shard's mark, so that it will be made again."""
    _mark_path(out, name).unlink(missing_ok=True)
