"""The text of HO-3D's pred.json, row by row: whole, as Python's numbers, it would take 2 GB."""

import json
from collections.abc import Iterator

import numpy as np

from deformer.hand.conventions import NUM_JOINTS, NUM_VERTICES


def parse_pred(text: str, length: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Joints (length, 21, 3) float64 and vertices (length, 778, 3) float32 as the file has them;
    None for vertices that are left out: no second list, or an empty one, or null."""
    cursor = _Cursor(text)
    cursor.expect("[")
    joints = np.empty((length, NUM_JOINTS, 3))
    _read_rows(cursor, "joints", joints)
    vertices = None
    if cursor.passes(","):
        vertices = np.empty((length, NUM_VERTICES, 3), np.float32)
        if cursor.passes("null") or _read_rows(cursor, "vertices", vertices, may_lack=True) == 0:
            vertices = None
    cursor.expect("]")
    return joints, vertices


def _read_rows(cursor: "_Cursor", what: str, points: np.ndarray, may_lack: bool = False) -> int:
    """Fill points (length, P, 3) from the list at the cursor; returns how many rows it has.

    may_lack: no row at all will do, and rows that are empty or null, which are NaN then."""
    num_rows, length = 0, len(points)
    for row in cursor.items():
        if num_rows < length:
            is_lacking = may_lack and row in ([], None)
            points[num_rows] = np.nan if is_lacking else _row(what, num_rows, row, points.shape[1])
        num_rows += 1
    if num_rows != length and not (may_lack and num_rows == 0):
        raise ValueError(f"{what} has {num_rows} rows, evaluation.txt has {length} lines")
    return num_rows


def _row(what: str, number: int, row: object, num_points: int) -> np.ndarray:
    try:
        points = np.array(row, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{what}, row {number} is no list of points of numbers") from None
    if points.shape != (num_points, 3):
        raise ValueError(f"{what}, row {number} has shape {points.shape}, not ({num_points}, 3)")
    return points


class _Cursor:
    """A place in a JSON text, to read the items of its outer lists one by one."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def expect(self, sign: str) -> None:
        if self._next() != sign:
            found = self.text[self.at : self.at + 20]
            raise ValueError(f"at character {self.at} stands {found!r} instead of {sign!r}")
        self.at += 1

    def passes(self, text: str) -> bool:
        """Go behind this text where it is what comes next."""
        self._next()
        if is_next := self.text.startswith(text, self.at):
            self.at += len(text)
        return is_next

    def items(self) -> Iterator[object]:
        """The items of the list that begins here; afterwards the cursor stands behind it."""
        decode = json.JSONDecoder().raw_decode
        self.expect("[")
        while self._next() != "]":
            try:
                item, self.at = decode(self.text, self.at)
            except RecursionError:
                raise ValueError(f"at character {self.at} begin too many nested lists") from None
            yield item
            if self._next() != "]":
                self.expect(",")
                self._next()
        self.at += 1

    def _next(self) -> str:
        while (sign := self.text[self.at : self.at + 1]) and sign in " \t\r\n":
            self.at += 1
        return sign
