"""Spurr et al.: joints as heatmaps with depths, lifted to 3D, and losses of what hands can do.

Source: Spurr, Iqbal, Molchanov, Hilliges, Kautz, "Weakly Supervised 3D Hand Pose Estimation via
Biomechanical Constraints", ECCV 2020. Its 2.5D representation is from Iqbal et al., "Hand Pose
Estimation via Latent 2.5D Heatmap Regression", ECCV 2018.

An image gives 2D joints and their depths from the wrist, in lengths of a reference bone. In these
units the wrist's own depth follows from the camera, because the reference bone has length 1; as it
is sensitive to noise, a small network corrects it. Losses are those of 2D, of depths, and three of
biomechanics: lengths of bones, the palm's arch, angles of joints must stay in intervals.

Differs from the original: one network of two backbones, behind this project's pyramid and crop, so
depths are read from maps by the heatmaps, as Iqbal et al. do; the length of the reference bone is
predicted, since nothing here gives a hand's scale; the correction is a factor; all labels are used,
so no part of the training is weakly supervised; intervals of bones and palm come from the hand
model's shapes, those of joints from ranges of motion, for flexion and abduction apart. There is no
mesh.
"""

from math import log, radians
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from deformer.hand.conventions import JOINT_NAMES, JOINT_PARENTS, NUM_JOINTS, NUM_MANO_JOINTS
from deformer.hand.mano import HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.frames import NUM_BETAS, SMALL
from deformer.network.losses import PointLoss, Targets, joints_2d_loss
from deformer.network.network import Network
from deformer.network.output import FrameFeatures, Window
from deformer.network.posed_hands import HandMotion
from deformer.network.sides import mirror_joints_2d, mirror_points
from deformer.network.transformer import MLP, soft_argmax

_REFERENCE = JOINT_NAMES.index("middle_1")
"""The reference bone reaches from the wrist to this joint."""
_REFERENCE_M = 0.09
"""Its length before training."""
_EXTENT = (0.3, 1.4)
"""Root mean square distance of joints from the wrist, across the view and in lengths of the
reference bone, at least and at most: from a fist that is seen along the arm to a flat hand."""
_NARROWEST = 0.02
"""The least such distance in an image, of hands 5 m away, as a share of the depth."""
_SHAPES = 3.0
"""Standard deviations of the hand model's shapes that set the intervals of bones and palm."""
_SLACK = 0.1
"""These intervals are wider by this share on both sides: tips move a little with the pose."""
_SHORTEST_M = 1e-3
"""Shorter bones have no direction."""
_THUMB_FLEXION_DEG = ((-45, 75), (-35, 40), (-30, 75))
_FLEXION_DEG = ((-45, 100), (-15, 110), (-45, 75))
_ABDUCTION_DEG = (40, 35, 30)
"""Ranges of a finger's three joints, from the palm outwards. Ranges of motion of anatomy, widened:
the axes come from the wrist and the fingers' first joints alone."""


class SpurrOutput(NamedTuple):
    """Depths are in lengths of the reference bone."""

    hands: HandMotion
    """Joints only."""
    joints_2d: Tensor
    """(B, T, 21, 2) x, y in [0, 1] of the hand box."""
    depths: Tensor
    """(B, T, 21) from the wrist."""
    wrist_depth: Tensor
    """(B, T) from the camera."""
    log_reference_m: Tensor
    """(B, T): logarithm of the reference bone's length."""
    is_left: Tensor
    """(B,), for the losses."""


class Spurr(Network):
    """2.5D heatmaps of 21 joints, lifted by `View`."""

    needs_view = True
    spatial_parts = ("heatmap_head", "reference_head")
    own_weights = {
        "depths": 10.0, "wrist_depth": 1.0, "reference": 10.0,
        "bone_lengths": 10.0, "palm": 0.1, "joint_angles": 0.1,
    }  # fmt: skip

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        width = config.width
        self.heatmap_head = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, 2 * NUM_JOINTS, 1),
        )  # fmt: skip
        self.reference_head = MLP(width, config.regressor[1], 1, gain=SMALL)
        nn.init.constant_(self.reference_head[-1].bias, log(_REFERENCE_M))
        self.refinement = MLP(3 + 3 * NUM_JOINTS, *config.regressor, 1, gain=SMALL)
        shapes = _SHAPES * torch.eye(NUM_BETAS)
        shapes = torch.cat([shapes, -shapes]).to(hand_layer.weights)
        flat = torch.eye(3).expand(len(shapes), NUM_MANO_JOINTS, 3, 3).to(shapes)
        is_left = torch.zeros(len(shapes), dtype=torch.bool, device=shapes.device)
        rest = _bones(hand_layer(flat, shapes, is_left, config.tips)[1])
        # Not in the state dict: they come from the hand model
        self.register_buffer("lengths_m", _extent(rest.norm(dim=-1)), persistent=False)
        self.register_buffer("palm", _extent(palm_arch(rest)), persistent=False)
        self.register_buffer("joint_angles", _ranges_of_motion(), persistent=False)

    def encode_maps(self, maps: Tensor) -> FrameFeatures:
        """maps (N, width, size, size) → depths of 21 joints and `log_reference_m`; 2D joints."""
        logits, depth_maps = self.heatmap_head(maps).flatten(2).float().transpose(1, 2).chunk(2, -1)
        depths = (logits.softmax(1) * depth_maps).sum(1)  # (N, 21)
        log_reference_m = self.reference_head(maps.mean((2, 3))).float()
        hand = torch.cat([depths - depths[:, :1], log_reference_m], -1)
        return FrameFeatures(hand, soft_argmax(logits, self.config.roi_size))

    def decode(self, frames: FrameFeatures, window: Window) -> SpurrOutput:
        """As `Network`."""
        joints_2d = mirror_joints_2d(frames.joints_2d, window.is_left)
        depths, log_reference_m = frames.hand.split([NUM_JOINTS, 1], -1)
        rays = mirror_points(window.view.rays(joints_2d), window.is_left)  # again of right hands
        wrist_depth = self._wrist_depth(rays, depths)
        points = rays * (wrist_depth + depths)[..., None]
        points = (points - points[..., :1, :]) * log_reference_m.exp()[..., None]
        hands = HandMotion(None, None, None, mirror_points(points, window.is_left))
        return SpurrOutput(
            hands, joints_2d, depths, wrist_depth[..., 0], log_reference_m[..., 0], window.is_left
        )

    def _wrist_depth(self, rays: Tensor, depths: Tensor) -> Tensor:
        """rays (B, T, 21, 3), depths (B, T, 21) → (B, T, 1)."""
        start, spread = wrist_depth(rays.detach(), depths.detach())
        shape = (rays - rays[..., :1, :])[..., :2] / spread[..., None]
        seen = [(start * spread).log(), rays[..., 0, :2], shape.flatten(-2), depths]
        with torch.autocast(rays.device.type, enabled=False):
            return start * self.refinement(torch.cat(seen, -1)).exp()

    def losses(
        self, output: SpurrOutput, targets: Targets, point_loss: PointLoss
    ) -> dict[str, Tensor]:
        """2D joints, of which the lifting needs all, depths, and biomechanics."""
        joints = targets.joints_cam_m
        reference_m = (joints[..., _REFERENCE, :] - joints[..., 0, :]).norm(dim=-1)  # (B, T)
        z = joints[..., 2] / reference_m[..., None]
        everywhere = torch.ones_like(targets.joints_in_image)
        return {
            "joints_2d": joints_2d_loss(output.joints_2d, targets.joints_2d, everywhere),
            "depths": (output.depths - (z - z[..., :1])).abs().mean(),
            "wrist_depth": (output.wrist_depth - z[..., 0]).abs().mean(),
            "reference": (output.log_reference_m - reference_m.log()).abs().mean(),
            **self.biomechanical_losses(output.hands.joints_m, output.is_left),
        }

    def biomechanical_losses(self, joints_m: Tensor, is_left: Tensor) -> dict[str, Tensor]:
        """How far joints (B, T, 21, 3) are beyond the intervals, on average: metres, 1/m and
        radians, radians."""
        bones = _bones(mirror_points(joints_m, is_left).flatten(0, 1))
        return {
            "bone_lengths": _beyond(bones.norm(dim=-1), self.lengths_m),
            "palm": _beyond(palm_arch(bones), self.palm),
            "joint_angles": _beyond(joint_angles(bones), self.joint_angles),
        }


def wrist_depth(rays: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
    """The wrist's depth with which the reference bone has length 1, as far as the hand's size in
    the image allows it, and this size.

    rays (B, T, 21, 3) with z = 1; depths (B, T, 21) from the wrist → (B, T, 1) each. Of two
    solutions it is the farther; the other one is positive only where the bone lies along its ray.
    """
    offsets = rays - rays[..., :1, :]
    spread = offsets.square().sum(-1).mean(-1, keepdim=True).sqrt().clamp(min=_NARROWEST)
    ray, depth, across = (
        rays[..., _REFERENCE, :],
        depths[..., _REFERENCE, None],
        offsets[..., _REFERENCE, :],
    )
    # |z · across + depth · ray|² = 1
    a = across.square().sum(-1, keepdim=True).clamp(min=1e-6)
    b = depth * (across * ray).sum(-1, keepdim=True)
    c = depth.square() * ray.square().sum(-1, keepdim=True) - 1
    z = ((b.square() - a * c).clamp(min=0).sqrt() - b) / a
    nearest, farthest = (extent / spread for extent in _EXTENT)
    return z.clamp(nearest, farthest), spread


# ------------------------------------------------------------------------------------ biomechanics


def _bones(joints_m: Tensor) -> Tensor:
    """Joints (N, 21, 3) of right hands → (N, 5, 4, 3), finger by finger from the wrist."""
    return (joints_m[:, 1:] - joints_m[:, JOINT_PARENTS[1:]]).unflatten(1, (5, 4))


def _direction(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=-1, eps=_SHORTEST_M)


def _palm_normals(roots: Tensor) -> Tensor:
    """Normals (N, 5, 3) of the palm at its five bones (N, 5, 3), out of the back of the hand."""
    roots = _direction(roots)
    between = _direction(torch.linalg.cross(roots[:, 1:], roots[:, :-1]))  # (N, 4, 3)
    return _direction(
        torch.cat([between[:, :1], between[:, :-1] + between[:, 1:], between[:, 3:]], 1)
    )


def palm_arch(bones: Tensor) -> Tensor:
    """Curvature of the palm between neighbouring bones, 1/m, and the angles between them, radians:
    bones (N, 5, 4, 3) → (N, 4, 2)."""
    roots = bones[:, :, 0]
    across, turn = roots.diff(dim=1), _palm_normals(roots).diff(dim=1)
    curvature = (turn * across).sum(-1) / across.square().sum(-1).clamp(min=0.01**2)
    directions = _direction(roots)
    cosines = (directions[:, 1:] * directions[:, :-1]).sum(-1)
    return torch.stack([curvature, cosines.clamp(-1 + 1e-4, 1 - 1e-4).acos()], -1)


def joint_angles(bones: Tensor) -> Tensor:
    """Flexion and abduction of 15 joints, radians: bones (N, 5, 4, 3) → (N, 5, 3, 2).

    A joint's frame is that of the bone before it: its direction, and an axis of flexion, which at
    the palm is perpendicular to the palm's normal and follows the bones from there on.
    """
    before = _direction(bones[:, :, 0])
    axis = _direction(torch.linalg.cross(_palm_normals(bones[:, :, 0]), before))
    angles = []
    for k in (1, 2, 3):
        bone = _direction(bones[:, :, k])
        inwards = torch.linalg.cross(axis, before)
        aside = (bone * axis).sum(-1)
        ahead = (bone * before).sum(-1) + 1e-6  # the gradient at 0, 0 is not finite
        flexion = torch.atan2((bone * inwards).sum(-1), ahead)
        abduction = aside.clamp(-1 + 1e-4, 1 - 1e-4).asin()
        angles.append(torch.stack([flexion, abduction], -1))
        before, axis = bone, _direction(axis - aside[..., None] * bone)
    return torch.stack(angles, 2)


def _extent(values: Tensor) -> Tensor:
    """values (N, …) → (2, …): lower and upper ends."""
    lower, upper = values.amin(0), values.amax(0)
    slack = _SLACK * torch.maximum(lower.abs(), upper.abs())
    return torch.stack([lower - slack, upper + slack])


def _ranges_of_motion() -> Tensor:
    """(2, 5, 3, 2): lower and upper ends for `joint_angles`."""
    flexion = [_THUMB_FLEXION_DEG, *[_FLEXION_DEG] * 4]
    ends = [
        [[(joint[end], sign * aside) for joint, aside in zip(finger, _ABDUCTION_DEG, strict=True)]
         for finger in flexion]
        for end, sign in ((0, -1), (1, 1))
    ]  # fmt: skip
    return torch.tensor(ends) * radians(1)


def _beyond(values: Tensor, interval: Tensor) -> Tensor:
    """Mean distance of values (N, …) to the interval (2, …)."""
    return ((interval[0] - values).relu() + (values - interval[1]).relu()).mean()
