"""Possibly damaged bytes → JSON and arrays, or a `ValueError`."""

import io
import json
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

    Raises `ValueError` when the bytes are not a whole npz file.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as npz:
            return {name: npz[name] for name in npz.files if names is None or name in names}
    except Exception as error:  # zipfile and numpy raise some ten types for damaged bytes
        raise ValueError(f"this is not a whole npz file: {error}") from error
