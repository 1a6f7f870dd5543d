"""Finding a grasp: where the hand goes, and how far each finger bends until it touches.

Many placements of the hand around the object are drawn; in each, every finger closes until its
skin meets the object or the table (signed distances), outer joints after the base joint; the
placement with the best hold wins.
"""

from dataclasses import dataclass

import numpy as np

from deformer.hand.conventions import FINGERS
from pipelines.synthetic.hand.kinematics import (
    CURL_STEPS,
    FLEXION_STEPS,
    SIDE_BY_SIDE_RAD,
    THUMB_FLEXION_STEPS,
    FingerBend,
    HandRig,
)
from pipelines.synthetic.things.objects import Grip, SceneObject, distance_field

SINK_M = 0.0015
"""Fingers close until their deepest point is this far inside: skin gives way a little."""

_SAMPLES_PER_FINGER, _SAMPLES_OF_PALM = 44, 90
_WORTH = np.array([2.2, 1.0, 1.0, 0.6, 0.45])  # of a touching thumb, index, middle, ring, little


@dataclass(frozen=True, eq=False)
class Grasp:
    """The hand on the object, in the object's frame.

    rotation (3, 3) turns the hand's rest frame to the object's, wrist_m (3,) is the wrist there,
    approach (3,) the palm's direction, open the bends before and closed those at the hold.
    penetration_m: deepest point of the whole skin (≥ 0).
    """

    rotation: np.ndarray
    wrist_m: np.ndarray
    approach: np.ndarray
    open: FingerBend
    closed: FingerBend
    penetration_m: float
    score: float


@dataclass(frozen=True)
class _Style:
    """Ranges of the placement for one kind of grip, metres and radians."""

    along_m: tuple[float, float]  # grip centre along the fingers, from the wrist
    depth_m: tuple[float, float]  # of the grip centre below the palm's plane of joints
    across_m: tuple[float, float]
    first_curl: tuple[float, ...]  # of the outer joints while the base joint closes
    thumb_turn_rad: tuple[float, float]
    thumb_in_rad: tuple[float, float]


_CURLS, _THUMB_CURLS = (0.1, 0.25, 0.4, 0.55, 0.7), (0.0, 0.15, 0.3)
_STYLES = {
    "side": _Style((0.065, 0.125), (0.03, 0.085), (-0.01, 0.02), _CURLS, (0.0, 1.4), (-0.1, 0.7)),
    "top": _Style((0.065, 0.125), (0.05, 0.11), (-0.01, 0.02), _CURLS, (0.0, 1.4), (-0.1, 0.7)),
    "rim": _Style((0.075, 0.12), (0.07, 0.12), (0.0, 0.03), _CURLS, (0.2, 1.3), (-0.1, 0.6)),
    "pinch": _Style((0.075, 0.12), (0.05, 0.095), (0.0, 0.03), _CURLS, (0.3, 1.3), (-0.1, 0.6)),
}


def grasp_directions(rng, side: str, grip: Grip):
    """Palm and finger directions that an arm from −y can take, and the object's yaw; world."""
    sign = -1.0 if side == "left" else 1.0
    if grip.approach == "side":
        heading = rng.uniform(-0.25, 0.75)  # of the palm, from straight across towards ahead
        approach = np.array([-sign * np.cos(heading), np.sin(heading), -rng.uniform(0.0, 0.25)])
        fingers = np.array([sign * np.sin(heading), np.cos(heading), rng.uniform(-0.35, 0.05)])
    else:
        heading = rng.uniform(-0.25, 0.75)  # of the fingers, from straight ahead inwards
        fingers = np.array([-sign * np.sin(heading), np.cos(heading), rng.uniform(-0.35, -0.05)])
        approach = np.array([0.0, 0.0, -1.0]) + rng.normal(0, 0.1, 3)
    approach = approach / np.linalg.norm(approach)
    fingers = fingers - approach * (fingers @ approach)
    fingers /= np.linalg.norm(fingers)
    closing = np.arctan2(fingers[1], fingers[0])  # thumb and fingers close along the fingers
    if grip.axis is None:
        yaw = rng.uniform(-np.pi, np.pi)
    else:
        yaw = closing - np.arctan2(grip.axis[1], grip.axis[0]) + rng.normal(0, 0.12)
        x, y = grip.center_m[:2]
        c, s = np.cos(yaw), np.sin(yaw)
        if np.hypot(x, y) < 0.02:
            turn_round = rng.random() < 0.5  # both ways are as good
        else:  # a handle: the palm comes from outside, not through the body
            turn_round = np.dot([c * x - s * y, s * x + c * y], approach[:2]) > 0
        yaw += np.pi * turn_round
    return approach, fingers, yaw


def find_grasp(
    rig: HandRig,
    thing: SceneObject,
    grip: Grip,
    approach: np.ndarray,
    fingers: np.ndarray,
    rng: np.random.Generator,
    num_placements: int = 90,
    num_tables: int = 4,
) -> Grasp:
    """The best of `num_placements` drawn placements, of `num_tables` turns of the thumb.

    approach, fingers (3,): wished directions of palm and fingers in the object's frame, at right
    angles. The table is at the object's resting height.
    """
    style, best = _STYLES[grip.approach], None
    for turn in rng.uniform(*style.thumb_turn_rad, num_tables):
        spread = rng.uniform(0.3, 1.0) * SIDE_BY_SIDE_RAD + rng.normal(0, 0.05, 5)
        spread[0] = turn
        table = _FingerTable(rig, spread, rng.uniform(*style.thumb_in_rad))
        for _ in range(num_placements // num_tables):
            tilt = rng.normal(0, 0.12, 3)
            rotation = _placement_rotation(rig, approach, fingers, tilt)
            ranges = style.along_m, style.depth_m, style.across_m
            middle = np.array([rng.uniform(*limits) for limits in ranges])
            wrist = np.array(grip.center_m) - rotation @ (rig.axes.T @ middle)
            first = float(rng.choice(_THUMB_CURLS)), float(rng.choice(style.first_curl))
            found = _close(table, table.samples, thing, rotation, wrist, first)
            if best is None or found.score > best[0].score:
                best = found, table, first
    sketch, table, first = best
    everything = [rig.finger_vertices[name] for name in FINGERS]
    return _close(table, everything, thing, sketch.rotation, sketch.wrist_m, first)


def _placement_rotation(rig, approach, fingers, tilt) -> np.ndarray:
    """Hand's rest frame → object's frame, from wished palm and finger directions and a tilt."""
    p = approach / np.linalg.norm(approach)
    f = fingers - p * (fingers @ p)
    f /= np.linalg.norm(f)
    a = np.cross(p, f) if rig.is_left else np.cross(f, p)
    wished = np.stack([f, p, a], 1)
    cx, cy, cz = np.cos(tilt)
    sx, sy, sz = np.sin(tilt)
    turn = (
        np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    )
    return wished @ turn @ rig.axes


class _FingerTable:
    """Skin samples of every finger for every bend, about the wrist, in the rest frame."""

    def __init__(self, rig: HandRig, spread: np.ndarray, thumb_in: float) -> None:
        self.rig, self.spread, self.thumb_in = rig, spread, np.array([thumb_in])
        self.vertices = rig.bend_table(spread, thumb_in)  # (flexions, curls, 778, 3)
        fingers = [rig.finger_vertices[name] for name in FINGERS]
        self.samples = [_thinned(ids, _SAMPLES_PER_FINGER) for ids in fingers]
        self.palm_m = rig.rest_vertices_m[_thinned(rig.palm_vertices, _SAMPLES_OF_PALM)]

    def between(self, finger: int, flexion: float, i: int, j: int, ids: np.ndarray) -> np.ndarray:
        """Vertices `ids` at a flexion past step i, for every curl from j on, (curls, ids, 3)."""
        steps = FLEXION_STEPS if finger else THUMB_FLEXION_STEPS
        after = min(i + 1, len(steps) - 1)
        share = (flexion - steps[i]) / (steps[1] - steps[0])
        near, far = (self.vertices[n, j:][:, ids] for n in (i, after))
        return near + (far - near) * share


def _thinned(ids: np.ndarray, count: int) -> np.ndarray:
    return ids[:: max(1, len(ids) // count)]


def _clearances_m(thing: SceneObject, sets_m: list[np.ndarray]) -> list[np.ndarray]:
    """Distances of sets of points (..., 3) to the object or to the table beneath it, (...) each,
    negative inside; all at once, since a set is small."""
    points = np.concatenate([points.reshape(-1, 3) for points in sets_m])
    found = np.minimum(distance_field(thing)(points), points[:, 2] - thing.bottom_m)
    shapes = [points.shape[:-1] for points in sets_m]
    ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
    return [gaps.reshape(s) for gaps, s in zip(np.split(found, ends), shapes, strict=True)]


def _close(table: _FingerTable, samples, thing, rotation, wrist, first_curls) -> Grasp:
    """Close every finger in one placement and judge the hold. first_curls: thumb's and others'."""
    flexion, curl, contacts = np.zeros(5), np.zeros(5), np.zeros((5, 3))
    first, second = (int(np.argmin(np.abs(CURL_STEPS - value))) for value in first_curls)
    starts = first, *[second] * 4
    bases = [  # (flexions, samples, 3) each
        table.vertices[:, j, ids] @ rotation.T + wrist
        for j, ids in zip(starts, samples, strict=True)
    ]
    lowest = [gaps.min(-1) for gaps in _clearances_m(thing, bases)]
    outer = []  # (curls, samples, 3) each
    for k, (j, ids) in enumerate(zip(starts, samples, strict=True)):
        flexion[k], i = _advance(lowest[k], FLEXION_STEPS if k else THUMB_FLEXION_STEPS)
        outer.append(table.between(k, flexion[k], i, j, ids) @ rotation.T + wrist)
    for k, gaps in enumerate(_clearances_m(thing, outer)):
        curl[k], c = _advance(gaps.min(-1), CURL_STEPS[starts[k] :])
        contacts[k] = outer[k][c][gaps[c].argmin()]
    near = np.abs(distance_field(thing)(contacts)) < 0.006
    touching = near & (contacts[:, 2] - thing.bottom_m > 0.001)
    normals = _outward(thing, contacts)
    idle = ~touching & (np.arange(5) > 0)
    # nothing to hold: stay half open instead of making a fist
    flexion[idle], curl[idle] = np.minimum(flexion[idle], 0.7), np.minimum(curl[idle], 0.35)
    sunk = max(-float(gaps[0]) for gaps in lowest)
    palm = float(_clearances_m(thing, [table.palm_m @ rotation.T + wrist])[0].min())
    penetration = max(sunk, -palm, 0.0)
    opposed = -normals[0] @ normals[1:].T  # 1 where a finger presses against the thumb
    score = float(
        (_WORTH * touching).sum()
        + (1.5 * np.clip(opposed, -1, 1) * touching[1:] * touching[0] * _WORTH[1:]).sum()
        - 250 * max(penetration - SINK_M, 0)
        - 12 * max(palm - 0.01, 0)
        - 0.5 * np.abs(np.diff(flexion[1:])).sum()
    )
    opened = FingerBend(
        np.maximum(flexion - 0.35, [-0.95, -0.25, -0.25, -0.25, -0.25]),
        np.maximum(curl - 0.12, 0.05),
        table.spread * [0.75, 1, 1, 1, 1],
        table.thumb_in,
    )
    closed = FingerBend(flexion, curl, table.spread, table.thumb_in)
    palm_direction = rotation @ table.rig.axes[1]
    return Grasp(rotation, wrist, palm_direction, opened, closed, penetration, score)


def _advance(lowest: np.ndarray, steps: np.ndarray) -> tuple[float, int]:
    """How far a joint goes before skin sinks deeper than `SINK_M`: value, and the step before."""
    blocked = lowest < -SINK_M
    if blocked[0]:
        return float(steps[0]), 0
    if not blocked.any():
        return float(steps[-1]), len(steps) - 1
    i = int(blocked.argmax())
    share = (lowest[i - 1] + SINK_M) / max(lowest[i - 1] - lowest[i], 1e-9)
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1])), i - 1


def _outward(thing: SceneObject, points: np.ndarray) -> np.ndarray:
    """The object's outward directions at points (N, 3), by differences of the signed distance."""
    h = 2e-3
    offsets = np.concatenate([np.eye(3), -np.eye(3)]) * h
    d = distance_field(thing)(points[:, None] + offsets)
    gradient = d[:, :3] - d[:, 3:]
    return gradient / np.maximum(np.linalg.norm(gradient, axis=1), 1e-9)[:, None]
