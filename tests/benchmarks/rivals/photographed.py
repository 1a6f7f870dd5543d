"""Hands in front of a camera, for tests of networks that lift 2D joints to 3D."""

from typing import NamedTuple

import torch
from torch import Tensor

from deformer.hand.mano import HandLayer
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.network.output import View
from deformer.network.posed_hands import pose_hands
from deformer.network.sides import mirror_joints_2d


class Photographed(NamedTuple):
    """Windows of one frame."""

    joints_cam_m: Tensor  # (B, 1, 21, 3)
    joints_m: Tensor  # from the wrist
    joints_2d: Tensor  # (B, 1, 21, 2), of right or mirrored hands, as encoders give them
    view: View
    is_left: Tensor  # (B,)


def photograph(layer: HandLayer, num: int, seed: int = 0) -> Photographed:
    """Hands of mean shape, right and left in turn, in any orientation, fingers bent by up to a
    radian, seen by a camera whose image was turned and stretched."""
    draw = torch.Generator().manual_seed(seed)
    pose = torch.zeros(num, 1, 16, 3)
    pose[:, :, 0] = torch.randn(num, 1, 3, generator=draw)
    pose[:, :, 1:13, 2] = torch.rand(num, 1, 12, generator=draw)  # towards the palm
    is_left = torch.arange(num) % 2 == 1
    pose[is_left, ..., 1:] *= -1
    betas = torch.zeros(num, 1, 10)
    joints_m = pose_hands(layer, rotvec_to_rotmat(pose), betas, is_left, "dexycb").joints_m
    joints_cam_m = joints_m + torch.tensor([0.1, -0.05, 0.7])
    K = torch.tensor([[600.0, 25, 320], [-40, 580, 240], [0, 0, 1]]).expand(num, 1, 3, 3)
    homogeneous = joints_cam_m @ K.mT
    joints_px = homogeneous[..., :2] / homogeneous[..., 2:]
    centre = joints_px.mean(-2)
    boxes_px = torch.cat([centre - 120, centre + 120], -1)
    joints_2d = (joints_px - boxes_px[..., None, :2]) / 240
    view = View(boxes_px, K)
    return Photographed(joints_cam_m, joints_m, mirror_joints_2d(joints_2d, is_left), view, is_left)
