"""Recorded motion: a file with the joints and object poses of DexYCB's sequences → the table here.

The file (`--motions`) is an npz with a row per frame: `joints` (N, 21, 3) metres, dataset order;
`object_rotvec`, `object_trans` (N, 3) of the grasped object; `valid` (N,) bool; all in the frame of
the recording's master camera. Per sequence: `sequence_subject`, `_name`, `_side`, `_object`,
`_start`, `_length`. It is derived from DexYCB (CC BY-NC 4.0): nothing of it is kept but what is
rendered, and that file's hash.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from deformer.mano import Hands
from pipelines.synthetic.motion import Motion
from pipelines.synthetic.objects import surface_samples_m
from pipelines.synthetic.retarget import fit_betas, fit_pose
from pipelines.synthetic.ycb import CLASS_IDS, YCB_OBJECTS

_FRAME_KEYS = {
    "joints": (21, 3),
    "object_rotvec": (3,),
    "object_trans": (3,),
    "valid": (),
}
_SEQUENCE_KEYS = ("subject", "name", "side", "object", "start", "length")

MODEL_YAW_DEG = {
    "006_mustard_bottle": 25,
    "008_pudding_box": -25,
    "009_gelatin_box": 80,
    "011_banana": -75,
    "019_pitcher_base": 140,
    "035_power_drill": -120,
    "036_wood_block": 10,
    "037_scissors": 20,
    "040_large_marker": 100,
    "052_extra_large_clamp": 170,
}
"""How far the axes of DexYCB's models are turned about z from those of `ycb.py`: found as the turn
in which the recorded fingers touch the shapes and sink into them least."""

_UPRIGHT_COS = 0.98
_MIN_UPRIGHT = 0.3
_REST_M, _REST_RAD = 0.004, 0.04  # a tracked object at rest wanders by this much
_BETAS_STRIDE = 7


@dataclass(frozen=True, eq=False)
class Recorded:
    """One recorded sequence done by the stand-in.

    motion in the world of `cameras.py`; residual_m (frames with a hand, 21): how far its joints
    are from the recorded ones.
    """

    side: str
    motion: Motion
    residual_m: np.ndarray


@dataclass(frozen=True, eq=False)
class _Table:
    """Where a subject's table is: world = rotation @ (recorded − origin_m)."""

    rotation: np.ndarray
    origin_m: np.ndarray


class Recordings:
    """The recorded sequences of a motions file.

    Raises `FileNotFoundError` or `ValueError` naming file and array where it is none.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(
                f"--motions {path}: no such file. It is derived from DexYCB and not part of this "
                "project; leave the option out for procedural motion."
            )
        self.path, content = path, path.read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        with np.load(path) as file:
            arrays = {key: file[key] for key in file}
        _check(path, arrays)
        self._frames = {key: arrays[key] for key in _FRAME_KEYS}
        self._sequences = {key: arrays[f"sequence_{key}"] for key in _SEQUENCE_KEYS}
        folders = zip(self._sequences["subject"], self._sequences["name"], strict=True)
        self._index = {f"{subject}/{name}": k for k, (subject, name) in enumerate(folders)}
        self._tables: dict[str, _Table] = {}
        self._betas: dict[tuple[str, str], np.ndarray] = {}

    def _of(self, subject: str, side: str | None = None) -> np.ndarray:
        chosen = self._sequences["subject"] == subject
        if side is not None:
            chosen = chosen & (self._sequences["side"] == side)
        return np.flatnonzero(chosen)

    def _rows(self, k: int) -> slice:
        start, length = int(self._sequences["start"][k]), int(self._sequences["length"][k])
        return slice(start, start + length)

    def number(self, folder: str) -> int:
        """Which sequence of the file is `<subject>/<name>`; `ValueError` where it has none."""
        if folder not in self._index:
            raise ValueError(
                f"--motions {self.path} holds no sequence {folder}; leave the option out, or give "
                "the file with all of DexYCB's"
            )
        return self._index[folder]

    @cached_property
    def _rotations(self) -> np.ndarray:
        """Of the grasped object, in the axes of `ycb.py`, (N, 3, 3).

        `object_rotvec` was written from quaternions (x, y, z, w) taken for (w, x, y, z): the
        numbers are put back in their places. Read so, objects at rest stand upright on one table
        and the one published frame has the pose of its label.
        """
        misread = Rotation.from_rotvec(self._frames["object_rotvec"]).as_quat()
        rotations = Rotation.from_quat(misread[:, [3, 0, 1, 2]]).as_matrix()
        for k, name in enumerate(self._sequences["object"]):
            yaw = MODEL_YAW_DEG.get(str(name), 0)
            rotations[self._rows(k)] @= Rotation.from_euler("z", -yaw, degrees=True).as_matrix()
        return rotations

    def betas(self, subject: str, side: str, hands: Hands) -> np.ndarray:
        """The stand-in's shape for a subject's hand, (10,), from all its recordings."""
        key = subject, side
        if key not in self._betas:
            joints = [self._valid_joints_m(k)[::_BETAS_STRIDE] for k in self._of(subject, side)]
            arrays = hands.left if side == "left" else hands.right
            self._betas[key] = (
                fit_betas(arrays, side, np.concatenate(joints))
                if joints
                else np.zeros(10, np.float32)
            )
        return self._betas[key]

    def _valid_joints_m(self, k: int) -> np.ndarray:
        rows = self._rows(k)
        return self._frames["joints"][rows][self._frames["valid"][rows]]

    def table(self, subject: str) -> _Table:
        """A subject's table, from the objects that stand on it before they are taken.

        Upwards is the direction that most of them agree on; the person, from whom the hands come,
        sits at −y.
        """
        if subject in self._tables:
            return self._tables[subject]
        numbers = self._of(subject)
        first = np.array([self._rows(k).start for k in numbers])
        axes = self._rotations[first].transpose(0, 2, 1).reshape(-1, 3)
        axes = np.concatenate([axes, -axes])
        axes = axes[axes[:, 1] < 0]  # the camera is upright
        agree = axes @ axes.T > _UPRIGHT_COS
        up = axes[agree[agree.sum(1).argmax()]].mean(0)
        up /= np.linalg.norm(up)
        if (share := agree.sum(1).max() / len(numbers)) < _MIN_UPRIGHT:
            raise ValueError(
                f"--motions {self.path}: only {share:.0%} of the objects of {subject} stand "
                "upright in one direction, so object_rotvec does not mean what it should; "
                "pipelines/synthetic/recording.py says what is read from such a file"
            )
        spots = self._frames["object_trans"][first].astype(np.float64)
        wrists = np.array([self._valid_joints_m(k)[0, 0] for k in numbers])
        away = -(wrists - spots).mean(0)
        away -= up * (away @ up)
        away /= np.linalg.norm(away)
        rotation = np.stack([np.cross(away, up), away, up])
        self._tables[subject] = _Table(rotation, np.median(spots, axis=0))
        return self._tables[subject]

    def middle_m(self, subject: str) -> np.ndarray:
        """Where a subject's hands are on average, in the world, (3,): what cameras look at."""
        table = self.table(subject)
        middles = [
            ((self._valid_joints_m(k).mean((0, 1)) - table.origin_m) @ table.rotation.T)
            - [0, 0, self._floor_m(k)]
            for k in self._of(subject)
        ]
        return np.median(middles, axis=0)

    def _floor_m(self, k: int) -> float:
        """Height of the table under the object of a sequence, against the subject's origin."""
        table, first = self.table(str(self._sequences["subject"][k])), self._rows(k).start
        thing = YCB_OBJECTS[CLASS_IDS[str(self._sequences["object"][k])]]
        points = surface_samples_m(thing, 0.01) @ self._rotations[first].T
        spot = self._frames["object_trans"][first] - table.origin_m
        return float(((points + spot) @ table.rotation[2]).min())

    def retarget(self, folder: str, num_frames: int, hands: Hands) -> Recorded:
        """Fit `<subject>/<name>`: all its frames, or `num_frames` that end with the hand's last."""
        k = self.number(folder)
        subject, side = str(self._sequences["subject"][k]), str(self._sequences["side"][k])
        table, betas = self.table(subject), self.betas(subject, side, hands)
        floor = np.array([0, 0, self._floor_m(k)])
        rows = self._rows(k)
        if num_frames < rows.stop - rows.start:
            last = rows.start + int(np.flatnonzero(self._frames["valid"][rows])[-1])
            stop = max(last + 1, rows.start + num_frames)
            rows = slice(stop - num_frames, stop)
        valid = self._frames["valid"][rows]
        object_rotation = table.rotation @ self._rotations[rows]
        object_m = (self._frames["object_trans"][rows] - table.origin_m) @ table.rotation.T - floor
        joints = (self._frames["joints"][rows] - table.origin_m) @ table.rotation.T - floor
        arrays = hands.left if side == "left" else hands.right
        fit = fit_pose(arrays, side, betas, joints[valid])
        # Before it comes and after it has gone the hand waits where it is seen first and last
        there = np.flatnonzero(valid)
        nearest = np.abs(np.arange(len(valid))[:, None] - there).argmin(1)
        motion = Motion(
            valid,
            fit.global_rotvec[nearest].astype(np.float64),
            fit.finger_rotvec[nearest].astype(np.float64),
            fit.wrist_m[nearest].astype(np.float64),
            *_at_rest_first(object_rotation, object_m),
        )
        return Recorded(side, motion, fit.residual_m)


def _at_rest_first(rotation: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The object's course (F, 3, 3), (F, 3), without the tracker's tremor until it is moved."""
    turned = Rotation.from_matrix(rotation[0].T @ rotation).magnitude()
    moved = (np.linalg.norm(position - position[0], axis=1) > _REST_M) | (turned > _REST_RAD)
    rests = ~np.logical_or.accumulate(moved)
    return (
        np.where(rests[:, None, None], rotation[0], rotation),
        np.where(rests[:, None], position[0], position),
    )


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    wanted = [*_FRAME_KEYS, *(f"sequence_{key}" for key in _SEQUENCE_KEYS)]
    if missing := [key for key in wanted if key not in arrays]:
        raise ValueError(f"--motions {path} lacks {', '.join(missing)}: it is no motions file")
    count, sequences = len(arrays["valid"]), len(arrays["sequence_name"])
    for key, shape in _FRAME_KEYS.items():
        if arrays[key].shape != (count, *shape):
            raise ValueError(
                f"--motions {path}: {key} has shape {arrays[key].shape}, not {(count, *shape)}"
            )
        if not np.isfinite(arrays[key]).all():
            raise ValueError(f"--motions {path}: {key} holds values that are not finite")
    for key in _SEQUENCE_KEYS:
        if arrays[f"sequence_{key}"].shape != (sequences,):
            raise ValueError(f"--motions {path}: sequence_{key} is not one value per sequence")
    start, length = arrays["sequence_start"], arrays["sequence_length"]
    if sequences and ((start < 0) | (length < 1) | (start + length > count)).any():
        raise ValueError(f"--motions {path}: a sequence reaches beyond the file's {count} frames")
    for k in range(sequences):
        if not arrays["valid"][start[k] : start[k] + length[k]].any():
            raise ValueError(
                f"--motions {path}: {arrays['sequence_name'][k]} holds no frame with a hand"
            )
