"""Rotations as pure functions. The name says what goes in and what comes out.

`rotvec`: axis times angle in radians, shape (..., 3). `rotmat`: matrix acting on column vectors,
shape (..., 3, 3).
"""

import torch
from torch import Tensor


def rotvec_to_rotmat(rotvec: Tensor) -> Tensor:
    """Rodrigues' formula: rotvec (..., 3) in radians → rotmat (..., 3, 3).

    Exact at zero and with finite gradients there: near zero the two factors sin(θ)/θ and
    (1 − cos θ)/θ² come from their series, so nothing is divided by a vanishing angle.
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
