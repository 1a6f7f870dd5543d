"""Inverse kinematics: recorded joints of anyone's hand → the stand-in's shape and pose.

The stand-in's bones are first given the recorded lengths as far as its shape allows (`fit_betas`);
then its pose in every frame of a sequence is the most plausible one that brings its joints to the
recorded ones (`fit_pose`). A pose is plausible where it is near the stand-in's grasps, measured in
their own principal components, and where it changes evenly over time.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from deformer.hand.conventions import JOINT_PARENTS, MANO_TO_DATASET, TIP_VERTICES
from deformer.hand.mano import STANDIN_DIR, HandArrays, pose_joints
from deformer.hand.rotations import rotmat_to_rotvec, rotvec_to_rotmat

PALM_JOINTS = (0, 1, 5, 9, 13, 17)
"""The joints that no finger moves: wrist and bases of the fingers."""

_JOINT_SPREAD_M = 0.003  # usual distance of a fitted joint from the recorded one
_COEFFICIENT_FLOOR_RAD = 0.06  # allows a little more than the stand-in's own grasps
_CHANGE_SPREAD = 0.7  # of a frame from the mean of its neighbours, in units of the prior
_BETA_SPREAD_M = 0.005  # of a bone's length, against betas that are N(0, 1)
_STEPS, _DAMPING = 6, 0.1
_DIFFERENCE = 0.01  # of parameters (rad, m, units of the prior), for slopes


@dataclass(frozen=True, eq=False)
class Fit:
    """A sequence's pose of the stand-in, F frames.

    global_rotvec (F, 3), finger_rotvec (F, 45): axis-angle, MANO's order; wrist_m (F, 3), in the
    frame of the recorded joints; residual_m (F, 21): distance of each joint from the recorded one.
    """

    global_rotvec: np.ndarray
    finger_rotvec: np.ndarray
    wrist_m: np.ndarray
    residual_m: np.ndarray


class JointModel:
    """The 21 joints of one side and shape, posed as by `HandLayer`, without its vertices."""

    def __init__(self, arrays: HandArrays, side: str, betas: np.ndarray) -> None:
        tips = list(TIP_VERTICES["dexycb", side])
        shaped = arrays.v_template + arrays.shapedirs @ np.asarray(betas, np.float32)
        self.joints_m = torch.from_numpy(arrays.J_regressor @ shaped)  # (16, 3)
        self.tips_m = torch.from_numpy(shaped[tips])  # (5, 3)
        self._tip_posedirs = torch.from_numpy(arrays.posedirs[tips].reshape(15, 135))
        self._tip_weights = torch.from_numpy(arrays.weights[tips])  # (5, 16)

    def __call__(self, rotmats: Tensor) -> Tensor:
        """rotmats (B, 16, 3, 3), the first global → joints (B, 21, 3), dataset order, about the
        wrist, metres."""
        B = len(rotmats)
        turns, joints, shifts = pose_joints(rotmats, self.joints_m.expand(B, 16, 3))
        bend = (rotmats[:, 1:] - torch.eye(3)).reshape(B, 135)
        tips = self.tips_m + (bend @ self._tip_posedirs.T).reshape(B, 5, 3)
        moves = torch.cat([turns, shifts[..., None]], -1)  # (B, 16, 3, 4)
        skin = torch.einsum("tj,bjrc->btrc", self._tip_weights, moves)
        tips = torch.einsum("btrc,btc->btr", skin[..., :3], tips) + skin[..., 3]
        return torch.cat([joints, tips], 1)[:, MANO_TO_DATASET] - joints[:, :1]


def fit_betas(arrays: HandArrays, side: str, joints_m: np.ndarray) -> np.ndarray:
    """The stand-in's shape whose palm and bones are nearest to recorded ones, (10,) float32.

    joints_m (F, 21, 3): recorded, any poses, any frame of reference.
    """
    pairs = [(a, b) for a in PALM_JOINTS for b in PALM_JOINTS if a < b]
    pairs += [(p, k) for k, p in enumerate(JOINT_PARENTS) if p > 0]
    first, second = np.array(pairs).T

    def lengths_m(joints: np.ndarray) -> np.ndarray:
        return np.linalg.norm(joints[..., first, :] - joints[..., second, :], axis=-1)

    recorded = np.median(lengths_m(np.asarray(joints_m, np.float64)), axis=0)
    rest = torch.eye(3).expand(1, 16, 3, 3)

    def mine(betas: np.ndarray) -> np.ndarray:
        joints = JointModel(arrays, side, betas)(rest)[0].numpy()
        return lengths_m(joints.astype(np.float64)) / _BETA_SPREAD_M

    betas, prior = np.zeros(10), np.eye(10)
    for _ in range(3):  # Gauss-Newton: lengths are almost linear in the shape
        here = mine(betas)
        slope = np.stack([mine(betas + step) - here for step in 0.1 * prior], 1) / 0.1
        wanted = slope.T @ (recorded / _BETA_SPREAD_M - here + slope @ betas)
        betas = np.linalg.solve(slope.T @ slope + prior, wanted)
    return betas.astype(np.float32)


@cache
def _prior(side: str) -> tuple[Tensor, Tensor]:
    """Finger pose = mean (45,) + z @ basis (45, 45), where z of a plausible pose is N(0, 1)."""
    with np.load(STANDIN_DIR / f"STANDIN_{side.upper()}.npz") as file:
        spread = np.maximum(file["hands_coeffs"].std(0), _COEFFICIENT_FLOOR_RAD)
        mean, basis = file["hands_mean"], spread[:, None] * file["hands_components"]
    return torch.from_numpy(mean).float(), torch.from_numpy(basis).float()


def fit_pose(arrays: HandArrays, side: str, betas: np.ndarray, joints_m: np.ndarray) -> Fit:
    """Fit the pose of every frame of one run of consecutive frames.

    betas (10,); joints_m (F, 21, 3): recorded, dataset order. The wrist and the palm's joints give
    the first global rotation (Procrustes); fingers start in the mean grasp.
    """
    joint_model, (mean, basis) = JointModel(arrays, side, betas), _prior(side)
    recorded = torch.from_numpy(np.asarray(joints_m, np.float32))
    F, C = len(recorded), 51
    start = _palm_rotation(joint_model, recorded)

    def pose(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (…, F, 51): turn from `start` (rad), shift from the recorded wrist (m), z → rotations
        (…, F, 16, 3, 3), fingers (…, F, 45), joints (…, F, 21, 3)."""
        fingers = mean + x[..., 6:] @ basis
        rotmats = rotvec_to_rotmat(torch.cat([x[..., :3], fingers], -1).unflatten(-1, (16, 3)))
        rotmats = torch.cat(
            [(rotmats[..., 0, :, :] @ start)[..., None, :, :], rotmats[..., 1:, :, :]], -3
        )
        joints = joint_model(rotmats.reshape(-1, 16, 3, 3)).reshape(*x.shape[:-1], 21, 3)
        return rotmats, fingers, joints + (recorded[:, 0] + x[..., 3:6])[..., None, :]

    x = torch.zeros(F, C)
    prior = torch.cat([torch.zeros(6), torch.ones(45)])  # z is N(0, 1), the rest is free
    even = prior / _CHANGE_SPREAD**2 if F > 1 else 0 * prior
    for _ in range(_STEPS):  # Gauss-Newton: each frame alone, its neighbours fixed
        joints = pose(x)[2]
        ahead = pose(x + _DIFFERENCE * torch.eye(C)[:, None])[2]  # (C, F, 21, 3)
        slope = ((ahead - joints) / (_DIFFERENCE * _JOINT_SPREAD_M)).flatten(2)  # (C, F, 63)
        slope = slope.permute(1, 2, 0)
        off = ((recorded - joints) / _JOINT_SPREAD_M).reshape(F, 63, 1)
        wanted = (slope.mT @ off)[..., 0] - prior * x + even * (_neighbours(x) - x)
        x = x + torch.linalg.solve(slope.mT @ slope + torch.diag(prior + even + _DAMPING), wanted)
    rotmats, fingers, joints = pose(x)
    residual = (joints - recorded).norm(dim=-1)
    found = rotmat_to_rotvec(rotmats[:, 0]), fingers, joints[:, 0], residual
    return Fit(*(x.numpy() for x in found))


def _neighbours(x: Tensor) -> Tensor:
    """The mean of the frames before and after, (F, C); at an end, the only neighbour."""
    before, after = torch.cat([x[1:2], x[:-1]]), torch.cat([x[1:], x[-2:-1]])
    return (before + after) / 2 if len(x) > 1 else x


def _palm_rotation(joint_model: JointModel, recorded_m: Tensor) -> Tensor:
    """Rotations (F, 3, 3) from the palm at rest to the recorded palm: Kabsch, without scale."""
    palm = list(PALM_JOINTS)
    rest = joint_model(torch.eye(3).expand(1, 16, 3, 3))[0, palm]
    seen = recorded_m[:, palm]
    rest, seen = rest - rest.mean(0), seen - seen.mean(1, keepdim=True)
    u, _, vt = torch.linalg.svd(seen.transpose(1, 2) @ rest)
    flip = torch.ones(len(seen), 3)
    flip[:, 2] = torch.linalg.det(u @ vt)
    return u @ (flip[..., None] * vt)
