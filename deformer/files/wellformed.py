"""Bytes that may be damaged → JSON and arrays of the expected form, or a `ValueError`.

What is read from a disk may hold anything; after these checks no caller need think of that again.
"""

import functools
import io
import json
import math
import zipfile
from collections.abc import Container, Iterable
from typing import Any, Protocol, get_args, get_origin

import numpy as np


class ArraySpec(Protocol):
    """What an array must be; `deformer.data.clip.Field` is one."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nullable: bool


def read_json_object(data: bytes) -> dict[str, Any]:
    """The JSON object that the bytes are. Raises `ValueError`."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"this is a JSON {type(content).__name__}, not an object")
    return content


def check_types(content: dict[str, Any], types: dict[str, Any]) -> None:
    """Raises `ValueError` unless `content` has exactly the names of `types`, each of its type.

    Types are str, int (0 or more), dict[str, …] and tuple[…], which JSON writes as a list.
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
    """The arrays of an npz file, or those of them that `names` holds.

    Three times as fast as `numpy.load`, which parses the header of every array as Python source.
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


@functools.lru_cache(4096)  # clips of as many frames have the same headers
def _npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    file = io.BytesIO(head)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array is not of version 1.0 of the npy format")
    return np.lib.format.read_array_header_1_0(file)


def check_arrays(arrays: dict[str, np.ndarray], specs: Iterable[ArraySpec], length: int) -> None:
    """Raises `ValueError` unless the arrays are those of `specs`, all of `length` rows."""
    unknown = set(arrays)
    for spec in specs:
        name, dtype = spec.name, "U32" if spec.dtype == "str" else spec.dtype
        if name not in arrays:
            if not spec.nullable:
                raise ValueError(f"the labels lack {name!r}")
        elif dtype == "rle":
            unknown.discard(f"{name}_offsets")
            _check_masks(name, arrays[name], arrays.get(f"{name}_offsets"), length)
        elif arrays[name].dtype != dtype or arrays[name].shape != (length, *spec.shape):
            raise ValueError(
                f"{name} is {arrays[name].dtype} of shape {arrays[name].shape}, not {dtype} of "
                f"{(length, *spec.shape)}"
            )
        unknown.discard(name)
    if unknown:
        raise ValueError(f"the labels hold the unknown {', '.join(sorted(unknown))}")


def _check_masks(name: str, runs: np.ndarray, offsets: np.ndarray | None, length: int) -> None:
    """The bytes of all masks in a row; where each begins, and (length + 1) where the last ends."""
    if runs.dtype != np.uint8 or runs.ndim != 1:
        raise ValueError(f"{name} is {runs.dtype} of shape {runs.shape}, not uint8 in a row")
    if offsets is None or offsets.dtype != np.int32 or offsets.shape != (length + 1,):
        raise ValueError(f"{name}_offsets is not int32 of shape ({length + 1},)")
    if offsets[0] != 0 or offsets[-1] != len(runs) or (np.diff(offsets) < 0).any():
        raise ValueError(f"{name}_offsets do not rise from 0 to the {len(runs)} bytes of {name}")
