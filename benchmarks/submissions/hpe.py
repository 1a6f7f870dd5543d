"""DexYCB's HPE text file.

One line per frame with 64 comma-separated numbers: the frame's number in the official split order,
then x, y, z of the 21 joints, mm, camera frame, dataset order. Lines may be in any order; frames
without a labelled hand may be left out. Source: dex-ycb-toolkit, `hpe_eval.py`.
"""

from pathlib import Path

import numpy as np

from benchmarks.submissions.conventions import check_conventions
from benchmarks.submissions.file_order import (
    FARTHEST,
    FileOrder,
    Predictions,
    check_writable,
    text_of,
)
from deformer.files.whole import whole_file
from deformer.hand.align import MM_PER_M
from deformer.hand.conventions import NUM_JOINTS

_COLUMNS = 1 + 3 * NUM_JOINTS


def read_hpe(path: Path, order: FileOrder, truth_joints_m: np.ndarray) -> Predictions:
    """Read a DexYCB HPE file.

    truth_joints_m: (M, 21, 3) of the required frames, to check the file's conventions. Raises
    `ValueError` that names the file, the line or frame, and the rule.
    """
    lines = text_of(path, path.read_bytes()).splitlines()
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
    if not (finite := (np.abs(values) < FARTHEST).all(1)).all():
        i = numbers_of_lines[int(finite.argmin())]
        raise ValueError(
            f"{path}, line {i} holds NaN or infinity, {(~finite).sum()} lines in all do: every "
            "frame needs a whole hand; leave out only frames without a labelled hand"
        )
    line_of = _line_of_index(path, values[:, 0], numbers_of_lines, order)
    lines_wanted = line_of[order.index[order.is_required]]
    if (missing := lines_wanted < 0).any():
        names = np.array(order.frame_names)[order.is_required][missing]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ValueError(
            f"{path} lacks {len(names)} of the {len(missing)} frames with a hand: "
            f"{', '.join(names[:3])}{more}{order.because}"
        )
    joints_m = values[lines_wanted, 1:].reshape(-1, NUM_JOINTS, 3) / MM_PER_M
    dataset_order = np.arange(NUM_JOINTS)
    warnings = check_conventions(path, joints_m, truth_joints_m, "mm", dataset_order, order)
    return Predictions(joints_m, None, warnings)


def write_hpe(path: Path, order: FileOrder, joints_m: np.ndarray) -> None:
    """Write a DexYCB HPE file from joints_m (M, 21, 3) of the required frames."""
    index = order.index[order.is_required]
    check_writable(order, "joints_m", joints_m, NUM_JOINTS)
    form = ",".join(["%d"] + ["%.4f"] * (_COLUMNS - 1)) + "\n"
    rows = np.asarray(joints_m, np.float64).reshape(-1, _COLUMNS - 1) * MM_PER_M
    with whole_file(path) as file:
        for i in np.argsort(index).tolist():
            file.write((form % (index[i], *rows[i].tolist())).encode())


def _line_of_index(
    path: Path, stated: np.ndarray, numbers_of_lines: list[int], order: FileOrder
) -> np.ndarray:
    """(length,) int64: the row of `stated` that holds each number; −1 if none does."""
    is_known = (stated == np.floor(stated)) & (stated >= 0) & (stated < order.length)
    if not is_known.all():
        i = int(is_known.argmin())
        raise ValueError(
            f"{path}, line {numbers_of_lines[i]} is of frame {stated[i]:g}, which does not exist: "
            f"the numbers are 0 to {order.length - 1}, {(~is_known).sum()} lines have others"
            f"{order.because}"
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
