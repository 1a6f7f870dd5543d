"""Recorded motion: joints and object poses of a motions file → motion of the stand-in at a table.

Recordings (DexYCB's are CC BY-NC 4.0) are fitted and not stored: only pictures, labels and the
file's hash remain.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.ndimage import convolve1d, maximum_filter1d
from scipy.spatial.transform import Rotation

from deformer.hand.mano import HandLayer, Hands
from pipelines.synthetic.hand.kinematics import HandRig
from pipelines.synthetic.hand.motion import TABLE_EDGE_Y_M, Motion, minimum_jerk
from pipelines.synthetic.plans import SequencePlan
from pipelines.synthetic.recorded.inverse_kinematics import Fit, fit_betas, fit_pose
from pipelines.synthetic.recorded.motions_file import RecordedSequence, common_up, read_motions_file
from pipelines.synthetic.things.objects import surface_samples_m
from pipelines.synthetic.things.ycb import CLASS_IDS, YCB_OBJECTS

_MIN_UPRIGHT = 0.3
_MIN_SEQUENCES = 3  # per subject, to find the table
_REST_M, _REST_RAD = 0.004, 0.04  # a tracked object at rest wanders by this much
_RELEASE_FRAMES = 8
_LIFT_FRAMES = 6
_BETAS_STRIDE = 7


@dataclass(frozen=True, eq=False)
class RetargetedSequence:
    """One recorded sequence, repeated by the stand-in.

    motion in the world of `cameras.py`; residual_m (frames with a hand, 21): distance of its fitted
    joints from the recorded ones.
    """

    motion: Motion
    residual_m: np.ndarray


@dataclass(frozen=True, eq=False)
class Table:
    """A subject's table: world = rotation @ (recorded − origin_m)."""

    rotation: np.ndarray
    origin_m: np.ndarray

    def to_world_m(self, points_m: np.ndarray) -> np.ndarray:
        """(..., 3) → (..., 3)."""
        return (points_m - self.origin_m) @ self.rotation.T


class Recordings:
    """The recorded sequences of a motions file, and the stand-in's motion that fits them.

    Raises `FileNotFoundError` or `ValueError` naming file and array where it cannot be used.
    """

    def __init__(self, path: Path, hands: Hands) -> None:
        self.path, self.hands, self._layer = path, hands, HandLayer(hands).eval()
        self.recordings, self.sha256 = read_motions_file(path)
        self._by_folder = {r.folder: r for r in self.recordings}
        self._by_subject: dict[str, list[RecordedSequence]] = {}
        for recording in self.recordings:
            self._by_subject.setdefault(recording.subject, []).append(recording)
        try:
            self.tables = {name: _find_table(parts) for name, parts in self._by_subject.items()}
        except ValueError as error:
            raise ValueError(f"--motions {path}: {error}") from None

    def recording(self, plan: SequencePlan) -> RecordedSequence:
        """A plan's recording; `ValueError` where the file has none, or one of another side or
        object."""
        if plan.folder not in self._by_folder:
            raise ValueError(
                f"--motions {self.path} holds no sequence {plan.folder}; leave the option "
                "out, or give the file with all of DexYCB's"
            )
        found = self._by_folder[plan.folder]
        if (found.side, found.object_name) != (plan.side, plan.object_name):
            raise ValueError(
                f"--motions {self.path}: {plan.folder} is a {found.side} hand with "
                f"{found.object_name}, in DexYCB a {plan.side} hand with {plan.object_name}; "
                "correct the file"
            )
        return found

    @cached_property
    def betas(self) -> dict[tuple[str, str], np.ndarray]:
        """The stand-in's shape (10,) by subject and side."""
        joints: dict[tuple[str, str], list[np.ndarray]] = {}
        for r in self.recordings:
            joints.setdefault((r.subject, r.side), []).append(r.joints_m[r.valid][::_BETAS_STRIDE])
        return {
            (subject, side): fit_betas(getattr(self.hands, side), side, np.concatenate(parts))
            for (subject, side), parts in joints.items()
        }

    def middle_m(self, subject: str) -> np.ndarray:
        """The average place of a subject's hands in the world, (3,); cameras look at it."""
        table = self.tables[subject]
        middles = [
            table.to_world_m(r.joints_m[r.valid].mean((0, 1))) - [0, 0, floor_m(r, table)]
            for r in self._by_subject[subject]
        ]
        return np.median(middles, axis=0)

    def retarget(self, plan: SequencePlan, num_frames: int) -> RetargetedSequence:
        """Fit a plan's recording: its `num_frames` frames up to the last one with a hand."""
        recording = on_table(self.recording(plan), self.tables[plan.subject])
        recording = _last_frames(recording, num_frames)
        arrays, betas = getattr(self.hands, plan.side), self.betas[plan.subject, plan.side]
        rig = HandRig(self.hands, self._layer, plan.side, betas)
        fits = []
        for run in _stretches_with_hand(recording.valid):
            fit = fit_pose(arrays, plan.side, betas, recording.joints_m[run])
            fits.append(_lifted(rig, fit))
        # In frames without a hand, use the nearest recorded pose
        there = np.flatnonzero(recording.valid)
        nearest = np.abs(np.arange(len(recording.valid))[:, None] - there).argmin(1)
        rotvec, fingers, wrist, residual = (
            np.concatenate([getattr(fit, key) for fit in fits]).astype(np.float64)
            for key in ("global_rotvec", "finger_rotvec", "wrist_m", "residual_m")
        )
        hand = rotvec[nearest], fingers[nearest], wrist[nearest]
        motion = Motion(recording.valid, *hand, recording.object_rotation, recording.object_m)
        return RetargetedSequence(motion, residual)


def _find_table(recordings: list[RecordedSequence]) -> Table:
    """A subject's table, from the objects that stand on it before they are taken.

    Upwards is the direction that most of them agree on; the person, from whom the hands come, sits
    at −y. Raises `ValueError` where they are too few or do not agree.
    """
    subject, count = recordings[0].subject, len(recordings)
    if count < _MIN_SEQUENCES:
        raise ValueError(
            f"{count} sequences of {subject} do not say where the table is; give {_MIN_SEQUENCES} "
            "or more, with the objects at rest in their first frames"
        )
    up, standing = common_up(np.stack([r.object_rotation[0] for r in recordings]))
    if (share := standing / count) < _MIN_UPRIGHT or standing < 2:
        raise ValueError(
            f"only {share:.0%} of the objects of {subject} stand upright in one direction; give "
            "all in the frame of an upright camera (y down), objects at rest in their first frames"
        )
    spots = np.stack([r.object_m[0] for r in recordings]).astype(np.float64)
    wrists = np.array([r.joints_m[r.valid][0, 0] for r in recordings])
    away = -(wrists - spots).mean(0)
    away -= up * (away @ up)
    away /= np.linalg.norm(away)
    return Table(np.stack([np.cross(away, up), away, up]), np.median(spots, axis=0))


def floor_m(recording: RecordedSequence, table: Table) -> float:
    """Height of the table under the object of a sequence, relative to the subject's origin."""
    thing = YCB_OBJECTS[CLASS_IDS[recording.object_name]]
    points = surface_samples_m(thing, 0.01) @ recording.object_rotation[0].T
    spot = recording.object_m[0] - table.origin_m
    return float(((points + spot) @ table.rotation[2]).min())


def on_table(recording: RecordedSequence, table: Table) -> RecordedSequence:
    """A recording in the world, its object on the table and still until it is moved."""
    floor = np.array([0, 0, floor_m(recording, table)])
    rotation, position = at_rest_first(
        table.rotation @ recording.object_rotation, table.to_world_m(recording.object_m) - floor
    )
    joints = table.to_world_m(recording.joints_m) - floor
    return replace(recording, joints_m=joints, object_rotation=rotation, object_m=position)


def _last_frames(recording: RecordedSequence, num_frames: int) -> RecordedSequence:
    """The `num_frames` frames up to the last one with a hand, but at least the first
    `num_frames`."""
    frames = len(recording.valid)
    if num_frames >= frames:
        return recording
    stop = max(int(np.flatnonzero(recording.valid)[-1]) + 1, num_frames)
    rows = slice(stop - num_frames, stop)
    keys = "joints_m", "object_rotation", "object_m", "valid"
    return replace(recording, **{key: getattr(recording, key)[rows] for key in keys})


def _stretches_with_hand(valid: np.ndarray) -> list[slice]:
    """The stretches of consecutive frames with a hand in valid (F,)."""
    edges = np.diff(np.concatenate([[0], valid.astype(int), [0]]))
    return [
        slice(a, b) for a, b in zip(*(np.flatnonzero(edges == k) for k in (1, -1)), strict=True)
    ]


def at_rest_first(rotation: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The object's motion (F, 3, 3), (F, 3), without the tracker's tremor before its first move.

    It joins the recorded motion again within a few frames.
    """
    turned = Rotation.from_matrix(rotation[0].T @ rotation).magnitude()
    moved = (np.linalg.norm(position - position[0], axis=1) > _REST_M) | (turned > _REST_RAD)
    rests = ~np.logical_or.accumulate(moved)
    last = int(np.flatnonzero(rests)[-1])
    share = 1 - minimum_jerk((np.arange(len(position)) - last) / _RELEASE_FRAMES)
    turn = Rotation.from_matrix(rotation[0] @ rotation[last].T).as_rotvec()
    faded_rotation = Rotation.from_rotvec(share[:, None] * turn).as_matrix() @ rotation
    faded_position = position + share[:, None] * (position[0] - position[last])
    return (
        np.where(rests[:, None, None], rotation[0], faded_rotation),
        np.where(rests[:, None], position[0], faded_position),
    )


def _lifted(rig: HandRig, fit: Fit) -> Fit:
    """A stretch of frames, with the hand smoothly raised where it would sink into the table."""
    vertices, _ = rig.pose(fit.finger_rotvec, fit.global_rotvec)
    sunk = sunk_m(vertices + fit.wrist_m[:, None])
    if not sunk.any():
        return fit
    # A running maximum, smoothed, never falls below the original
    width = 2 * _LIFT_FRAMES + 1
    window = np.hanning(width + 2)[1:-1]
    most = maximum_filter1d(sunk, width, mode="nearest")
    lift = convolve1d(most, window / window.sum(), mode="nearest")
    return replace(fit, wrist_m=fit.wrist_m + lift[:, None] * [0, 0, 1])


def sunk_m(vertices_m: np.ndarray) -> np.ndarray:
    """Depth of vertices (F, V, 3) below the table's top, where the table is, (F,)."""
    over = vertices_m[..., 1] > TABLE_EDGE_Y_M
    return np.where(over, np.maximum(-vertices_m[..., 2], 0), 0).max(1)
