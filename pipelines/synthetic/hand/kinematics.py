"""Kinematics of the hand: flexion angles → MANO pose → vertices, and tables of them.

A hand's own frame here is MANO's rest pose with the wrist moved to the origin. `f` points along the
fingers, `p` out of the palm, `a` across, towards the thumb: right −x, −y, +z; left +x, −y, +z.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from deformer.hand.conventions import FINGERS, MANO_JOINT_NAMES
from deformer.hand.mano import HandLayer, Hands
from deformer.hand.rotations import rotvec_to_rotmat

FLEXION_STEPS = np.linspace(-0.25, 1.45, 18)
"""Base-joint angles of the tables, radians: 0 is the flat hand."""

THUMB_FLEXION_STEPS = np.linspace(-0.85, 0.75, 18)
"""The same for the thumb: 0 is its rest, less opens it away from the fingers."""

CURL_STEPS = np.linspace(0.0, 1.0, 11)
"""Curl of the two outer joints of the tables: 0 straight, 1 a closed fist."""

SIDE_BY_SIDE_RAD = np.array([0.2, -0.12, 0.0, 0.14, 0.31])
"""Spreads at which fingers lie side by side, as they usually do; in the rest pose they are apart.
The thumb's value is a relaxed hand's."""

_OUTER_RAD = {"thumb": (0.75, 0.95)}  # full curl of middle and end joint
_OUTER_DEFAULT_RAD = (1.6, 0.95)


def finger_joints(finger: str) -> tuple[int, int, int]:
    """The three joints of a finger in MANO's order of 16."""
    first = MANO_JOINT_NAMES.index(f"{finger}_1")
    return first, first + 1, first + 2


@dataclass(frozen=True)
class FingerBend:
    """Bends of all fingers in the order thumb, index, middle, ring, little.

    flexion_rad (..., 5): base joints. curl (..., 5): outer joints. spread_rad (..., 5): base
    joints sideways, positive towards the thumb; for the thumb itself its turn under the palm.
    thumb_in_rad (..., 1): the thumb's turn in the plane of the palm, towards the fingers.
    """

    flexion_rad: np.ndarray
    curl: np.ndarray
    spread_rad: np.ndarray
    thumb_in_rad: np.ndarray

    def towards(self, other: "FingerBend", share: np.ndarray) -> "FingerBend":
        """share (..., 1) of the way to `other`."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return FingerBend(*(mine + share * (theirs - mine) for mine, theirs in pairs))


class HandRig:
    """One subject's hand of one side: its bending axes, and the vertices of each finger."""

    def __init__(self, hands: Hands, layer: HandLayer, side: str, betas: np.ndarray) -> None:
        self.side, self.is_left = side, side == "left"
        self.arrays = hands.left if self.is_left else hands.right
        self.layer, self.betas = layer, np.asarray(betas, np.float32)
        self.wrist_m = self.arrays.wrist_m(self.betas)
        mirror = -1.0 if self.is_left else 1.0
        self.axes = np.array([[-mirror, 0, 0], [0, -1.0, 0], [0, 0, 1.0]])
        """Rows f, p, a in MANO's rest frame."""
        self.rest_vertices_m, self.rest_joints_m = self.pose(np.zeros((1, 45)))
        self.rest_vertices_m, self.rest_joints_m = self.rest_vertices_m[0], self.rest_joints_m[0]
        self.owner = self.arrays.weights.argmax(1)
        self.finger_vertices = {
            finger: np.flatnonzero(np.isin(self.owner, finger_joints(finger))) for finger in FINGERS
        }
        self.palm_vertices = np.flatnonzero(self.owner == 0)
        self.flexion_axes = {finger: self._flexion_axis(finger) for finger in FINGERS}

    def _flexion_axis(self, finger: str) -> np.ndarray:
        _, p, _ = self.axes
        if finger == "thumb":  # bends in the plane of the palm, towards the fingers
            return p if not self.is_left else -p
        k = 1 + 4 * FINGERS.index(finger)
        bone = self.rest_joints_m[k + 2] - self.rest_joints_m[k]
        bone = bone - p * (bone @ p)
        axis = np.cross(bone / np.linalg.norm(bone), p)
        return axis / np.linalg.norm(axis)

    def finger_rotvec(self, bend: FingerBend) -> np.ndarray:
        """Bends (..., 5) → the 15 finger rotations (..., 45), axis-angle in MANO's order."""
        f, p, a = self.axes
        mirror = -1.0 if self.is_left else 1.0
        batch = bend.flexion_rad.shape[:-1]
        pose = np.zeros((*batch, 16, 3))
        for k, finger in enumerate(FINGERS):
            base, middle, end = finger_joints(finger)
            axis, outer = self.flexion_axes[finger], _OUTER_RAD.get(finger, _OUTER_DEFAULT_RAD)
            flexion, spread = bend.flexion_rad[..., k, None], bend.spread_rad[..., k, None]
            if finger == "thumb":  # under the palm about f, towards the fingers about a and p
                turn = Rotation.from_rotvec((spread * -f * mirror).reshape(-1, 3))
                close = Rotation.from_rotvec((flexion * -a * mirror).reshape(-1, 3))
                inward = Rotation.from_rotvec((bend.thumb_in_rad * p * mirror).reshape(-1, 3))
                pose[..., base, :] = (inward * close * turn).as_rotvec().reshape(*batch, 3)
            else:
                turn = Rotation.from_rotvec((spread * -p * mirror).reshape(-1, 3))
                close = Rotation.from_rotvec((flexion * axis).reshape(-1, 3))
                pose[..., base, :] = (turn * close).as_rotvec().reshape(*batch, 3)
            pose[..., middle, :] = axis * (bend.curl[..., k, None] * outer[0])
            pose[..., end, :] = axis * (bend.curl[..., k, None] * outer[1])
        return pose[..., 1:, :].reshape(*batch, 45)

    def pose(
        self, finger_rotvec: np.ndarray, global_rotvec: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (B, 778, 3) and joints (B, 21, 3), dataset order, about the wrist.

        finger_rotvec (B, 45) axis-angle; global_rotvec (B, 3), by default 0. The hand turns about
        its wrist, the origin.
        """
        batch = len(finger_rotvec)
        rotvec = np.zeros((batch, 16, 3), np.float32)
        rotvec[:, 1:] = finger_rotvec.reshape(batch, 15, 3)
        if global_rotvec is not None:
            rotvec[:, 0] = global_rotvec
        with torch.inference_mode():
            vertices, joints = self.layer(
                rotvec_to_rotmat(torch.from_numpy(rotvec)),
                torch.from_numpy(np.broadcast_to(self.betas, (batch, 10)).copy()),
                torch.full((batch,), self.is_left),
            )
        return vertices.numpy() - self.wrist_m, joints.numpy() - self.wrist_m

    def bend_table(self, spread_rad: np.ndarray, thumb_in_rad: float) -> np.ndarray:
        """All vertices for every flexion and curl, (flexions, curls, 778, 3) about the wrist.

        Every finger moves on its own, so one table serves all of them.
        """
        flexion, curl = np.meshgrid(FLEXION_STEPS, CURL_STEPS, indexing="ij")
        thumb, _ = np.meshgrid(THUMB_FLEXION_STEPS, CURL_STEPS, indexing="ij")
        bend = FingerBend(
            np.stack([thumb, *[flexion] * 4], -1),
            curl[..., None] * np.ones(5),
            np.broadcast_to(spread_rad, (*flexion.shape, 5)),
            np.full((*flexion.shape, 1), thumb_in_rad),
        )
        vertices, _ = self.pose(self.finger_rotvec(bend).reshape(-1, 45))
        return vertices.reshape(*flexion.shape, -1, 3)


def natural_bend(rng: np.random.Generator, amount: float) -> FingerBend:
    """A relaxed hand: `amount` 0 flat, 1 half closed, varied a little."""
    own = rng.normal(0, 0.05, (3, 5))
    flexion = amount * np.array([0.1, 0.4, 0.45, 0.5, 0.5]) + own[0]
    flexion[0] -= rng.uniform(0, 0.5)
    curl = np.clip(amount * np.array([0.2, 0.35, 0.4, 0.4, 0.36]) + np.abs(own[1]), 0, 1)
    spread = rng.uniform(0.4, 1.1) * SIDE_BY_SIDE_RAD + 0.6 * own[2]
    spread[0] = rng.uniform(-0.1, 0.7)
    return FingerBend(flexion, curl, spread, rng.uniform(-0.1, 0.6, 1))
