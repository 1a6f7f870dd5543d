"""Rotations as pure functions, named input_to_output.

`rotvec`: axis times angle in radians, shape (..., 3). `rotmat`: matrix acting on column vectors,
shape (..., 3, 3). `rot6d`: the matrix's first two columns, concatenated, shape (..., 6); the
network predicts and adds rotations in this form.
"""

import torch
from torch import Tensor
from torch.nn import functional


def rotvec_to_rotmat(rotvec: Tensor) -> Tensor:
    """Rodrigues' formula: rotvec (..., 3) in radians → rotmat (..., 3, 3).

    Exact at zero, with finite gradients: near zero, sin(θ)/θ and (1 − cos θ)/θ² come from their
    series, so nothing is divided by a vanishing angle.
    """
    square = (rotvec * rotvec).sum(-1)[..., None, None]  # θ², (..., 1, 1)
    is_small = square < 1e-6
    safe = torch.where(is_small, torch.ones_like(square), square)
    angle = safe.sqrt()
    sin_over_angle = torch.where(is_small, 1 - square / 6, angle.sin() / angle)
    # 2 sin²(θ/2) loses no digits to cancellation, unlike 1 − cos θ
    versine_over_square = torch.where(
        is_small, 0.5 - square / 24, 2 * (angle / 2).sin().square() / safe
    )
    x, y, z = rotvec.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return eye + sin_over_angle * cross + versine_over_square * (cross @ cross)


def rot6d_to_rotmat(rot6d: Tensor) -> Tensor:
    """Gram-Schmidt: rot6d (..., 6), a matrix's first two columns → rotmat (..., 3, 3).

    The columns need not be unit or orthogonal. If they are degenerate (the first shorter than 1e-6,
    or the second parallel to it), result and gradient are finite, but no rotation. Source: Zhou et
    al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019.
    """
    first, second = rot6d[..., :3], rot6d[..., 3:]
    x = functional.normalize(first, dim=-1, eps=1e-6)
    y = functional.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1, eps=1e-6)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def rotmat_to_rot6d(rotmat: Tensor) -> Tensor:
    """rotmat (..., 3, 3) → rot6d (..., 6): the first column, then the second."""
    return torch.cat([rotmat[..., 0], rotmat[..., 1]], -1)


def mirror_rot6d(rot6d: Tensor) -> Tensor:
    """Mirror a rotation: R → M R M with M = diag(−1, 1, 1); (..., 6) → (..., 6).

    A left hand in a flipped image looks like a right hand with these rotations: the global one in
    the flipped camera frame, the others relative to MANO's mirrored rest pose. Mirroring commutes
    with Gram-Schmidt, so it also applies to rot6d that are not orthonormal.
    """
    return torch.cat([rot6d[..., :1], -rot6d[..., 1:4], rot6d[..., 4:]], -1)


def rotmat_to_rotvec(rotmat: Tensor) -> Tensor:
    """rotmat (..., 3, 3) → rotvec (..., 3) in radians, of length 0 … π.

    It computes the unit quaternion from its largest component, which is accurate near 0 and near π.
    At π the sign of the axis is arbitrary. The gradient is NaN at the identity, so this is for
    output only, never for training.
    """
    m = rotmat
    diagonal = m.diagonal(dim1=-2, dim2=-1)
    xx, yy, zz = diagonal.unbind(-1)
    # Each row is 4·q_k·(w, x, y, z) for k = w, x, y, z: the row of the largest q_k is the exact one
    wx, wy, wz = (
        m[..., 2, 1] - m[..., 1, 2],
        m[..., 0, 2] - m[..., 2, 0],
        m[..., 1, 0] - m[..., 0, 1],
    )
    xy, xz, yz = (
        m[..., 1, 0] + m[..., 0, 1],
        m[..., 0, 2] + m[..., 2, 0],
        m[..., 2, 1] + m[..., 1, 2],
    )
    rows = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, wx, wy, wz], -1),
            torch.stack([wx, 1 + xx - yy - zz, xy, xz], -1),
            torch.stack([wy, xy, 1 - xx + yy - zz, yz], -1),
            torch.stack([wz, xz, yz, 1 - xx - yy + zz], -1),
        ],
        -2,
    )
    largest = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = rows.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    quaternion = functional.normalize(row, dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)  # angle ≤ π
    w, vector = quaternion[..., :1], quaternion[..., 1:]
    sine = vector.norm(dim=-1, keepdim=True)  # of half the angle
    is_zero = sine == 0
    angle_over_sine = 2 * torch.atan2(sine, w) / torch.where(is_zero, torch.ones_like(sine), sine)
    return vector * torch.where(is_zero, torch.full_like(sine, 2.0), angle_over_sine)
