"""Finished shards → a dataset: the two indices, the counts, and `dataset.json` last of all."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deformer import lock
from deformer.clip import SPLIT_COLUMNS
from deformer.dataset import DATASET_FILE, split_name
from deformer.files import whole_file
from pipelines.shard import (
    BUILD_FOLDER,
    ShardMark,
    forget,
    index_shard,
    parquet_writer,
    size_and_sha256,
    write_json,
)
from pipelines.source import UnusableInputError

TABLES = ("frames", "annotations")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the only build of a folder. Raises `UnusableInputError` where that cannot be."""
    try:
        with lock.locked(out, "build"):
            yield
    except lock.LockError as error:
        raise UnusableInputError(str(error)) from None


def finish(out: Path, parameters: dict, marks: list[ShardMark], synthetic: dict | None) -> dict:
    """Index the shards, write `dataset.json`, and return what it holds.

    The rows are read off the tars, which are checked once more on the way.
    Raises `UnusableInputError` naming a shard that is not what was written.
    """
    write_indices(out, (_rows(out, mark) for mark in marks))
    content = {
        "schema_version": parameters["schema_version"],
        "parameters": parameters,
        "synthetic": synthetic,
        "counts": count_index(out),
        "shards": [asdict(mark) for mark in marks],
    }
    write_json(out / DATASET_FILE, content)
    remove_build(out)
    return content


def _rows(out: Path, mark: ShardMark) -> tuple[pa.Table, pa.Table]:
    if size_and_sha256(out / mark.name) != (mark.size, mark.sha256):
        forget(out, mark.name)
        raise UnusableInputError(
            f"{mark.name} is no longer what was written; run the same command again to make it anew"
        )
    return index_shard(out / mark.name, mark.name)


def remove_build(out: Path) -> None:
    """Remove what only an unfinished build needs."""
    shutil.rmtree(out / BUILD_FOLDER, ignore_errors=True)


def write_indices(out: Path, rows: Iterable[tuple[pa.Table, pa.Table]]) -> None:
    """Write `frames.parquet` and `annotations.parquet`, one row group per shard, in shard order."""
    with ExitStack() as stack:
        writers = []
        for table in TABLES:
            temporary = out / BUILD_FOLDER / f"{table}.parquet.tmp"
            file = stack.enter_context(whole_file(out / f"{table}.parquet", temporary))
            writers.append(stack.enter_context(parquet_writer(file, table)))
        for tables in rows:
            for writer, table in zip(writers, tables, strict=True):
                writer.write_table(table, row_group_size=max(len(table), 1))


def count_index(out: Path) -> dict:
    """What `frames.parquet` counts: {"clips", "frames", "halo", "valid", "invalid", "splits"}.

    Halo rows are counted apart and nowhere else: each is the centre of its own clip elsewhere.
    """
    columns = ["clip", "is_halo", "valid", "reason", *SPLIT_COLUMNS]
    frames = pq.read_table(out / "frames.parquet", columns=columns)
    is_halo = frames["is_halo"]
    centres = frames.filter(pc.invert(is_halo))
    invalid = centres.filter(pc.invert(centres["valid"]))
    splits = {}
    for setup in SPLIT_COLUMNS:
        for part, n in _count(centres, setup).items():
            splits[split_name(setup, part)] = {"frames": n, "valid": 0}
        for part, n in _count(centres.filter(centres["valid"]), setup).items():
            splits[split_name(setup, part)]["valid"] = n
    return {
        "clips": pc.count_distinct(frames["clip"]).as_py(),
        "frames": len(centres),
        "halo": pc.sum(is_halo).as_py() or 0,
        "valid": len(centres) - len(invalid),
        "invalid": _count(invalid, "reason"),
        "splits": splits,
    }


def _count(table: pa.Table, column: str) -> dict[str, int]:
    counted = pc.value_counts(table[column]).to_pylist()
    return {c["values"]: c["counts"] for c in sorted(counted, key=str) if c["values"] is not None}
