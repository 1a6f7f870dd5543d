"""Records of pickled arrays, and checked functions that build the arrays from them.

The records stand for classes of numpy, scipy and chumpy (`deformer.files.safe_pickle` lists them).
They only collect a pickle's content and never call those libraries with it. Only plain kinds of
arrays are built: bool, integers, floats, bytes, text.
"""

import math
import re
from collections.abc import Callable

import numpy as np

from deformer.files.foreign import UnreadableFileError
from deformer.files.wellformed import shown

MAX_DENSE_VALUES = 1 << 24
"""Size limit of dense copies of sparse matrices; MANO's has 16 × 778 values."""

_PLAIN_DTYPE = re.compile(r"[biuf]\d{1,2}|[SU]\d{1,9}")
_MAX_CODE_POINT = 0x10FFFF
_NUMBER_BYTES = 8

Resolve = Callable[[object], object]
"""The type of `Resolver`, which is defined below."""


class UnsafePickleError(UnreadableFileError):
    """The pickle contains something other than plain arrays."""


class Record:
    """The state of one pickled object, which is not interpreted while reading.

    `__setstate__` also prevents a pickle from setting attributes of a record or its class.
    """

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class Dtype(Record):
    """A pickled `numpy.dtype`; only the byte order is read from its state."""

    name: object = ""

    def __init__(self, name: object, *flags: object) -> None:
        self.name = name

    def checked(self) -> np.dtype:
        if not isinstance(self.name, str) or not _PLAIN_DTYPE.fullmatch(self.name):
            raise UnsafePickleError(
                f"it holds an array of dtype {shown(self.name, 40)}; only bool, integers, "
                "floats, bytes and text are read"
            )
        dtype = np.dtype(self.name)
        if isinstance(self.state, tuple) and len(self.state) > 1 and self.state[1] in ("<", ">"):
            dtype = dtype.newbyteorder(self.state[1])
        return dtype


class Array(Record):
    """A pickled `numpy.ndarray`; its state is version, shape, dtype, is_fortran, content."""

    axes: object = None
    """The final order of axes, as in protocol 5; None: unchanged."""

    def checked(self, resolve: Resolve) -> np.ndarray:
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise ValueError("an array without its content")
        _, shape, dtype, is_fortran, content = self.state
        array = checked_array(dtype, content, shape, "F" if is_fortran else "C")
        return array if self.axes is None else array.transpose(_shape(self.axes, array.ndim))


class ChumpyArray(Record):
    """A pickled `chumpy.ch.Ch`; its value is the attribute `x`."""

    def checked(self, resolve: Resolve) -> np.ndarray:
        return _array_of(self.state, "x", "a chumpy array", resolve)


class ChumpySelection(Record):
    """A pickled `chumpy.reordering.Select`: the elements `idxs` of the flattened array `a`, in the
    shape `preferred_shape`."""

    def checked(self, resolve: Resolve) -> np.ndarray:
        source = _array_of(self.state, "a", "a chumpy selection", resolve)
        indices = _array_of(self.state, "idxs", "a chumpy selection", resolve)
        shape = self.state.get("preferred_shape", indices.shape)
        shape = _shape(tuple(shape) if isinstance(shape, list) else shape)
        if not _is_vector(indices, "iu") or math.prod(shape) != len(indices):
            raise ValueError(
                f"a chumpy selection whose idxs do not fit its shape {shown(shape, 40)}"
            )
        if ((indices < 0) | (indices >= source.size)).any():
            raise ValueError(f"a chumpy selection of other than its {source.size} values")
        return source.ravel()[indices].reshape(shape)


class SparseMatrix(Record):
    """A pickled matrix of scipy: `_shape`, `data`, and the positions of the data."""

    def checked(self, resolve: Resolve) -> np.ndarray:
        state = self.state if isinstance(self.state, dict) else {}
        height, width = _shape(state.get("_shape"), num_axes=2)
        if height * width > MAX_DENSE_VALUES:
            raise ValueError(f"a sparse matrix of {height} × {width} values is too large")
        data = _array_of(state, "data", "a sparse matrix", resolve)
        rows, columns = self.places(state, (height, width), resolve)
        if not _is_vector(data, "iuf") or not len(data) == len(rows):
            raise ValueError("a sparse matrix whose data and indices do not fit together")
        data, rows = data[: len(columns)], rows[: len(columns)]
        for places, size in ((rows, height), (columns, width)):
            if ((places < 0) | (places >= size)).any():
                raise ValueError(
                    f"a sparse matrix with an index outside its {height} × {width} values"
                )
        dense = np.zeros((height, width), data.dtype)
        np.add.at(dense, (rows, columns), data)
        return dense

    def places(
        self, state: dict, shape: tuple[int, ...], resolve: Resolve
    ) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of each value."""
        raise NotImplementedError


class CooMatrix(SparseMatrix):
    """Positions are `row` and `col`; newer scipy has the pair `coords`."""

    def places(self, state, shape, resolve):
        pair = state.get("coords", (state.get("row"), state.get("col")))
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ValueError("a sparse matrix without rows and columns")
        rows, columns = (_integers(resolve(places)) for places in pair)
        if len(rows) != len(columns):
            raise ValueError("a sparse matrix whose rows and columns do not fit together")
        return rows, columns


class CscMatrix(SparseMatrix):
    """`indices` are rows; those from `indptr[k]` to `indptr[k + 1]` belong to column k."""

    def places(self, state, shape, resolve):
        _, width = shape
        rows, starts = (_integers(resolve(state.get(key))) for key in ("indices", "indptr"))
        if len(starts) != width + 1 or starts[0] or starts[-1] > len(rows):
            raise ValueError("a sparse matrix whose indices and indptr do not fit together")
        if (starts[1:] < starts[:-1]).any():
            raise ValueError("a sparse matrix whose indptr does not rise from 0 to its length")
        return rows, np.repeat(np.arange(width), np.diff(starts))


class CsrMatrix(SparseMatrix):
    """The transpose of a `CscMatrix`."""

    def checked(self, resolve: Resolve) -> np.ndarray:
        state = self.state if isinstance(self.state, dict) else {}
        transposed = CscMatrix()
        transposed.state = {**state, "_shape": _shape(state.get("_shape"))[::-1]}
        return np.ascontiguousarray(transposed.checked(resolve).T)


# ---------------------------------------------------------------------------------- checked arrays


def _array_of(state: object, key: str, what: str, resolve: Resolve) -> np.ndarray:
    value = resolve(state.get(key)) if isinstance(state, dict) else None
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{what} without its array {key!r}")
    return value


def _integers(value: object) -> np.ndarray:
    if not _is_vector(value, "iu"):
        raise ValueError("a sparse matrix whose indices are not vectors of integers")
    return value.astype(np.int64)


def _is_vector(value: object, kinds: str) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in kinds


def _shape(shape: object, num_axes: int | None = None) -> tuple[int, ...]:
    is_shape = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not is_shape or num_axes not in (None, len(shape)):
        raise ValueError(f"{shown(shape, 40)} is no shape of an array")
    return shape


def checked_array(dtype: object, content: object, shape: object, order: str) -> np.ndarray:
    """A new array from raw content, which must have exactly the right length."""
    if not isinstance(dtype, Dtype):
        raise UnsafePickleError(f"it builds an array of {type(dtype).__name__}, no dtype")
    plain, shape = dtype.checked(), _shape(shape)
    if isinstance(content, str):  # Python 2 wrote text and bytes as one kind of string
        content = content.encode("latin1")
    if not isinstance(content, bytes | bytearray):
        raise UnsafePickleError(f"an array of {type(content).__name__}: only raw content is read")
    if not plain.itemsize:  # numpy cannot tell how many empty strings there are
        if shape or content:
            raise ValueError("an array of empty strings")
        return np.zeros((), plain)
    if plain.kind == "b":  # a bool other than 0 and 1 breaks numpy's counting
        return (np.frombuffer(content, np.uint8) != 0).reshape(shape, order=order)
    if plain.kind == "U" and len(content) % 4 == 0:
        points = np.frombuffer(content, np.dtype(np.uint32).newbyteorder(plain.byteorder))
        if (points > _MAX_CODE_POINT).any():
            raise ValueError("text with characters that do not exist")
    return np.frombuffer(content, plain).reshape(shape, order=order).copy(order="K")


_ARRAYS = (Array, ChumpyArray, ChumpySelection, SparseMatrix)


class Resolver:
    """Replaces every record of an array by the array, also inside containers.

    room_bytes: what all arrays may take, and what any container would take as one array. A pickle
    may refer to one list many times, and numpy would write it out as often.
    """

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = self.most_bytes = room_bytes
        self.seen: dict[int, tuple[object, object, int | None]] = {}
        """id → the value, kept alive so that its id is unique; its replacement; its size as one
        array, None until that is known."""

    def __call__(self, value: object) -> object:
        return self._resolved(value)[0]

    def _resolved(self, value: object) -> tuple[object, int]:
        """The replacement, and its size as one array."""
        if not isinstance(value, dict | list | tuple | Record):
            return value, _NUMBER_BYTES
        if id(value) in self.seen:
            _, new, size = self.seen[id(value)]
            if size is None:
                raise ValueError("it holds a container that holds itself")
            return new, size
        self.seen[id(value)] = value, value, None
        new, size = value, _NUMBER_BYTES
        if isinstance(value, _ARRAYS):
            new = value.checked(self)
            size = new.nbytes
            self.room_bytes -= 0 if isinstance(value, ChumpyArray) else size
        elif isinstance(value, dict | list):
            for key in value if isinstance(value, dict) else range(len(value)):
                value[key], more = self._resolved(value[key])
                size += more
        elif isinstance(value, tuple):
            parts = [self._resolved(item) for item in value]
            new, size = tuple(part for part, _ in parts), sum(more for _, more in parts)
        if self.room_bytes < 0 or size > self.most_bytes:
            raise ValueError("its arrays are far larger than the file")
        self.seen[id(value)] = value, new, size
        return new, size
