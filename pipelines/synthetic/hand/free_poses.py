"""Motion of empty hands: finger poses over the whole natural range, and smooth changes of pose.

A pose is a row of 16 numbers, those of a `FingerBend`: flexion, curl and spread of five fingers,
and the thumb's turn towards them.
"""

from functools import cache

import numpy as np

from deformer.hand.conventions import FINGERS
from pipelines.synthetic.hand.kinematics import (
    SIDE_BY_SIDE_RAD,
    FingerBend,
    HandRig,
    finger_joints,
    natural_bend,
)
from pipelines.synthetic.hand.motion import minimum_jerk, smooth_noise
from pipelines.synthetic.standin_hand import standin_hands

_LOWEST = np.array([-0.85, *[-0.35] * 4, *[0.0] * 5, -0.3, -0.25, -0.2, -0.25, -0.4, -0.2])
_HIGHEST = np.array([0.75, *[1.45] * 4, *[1.0] * 5, 1.45, 0.3, 0.2, 0.3, 0.45, 0.8])
_WIDE_RAD = np.array([0.25, 0.25, 0.06, -0.14, -0.36])
_PINCH_GAP_M = 0.016
_PINCHES = 1500


def finger_motion(
    rng: np.random.Generator, rig: HandRig, times: np.ndarray, liveliness: float
) -> np.ndarray:
    """The fingers of an empty hand at times (T,) in frames: axis-angle (T, 45).

    liveliness: at 1 the pose changes about every second.
    """
    begins, poses = [0.0], [draw_pose(rng)]
    while begins[-1] < times.max():
        begins.append(begins[-1] + rng.uniform(12, 50) / liveliness)
        fresh = draw_pose(rng)
        share = 1.0 if rng.random() < 0.5 else rng.uniform(0.1, 0.5)  # or only part of the way
        poses.append(poses[-1] + share * (fresh - poses[-1]))
    begins, poses = np.array(begins), np.array(poses)
    i = np.clip(np.searchsorted(begins, times, "right") - 1, 0, len(begins) - 2)
    share = minimum_jerk((times - begins[i]) / (begins[i + 1] - begins[i]))[:, None]
    course = poses[i] * (1 - share) + poses[i + 1] * share
    course += smooth_noise(rng, times, 16, 9) * 0.02
    return add_personal_variation(rng, rig.finger_rotvec(_bend(np.clip(course, _LOWEST, _HIGHEST))))


def add_personal_variation(rng: np.random.Generator, finger_rotvec: np.ndarray) -> np.ndarray:
    """Vary poses (T, 45) as people differ: scale each joint's bend and turn its axis a little."""
    pose = finger_rotvec.reshape(-1, 15, 3) * rng.uniform(0.8, 1.15, (15, 1))
    for finger in FINGERS:
        pose[:, finger_joints(finger)[2] - 1] *= rng.uniform(0.5, 1.15)
    return (pose + rng.normal(0, 0.035, (15, 3))).reshape(-1, 45)


def draw_pose(rng: np.random.Generator) -> np.ndarray:
    """One pose (16,): relaxed, open, a fist, some fingers out, a pinch, a hook, or anything."""
    kinds = (_relaxed, _open, _fist, _some_out, _pinch, _hook, _anything)
    draw = kinds[rng.choice(len(kinds), p=[0.22, 0.12, 0.08, 0.2, 0.14, 0.04, 0.2])]
    return np.clip(draw(rng) + rng.normal(0, 0.05, 16), _LOWEST, _HIGHEST)


def _row(flexion, curl, spread, thumb_in=0.0) -> np.ndarray:
    fingers = [np.broadcast_to(x, 5) for x in (flexion, curl, spread)]
    return np.concatenate([*fingers, np.reshape(thumb_in, 1)]).astype(float)


def _of_fingers(share: np.ndarray) -> np.ndarray:
    """Shares of five fingers (5,), repeated for a row's numbers (16,)."""
    return np.concatenate([share, share, share, share[:1]])


def _bend(rows: np.ndarray) -> FingerBend:
    return FingerBend(rows[..., :5], rows[..., 5:10], rows[..., 10:15], rows[..., 15:])


def _relaxed(rng) -> np.ndarray:
    bend = natural_bend(rng, rng.uniform(0.1, 1.6))
    return _row(bend.flexion_rad, bend.curl, bend.spread_rad, bend.thumb_in_rad)


def _spread(rng) -> np.ndarray:
    """From side by side, the usual case, to wide apart."""
    apart = rng.beta(0.8, 1.3)
    spread = SIDE_BY_SIDE_RAD + apart * (_WIDE_RAD - SIDE_BY_SIDE_RAD)
    spread[0] = rng.uniform(-0.2, 0.8)
    return spread


def _open(rng) -> np.ndarray:
    flexion = rng.uniform(-0.25, 0.25) + rng.normal(0, 0.06, 5)
    flexion[0] = rng.uniform(-0.8, 0.3)
    return _row(flexion, rng.uniform(0, 0.15), _spread(rng), rng.uniform(-0.2, 0.5))


def _fist(rng) -> np.ndarray:
    """Fingers in the palm, the thumb over them or beside."""
    flexion = rng.uniform(1.05, 1.4) + rng.normal(0, 0.06, 5)
    curl = rng.uniform(0.7, 1.0) + rng.normal(0, 0.04, 5)
    flexion[0], curl[0] = rng.uniform(-0.1, 0.5), rng.uniform(0.2, 0.7)
    spread = rng.uniform(0.6, 1.0) * SIDE_BY_SIDE_RAD
    spread[0] = rng.uniform(0.0, 1.25)
    return _row(flexion, curl, spread, rng.uniform(-0.1, 0.7))


def _some_out(rng) -> np.ndarray:
    """Any fingers out, the others folded: pointing, counting, thumb up."""
    folded, opened = _fist(rng), _open(rng)
    out = rng.random(5) < 0.5
    if rng.random() < 0.35:  # pointing
        out = np.array([rng.random() < 0.3, True, False, False, False])
    share = _of_fingers(np.where(out, rng.uniform(0.8, 1.0, 5), rng.uniform(0, 0.25, 5)))
    return folded + share * (opened - folded)


def _hook(rng) -> np.ndarray:
    flexion = rng.uniform(-0.1, 0.3) + rng.normal(0, 0.05, 5)
    curl = rng.uniform(0.5, 0.95) + rng.normal(0, 0.06, 5)
    return _row(flexion, curl, _spread(rng), rng.uniform(-0.1, 0.7))


def _anything(rng) -> np.ndarray:
    """The whole range, neighbouring fingers alike in part."""
    own, common = rng.random((2, 5)), rng.random((2, 1))
    share = rng.uniform(0, 0.8)
    mixed = common * share + own * (1 - share)
    low, high = _LOWEST, _HIGHEST
    flexion = low[:5] + mixed[0] * (high[:5] - low[:5])
    spread = _spread(rng) + [rng.uniform(-0.2, 0.9), 0, 0, 0, 0]
    return _row(flexion, mixed[1] ** 1.3, spread, rng.uniform(-0.2, 0.8))


def _pinch(rng) -> np.ndarray:
    """Thumb and a finger (or two) touch; the others are as in a relaxed hand."""
    finger = rng.choice(4, p=[0.55, 0.25, 0.12, 0.08])
    bank = _pinch_bank()[finger]
    pinch = bank[rng.integers(len(bank))]
    rest = _relaxed(rng)
    keep = np.zeros(5, bool)
    keep[[0, finger + 1]] = True
    if rng.random() < 0.3:  # the neighbour helps
        keep[min(finger + 2, 4)] = True
    return np.where(_of_fingers(keep), pinch, rest)


@cache
def _pinch_bank() -> list[np.ndarray]:
    """Per finger: poses (N, 16) in which the thumb meets it, the same at every call."""
    rng = np.random.default_rng(20240611)
    hands, layer = standin_hands()
    rig = HandRig(hands, layer, "right", np.zeros(10))
    flexion = np.concatenate(
        [rng.uniform(-0.3, 0.7, (_PINCHES, 1)), rng.uniform(0.3, 1.25, (_PINCHES, 4))], 1
    )
    curl = rng.uniform(0.1, 0.7, (_PINCHES, 5))
    spread = rng.uniform(0.3, 1, (_PINCHES, 1)) * SIDE_BY_SIDE_RAD
    spread[:, 0] = rng.uniform(0.2, 1.4, _PINCHES)
    rows = np.concatenate([flexion, curl, spread, rng.uniform(-0.1, 0.6, (_PINCHES, 1))], 1)
    _, joints = rig.pose(rig.finger_rotvec(_bend(rows)))
    gaps = np.linalg.norm(joints[:, [8, 12, 16, 20]] - joints[:, 4:5], axis=-1)
    return [rows[gaps[:, k] < max(_PINCH_GAP_M, np.sort(gaps[:, k])[20])] for k in range(4)]
