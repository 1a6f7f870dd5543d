"""S2HAND(V): hands of single frames, learned from 2D joints and from what stays the same over time.

Source: Tu, Huang, Chen, Kang, Bao, Yang, Yuan, "Consistent 3D Hand Reconstruction in Video via
Self-Supervised Learning", TPAMI 2023; its network of frames: Chen, Tu, Kang, Bao, Zhang, Zhe, Chen,
Yuan, "Model-based 3D Hand Reconstruction via Self-Supervised Learning", CVPR 2021.

No label in 3D is used. A frame gives MANO parameters, a camera and, by heatmaps, 2D joints. The
joints of the mesh, projected, have to meet the labels' 2D joints, the directions of the labels'
bones in the image, and the heatmaps' joints; fingers have to bend as fingers do, and the shape to
stay near the mean one. In a video, shapes are to be the same in all frames, and a joint's rotation
to be halfway between those before and after. At test time each frame is alone.

Differs from the original: textures and light, with their consistency over time, and the photometric
loss are left out, because nothing renders here. The labels' 2D joints, hidden ones too, stand for
those of a detector with confidences, so this is 2D supervision rather than self-supervision. The
Deformer's spatial half stands for its encoder and heatmaps, all learned in one stage. The motion
term, of rotation matrices for quaternions, and the limits of fingers are this project's; the hand's
size comes from MANO and its shape alone.
"""

from math import cos, log, radians, sin
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from deformer.hand.mano import HandLayer
from deformer.hand.rotations import rot6d_to_rotmat
from deformer.network.config import DeformerConfig
from deformer.network.frames import NUM_BETAS, POSE, SMALL, SpatialNetwork, start_open
from deformer.network.losses import PointLoss, Targets, joints_2d_loss, masked_mean
from deformer.network.output import FrameFeatures, View, Window
from deformer.network.posed_hands import HandMotion
from deformer.network.sides import mirror_joints_2d
from deformer.network.transformer import MLP

_BOXES_PER_M = 5.0
"""A box is some 20 cm wide where the hand is."""
_FROM_BEHIND = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
"""The orientation at the start, as rot6d: the back of the hand faces the camera. In 2D, a hand that
leans towards the camera looks like one that leans away, and training keeps to the side on which it
starts: from MANO's own orientation, seen from the edge, all hands came out mirrored in depth (104
mm root-aligned on `occluded-hands`, where a start between the two sides has 41 after 200 steps)."""
_NEAREST_M = 0.05
_SHORTEST = 0.02
"""Of a box: shorter bones have no direction."""
_MOST_BENT = cos(radians(100))
_LEAST_BENT = sin(radians(-10))
_MOST_TWISTED = sin(radians(5))
_MOST_SPREAD = (sin(radians(10)), sin(radians(5)), sin(radians(5)))
"""From the palm to the tip."""


class S2HandOutput(NamedTuple):
    """Predictions for B windows of T frames."""

    hands: HandMotion
    joints_2d: Tensor
    """(B, T, 21, 2) x, y in [0, 1] of the hand box, by heatmaps."""
    wrist_2d: Tensor
    """(B, T, 1, 2): the camera, with the next; likewise."""
    boxes_per_m: Tensor
    """(B, T): how much of the box a metre fills at the wrist."""
    excess: Tensor
    """(B, T): by how much fingers go beyond their limits; see `FingerLimits`."""


class FingerLimits(nn.Module):
    """How far fingers of the right hand go beyond what fingers can do.

    The axes of a joint are those of MANO's rest pose: along the bone (twist), across it in the palm
    (bend) and through the palm (spread). A rotation's sine along each has limits, and its angle.
    The thumb, whose axes are others, has a limit of the angle only.
    """

    def __init__(self, hand_layer: HandLayer) -> None:
        super().__init__()
        rest = hand_layer.joint_basis[0].unflatten(0, (-1, 3)).cpu()  # (16, 3), mean shape
        wrist, fingers = rest[0], rest[1:].unflatten(0, (5, 3))
        through = torch.linalg.cross(fingers[0, 0] - wrist, fingers[2, 0] - wrist)  # to the palm
        bones = fingers[:4].diff(dim=1)
        along = functional.normalize(torch.cat([bones, bones[:, -1:]], 1), dim=-1)  # (4, 3, 3)
        across = functional.normalize(torch.linalg.cross(along, through.expand_as(along)), dim=-1)
        axes = torch.stack([along, across, torch.linalg.cross(along, across)], -2)
        self.register_buffer("axes", axes, persistent=False)  # (4, 3, 3 axes, 3)
        self.register_buffer("most_spread", torch.tensor(_MOST_SPREAD), persistent=False)

    def forward(self, rotmats: Tensor) -> Tensor:
        """Rotations of right hands' fingers (..., 15, 3, 3), MANO's order → mean excess (...)."""
        skew = rotmats - rotmats.mT
        sines = 0.5 * torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)
        cosines = 0.5 * (rotmats.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)  # (..., 15)
        along_axes = self.axes @ sines[..., :12, :].unflatten(-2, (4, 3))[..., None]
        twist, bend, spread = along_axes.squeeze(-1).unbind(-1)  # (..., 4, 3) each
        by_axis = (
            (_LEAST_BENT - bend).relu()
            + (twist.abs() - _MOST_TWISTED).relu()
            + (spread.abs() - self.most_spread).relu()
        )
        return by_axis.mean((-2, -1)) + (_MOST_BENT - cosines).relu().mean(-1)


class S2Hand(SpatialNetwork):
    """The Deformer's spatial half, whose head gives a camera too; its losses need no 3D labels."""

    # In proportion as in the single-frame model's code, roughly. True windows of `occluded-hands`
    # (T = 7, gap = 10) have 0.004 for `limits`, 0.6 for `mean_shape` and 0.07 for `turns`
    own_weights: ClassVar = {
        "projected": 1e3,
        "bones": 25.0,
        "agreement": 200.0,
        "limits": 25.0,
        "mean_shape": 2.0,
        "shared_shape": 2.0,
        "turns": 1.0,
    }

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        outputs = POSE + 2 * NUM_BETAS + 3
        self.monocular_head = MLP(config.width, *config.regressor, outputs, gain=SMALL)
        start_open(self.monocular_head)
        with torch.no_grad():
            self.monocular_head[-1].bias[:6] = torch.tensor(_FROM_BEHIND)
        self.limits = FingerLimits(hand_layer)

    def decode(self, frames: FrameFeatures, window: Window) -> S2HandOutput:
        """As `Network`."""
        predicted = self.monocular_head(frames.hand)
        with torch.autocast(frames.hand.device.type, enabled=False):
            pose, betas, place, size = predicted.float().split([POSE, 2 * NUM_BETAS, 2, 1], -1)
            rot6d = pose.unflatten(-1, (-1, 6))
            hands = self.pose(rot6d, betas, window.is_left)
            excess = self.limits(rot6d_to_rotmat(rot6d[..., 1:, :]))
            wrist_2d = mirror_joints_2d(0.5 + place[..., None, :], window.is_left)
            boxes_per_m = (log(_BOXES_PER_M) + size.squeeze(-1)).exp()
        joints_2d = mirror_joints_2d(frames.joints_2d, window.is_left)
        return S2HandOutput(hands, joints_2d, wrist_2d, boxes_per_m, excess)

    def losses(
        self, output: S2HandOutput, targets: Targets, point_loss: PointLoss
    ) -> dict[str, Tensor]:
        """2D joints by heatmaps and projected, bones in the image, priors, and terms over time."""
        wanted, is_seen = targets.joints_2d, targets.joints_in_image
        projected = project(output, targets.view)
        betas = output.hands.betas
        return {
            "joints_2d": joints_2d_loss(output.joints_2d, wanted, is_seen),
            "projected": joints_2d_loss(projected, wanted, is_seen),
            "bones": bones_loss(projected, wanted, is_seen),
            "agreement": (projected - output.joints_2d).square().sum(-1).mean(),
            "limits": output.excess.mean(),
            "mean_shape": betas.square().mean(),
            "shared_shape": (betas - betas.mean(1, keepdim=True)).square().mean(),
            "turns": turns_loss(output.hands.rotmats, targets.is_repeat),
        }


def project(output: S2HandOutput, view: View) -> Tensor:
    """The predicted hands, where the predicted camera has them in the image → (B, T, 21, 2) x, y in
    [0, 1] of the hand box."""
    corner = view.boxes_px[..., None, :2]  # (B, T, 1, 2)
    side_px = (view.boxes_px[..., 2] - view.boxes_px[..., 0])[..., None, None]
    depth_m = view.K[..., 0, 0, None, None] / (output.boxes_per_m[..., None, None] * side_px)
    wrist_px = corner + side_px * output.wrist_2d
    # K (X + wrist) = K X + depth · (pixel of the wrist, 1): needs no inverse
    wrist = depth_m * functional.pad(wrist_px, (0, 1), value=1.0)
    homogeneous = output.hands.joints_m @ view.K.mT + wrist
    joints_px = homogeneous[..., :2] / homogeneous[..., 2:].clamp(min=_NEAREST_M)
    return (joints_px - corner) / side_px


def bones_loss(joints_2d: Tensor, target: Tensor, is_seen: Tensor) -> Tensor:
    """Mean squared difference of the directions of bones in the image: joints_2d, target (B, T, 21,
    2), is_seen (B, T, 21) bool, of joints inside the image → scalar."""

    def directions(joints: Tensor) -> Tensor:
        return functional.normalize(_fingers(joints).diff(dim=-2), dim=-1, eps=_SHORTEST)

    off = (directions(joints_2d) - directions(target)).square().sum(-1)  # (B, T, 5, 4)
    is_end_seen = _fingers(is_seen[..., None]).squeeze(-1)
    return masked_mean(off, is_end_seen[..., 1:] & is_end_seen[..., :-1])


def _fingers(joints: Tensor) -> Tensor:
    """(B, T, 21, C) → (B, T, 5, 5, C): each finger with the wrist before it."""
    wrist, fingers = joints[:, :, :1], joints[:, :, 1:].unflatten(2, (5, 4))
    return torch.cat([wrist[:, :, None].expand(-1, -1, 5, -1, -1), fingers], 3)


def turns_loss(rotmats: Tensor, is_repeat: Tensor) -> Tensor:
    """Mean squared distance of a rotation from halfway between those before and after: rotmats (B,
    T, 16, 3, 3), is_repeat (B, T−1) bool → scalar, 0 for T < 3. Repeated frames do not count: they
    stand still, whatever the hand does."""
    off = 0.5 * rotmats.diff(n=2, dim=1).square().sum((-2, -1)).mean(-1)  # (B, T − 2)
    return masked_mean(off, ~(is_repeat[:, 1:] | is_repeat[:, :-1]))
