"""Possibly damaged bytes → JSON and arrays, or a `ValueError`."""

import functools
import io
import json
import math
import zipfile
from collections.abc import Container
from typing import Any, get_args, get_origin

import numpy as np


def read_json_object(data: bytes) -> dict[str, Any]:
    """Parse bytes as a JSON object. Raises `ValueError` for anything else."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"this is a JSON {type(content).__name__}, not an object")
    return content


def check_types(content: dict[str, Any], types: dict[str, Any]) -> None:
    """Raises `ValueError` unless `content` has exactly the names and types of `types`.

    Types are str, int (0 or more), dict[str, …] and tuple[…], a list in JSON.
    """
    if difference := content.keys() ^ types.keys():
        raise ValueError(f"names lacking or unknown: {', '.join(sorted(difference))}")
    for name, expected in types.items():
        if not _is_of(content[name], expected):
            raise ValueError(f"{name} is {content[name]!r}, which is no {expected}")


def _is_of(value: Any, expected: Any) -> bool:
    parts = get_args(expected)
    if get_origin(expected) is dict:
        return isinstance(value, dict) and all(_is_of(v, parts[1]) for v in value.values())
    if get_origin(expected) is tuple:
        is_pair = isinstance(value, list) and len(value) == len(parts)
        return is_pair and all(map(_is_of, value, parts))
    if expected is int:
        return type(value) is int and value >= 0
    return isinstance(value, expected)


def read_npz(data: bytes, names: Container[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz file, or only those in `names`.

    `numpy.load` parses the header of every array as Python source, which is half of a data worker's
    time. Clips of as many frames have the same headers: here each is parsed once.

    Raises `ValueError` when the bytes are not a whole npz file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as npz:
            members = {member.removesuffix(".npy"): member for member in npz.namelist()}
            return {
                name: _read_npy(npz.read(member))
                for name, member in members.items()
                if names is None or name in names
            }
    except Exception as error:  # zipfile and numpy raise some ten types for damaged bytes
        raise ValueError(f"this is not a whole npz file: {error}") from error


def _read_npy(data: bytes) -> np.ndarray:
    start = 10 + int.from_bytes(data[8:10], "little")
    shape, is_fortran, dtype = _npy_header(data[:start])
    values = np.frombuffer(data, dtype, math.prod(shape), start)
    return values.reshape(shape, order="F" if is_fortran else "C").copy()


@functools.lru_cache(4096)
def _npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    file = io.BytesIO(head)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array is not of version 1.0 of the npy format")
    return np.lib.format.read_array_header_1_0(file)
