"""Time and memory to open a large index and to read the first batch, in a process of its own.

The index is the rows of a small one, repeated under other names; its shards are links.
"""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.speed.figure import Figure
from benchmarks.speed.material import Material
from deformer.data.dataset import DATASET_FILE, FRAMES_FILE, read_info
from deformer.data.order import OrderConfig
from deformer.data.store import open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.files.sealed import sealed_parquet, write_json

_ROWS = 582_000
"""DexYCB's frames."""


def large_index(material: Material) -> Iterator[Figure]:
    """From the folder to the first batch, for DexYCB's number of frames and for ten times that."""
    for times in (1, 10):
        num_rows = times * _ROWS
        with tempfile.TemporaryDirectory() as folder:
            _repeat(material.data, Path(folder), num_rows)
            with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                seconds, mebibytes = fresh.submit(_open_and_read, folder).result()
        aims = (2, 300) if times == 1 else (None, None)
        what = f"first batch of {num_rows:,} frames"
        yield Figure("index", f"{what}, of the processor", seconds, "s", aims[0])
        yield Figure("index", f"{what}, memory beyond imports", mebibytes, "MiB", aims[1])


def _repeat(data: Path, out: Path, num_rows: int) -> None:
    """Write an index of at least `num_rows` rows of `data`'s, and links to its shards."""
    rows, info = pq.read_table(data / FRAMES_FILE), read_info(data)
    copies = -(-num_rows // len(rows))
    with sealed_parquet(out / FRAMES_FILE, rows.schema) as writer:
        for k in range(copies):
            writer.write_table(_renamed(_renamed(rows, "clip", k), "shard", k))
    for k in range(copies):
        for shard in info["shards"]:
            (out / _name(shard["name"], k)).symlink_to((data / shard["name"]).resolve())
    shards = [s | {"name": _name(s["name"], k)} for k in range(copies) for s in info["shards"]]
    write_json(out / DATASET_FILE, info | {"shards": shards})


def _name(name: str, k: int) -> str:
    return f"{k:05d}-{name}"


def _renamed(rows: pa.Table, column: str, k: int) -> pa.Table:
    at = rows.schema.get_field_index(column)
    texts = pc.binary_join_element_wise(f"{k:05d}", rows[column].cast(pa.string()), "-")
    return rows.set_column(at, rows.schema.field(at), texts.cast(rows.schema.field(at).type))


def _open_and_read(folder: str) -> tuple[float, float]:
    """Seconds of processor time, and MiB at the peak beyond those after this file's imports."""
    start, before = time.process_time(), _mib("VmRSS")
    stream = Stream(StreamConfig(split="all", size=256, order=OrderConfig(8)), *open_store(folder))
    next(stream.batches())
    return time.process_time() - start, _mib("VmHWM") - before


def _mib(name: str) -> float:
    """A size of this process, as Linux tells it. `getrusage` would count the parent's memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"this system does not say {name}: measure memory on Linux")
