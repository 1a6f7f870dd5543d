"""Check before the first step that the labels of a dataset belong to the hand model."""

import numpy as np
import torch

from deformer.data.dataset import ANNOTATIONS_FILE, FRAMES_FILE, read_table
from deformer.data.index import FrameIndex, WindowTable
from deformer.hand.mano import HandLayer, Hands
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.network.config import DeformerConfig

_MANO = ["pose_rotvec", "betas"]
_SAMPLES = 64
_TOLERANCE_MM = 3.0


def check_labels(
    index: FrameIndex, windows: WindowTable, hands: Hands, config: DeformerConfig
) -> None:
    """Pose the hands of some frames by their labels, and compare them with the labelled joints.

    Raises `ValueError` when a frame of the windows lacks MANO labels, or the occlusion that the
    fusion needs, or when posed and labelled joints differ: then the hand model, the fingertips
    (`config.tips`) or a convention is wrong.
    """
    if config.fusion == "occlusion":
        fault = (
            "--model.fusion occlusion weighs frames by it: build the shards with object models, or "
            "choose another fusion"
        )
        _check_given(index, windows, FRAMES_FILE, ["occlusion"], fault)
    fault = "training needs MANO labels; choose a split that has them"
    _check_given(index, windows, ANNOTATIONS_FILE, _MANO, fault)
    rows = windows.centre_rows
    rows = rows[np.linspace(0, len(rows) - 1, min(_SAMPLES, len(rows))).astype(int)]
    columns = [*_MANO, "joints_cam_m"]
    table = read_table(index.folder / ANNOTATIONS_FILE, columns).take(rows)
    values = {name: torch.tensor(np.array(table[name].to_pylist(), np.float32)) for name in columns}
    is_left = torch.from_numpy(index.is_left[rows])
    rotmats = rotvec_to_rotmat(values["pose_rotvec"].view(-1, 16, 3))
    _, joints = HandLayer(hands)(rotmats, values["betas"], is_left, config.tips)
    truth = values["joints_cam_m"].view(-1, 21, 3)
    offset = (joints - joints[:, :1]) - (truth - truth[:, :1])
    error = offset.norm(dim=-1).mean(0) * 1000
    if error.max() > _TOLERANCE_MM:
        raise ValueError(
            f"the hands posed by the labels are up to {error.max():.1f} mm off the labelled "
            f"joints (joint {int(error.argmax())}); fingertips alone off: choose --model.tips "
            f"dexycb or ho3d, now {config.tips}; all off: another hand model or convention"
        )


def check_truth(index: FrameIndex, windows: WindowTable, split: str) -> None:
    """Raises `ValueError` when a validation frame lacks MANO labels: its error would be NaN."""
    fault = (
        "validation poses the true hands by them (HO-3D gives none for its evaluation set): choose "
        f"another --validation.split than {split}, or None; benchmarks.evaluate scores by joints"
    )
    _check_given(index, windows, ANNOTATIONS_FILE, _MANO, fault)


def _check_given(
    index: FrameIndex, windows: WindowTable, table: str, columns: list[str], fault: str
) -> None:
    """Raises `ValueError` when a column is null in a frame of the windows."""
    rows = np.unique(windows.rows)
    given = read_table(index.folder / table, columns).take(rows)
    for name in columns:
        if missing := given[name].null_count:
            raise ValueError(f"{missing} of {len(rows)} frames have no {name}: {fault}")
