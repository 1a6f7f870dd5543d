"""Pickles as Python 2, its numpy, scipy and chumpy wrote them: MANO's released files, HO-3D v2."""

import io
import pickle
from types import FunctionType

_MODULES = {
    "builtins": "__builtin__",
    "copyreg": "copy_reg",
    "numpy._core": "numpy.core",
    "scipy.sparse._": "scipy.sparse.",
}


def chumpy_object(module: str, name: str, **attributes: object) -> object:
    """Pickles as an object of chumpy does: a class by name, and its attributes."""
    instance = type(name, (), {"__module__": module})()
    instance.__dict__.update(attributes, _dirty_vars=set(), _itr=None, _make_dense=False)
    return instance


class Python2Pickler(pickle._Pickler):
    """Writes text and raw array data as one kind of string, and the names of old modules."""

    def save_string(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)
        self.memoize(value)

    def save_global(self, obj, name=None):
        module = obj.__module__
        for new, old in _MODULES.items():
            if module.startswith(new):
                module = old + module.removeprefix(new)
        self.write(pickle.GLOBAL + f"{module}\n{name or obj.__qualname__}\n".encode())
        self.memoize(obj)

    dispatch = pickle._Pickler.dispatch | {
        str: save_string,
        bytes: save_string,
        FunctionType: save_global,
    }


def python2_pickle(value: object, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol).dump(value)
    return buffer.getvalue()
