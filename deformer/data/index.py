"""The index of a built dataset in memory, and the windows of a split that pass a filter.

Numpy and pyarrow only: planning an epoch and scoring predictions need no torch.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deformer.data.dataset import (
    DATASET_FILE,
    FRAMES_FILE,
    REPAIR,
    has_depth,
    read_columns,
    read_info,
    read_table,
    split_column,
)
from deformer.data.filter import Filter
from deformer.data.index_rows import FRAMES_SCHEMA, frames_schema
from deformer.data.windows import WindowConfig, clip_windows
from deformer.files.foreign import UnreadableFileError
from deformer.files.wellformed import shown

_TEXT = ("clip", "shard", "side")
_NUMBERS = (
    "clip_index", "frame", "is_halo", "valid", "offset", "size", "crc32",
    "labels_offset", "labels_size", "labels_crc32",
)  # fmt: skip
_DEPTH_NUMBERS = ("depth_offset", "depth_size", "depth_crc32")


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """The columns of `frames.parquet` that the stream needs, a row per frame."""

    folder: Path
    """The folder of `frames.parquet`."""
    info: dict
    """The content of `dataset.json`."""
    clips: tuple[str, ...]
    """Keys of the clips; `clip` indexes them."""
    shards: tuple[str, ...]
    """File names of the tars; `shard` indexes them."""
    clip: np.ndarray
    """(N,) int32. The rows of a clip are contiguous, in the order of its frames."""
    shard: np.ndarray
    """(N,) int32."""
    is_left: np.ndarray
    """(N,) bool."""
    numbers: dict[str, np.ndarray]
    """The numeric columns by name, (N,) each; 0 for null. Those of depth are there only in a build
    with depth."""

    @property
    def clip_bounds(self) -> np.ndarray:
        """(number of clips + 1,): clip c has the rows clip_bounds[c] … clip_bounds[c + 1]."""
        return np.searchsorted(self.clip, np.arange(len(self.clips) + 1))


@dataclass(frozen=True, eq=False)
class WindowTable:
    """Windows as rows of the index."""

    rows: np.ndarray
    """(W, T) int32: rows of `frames.parquet`, in order of time."""
    centre: int
    """The column of the centre frames."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def centre_rows(self) -> np.ndarray:
        """(W,) rows of the centre frames, each once."""
        return self.rows[:, self.centre]


def read_index(folder: str | Path) -> FrameIndex:
    """Read the index of a built dataset.

    Raises `FileNotFoundError` when there is no dataset, `ValueError` for another schema version,
    `UnreadableFileError` for a damaged file.
    """
    folder = Path(folder)
    info = read_info(folder)
    names = (*_NUMBERS, *_DEPTH_NUMBERS) if has_depth(info["parameters"]) else _NUMBERS
    schema = frames_schema(has_depth(info["parameters"]))
    table = read_columns(folder / FRAMES_FILE, [*_TEXT, *names], schema, as_codes=_TEXT)
    clips, clip = _codes(table["clip"])
    shards, shard = _codes(table["shard"])
    sides, side = _codes(table["side"])
    if unknown := set(shards) - {entry["name"] for entry in info["shards"]}:
        raise UnreadableFileError(
            f"{folder / FRAMES_FILE} names {shown(min(unknown))}, which is no shard of "
            f"{DATASET_FILE}; {REPAIR.format(folder=folder)}"
        )
    if (np.diff(clip) < 0).any():
        raise UnreadableFileError(
            f"{folder / FRAMES_FILE}: the rows of a clip do not stand together; "
            f"{REPAIR.format(folder=folder)}"
        )
    return FrameIndex(
        folder, info, clips, shards, clip, shard,
        is_left=np.array([name == "left" for name in sides], bool)[side],
        numbers={name: _numbers(table[name]) for name in names},
    )  # fmt: skip


def _codes(column: pa.ChunkedArray) -> tuple[tuple[str, ...], np.ndarray]:
    """Distinct values in the order of their first row, and each row's index into them."""
    array = column.combine_chunks().dictionary_encode()
    return tuple(array.dictionary.to_pylist()), array.indices.to_numpy()


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    if column.null_count:
        column = column.fill_null(
            pa.scalar(0, column.type)
        )  # only invalid frames, which are not read
    return column.to_numpy()


# ----------------------------------------------------------------------------------- the selection


def select_rows(index: FrameIndex, split: str, where: str | None = None) -> np.ndarray:
    """(N,) bool: centres of windows: rows that are valid, no halo, in the split, and pass `where`.

    split: "s0_train", "evaluation", …, or "all". where: an expression over the columns of
    `frames.parquet`, such as "occlusion > 0.5 and side == 'left'"; see `Filter`.

    Raises `ValueError` for an unknown split, a bad filter, or when no row is left.
    """
    selected = index.numbers["valid"] & ~index.numbers["is_halo"]
    path = index.folder / FRAMES_FILE
    if found := split_column(index.info, None if split == "all" else split):
        column, part = found
        values = read_columns(path, [column], FRAMES_SCHEMA)[column]
        selected = selected & (values.to_numpy() == part)
    if not selected.any():
        raise ValueError(f"split {split} of {index.folder} has no valid frame: choose another one")
    if where:
        columns = pq.read_schema(path).names
        filtered = Filter(where, columns, lambda name: read_table(path, [name])[name])
        selected = selected & filtered.evaluate()
        if not selected.any():
            raise ValueError(f"no valid frame of split {split} satisfies {where!r}")
    return selected


def make_windows(
    index: FrameIndex, config: WindowConfig, is_centre: np.ndarray, limit: int | None = None
) -> WindowTable:
    """Windows around the centres (N,) bool, in the order of the index.

    limit: at most this many, spread evenly over all.
    """
    if limit is not None and (centres := np.flatnonzero(is_centre)).size > limit:
        is_centre = np.zeros_like(is_centre)
        is_centre[centres[np.linspace(0, centres.size - 1, limit).round().astype(int)]] = True
    bounds = index.clip_bounds
    valid, frame = index.numbers["valid"], index.numbers["frame"]
    tables = [np.empty((0, config.num_frames), np.int64)]
    for clip in np.unique(index.clip[is_centre]):
        part = slice(bounds[clip], bounds[clip + 1])
        windows = clip_windows(valid[part], config, frame[part], is_centre[part])
        tables.append(windows + part.start)
    return WindowTable(np.concatenate(tables).astype(np.int32), config.centre)
