"""The arm that continues the hand: bare skin or a sleeve, from the wrist to the shoulder.

It is not part of the hand model. As in DexYCB, segmentations show it as background.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from pipelines.synthetic.hand.kinematics import HandRig
from pipelines.synthetic.things.shapes import carried_frames, grid_faces

_UPPER_ARM_M, _FOREARM_M = 0.33, 0.265
_NUM_SIDES = 16


@dataclass(frozen=True)
class ArmStyle:
    """shoulder_m (3,) in the world; sleeve_from_m: where the sleeve begins, from the wrist."""

    shoulder_m: np.ndarray
    sleeve_from_m: float
    sleeve_bulge_m: float


class Arm:
    """A tube whose first ring is the hand's open edge."""

    def __init__(self, rig: HandRig, style: ArmStyle) -> None:
        self.rig, self.style = rig, style
        faces = rig.arrays.faces
        loop = _open_edge(faces.tobytes(), faces.dtype.str)
        self.edge = loop[np.linspace(0, len(loop), _NUM_SIDES, endpoint=False).astype(int)]
        self.along_m = np.array(
            [0, 0.012, 0.03, 0.055, 0.08, 0.11, 0.15, 0.2, 0.26, 0.34, 0.46, 0.6, 0.8]
        )
        self.faces = grid_faces(len(self.along_m), _NUM_SIDES + 1)
        self.is_sleeve = self.along_m >= style.sleeve_from_m
        self.num_vertices = len(self.along_m) * (_NUM_SIDES + 1)

    def vertices_m(self, hand_vertices_m: np.ndarray, hand_rotation: np.ndarray) -> np.ndarray:
        """The arm of one posed hand: (778, 3), (3, 3) in the world → (V, 3) in the world."""
        edge = hand_vertices_m[self.edge]
        center = edge.mean(0)
        outward = -(self.rig.axes[0] @ hand_rotation.T)
        elbow = self._elbow(center)
        knots = np.stack([center, center + 0.035 * outward, elbow, self.style.shoulder_m])
        points, tangents = _along(knots, self.along_m)
        sides = carried_frames(tangents, hand_rotation @ self.rig.axes[2])
        overs = np.cross(tangents, sides)
        # the edge's points keep their angles; their radii become an ellipse's
        first = np.stack([(edge - center) @ sides[0], (edge - center) @ overs[0]], 1)
        angle = np.arctan2(first[:, 1], first[:, 0])
        circle = np.stack([np.cos(angle), np.sin(angle)], 1)
        rings = []
        for along, point, side, over in zip(self.along_m, points, sides, overs, strict=True):
            share = min(1.0, along / 0.045)
            local = first * (1 - share) + circle * self._radii(along) * share
            ring = point + local[:, :1] * side + local[:, 1:] * over
            if along == 0:
                ring = edge - 0.0015 * outward
            rings.append(np.concatenate([ring, ring[:1]]))
        return np.concatenate(rings)

    def outline_m(self, vertices_m: np.ndarray, spacing_m: float) -> np.ndarray:
        """Points all over the arm, at most `spacing_m` apart along it, from its vertices (V, 3)."""
        rings = vertices_m.reshape(len(self.along_m), -1, 3)
        fine = np.arange(0, self.along_m[-1], spacing_m)
        k = np.clip(np.searchsorted(self.along_m, fine, "right") - 1, 0, len(self.along_m) - 2)
        share = (fine - self.along_m[k]) / (self.along_m[k + 1] - self.along_m[k])
        rows = rings[k] + (rings[k + 1] - rings[k]) * share[:, None, None]
        between = (rows[:, 1:] + rows[:, :-1]) / 2
        return np.concatenate([rows.reshape(-1, 3), between.reshape(-1, 3)])

    def _radii(self, along: float) -> np.ndarray:
        grow = np.clip(along / 0.22, 0, 1)
        bulge = self.style.sleeve_bulge_m if along >= self.style.sleeve_from_m else 0.0
        return np.array([0.027 + 0.014 * grow, 0.0205 + 0.017 * grow]) + bulge

    def _elbow(self, wrist: np.ndarray) -> np.ndarray:
        """Two-bone reach from shoulder to wrist; the elbow hangs down and outwards."""
        shoulder = self.style.shoulder_m
        gap = wrist - shoulder
        distance = np.clip(np.linalg.norm(gap), 0.12, _UPPER_ARM_M + _FOREARM_M - 0.005)
        direction = gap / np.linalg.norm(gap)
        along = (distance**2 + _UPPER_ARM_M**2 - _FOREARM_M**2) / (2 * distance)
        off = np.sqrt(max(_UPPER_ARM_M**2 - along**2, 0.0))
        down = np.array([0.45 * np.sign(shoulder[0]), 0, -1.0])
        down -= direction * (down @ direction)
        elbow = shoulder + direction * along + down / np.linalg.norm(down) * off
        forearm = elbow - wrist
        return wrist + forearm / np.linalg.norm(forearm) * _FOREARM_M


@cache
def _open_edge(data: bytes, dtype: str) -> np.ndarray:
    """The vertices round the longest open edge (the wrist) of a mesh's faces (F, 3), in order."""
    faces = np.frombuffer(data, dtype).reshape(-1, 3)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    twin = {(b, a) for a, b in edges.tolist()}
    following = {a: b for a, b in edges.tolist() if (a, b) not in twin}
    loops = []
    while following:
        start = next(iter(following))
        loop, at = [start], following.pop(start)
        while at != start and at in following:
            loop.append(at)
            at = following.pop(at)
        loops.append(loop)
    return np.array(max(loops, key=len))


def _along(knots: np.ndarray, along_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and unit tangents of a rounded polyline at the given lengths from its start."""
    dense = [knots[0]]
    for a, b in pairwise(knots):
        dense.extend(a + (b - a) * t for t in np.linspace(0, 1, 25)[1:])
    dense = np.array(dense)
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    fine = np.linspace(0, min(lengths[-1], along_m[-1] + 0.1), 140)
    line = np.stack([np.interp(fine, lengths, dense[:, k]) for k in range(3)], 1)
    window = np.hanning(19)
    window /= window.sum()
    padded = np.concatenate([2 * line[0] - line[9:0:-1], line, 2 * line[-1] - line[-2:-11:-1]])
    line = np.stack([np.convolve(padded[:, k], window, "valid") for k in range(3)], 1)
    points = np.stack([np.interp(along_m, fine, line[:, k]) for k in range(3)], 1)
    tangents = np.gradient(line, axis=0)
    tangents = np.stack([np.interp(along_m, fine, tangents[:, k]) for k in range(3)], 1)
    return points, tangents / np.linalg.norm(tangents, axis=1, keepdims=True)
