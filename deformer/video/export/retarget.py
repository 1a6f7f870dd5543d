"""Keypoints for dex-retargeting, a file per track."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from deformer.hand.conventions import JOINT_NAMES
from deformer.video.export.clip import Clip, Track, arrays_of
from deformer.video.export.npz import write_arrays

_INDEX, _MIDDLE = (JOINT_NAMES.index(name) for name in ("index_1", "middle_1"))


def write(clip: Clip, out: Path) -> list[Path]:
    """Write `<stem>.<track>.retarget.npz` for each track."""
    paths = []
    for track in clip.tracks:
        hands = track.hands
        arrays = {
            "joints_m": hands.joints_cam_m - hands.joints_cam_m[:, :1],
            "wrist_rotmat": wrist_frame(hands.joints_cam_m),
            "wrist_quat_wxyz": _quaternions(track),
        }
        path = out / f"{clip.stem}.{track.name}.retarget.npz"
        paths.append(write_arrays(path, arrays | dict(arrays_of(clip, track))))
    return paths


def wrist_frame(joints_m: np.ndarray) -> np.ndarray:
    """The wrist's axes as dex-retargeting finds them from keypoints: joints (N, 21, 3) → (N, 3, 3).

    Columns, in the keypoints' frame: x from the base of the middle finger to the wrist; y normal to
    the palm; z in the palm's plane, towards the index finger. They are roughly those of
    MANO's right hand.
    """
    middle = joints_m[:, _MIDDLE]
    x = _unit(joints_m[:, 0] - middle)
    aside = joints_m[:, _INDEX] - middle
    z = _unit(aside - (aside * x).sum(-1, keepdims=True) * x)
    return np.stack([x, np.cross(z, x), z], -1)


def _quaternions(track: Track) -> np.ndarray:
    """MANO's global rotations (N, 4), w first. MANO's left fingers point along x, not -x, and
    dex-retargeting takes the right hand's axes for both: so a left hand is turned about its z."""
    turns = Rotation.from_rotvec(track.hands.pose_rotvec[:, :3])
    if track.side == "left":
        turns = turns * Rotation.from_rotvec([0, 0, np.pi])
    return turns.as_quat(scalar_first=True).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
