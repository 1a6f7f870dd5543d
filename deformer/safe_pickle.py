"""Reading other people's pickles without running their code.

A pickle can call anything that can be imported. MANO's files and HO-3D's labels need a handful of
harmless constructors: those of numpy arrays, of scipy's sparse matrices and of chumpy's arrays.
Everything else is refused by name. chumpy itself is not needed: it no longer installs.
"""

import pickle
from pathlib import Path

import numpy as np
import scipy.sparse


class UnsafePickleError(ValueError):
    """The pickle asks for something other than plain arrays."""


class _ChumpyArray:
    """What a pickled `chumpy.ch.Ch` holds that matters: its value, kept by chumpy as `x`."""

    def __array__(self, dtype=None, copy=None):
        value = self.__dict__.get("x")
        if value is None:
            raise ValueError("a chumpy array without a value `x`: this is not a plain MANO array")
        return np.asarray(value, dtype)


def _admitted() -> dict[tuple[str, str], object]:
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    admitted = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("chumpy.ch", "Ch"): _ChumpyArray,
        # protocol 2 pickles of Python 2 name these for every new-style object and for bytes
        ("copy_reg", "_reconstructor"): _reconstruct_object,
        ("copyreg", "_reconstructor"): _reconstruct_object,
        ("_codecs", "encode"): _encode_latin1,
    }
    for core in ("numpy.core", "numpy._core"):
        admitted[core + ".multiarray", "_reconstruct"] = reconstruct
        admitted[core + ".multiarray", "scalar"] = scalar
        # protocol 5 pickles of arrays
        admitted[core + ".numeric", "_frombuffer"] = np.zeros(0).__reduce_ex__(5)[0]
    for name in ("csc_matrix", "csr_matrix", "coo_matrix"):
        kind = name.removesuffix("_matrix")
        for module in (f"scipy.sparse.{kind}", f"scipy.sparse._{kind}"):
            admitted[module, name] = getattr(scipy.sparse, name)
    for builtins in ("__builtin__", "builtins"):
        admitted[builtins, "object"] = object
        admitted[builtins, "set"] = set
        admitted[builtins, "bytes"] = bytes
    return admitted


def _reconstruct_object(cls, base, state):
    if base is not object or state is not None:
        raise UnsafePickleError(f"an object of {cls} built from {base}: only plain arrays are read")
    return object.__new__(cls)


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise UnsafePickleError(f"bytes encoded as {encoding!r}: only latin1 occurs in array files")
    return text.encode("latin1")


class _ArrayUnpickler(pickle.Unpickler):
    admitted = _admitted()

    def find_class(self, module: str, name: str):
        try:
            return self.admitted[module, name]
        except KeyError:
            raise UnsafePickleError(
                f"it asks for {module}.{name}; only arrays of numpy, scipy.sparse and "
                "chumpy are read. "
                "Do not load this file by other means unless you trust its origin."
            ) from None


def load_pickle(path: str | Path) -> object:
    """Read a pickle of plain Python values, numpy, scipy.sparse and chumpy arrays.

    Pickles written by Python 2 are read too (strings as latin1).

    Raises `UnsafePickleError` when the file names any other class or function, `ValueError` when
    it is no whole pickle, `OSError` when it cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            return _ArrayUnpickler(file, encoding="latin1").load()
        except UnsafePickleError as error:
            raise UnsafePickleError(f"{path} is refused: {error}") from None
        except OSError:
            raise
        except Exception as error:  # a broken pickle raises almost anything
            raise ValueError(
                f"{path} is not a whole pickle: {error or type(error).__name__}"
            ) from error
