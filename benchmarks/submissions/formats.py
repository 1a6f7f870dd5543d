"""Predictions as others exchange them: DexYCB's HPE text file and HO-3D's pred.json.

- DexYCB: one line a frame, 64 numbers between commas: the frame's number in the official split
  order, then x, y, z of the 21 joints, mm, camera frame, dataset order. Lines in any order; frames
  without a labelled hand may be left out. Source: dex-ycb-toolkit, `hpe_eval.py`.
- HO-3D: JSON, [joints, vertices], N × 21 × 3 and N × 778 × 3, row i for line i of evaluation.txt;
  metres, OpenGL (y up, z towards the viewer), joints in MANO's order. The server takes it as
  pred.json in a zip. Source: github.com/shreyashampali/ho3d, `pred.py` and `eval.py`.

Read, they are as everything here: metres, camera frame x right, y down, z forward, dataset order,
one row per frame of the table that the `FileOrder` was made of. A file in other units, another
frame or another order of joints would still give numbers, bad ones, so it is compared with the
truth and refused by name (`check_conventions`); rows that seem to be of other frames are warned of
(`misplaced`). Who predicts joints alone fills HO-3D's vertices with something: see `_has_mesh`.
"""

import json
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from benchmarks.submissions.conventions import check_conventions
from benchmarks.submissions.file_order import FileOrder
from benchmarks.submissions.frame_fit import misplaced
from benchmarks.submissions.pred_rows import parse_pred
from deformer.files.foreign import UnreadableFileError, decode, fault_of, foreign
from deformer.files.whole import whole_file
from deformer.hand.align import MM_PER_M
from deformer.hand.conventions import (
    DATASET_TO_MANO,
    MANO_TO_DATASET,
    NUM_JOINTS,
    NUM_VERTICES,
    OPENGL_TO_OPENCV,
)

_COLUMNS = 1 + 3 * NUM_JOINTS
_ZIP = b"PK\x03\x04"
_LEAST_EXTENT_M = 0.03
"""Of a hand's mesh along the longest axis; a fist has twice that."""
_MAX_BYTES = 1 << 32
"""Of a pred.json in a zip, unpacked; that of HO-3D v3 has about one GB."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a file predicts for the required frames (M) of a table, in the table's order."""

    joints_m: np.ndarray
    """(M, 21, 3) float64, camera frame, dataset order."""
    vertices_m: np.ndarray | None
    """(M, 778, 3) float32, camera frame; None where the format, or the file, has none."""
    warnings: tuple[str, ...] = ()
    """What is odd about the file, a sentence each; it is scored nevertheless."""


# ------------------------------------------------------------------------------------- DexYCB, HPE


def read_hpe(path: Path, order: FileOrder, truth_joints_m: np.ndarray) -> Predictions:
    """Read a DexYCB HPE file.

    truth_joints_m: (M, 21, 3) of the required frames, to see whether the file follows the
    conventions. Raises `ValueError` naming the file, the line or frame, and the rule.
    """
    lines = _decoded(path, path.read_bytes()).splitlines()
    numbers_of_lines = [i for i, line in enumerate(lines, 1) if line.strip()]
    if not numbers_of_lines:
        raise ValueError(f"{path} holds no line: expected is one of {_COLUMNS} numbers per frame")
    for i in numbers_of_lines:
        if (found := lines[i - 1].count(",") + 1) != _COLUMNS:
            raise ValueError(
                f"{path}, line {i} has {found} numbers between commas, not {_COLUMNS}: the frame's "
                f"number and x, y, z of {NUM_JOINTS} joints"
            )
    try:
        values = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2).reshape(-1, _COLUMNS)
    except ValueError as error:
        raise ValueError(f"{path} holds something that is no number: {error}") from None
    if not (finite := np.isfinite(values).all(1)).all():
        i = numbers_of_lines[int(finite.argmin())]
        raise ValueError(
            f"{path}, line {i} holds NaN or infinity, {(~finite).sum()} lines in all do: every "
            "frame needs a whole hand; leave out only frames without a labelled hand"
        )
    line_of = _line_of_index(path, values[:, 0], numbers_of_lines, order)
    lines_wanted = line_of[order.index[order.is_required]]
    if (missing := lines_wanted < 0).any():
        names = [n for n, is_in in zip(order.frame_names, order.is_required, strict=True) if is_in]
        raise ValueError(
            f"{path} lacks {missing.sum()} of the {len(missing)} frames with a hand: "
            f"{_some(names[k] for k in np.flatnonzero(missing))}{_because(order)}"
        )
    joints_m = values[lines_wanted, 1:].reshape(-1, NUM_JOINTS, 3) / MM_PER_M
    warnings = _check(path, joints_m, truth_joints_m, "mm", np.arange(NUM_JOINTS), order)
    return Predictions(joints_m, None, warnings)


def write_hpe(path: Path, order: FileOrder, joints_m: np.ndarray) -> None:
    """Write a DexYCB HPE file from joints_m (M, 21, 3), those of the required frames."""
    index = order.index[order.is_required]
    _check_writable(order, "joints_m", joints_m, NUM_JOINTS)
    form = ",".join(["%d"] + ["%.4f"] * (_COLUMNS - 1)) + "\n"
    rows = np.asarray(joints_m, np.float64).reshape(-1, _COLUMNS - 1) * MM_PER_M
    with whole_file(path) as file:
        for i in np.argsort(index).tolist():
            file.write((form % (index[i], *rows[i].tolist())).encode())


def _line_of_index(
    path: Path, stated: np.ndarray, numbers_of_lines: list[int], order: FileOrder
) -> np.ndarray:
    """(length,) int64: the row of `stated` that holds each number, −1 where none does."""
    is_known = (stated == np.floor(stated)) & (stated >= 0) & (stated < order.length)
    if not is_known.all():
        i = int(is_known.argmin())
        raise ValueError(
            f"{path}, line {numbers_of_lines[i]} is of frame {stated[i]:g}, which does not exist: "
            f"the numbers are 0 to {order.length - 1}, {(~is_known).sum()} lines have others"
            f"{_because(order)}"
        )
    index = stated.astype(np.int64)
    counts = np.bincount(index, minlength=order.length)
    if (counts > 1).any():
        twice = int((counts > 1).argmax())
        first, second = np.flatnonzero(index == twice)[:2]
        raise ValueError(
            f"{path} has frame {twice} on line {numbers_of_lines[first]} and again on line "
            f"{numbers_of_lines[second]}, {(counts > 1).sum()} frames are there more than once: "
            "keep one line a frame"
        )
    line_of = np.full(order.length, -1)
    line_of[index] = np.arange(len(index))
    return line_of


# ------------------------------------------------------------------------------ HO-3D, pred.json


def read_pred_json(path: Path, order: FileOrder, truth_joints_m: np.ndarray) -> Predictions:
    """Read HO-3D's pred.json, or a zip that holds it.

    truth_joints_m: (N, 21, 3) of the table's frames, to see whether the file follows the
    conventions. Raises `ValueError` naming the file, the row, and the rule.
    """
    text = _read_text(path)
    try:
        joints, vertices = parse_pred(text, order.length)
    except ValueError as error:
        raise ValueError(
            f"{path}: {error}; expected is [joints, vertices] with {order.length} rows each, of "
            f"{NUM_JOINTS} and {NUM_VERTICES} points x, y, z{_because(order)}"
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
        if points is not None and not (finite := np.isfinite(points).all((1, 2))).all():
            i = int(finite.argmin())
            raise ValueError(
                f"{path}: {what} of row {order.index[i]} ({order.frame_names[i]}) hold NaN or "
                f"infinity, {(~finite).sum()} rows in all do: every frame needs a whole hand"
            )
    joints_m = joints[:, MANO_TO_DATASET] * OPENGL_TO_OPENCV
    warnings += _check(path, joints_m, truth_joints_m, "m", MANO_TO_DATASET, order)
    if vertices is not None:
        vertices = vertices * OPENGL_TO_OPENCV.astype(np.float32)
    else:
        warnings.append("it has no vertices, or only such that fill their place: no mesh is scored")
    return Predictions(joints_m, vertices, tuple(warnings))


def _has_mesh(vertices: np.ndarray) -> np.ndarray:
    """(N,) bool: vertices (N, 778, 3), m, as large as a hand and mostly distinct, unlike zeros,
    NaN, a repeated point, or joints that are repeated or followed by zeros."""
    x, y, z = np.moveaxis(vertices.astype(np.float64), -1, 0)
    with np.errstate(invalid="ignore"):  # infinity is told of later
        extent_m = np.fmax.reduce(vertices, 1) - np.fmin.reduce(vertices, 1)  # NaN where all are
        keys = np.sort(x + np.sqrt(2) * y + np.sqrt(3) * z, axis=1)  # one for each distinct point
    num_distinct = 1 + (keys[:, 1:] != keys[:, :-1]).sum(1)
    return (extent_m.max(1) > _LEAST_EXTENT_M) & (2 * num_distinct > NUM_VERTICES)


def write_pred_json(
    path: Path, order: FileOrder, joints_m: np.ndarray, vertices_m: np.ndarray
) -> None:
    """Write HO-3D's file from joints_m (N, 21, 3) and vertices_m (N, 778, 3) of the table's frames.

    A path that ends in .zip becomes what the server takes: a zip that holds pred.json.
    Raises `ValueError` when frames of evaluation.txt are not there.
    """
    _check_writable(order, "joints_m", joints_m, NUM_JOINTS)
    _check_writable(order, "vertices_m", vertices_m, NUM_VERTICES)
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
    """Row by row: the whole as Python's lists would take several GB."""
    for opening, points in zip((b"[[", b",\n["), parts, strict=True):
        file.write(opening)
        for k, row in enumerate(rows.tolist()):
            opengl = np.round(np.asarray(points[row], np.float64) * OPENGL_TO_OPENCV, 7)
            file.write((b",\n" if k else b"") + json.dumps(opengl.tolist()).encode())
        file.write(b"]")
    file.write(b"]\n")


def _read_text(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        data = path.read_bytes()
        if data.startswith(_ZIP):
            raise UnreadableFileError(f"{path}: {fault_of(data, 'a zip', _ZIP)}")
        return _decoded(path, data)
    try:
        return _read_zip(path)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        # RuntimeError: a password is wanted, or a compression that Python does not know
        fault = fault_of(path.read_bytes(), error, _ZIP)
        raise UnreadableFileError(f"{path}: {fault}") from None


def _read_zip(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if m.filename.endswith(".json")]
        if len(members) != 1:
            raise ValueError(
                f"{path}: the zip holds {len(members)} .json files, not pred.json alone"
            )
        if members[0].file_size > _MAX_BYTES:
            raise ValueError(
                f"{path}: {members[0].filename} has {members[0].file_size:,} bytes unpacked"
            )
        return _decoded(path, archive.read(members[0]))


# ------------------------------------------------------------------------------------------ common


def _check(
    path: Path, joints_m: np.ndarray, truth_joints_m: np.ndarray, unit: str,
    joint_order: np.ndarray, order: FileOrder,
) -> tuple[str, ...]:  # fmt: skip
    """Refuses a file of other conventions, and returns what is to be warned of."""
    is_left = order.is_left[order.is_required]
    check_conventions(path, joints_m, truth_joints_m, unit, joint_order, is_left)
    told = misplaced(joints_m, truth_joints_m, order.index[order.is_required])
    return (told,) if told else ()


def _decoded(path: Path, data: bytes) -> str:
    if data and (fault := foreign(data)):
        raise UnreadableFileError(f"{path} holds no predictions: {fault}")
    text = decode(data)
    if "\0" in text:
        raise ValueError(f"{path} is no text: name the file of predictions itself")
    return text


def _check_writable(order: FileOrder, name: str, points: np.ndarray, num_points: int) -> None:
    M = int(order.is_required.sum())
    if points.shape != (M, num_points, 3):
        raise ValueError(f"{name} has shape {points.shape}, not ({M}, {num_points}, 3)")
    if not (finite := np.isfinite(points).all((1, 2))).all():
        names = np.array(order.frame_names)[order.is_required]
        raise ValueError(
            f"{name} is not finite at {names[finite.argmin()]}: the format has no sign for a frame "
            "without a prediction; predict every frame with a hand"
        )


def _some(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _because(order: FileOrder) -> str:
    return f" ({order.note})" if order.note else ""
