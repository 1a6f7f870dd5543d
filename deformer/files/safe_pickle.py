"""Reading pickles of others without running their code or trusting their memory layout.

A pickle can call anything importable. Even constructors of numpy and scipy trust a pickle about
memory: a crafted dtype turns bytes into pointers, and crafted indices of a sparse matrix write
outside it. So a pickle can call neither. The few names in MANO's files and HO-3D's labels create
records (`deformer.files.pickled_arrays`), from which checked functions build arrays. Every other
name is refused. chumpy is not needed; it no longer installs.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from deformer.files.foreign import UnreadableFileError, describe_fault, known_fault
from deformer.files.patient import read_file
from deformer.files.pickled_arrays import (
    Array,
    ChumpyArray,
    ChumpySelection,
    CooMatrix,
    CscMatrix,
    CsrMatrix,
    Dtype,
    Record,
    Resolver,
    UnsafePickleError,
    checked_array,
)
from deformer.files.wellformed import shown

MAX_EXTRA_BYTES = 1 << 27
"""Memory that all arrays of a file may take beyond its size: sparse matrices and selections expand,
and content may be referenced repeatedly."""

_MAX_SCALAR_BYTES = 1 << 12

_NDARRAY = "numpy.ndarray"
"""Stands for the class: a pickle may name it but not call it."""

_OBJECTS = {
    ("chumpy.ch", "Ch"): ChumpyArray,
    ("chumpy.reordering", "Select"): ChumpySelection,
    **{
        (f"scipy.sparse.{private}{form}", f"{form}_{kind}"): matrix
        for form, matrix in (("csc", CscMatrix), ("csr", CsrMatrix), ("coo", CooMatrix))
        for private in ("", "_")  # the modules' names before and since scipy 1.8
        for kind in ("matrix", "array")
    },
}
"""Classes whose objects are a dictionary of attributes."""


def _reconstruct_array(cls: object, shape: object, typecode: object) -> Array:
    if cls is not _NDARRAY:
        raise UnsafePickleError(f"an array built from {shown(cls, 40)}: only plain arrays are read")
    return Array()


def _scalar(dtype: object, content: object) -> np.generic:
    if isinstance(content, str | bytes) and len(content) > _MAX_SCALAR_BYTES:
        raise ValueError(f"a scalar of {len(content)} bytes")
    return checked_array(dtype, content, (), "C")[()]


def _from_buffer(
    content: object, dtype: object, shape: object, order: object, axes: object = None
) -> Array:
    array = Array()
    array.state, array.axes = (1, shape, dtype, order == "F", content), axes
    return array


def _reconstruct_object(cls: object, base: object, state: object) -> Record:
    if cls not in _OBJECTS.values() or base is not object or state is not None:
        raise UnsafePickleError(f"an object of {shown(cls, 40)}: only plain arrays are read")
    return cls()


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise UnsafePickleError(
            f"bytes encoded as {shown(encoding, 40)}: only latin1 occurs in array files"
        )
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def _check_keys(keys: Iterable[object]) -> None:
    """Raises `ValueError` for tuples, which no array file has as keys: the hash of a tuple that
    holds another one twice, which holds another one twice, … takes for ever."""
    if any(isinstance(key, tuple | frozenset) for key in keys):
        raise ValueError("a tuple or a set as a key")


def _set(items: Iterable[object] = ()) -> set:
    items = list(items)
    _check_keys(items)
    return set(items)


def _ordered_dict(pairs: Iterable[tuple[object, object]] = ()) -> OrderedDict:
    pairs = [(key, value) for key, value in pairs]
    _check_keys(key for key, _ in pairs)
    return OrderedDict(pairs)


def _with_checked_keys(load: Callable, keys: slice) -> Callable:
    """A step of the unpickler that hashes what stands in these places of its stack."""

    def checked(unpickler: pickle._Unpickler) -> None:
        _check_keys(unpickler.stack[keys])
        load(unpickler)

    return checked


_HASHING = {
    code[0]: _with_checked_keys(pickle._Unpickler.dispatch[code[0]], keys)
    for code, keys in (
        (pickle.SETITEM, slice(-2, -1)),
        (pickle.SETITEMS, slice(None, None, 2)),
        (pickle.DICT, slice(None, None, 2)),
        (pickle.ADDITEMS, slice(None)),
        (pickle.FROZENSET, slice(None)),
    )
}


def _admitted() -> dict[tuple[str, str], object]:
    admitted = {
        **_OBJECTS,
        ("numpy", "ndarray"): _NDARRAY,
        ("numpy", "dtype"): Dtype,
        # The result of `todense()` of a sparse matrix is an ndarray under another name
        ("numpy", "matrix"): _NDARRAY,
        ("numpy.matrixlib.defmatrix", "matrix"): _NDARRAY,
        ("collections", "OrderedDict"): _ordered_dict,
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
        admitted[builtins, "set"] = _set
        admitted[builtins, "bytes"] = _no_bytes  # protocol 2 writes b"" as a call
    return admitted


class _ArrayUnpickler(pickle._Unpickler):
    """Python's unpickler. The one in C allocates as many values as a damaged file announces: 64 GB
    for five bytes."""

    admitted = _admitted()
    dispatch = pickle._Unpickler.dispatch | _HASHING

    def find_class(self, module: str, name: str):
        try:
            return self.admitted[module, name]
        except KeyError:
            raise UnsafePickleError(
                f"it asks for {shown(f'{module}.{name}')}; only plain arrays of numpy, "
                "scipy.sparse (csc, csr, coo) and chumpy (Ch, Select) are read. "
                "Do not load this file by other means unless you trust its origin"
            ) from None

    def load_bytearray8(self) -> None:
        """As the inherited method, but it allocates nothing before reading."""
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(size)))

    def load_build(self) -> None:
        """As the inherited method, but it sets no attributes of the functions that stand for names:
        such a change would last."""
        if not isinstance(self.stack[-2], Record):
            raise ValueError("it gives a state to something that is no array")
        super().load_build()

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.BUILD[0]] = load_build


def load_pickle(path: str | Path) -> object:
    """Read a pickle of plain Python values and arrays; arrays of chumpy and scipy become numpy's.

    It also reads pickles of Python 2 (strings as latin1).

    Raises `UnsafePickleError` when the file names another class or function, or has arrays of other
    than numbers, bytes and text; `UnreadableFileError` for a damaged pickle; `OSError` when the
    file cannot be read.
    """
    path = Path(path)
    data = read_file(path)
    resolve = Resolver(len(data) + MAX_EXTRA_BYTES)
    try:
        return resolve(_ArrayUnpickler(io.BytesIO(data), encoding="latin1").load())
    except Exception as error:  # a broken pickle raises almost anything
        if isinstance(error, UnsafePickleError) and not known_fault(data):
            raise UnsafePickleError(f"{path} is refused: {error}") from None
        raise UnreadableFileError(
            f"{path} is not a whole pickle: {describe_fault(data, error)}"
        ) from None
