"""Left hands are mirrored at a network's input, and mirrored back at its output: inside, every hand
is a right hand, so both sides share everything learned.

Shapes are not mirrored: the left MANO model is not the mirror image of the right one (its published
shape space has a sign error), so a network predicts a shape for each side.
"""

import torch
from torch import Tensor


def mirror_left(images: Tensor, boxes_px: Tensor, is_left: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror left hands: images (N, C, H, W), boxes_px (N, 4), is_left (N,)."""
    x0, y0, x1, y1 = boxes_px.unbind(-1)
    last = images.shape[-1] - 1
    flipped_boxes = torch.stack([last - x1, y0, last - x0, y1], -1)
    boxes_px = torch.where(is_left[:, None], flipped_boxes, boxes_px)
    return torch.where(is_left[:, None, None, None], images.flip(-1), images), boxes_px


def mirror_joints_2d(joints_2d: Tensor, is_left: Tensor) -> Tensor:
    """Mirror left hands: joints_2d (B, …, J, 2) in [0, 1] of the box, is_left (B,)."""
    mirrored = torch.cat([1 - joints_2d[..., :1], joints_2d[..., 1:]], -1)
    return torch.where(_like(is_left, joints_2d), mirrored, joints_2d)


def mirror_points(points_m: Tensor, is_left: Tensor) -> Tensor:
    """Mirror left hands: points_m (B, …, P, 3) relative to the wrist, is_left (B,)."""
    mirrored = torch.cat([-points_m[..., :1], points_m[..., 1:]], -1)
    return torch.where(_like(is_left, points_m), mirrored, points_m)


def of_side(betas: Tensor, is_left: Tensor) -> Tensor:
    """betas (B, …, 20), ten for the right hand and ten for the left → (B, …, 10)."""
    right, left = betas.chunk(2, -1)
    return torch.where(_like(is_left, betas), left, right)


def _like(is_left: Tensor, values: Tensor) -> Tensor:
    return is_left.reshape(-1, *[1] * (values.ndim - 1))
