"""The file that a dataset's own evaluator reads; the dataset decides its format."""

from pathlib import Path

import numpy as np

from benchmarks.evaluation.truth import Truth
from benchmarks.submissions.file_order import FileOrder, Predictions, order_of
from benchmarks.submissions.hpe import read_hpe, write_hpe
from benchmarks.submissions.pred_json import read_pred_json, write_pred_json

_READERS = {"dexycb": read_hpe, "ho3d": read_pred_json}


def read_submission(
    path: Path, truth: Truth, split: str, root: Path | None
) -> tuple[FileOrder, Predictions]:
    """Read DexYCB's HPE text or HO-3D's pred.json for the required frames.

    root: HO-3D's raw folder. Raises `ValueError` for a dataset that has no such file.
    """
    if truth.dataset not in _READERS:
        raise ValueError(
            f"--predictions {path}: files of predictions are of DexYCB or HO-3D, and nothing says "
            f"how they would number the frames of {truth.dataset}"
        )
    order = order_of(truth.dataset, truth.frames, split, root)
    if order is None:
        raise ValueError("give --root, HO-3D's raw folder: its evaluation.txt orders the file")
    return order, _READERS[truth.dataset](path, order, truth.joints_m[order.is_required])


def write_submission(
    out: Path, order: FileOrder, truth: Truth, at: np.ndarray, joints_m: np.ndarray,
    vertices_m: np.ndarray | None,
) -> str:  # fmt: skip
    """Write hpe.txt or pred.zip from the predictions of the frames `at` of the truth, if the
    evaluator needs no other frame. Returns the reason if it is not written, else an empty text."""
    if not np.array_equal(np.flatnonzero(order.is_required), at):
        return "not all frames of the split are predicted: no file for its evaluator"
    if truth.dataset == "dexycb":
        write_hpe(out / "hpe.txt", order, joints_m)
    elif vertices_m is not None and not order.note:
        write_pred_json(out / "pred.zip", order, joints_m, vertices_m)
    return ""
