"""Skinning: linear blending as MANO does it, and the better deformer that `posedirs` imitates."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from deformer.hand.conventions import MANO_PARENTS
from deformer.hand.mano import pose_joints


def joint_rotations_to_transforms(rotations, joints) -> tuple[np.ndarray, np.ndarray]:
    """Local rotations (16, 3, 3) about rest joints (16, 3) → transforms from rest (16, 3, 4)
    and the posed joints (16, 3)."""
    rotations, joints = (torch.from_numpy(np.asarray(x, float))[None] for x in (rotations, joints))
    turn, place, shift = (x[0] for x in pose_joints(rotations, joints))
    return torch.cat([turn, shift[..., None]], -1).numpy(), place.numpy()


def pose_to_rotations(pose: np.ndarray) -> np.ndarray:
    """A finger pose of 45 axis-angle values → 16 local rotations (16, 3, 3), wrist unturned."""
    rotations = Rotation.from_rotvec(np.reshape(pose, (15, 3))).as_matrix()
    return np.concatenate([np.eye(3)[None], rotations])


def pose_feature(rotations: np.ndarray) -> np.ndarray:
    """SMPL's feature: (R_1 … R_15 − I), flattened row by row (135,)."""
    return (rotations[1:] - np.eye(3)).ravel()


def linear_blend_skinning(vertices, weights, transforms) -> np.ndarray:
    """MANO's own skinning without correctives; vertices (V, 3) → (V, 3)."""
    blended = np.einsum("vj,jab->vab", weights, transforms)
    return np.einsum("vab,vb->va", blended[..., :3], vertices) + blended[..., 3]


def dual_quaternion_skinning(vertices, weights, transforms) -> np.ndarray:
    """Blend rigid motions as unit dual quaternions: a bent joint keeps its thickness."""
    real = np.roll(Rotation.from_matrix(transforms[:, :, :3]).as_quat(), 1, axis=1)  # w first
    # q and −q are the same rotation; blended, each must lie in its parent's hemisphere.
    for j, parent in enumerate(MANO_PARENTS):
        if parent >= 0 and real[j] @ real[parent] < 0:
            real[j] *= -1
    shift = np.concatenate([np.zeros((len(real), 1)), transforms[:, :, 3]], axis=1)
    dual = 0.5 * _quaternion_product(shift, real)
    real, dual = weights @ real, weights @ dual
    norm = np.linalg.norm(real, axis=1, keepdims=True)
    real, dual = real / norm, dual / norm
    conjugate = real * np.array([1, -1, -1, -1])
    moved = 2 * _quaternion_product(dual, conjugate)[:, 1:]
    turn = Rotation.from_quat(np.roll(real, -1, axis=1))
    return turn.apply(vertices) + moved


def _quaternion_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton's product of quaternions (N, 4), w first."""
    w = a[:, :1] * b[:, :1] - (a[:, 1:] * b[:, 1:]).sum(1, keepdims=True)
    v = a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + np.cross(a[:, 1:], b[:, 1:])
    return np.concatenate([w, v], axis=1)
