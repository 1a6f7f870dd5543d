"""Marks: a finished shard's record and index rows, kept while its dataset is being built."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from deformer.files.sealed import write_json
from deformer.files.wellformed import read_json_object
from deformer.files.whole import whole_file

BUILD_FOLDER = ".deformer-build"
"""Inside a dataset while it is being built."""


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
    with whole_file(_rows_path(out, mark.name)) as file:
        for table in rows:
            with pa.ipc.new_stream(file, table.schema) as stream:
                stream.write_table(table)
    write_json(_mark_path(out, mark.name), asdict(mark))


def read_rows(out: Path, name: str) -> tuple[pa.Table, pa.Table]:
    """The rows that `index_shard` read from a finished shard."""
    with _rows_path(out, name).open("rb") as file:
        return pa.ipc.open_stream(file).read_all(), pa.ipc.open_stream(file).read_all()


def read_mark(out: Path, name: str) -> ShardMark | None:
    """The mark of a finished shard; None when the shard is yet to be made."""
    try:
        mark = ShardMark(**read_json_object(_mark_path(out, name).read_bytes()))
        is_there = (out / name).stat().st_size == mark.size and _rows_path(out, name).is_file()
    except (FileNotFoundError, ValueError, TypeError):  # absent, or cut off by a power failure
        return None
    return mark if is_there else None


def remove_mark(out: Path, name: str) -> None:
    """Remove a shard's mark, so that it will be made again."""
    _mark_path(out, name).unlink(missing_ok=True)
