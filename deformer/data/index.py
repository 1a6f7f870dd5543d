"""The index of a built dataset in memory, and the windows of a split that pass a filter.

Numpy and pyarrow only: planning an epoch and scoring predictions need no torch.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deformer.data.dataset import read_info, read_table, split_column
from deformer.data.windows import WindowConfig, clip_windows

_TEXT = ("clip", "shard", "side")
_NUMBERS = (
    "clip_index", "frame", "is_halo", "valid", "offset", "size", "crc32",
    "labels_offset", "labels_size", "labels_crc32",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """What the stream needs of `frames.parquet`, a row per frame of the dataset."""

    folder: Path
    """Where `frames.parquet` lies."""
    info: dict
    """What `dataset.json` holds."""
    clips: tuple[str, ...]
    """Keys of the clips; `clip` counts them."""
    shards: tuple[str, ...]
    """File names of the tars; `shard` counts them."""
    clip: np.ndarray
    """(N,) int32. Rows of a clip stand together, in the order of its frames."""
    shard: np.ndarray
    """(N,) int32."""
    is_left: np.ndarray
    """(N,) bool."""
    numbers: dict[str, np.ndarray]
    """The numeric columns by name, (N,) each; 0 for null."""

    @property
    def clip_bounds(self) -> np.ndarray:
        """(number of clips + 1,): clip c has the rows clip_bounds[c] … clip_bounds[c + 1]."""
        return np.searchsorted(self.clip, np.arange(len(self.clips) + 1))


@dataclass(frozen=True, eq=False)
class WindowTable:
    """Windows as rows of the index."""

    rows: np.ndarray
    """(W, T) int32: rows of `frames.parquet`, in the order of time."""
    centre: int
    """The column of the centre frames."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def centre_rows(self) -> np.ndarray:
        """(W,) rows of the centre frames; each stands here once."""
        return self.rows[:, self.centre]


def read_index(folder: str | Path) -> FrameIndex:
    """Read the index of a built dataset.

    Raises `FileNotFoundError` when there is no dataset, `ValueError` for another schema version,
    `UnreadableFileError` when a file of it is damaged.
    """
    folder = Path(folder)
    info = read_info(folder)
    columns = [*_TEXT, *_NUMBERS]
    table = read_table(folder / "frames.parquet", columns)
    clips, clip = _codes(table["clip"])
    shards, shard = _codes(table["shard"])
    sides, side = _codes(table["side"])
    return FrameIndex(
        folder, info, clips, shards, clip, shard,
        is_left=np.array([name == "left" for name in sides], bool)[side],
        numbers={name: _numbers(table[name]) for name in _NUMBERS},
    )  # fmt: skip


def _codes(column: pa.ChunkedArray) -> tuple[tuple[str, ...], np.ndarray]:
    """Values in the order of their first row, and the value of each row as a number."""
    array = column.combine_chunks().dictionary_encode()
    return tuple(array.dictionary.to_pylist()), array.indices.to_numpy()


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    if column.null_count:
        column = column.fill_null(pa.scalar(0, column.type))  # unread: only of frames not valid
    return column.to_numpy()


# ----------------------------------------------------------------------------------- the selection


def select_rows(index: FrameIndex, split: str, where: str | None = None) -> np.ndarray:
    """(N,) bool: rows that are centres of windows: valid, no halo, of the split, of the filter.

    split: "s0_train", "evaluation", …, or "all". where: an expression over the columns of
    `frames.parquet`, such as "occlusion > 0.5 and side == 'left'"; see `evaluate_filter`.

    Raises `ValueError` for an unknown split, a bad filter, or when no row is left.
    """
    selected = index.numbers["valid"] & ~index.numbers["is_halo"]
    path = index.folder / "frames.parquet"
    if found := split_column(index.info, None if split == "all" else split):
        column, part = found
        values = read_table(path, [column])[column]
        selected = selected & (values.to_numpy() == part)
    if not selected.any():
        raise ValueError(f"split {split} of {index.folder} has no valid frame: choose another one")
    if where:
        columns = pq.read_schema(path).names
        selected = selected & evaluate_filter(
            where, columns, lambda name: read_table(path, [name])[name]
        )
        if not selected.any():
            raise ValueError(f"no valid frame of split {split} satisfies {where!r}")
    return selected


_COMPARE = {
    ast.Lt: pc.less, ast.LtE: pc.less_equal, ast.Gt: pc.greater, ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal, ast.NotEq: pc.not_equal,
}  # fmt: skip


def _as_precise(term, other):
    """A number beside a column of floats as one of them, so that 0.3 equals a stored 0.3."""
    is_beside_floats = isinstance(other, pa.ChunkedArray) and pa.types.is_floating(other.type)
    return pa.scalar(term, other.type) if is_beside_floats and type(term) in (int, float) else term


def evaluate_filter(where: str, columns: list[str], read) -> np.ndarray:
    """Evaluate a filter over columns: comparisons, `and`, `or`, `not`, `in [...]`, parentheses.

    columns: the names that may occur. read(name) → the column, (N,). A comparison with
    a null is false. Nothing but the names above is evaluated: it is an expression, not code.

    Raises `ValueError` that names what cannot be read.
    """

    def refuse(what: str) -> ValueError:
        return ValueError(
            f"filter {where!r}: {what}; it compares columns with values, such as "
            "occlusion > 0.5 and side == 'left'"
        )

    def value(node: ast.expr):
        match node:
            case ast.Name(id=name):
                if name not in columns:
                    raise refuse(f"no column {name!r}, there are {', '.join(columns)}")
                return read(name)
            case ast.Constant(value=constant):
                return constant
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [value(item) for item in items]
        raise refuse(f"cannot read {ast.unparse(node)!r}")

    def compare(left, op: ast.cmpop, right) -> np.ndarray:
        try:  # arrow refuses to compare text with numbers
            if isinstance(op, ast.In | ast.NotIn) and isinstance(right, list):
                found = pc.is_in(left, value_set=pa.array(right, left.type))
                found = found if isinstance(op, ast.In) else pc.invert(found)
                return pc.and_(pc.is_valid(left), found).to_numpy()
            terms = _as_precise(left, right), _as_precise(right, left)
            return pc.fill_null(_COMPARE[type(op)](*terms), False).to_numpy()
        except (pa.ArrowException, TypeError, AttributeError, KeyError):
            raise refuse("a comparison needs a column and a value of its kind") from None

    def truth(node: ast.expr) -> np.ndarray:
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                return np.logical_and.reduce([truth(part) for part in parts])
            case ast.BoolOp(op=ast.Or(), values=parts):
                return np.logical_or.reduce([truth(part) for part in parts])
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return ~truth(part)
            case ast.Compare(left=left, ops=ops, comparators=others):
                terms = [value(term) for term in (left, *others)]
                pairs = zip(terms, ops, terms[1:], strict=False)
                return np.logical_and.reduce([compare(*pair) for pair in pairs])
            case ast.Name():
                column = value(node)
                if column.type == pa.bool_():
                    return column.to_numpy()
        raise refuse(f"{ast.unparse(node)!r} is neither true nor false")

    try:
        tree = ast.parse(where.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise refuse(f"cannot be read ({error})") from None
    return truth(tree.body)


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
