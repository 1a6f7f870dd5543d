"""Reading other people's pickles without running their code or trusting their memory layout.

A pickle can call anything that can be imported, and even numpy's and scipy's own constructors
take a pickle's word for what lies in memory: a crafted dtype turns bytes into pointers, crafted
indices of a sparse matrix write outside it. So nothing of either is called from here. The few
names that MANO's files and HO-3D's labels use stand for records, which only collect what the
pickle says; arrays are then built from them by checked functions, of plain kinds alone: bool,
integers, floats, bytes, text. Every other name is refused. chumpy is not needed: it no longer
installs.
"""

import pickle
import re
from pathlib import Path

import numpy as np

MAX_DENSE_VALUES = 1 << 24
"""The largest sparse matrix that is made dense; MANO's has 16 × 778 values."""

_PLAIN_DTYPE = re.compile(r"[biuf]\d{1,2}|[SU]\d{1,9}")
_MAX_CODE_POINT = 0x10FFFF


class UnsafePickleError(ValueError):
    """The pickle asks for something other than plain arrays."""


class _Record:
    """What a pickle says of one object; nothing of it is interpreted when it is read.

    `__setstate__` also keeps a pickle from writing attributes, of a record or of its class.
    """

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Dtype(_Record):
    """A pickled `numpy.dtype`; its own state is read for the byte order alone."""

    name: object = ""

    def __init__(self, name: object, *flags: object) -> None:
        self.name = name

    def checked(self) -> np.dtype:
        if not isinstance(self.name, str) or not _PLAIN_DTYPE.fullmatch(self.name):
            raise UnsafePickleError(
                f"it holds an array of dtype {self.name!r:.40}; only bool, integers, floats, bytes "
                "and text are read"
            )
        dtype = np.dtype(self.name)
        if isinstance(self.state, tuple) and len(self.state) > 1 and self.state[1] in ("<", ">"):
            dtype = dtype.newbyteorder(self.state[1])
        return dtype


class _Array(_Record):
    """A pickled `numpy.ndarray`: its state is version, shape, dtype, is_fortran, content."""

    def checked(self) -> np.ndarray:
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise ValueError("an array without its content")
        _, shape, dtype, is_fortran, content = self.state
        return _array(dtype, content, shape, "F" if is_fortran else "C")


class _ChumpyArray(_Record):
    """What a pickled `chumpy.ch.Ch` holds that matters: its value, kept by chumpy as `x`."""

    def checked(self) -> np.ndarray:
        value = self.state.get("x") if isinstance(self.state, dict) else None
        if not isinstance(value, np.ndarray):
            raise ValueError("a chumpy array without a value `x`: this is not a plain MANO array")
        return value


class _SparseMatrix(_Record):
    """What a pickled `scipy.sparse.csc_matrix` says: `_shape`, `data`, `indices`, `indptr`."""

    def checked(self) -> np.ndarray:
        state = self.state if isinstance(self.state, dict) else {}
        data, rows, starts = (state.get(key) for key in ("data", "indices", "indptr"))
        height, width = _shape(state.get("_shape"), num_axes=2)
        if height * width > MAX_DENSE_VALUES:
            raise ValueError(f"a sparse matrix of {height} × {width} values is too large")
        if not (_is_vector(data, "iuf") and _is_vector(rows, "iu") and _is_vector(starts, "iu")):
            raise ValueError("a sparse matrix without vectors of data, indices and indptr")
        starts, rows = starts.astype(np.int64), rows.astype(np.int64)
        if len(starts) != width + 1 or starts[0] or len(rows) != len(data):
            raise ValueError("a sparse matrix whose data, indices and indptr do not fit together")
        if ((starts < 0) | (starts > len(data))).any() or (np.diff(starts) < 0).any():
            raise ValueError("a sparse matrix whose indptr does not rise from 0 to its length")
        if ((rows < 0) | (rows >= height)).any():
            raise ValueError(f"a sparse matrix with an index outside its {height} × {width} values")
        dense = np.zeros((height, width), data.dtype)
        columns = np.repeat(np.arange(width), np.diff(starts))
        np.add.at(dense, (rows[: len(columns)], columns), data[: len(columns)])
        return dense


# ---------------------------------------------------------------------------------- checked arrays


def _is_vector(value: object, kinds: str) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in kinds


def _shape(shape: object, num_axes: int | None = None) -> tuple[int, ...]:
    is_shape = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not is_shape or num_axes not in (None, len(shape)):
        raise ValueError(f"{shape!r:.40} is no shape of an array")
    return shape


def _array(dtype: object, content: object, shape: object, order: str) -> np.ndarray:
    """An array of its own memory from raw content, which must be exactly as long as it says."""
    if not isinstance(dtype, _Dtype):
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


_ARRAYS = (_Array, _ChumpyArray, _SparseMatrix)


def _resolve(value: object, seen: dict[int, tuple[object, object]]) -> object:
    """The value with an array in the place of each record of one, within containers too.

    seen: id → the value, kept so that its id stays its own, and what it became. It ends cycles.
    """
    if not isinstance(value, dict | list | tuple | _Record):
        return value
    if id(value) in seen:
        return seen[id(value)][1]
    seen[id(value)] = value, value
    if isinstance(value, _ARRAYS):
        value.state = _resolve(value.state, seen)
        seen[id(value)] = value, value.checked()
    elif isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            value[key] = _resolve(value[key], seen)
    elif isinstance(value, tuple):
        seen[id(value)] = value, tuple(_resolve(item, seen) for item in value)
    return seen[id(value)][1]


# ----------------------------------------------------------------------------- what a pickle names


_NDARRAY = "numpy.ndarray"
"""Stands for the class, which a pickle may name but not call."""


def _reconstruct_array(cls: object, shape: object, typecode: object) -> _Array:
    if cls is not _NDARRAY:
        raise UnsafePickleError(f"an array built from {cls!r:.40}: only plain arrays are read")
    return _Array()


def _scalar(dtype: object, content: object) -> np.generic:
    return _array(dtype, content, (), "C")[()]


def _from_buffer(content: object, dtype: object, shape: object, order: object) -> np.ndarray:
    return _array(dtype, content, shape, "F" if order == "F" else "C")


def _reconstruct_object(cls: object, base: object, state: object) -> _Record:
    if cls not in (_ChumpyArray, _SparseMatrix) or base is not object or state is not None:
        raise UnsafePickleError(f"an object of {cls!r:.40}: only plain arrays are read")
    return cls()


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise UnsafePickleError(f"bytes encoded as {encoding!r}: only latin1 occurs in array files")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def _admitted() -> dict[tuple[str, str], object]:
    admitted = {
        ("numpy", "ndarray"): _NDARRAY,
        ("numpy", "dtype"): _Dtype,
        ("chumpy.ch", "Ch"): _ChumpyArray,
        ("scipy.sparse.csc", "csc_matrix"): _SparseMatrix,
        ("scipy.sparse._csc", "csc_matrix"): _SparseMatrix,
        # protocol 2 pickles of Python 2 name these for every new-style object and for bytes
        ("copy_reg", "_reconstructor"): _reconstruct_object,
        ("copyreg", "_reconstructor"): _reconstruct_object,
        ("_codecs", "encode"): _encode_latin1,
    }
    for core in ("numpy.core", "numpy._core"):
        admitted[core + ".multiarray", "_reconstruct"] = _reconstruct_array
        admitted[core + ".multiarray", "scalar"] = _scalar
        admitted[core + ".numeric", "_frombuffer"] = _from_buffer  # arrays in protocol 5
    for builtins in ("__builtin__", "builtins"):
        admitted[builtins, "object"] = object
        admitted[builtins, "set"] = set
        admitted[builtins, "bytes"] = _no_bytes  # protocol 2 writes b"" as a call
    return admitted


class _ArrayUnpickler(pickle.Unpickler):
    admitted = _admitted()

    def find_class(self, module: str, name: str):
        try:
            return self.admitted[module, name]
        except KeyError:
            raise UnsafePickleError(
                f"it asks for {module}.{name}; only arrays of numpy, of chumpy, and scipy's "
                "csc_matrix are read. "
                "Do not load this file by other means unless you trust its origin."
            ) from None


def load_pickle(path: str | Path) -> object:
    """Read a pickle of plain Python values and arrays; those of chumpy and scipy become numpy's.

    Pickles written by Python 2 are read too (strings as latin1).

    Raises `UnsafePickleError` when the file names any other class or function or holds an array
    of anything but numbers, bytes and text; `ValueError` when it is no whole pickle; `OSError`
    when it cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            return _resolve(_ArrayUnpickler(file, encoding="latin1").load(), {})
        except UnsafePickleError as error:
            raise UnsafePickleError(f"{path} is refused: {error}") from None
        except OSError:
            raise
        except Exception as error:  # a broken pickle raises almost anything
            raise ValueError(
                f"{path} is not a whole pickle: {error or type(error).__name__}"
            ) from error
