"""Possibly damaged bytes → JSON and arrays, or a `ValueError`."""

import functools
import io
import json
import math
import reprlib
import zipfile
from collections.abc import Container
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

MOST_UNPACKED_BYTES = 1 << 28
"""What the arrays of an npz may take; a packed file may announce a thousand times its size."""
_EMPTY_ZIP_BYTES = 22
"""An archive of nothing."""


def shown(value: object, most: int = 80) -> str:
    """A value as an error's message shows it. `repr` writes out whatever a file says: gigabytes,
    where a list holds another one many times."""
    try:
        return reprlib.repr(value)[:most]
    except ValueError:  # a number with more digits than Python writes
        return f"a {type(value).__name__}"


def read_json_object(data: bytes) -> dict[str, Any]:
    """Parse bytes as a JSON object. Raises `ValueError` for anything else."""
    try:
        content = json.loads(data, parse_int=_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"this is a JSON {type(content).__name__}, not an object")
    return content


def _number(digits: str) -> int:
    """A whole number of 64 bits, sign included: others overflow wherever they are used."""
    number = int(digits)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"the number {digits[:20]}… has more than 64 bits")
    return number


def check_types(content: dict[str, Any], types: dict[str, Any]) -> None:
    """Raises `ValueError` unless `content` has exactly the names and types of `types`.

    Types are those of `is_of`.
    """
    if difference := content.keys() ^ types.keys():
        raise ValueError(f"names lacking or unknown: {', '.join(sorted(difference))}")
    for name, expected in types.items():
        if not is_of(content[name], expected):
            raise ValueError(f"{name} is {shown(content[name])}, which is no {expected}")


def is_of(value: Any, expected: Any, any_number: bool = False) -> bool:
    """Whether a value of JSON is of a type: str, bool, None, int (0 or more), float (finite, or a
    whole number), `Literal`, dict[str, …], tuple[…] (a list in JSON), or a union of these.

    any_number: allow negative whole numbers and infinity too."""
    origin, parts = get_origin(expected), get_args(expected)
    if origin is dict:
        return isinstance(value, dict) and all(
            is_of(v, parts[1], any_number) for v in value.values()
        )
    if origin is tuple:
        parts = parts[:1] * len(value) if parts[1:] == (...,) and isinstance(value, list) else parts
        is_list = isinstance(value, list) and len(value) == len(parts)
        return is_list and all(
            is_of(v, part, any_number) for v, part in zip(value, parts, strict=True)
        )
    if origin in (Union, UnionType):
        return any(is_of(value, part, any_number) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if expected is int:
        return type(value) is int and (any_number or value >= 0)
    if expected is float:
        return type(value) in (int, float) and (any_number or math.isfinite(value))
    return value is None if expected is type(None) else isinstance(value, expected)


def is_plain_name(name: object) -> bool:
    """Whether a file's name leads to no other folder."""
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name


def read_npz(
    data: bytes, names: Container[str] | None = None, most_bytes: int = MOST_UNPACKED_BYTES
) -> dict[str, np.ndarray]:
    """The arrays of an npz file, or only those in `names`.

    most_bytes: what these may take; twice the file's size is always allowed, as arrays that are
    not compressed take about that.

    `numpy.load` parses the header of every array as Python source, which is half of a data worker's
    time. Clips of as many frames have the same headers: here each is parsed once.

    Raises `ValueError` when the bytes are not a whole npz file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as npz:
            members = {member.filename.removesuffix(".npy"): member for member in npz.infolist()}
            if not members and len(data) > _EMPTY_ZIP_BYTES:
                raise ValueError("its list of arrays is lost")
            wanted = {k: v for k, v in members.items() if names is None or k in names}
            size, most = sum(m.file_size for m in wanted.values()), max(most_bytes, 2 * len(data))
            if size > most:
                raise ValueError(f"unpacked it takes {size:,} bytes, {most:,} are allowed")
            return {name: _read_npy(npz.read(member)) for name, member in wanted.items()}
    except Exception as error:  # zipfile and numpy raise many types for damaged bytes
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
