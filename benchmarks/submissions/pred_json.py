"""HO-3D's pred.json.

JSON: [joints, vertices], N × 21 × 3 and N × 778 × 3; row i belongs to line i of evaluation.txt.
Metres, OpenGL axes (y up, z towards the viewer), joints in MANO's order. The server takes a zip
that holds pred.json. Methods without a mesh put placeholders instead of vertices: see `_has_mesh`.
Source: github.com/shreyashampali/ho3d, `pred.py` and `eval.py`.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from benchmarks.submissions.conventions import check_conventions
from benchmarks.submissions.file_order import (
    FARTHEST,
    FileOrder,
    Predictions,
    check_writable,
    text_of,
)
from deformer.files.foreign import UnreadableFileError, describe_fault
from deformer.files.whole import whole_file
from deformer.hand.conventions import (
    DATASET_TO_MANO,
    MANO_TO_DATASET,
    NUM_JOINTS,
    NUM_VERTICES,
    OPENGL_TO_OPENCV,
)

_ZIP = b"PK\x03\x04"
_LEAST_EXTENT_M = 0.03
"""The least extent of a hand's mesh along its longest axis; a fist has twice that."""
_MOST_BYTES_PER_ROW = 64 * 3 * (NUM_JOINTS + NUM_VERTICES)
"""Of an unpacked pred.json: a number may take 64 characters, with what stands around it."""
_MOST_BYTES_BESIDE = 1 << 20


def read_pred_json(path: Path, order: FileOrder, truth_joints_m: np.ndarray) -> Predictions:
    """Read HO-3D's pred.json, or a zip that holds it.

    truth_joints_m: (N, 21, 3) of the table's frames, to check the file's conventions. Raises
    `ValueError` that names the file, the row, and the rule.
    """
    text = _read_text(path, order.length)
    try:
        joints, vertices = _parse(text, order.length)
    except ValueError as error:
        raise ValueError(
            f"{path}: {error}; expected is [joints, vertices] with {order.length} rows each, of "
            f"{NUM_JOINTS} and {NUM_VERTICES} points x, y, z{order.because}"
        ) from None
    joints, vertices = joints[order.index], None if vertices is None else vertices[order.index]
    warnings = []
    has_mesh = _has_mesh(vertices) if vertices is not None else np.zeros(0, bool)
    if not has_mesh.any():
        vertices = None
    elif without := (~has_mesh).sum():
        warnings.append(
            f"{without} of its {len(vertices)} meshes are none (a point, or joints repeated), and "
            "count so"
        )
    for what, points in (("joints", joints), ("vertices", vertices)):
        if points is not None and not (finite := (np.abs(points) < FARTHEST).all((1, 2))).all():
            i = int(finite.argmin())
            raise ValueError(
                f"{path}: {what} of row {order.index[i]} ({order.frame_names[i]}) hold NaN or "
                f"infinity, {(~finite).sum()} rows in all do: every frame needs a whole hand"
            )
    joints_m = joints[:, MANO_TO_DATASET] * OPENGL_TO_OPENCV
    warnings += check_conventions(path, joints_m, truth_joints_m, "m", MANO_TO_DATASET, order)
    if vertices is not None:
        vertices = vertices * OPENGL_TO_OPENCV.astype(np.float32)
    else:
        warnings.append("it has no vertices, or only such that fill their place: no mesh is scored")
    return Predictions(joints_m, vertices, tuple(warnings))


def _has_mesh(vertices: np.ndarray) -> np.ndarray:
    """(N,) bool: whether vertices (N, 778, 3), m, are as large as a hand and mostly distinct.
    Placeholders are not: zeros, NaN, a repeated point, joints repeated or followed by zeros."""
    x, y, z = np.moveaxis(vertices.astype(np.float64), -1, 0)
    with np.errstate(invalid="ignore"):  # infinity is refused later
        extent_m = np.fmax.reduce(vertices, 1) - np.fmin.reduce(vertices, 1)  # NaN if all are NaN
        keys = np.sort(x + np.sqrt(2) * y + np.sqrt(3) * z, axis=1)  # equal for equal points
    num_distinct = 1 + (keys[:, 1:] != keys[:, :-1]).sum(1)
    return (extent_m.max(1) > _LEAST_EXTENT_M) & (2 * num_distinct > NUM_VERTICES)


def write_pred_json(
    path: Path, order: FileOrder, joints_m: np.ndarray, vertices_m: np.ndarray
) -> None:
    """Write HO-3D's file from joints_m (N, 21, 3) and vertices_m (N, 778, 3) of the table's frames.

    A path that ends in .zip becomes a zip that holds pred.json, as the server takes it.
    Raises `ValueError` if frames of evaluation.txt are missing.
    """
    check_writable(order, "joints_m", joints_m, NUM_JOINTS)
    check_writable(order, "vertices_m", vertices_m, NUM_VERTICES)
    if len(order.index) != order.length:
        raise ValueError(
            f"{path} is not written: {order.note}, and the format wants all of them; build the "
            "whole evaluation split"
        )
    rows = np.argsort(order.index)
    parts = joints_m[:, DATASET_TO_MANO], vertices_m
    with whole_file(path) as whole:
        if path.suffix != ".zip":
            _write_pred(whole, parts, rows)
            return
        with zipfile.ZipFile(whole, "w") as archive:
            member = zipfile.ZipInfo("pred.json")  # its fixed date keeps equal files equal
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as file:
                _write_pred(file, parts, rows)


def _write_pred(file: IO[bytes], parts: Iterable[np.ndarray], rows: np.ndarray) -> None:
    """Write row by row: the whole as Python lists would take several GB."""
    for opening, points in zip((b"[[", b",\n["), parts, strict=True):
        file.write(opening)
        for k, row in enumerate(rows.tolist()):
            opengl = np.round(np.asarray(points[row], np.float64) * OPENGL_TO_OPENCV, 7)
            file.write((b",\n" if k else b"") + json.dumps(opengl.tolist()).encode())
        file.write(b"]")
    file.write(b"]\n")


# ------------------------------------------------------------------------------------ the text


def _read_text(path: Path, num_rows: int) -> str:
    if not zipfile.is_zipfile(path):
        data = path.read_bytes()
        if data.startswith(_ZIP):
            raise UnreadableFileError(f"{path}: {describe_fault(data, 'a zip', _ZIP)}")
        return text_of(path, data)
    try:
        data = _read_zip(path, num_rows)
    except _OtherZipError as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # zipfile raises some ten types for damaged bytes
        fault = describe_fault(path.read_bytes(), error, _ZIP)
        raise UnreadableFileError(f"{path}: {fault}") from None
    return text_of(path, data)


class _OtherZipError(ValueError):
    """A whole zip of something else."""


def _read_zip(path: Path, num_rows: int) -> bytes:
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if m.filename.endswith(".json")]
        if len(members) != 1:
            raise _OtherZipError(f"the zip holds {len(members)} .json files, not pred.json alone")
        most_bytes = _MOST_BYTES_BESIDE + num_rows * _MOST_BYTES_PER_ROW
        if members[0].file_size > most_bytes:
            raise _OtherZipError(
                f"{members[0].filename} has {members[0].file_size:,} bytes unpacked, and "
                f"{num_rows} rows take less than {most_bytes:,}"
            )
        return archive.read(members[0])


def _parse(text: str, length: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Read row by row, because the whole as Python numbers would take several GB.

    Returns joints (length, 21, 3) float64 and vertices (length, 778, 3) float32 as in the file. The
    vertices are None if the second list is absent, empty or null."""
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
    """Fill points (length, P, 3) from the list at the cursor; returns its number of rows.

    may_lack: the list may be empty, and single rows may be empty or null, which gives NaN."""
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
        points = np.array(row, np.float64).clip(-FARTHEST, FARTHEST)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{what}, row {number} is no list of points of numbers") from None
    if points.shape != (num_points, 3):
        raise ValueError(f"{what}, row {number} has shape {points.shape}, not ({num_points}, 3)")
    return points


class _Cursor:
    """A position in a JSON text, for reading the items of its outer lists one by one."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def expect(self, sign: str) -> None:
        if self._next() != sign:
            found = self.text[self.at : self.at + 20]
            raise ValueError(f"at character {self.at} stands {found!r} instead of {sign!r}")
        self.at += 1

    def passes(self, text: str) -> bool:
        """Move past this text if it comes next."""
        self._next()
        if is_next := self.text.startswith(text, self.at):
            self.at += len(text)
        return is_next

    def items(self) -> Iterator[object]:
        """The items of the list that begins here; afterwards the cursor is past the list."""
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
