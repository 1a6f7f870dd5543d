"""Motion of hand and object: appear, reach, grasp, lift, turn; 30 frames a second.

Every piece runs on minimum-jerk time (velocity and acceleration zero at both ends); pieces of the
object's motion overlap, so nothing stops between them. World frame of `cameras.py`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from deformer.data.clip import FRAMES_PER_SECOND
from pipelines.synthetic.hand.grasp import Grasp
from pipelines.synthetic.hand.kinematics import FingerBend, HandRig, natural_bend

_REFERENCE_FRAMES = 72  # DexYCB's usual length; shorter clips run through the same motion faster
TABLE_EDGE_Y_M = -0.44
"""The table ends here towards the person; the hand waits below it before it comes into view."""


@dataclass(frozen=True, eq=False)
class Motion:
    """One sequence in the world frame, a row per frame.

    valid (F,) bool: the hand is there. global_rotvec (F, 3), finger_rotvec (F, 45): MANO
    axis-angle. wrist_m (F, 3). object_rotation (F, 3, 3) and object_m (F, 3) of the grasped object.
    """

    valid: np.ndarray
    global_rotvec: np.ndarray
    finger_rotvec: np.ndarray
    wrist_m: np.ndarray
    object_rotation: np.ndarray
    object_m: np.ndarray

    @property
    def num_frames(self) -> int:
        return len(self.valid)


def minimum_jerk(time: np.ndarray) -> np.ndarray:
    """0 … 1 in time → 0 … 1 in space, held outside."""
    t = np.clip(time, 0, 1)
    return t * t * t * (10 + t * (6 * t - 15))


def smooth_noise(
    rng: np.random.Generator, times: np.ndarray, channels: int, period: float
) -> np.ndarray:
    """Unit-spread noise at times (T,) ≥ 0 that changes over about `period`: (T, channels)."""
    num_knots = max(4, int(np.ceil((times.max() + 1) / period)) + 3)
    knots = rng.standard_normal((num_knots, channels))
    position = times / max(period, 1)
    i = np.clip(position.astype(int), 0, num_knots - 2)
    share = minimum_jerk(position - i)[:, None]
    return knots[i] * (1 - share) + knots[i + 1] * share


@dataclass(frozen=True)
class Timing:
    """When things happen, in frames: the hand appears, touches, and how long a move takes."""

    appear: float
    touch: float
    move: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, num_frames: int) -> "Timing":
        """DexYCB's pace at its usual length, faster in shorter clips."""
        pace = min(1.0, num_frames / _REFERENCE_FRAMES)
        appear = rng.uniform(5, 14) * pace
        return cls(appear, appear + rng.uniform(20, 27) * pace, rng.uniform(15, 22) * pace)


def table_motion(
    rig: HandRig,
    grasp: Grasp,
    object_rotation: np.ndarray,
    object_m: np.ndarray,
    num_frames: int,
    rng: np.random.Generator,
) -> Motion:
    """Motion as in DexYCB: no hand, reach, grasp, lift, turn.

    object_rotation (3, 3), object_m (3,): the object at rest on the table.
    """
    timing = Timing.drawn(rng, num_frames)
    frames = np.arange(num_frames)
    rotations, positions = _carried_object(object_rotation, object_m, frames, timing, rng)
    hand_rotation = rotations @ grasp.rotation
    wrist = np.einsum("fij,j->fi", rotations, grasp.wrist_m) + positions
    reach = minimum_jerk((frames - timing.appear) / (timing.touch - timing.appear))
    path, turn = _reach_path(rig, hand_rotation[0], wrist[0], object_rotation @ grasp.approach, rng)
    before = frames < timing.touch
    wrist[before] = path(reach[before])
    hand_rotation[before] = turn(reach[before])
    wrist += (0.0012 * smooth_noise(rng, frames, 3, 6) * (1 - reach[:, None])).astype(float)
    bend = _finger_motion(grasp, frames, timing, rng)
    hand = Rotation.from_matrix(hand_rotation).as_rotvec(), rig.finger_rotvec(bend), wrist
    return Motion(frames >= np.ceil(timing.appear), *hand, rotations, positions)


def held_motion(
    rig: HandRig,
    grasp: Grasp,
    start_rotation: np.ndarray,
    center_m: np.ndarray,
    num_frames: int,
    rng: np.random.Generator,
) -> Motion:
    """Motion as in HO-3D: the hand holds the object from the start and turns it."""
    frames = np.arange(num_frames)
    seconds = num_frames / FRAMES_PER_SECOND
    period = max(2.0, 22.0 * min(1.0, num_frames / _REFERENCE_FRAMES))
    angles = smooth_noise(rng, frames, 3, period) * np.array([0.4, 0.4, 0.55])
    drift = smooth_noise(rng, frames, 3, period * 1.2) * np.array([0.03, 0.025, 0.02])
    rotations = Rotation.from_rotvec(angles).as_matrix() @ start_rotation
    positions = center_m + drift + 0.01 * np.sin(seconds * frames / num_frames)[:, None]
    hand_rotation = rotations @ grasp.rotation
    wrist = np.einsum("fij,j->fi", rotations, grasp.wrist_m) + positions
    timing = Timing(-1.0, -0.5, period)
    bend = _finger_motion(grasp, frames, timing, rng)
    hand = Rotation.from_matrix(hand_rotation).as_rotvec(), rig.finger_rotvec(bend), wrist
    return Motion(np.ones(num_frames, bool), *hand, rotations, positions)


def _carried_object(rotation, position, frames, timing, rng):
    """Lift, then turn and move by overlapping strokes: rotations (F, 3, 3), positions (F, 3)."""
    num_frames, start = len(frames), timing.touch + 1
    lift = np.array([rng.uniform(-0.04, 0.04), rng.uniform(-0.05, 0.03), rng.uniform(0.09, 0.2)])
    strokes = [(start, timing.move, lift, rng.normal(0, 0.25, 3))]
    begin = start + 0.55 * timing.move
    while begin < num_frames:
        turn = rng.uniform(-1, 1, 3) * np.array([0.6, 0.6, 0.95])
        shift = rng.uniform(-1, 1, 3) * np.array([0.07, 0.06, 0.04])
        strokes.append((begin, timing.move * rng.uniform(0.9, 1.4), shift, turn))
        begin += timing.move * rng.uniform(0.65, 0.9)
    total = np.repeat(position[None], num_frames, 0)
    turned = Rotation.identity(num_frames)
    for begin, length, shift, turn in strokes:
        share = minimum_jerk((frames - begin) / length)[:, None]
        total = total + share * shift
        turned = Rotation.from_rotvec(share * turn) * turned
    lifted = minimum_jerk((frames - start) / timing.move)[:, None]
    total += 0.0015 * lifted * smooth_noise(rng, frames, 3, 7)
    trembling = Rotation.from_rotvec(0.012 * lifted * smooth_noise(rng, frames, 3, 7))
    return (trembling * turned).as_matrix() @ rotation, total


def _reach_path(rig, final_rotation, final_wrist, approach, rng):
    """Functions of the reach's progress 0…1: wrist positions and hand rotations."""
    sign = -1.0 if rig.is_left else 1.0
    retreat = rng.uniform(0.09, 0.13)
    ready = final_wrist - approach * retreat + np.array([0, 0, 0.02])
    start = np.array([sign * rng.uniform(0.08, 0.22), TABLE_EDGE_Y_M - 0.24, -0.26])
    rise = np.array([start[0] * 1.1, TABLE_EDGE_Y_M - 0.16, rng.uniform(0.26, 0.36)])
    before_ready = ready - approach * rng.uniform(0.06, 0.12) + np.array([0, -0.1, 0.06])
    knots = np.stack([start, rise, before_ready, ready])
    # The curved path ends at this share of the time, and a straight one follows: even speed.
    share = 0.8

    def path(progress):
        t = np.clip(progress / share, 0, 1)[:, None]
        a, b, c, d = knots
        bent = (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t * t * (1 - t) * c + t**3 * d
        last = np.clip((progress - share) / (1 - share), 0, 1)[:, None]
        return bent + (final_wrist - ready) * last

    f, p = np.array([0.1 * sign, 0.85, 0.5]), np.array([0.0, 0.5, -0.85])
    f, p = f / np.linalg.norm(f), p - f * (p @ f) / (f @ f)
    p /= np.linalg.norm(p)
    a = np.cross(p, f) if rig.is_left else np.cross(f, p)
    resting = np.stack([f, p, a], 1) @ rig.axes
    slerp = Slerp([0, 1], Rotation.from_matrix(np.stack([resting, final_rotation])))

    def turn(progress):
        return slerp(minimum_jerk((progress - 0.1) / 0.75)).as_matrix()

    return path, turn


def _finger_motion(grasp: Grasp, frames, timing: Timing, rng) -> FingerBend:
    """Relaxed → open → closed, with a tremor, and sometimes a finger that lifts and returns."""
    num_frames = len(frames)
    relaxed = natural_bend(rng, rng.uniform(0.5, 1.0))
    reach_length = timing.touch - timing.appear
    opening = minimum_jerk((frames - timing.appear - 0.1 * reach_length) / (0.6 * reach_length))
    closing = minimum_jerk((frames - timing.touch + 0.32 * reach_length) / (0.32 * reach_length))
    bend = relaxed.towards(grasp.open, opening[:, None]).towards(grasp.closed, closing[:, None])
    free = (1 - closing)[:, None]
    tremor = [smooth_noise(rng, frames, 5, 8) * (0.004 + 0.02 * free) for _ in range(3)]
    lifted = np.zeros((num_frames, 5))
    if rng.random() < 0.6:
        begin = timing.touch + timing.move * rng.uniform(0.8, 2.0)
        length = 0.8 * timing.move
        time = (frames - begin) / length
        stroke = minimum_jerk(time) - minimum_jerk(time - 1)
        lifted[:, rng.choice([1, 3, 4])] = stroke * rng.uniform(0.2, 0.45)
    return FingerBend(
        bend.flexion_rad - lifted - np.abs(tremor[0]),
        np.maximum(bend.curl - 0.5 * np.abs(tremor[1]), 0),
        bend.spread_rad + 0.4 * tremor[2] * free,
        bend.thumb_in_rad,
    )
