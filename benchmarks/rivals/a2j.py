"""A2J: points of a dense grid vote for every joint, in a depth image.

Source: Xiong, Zhang, Xiao, Cao, Yu, Zhou, Yuan, "A2J: Anchor-to-Joint Regression Network for 3D
Articulated Pose Estimation from a Single Depth Image", ICCV 2019.

Every anchor predicts, for every joint, its offset to the joint in the image plane, the joint's
depth, and a response. Softmax of the responses over the anchors weighs what they predict: a joint
is the weighted mean. Anchors with large weights are informative; a second loss lets their own
weighted mean be the joint, so that they surround it.

Differs from the original: it is given a hand's centre, known or from another network, and depths
near it, which nothing gives here. So depths count from the lower quartile in the middle of the box,
and the backbone's three channels show them within three distances: an object in front of the hand
may set the quartile, the hand must still be seen. There is one anchor for each cell of the crop's
map, at this project's stride, where the original has 16 for each of a coarser one. All branches
read the same map, while the original's responses come from an earlier stage. GroupNorm replaces
batch statistics. The losses and their weights are the original's. There is no mesh.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.rivals.convolutions import group_norm
from deformer.hand.conventions import NUM_JOINTS
from deformer.hand.mano import HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.losses import PointLoss, Targets
from deformer.network.network import Network
from deformer.network.output import FrameFeatures, Window
from deformer.network.posed_hands import HandMotion
from deformer.network.sides import mirror_joints_2d, mirror_left
from deformer.network.transformer import soft_argmax

_RANGES_M = (0.2, 0.4, 0.8)
"""Distances from the centre's depth that the three channels show. On occluded-hands, where objects
are in front of many hands, no hand is farther than the last, and half are within the first."""
_MIDDLE, _SAMPLES, _QUANTILE = 0.5, 32, 0.25
"""The centre's depth: this quantile of SAMPLES² points in the middle of the box, of this share."""
_UNKNOWN_M = 0.8
"""The centre's depth where nothing is known."""
_LAYERS = 4
_BEND, _BEND_M = 1 / 176, 0.003
"""Where losses turn from squares to lines: a pixel of the original's image, in sides of the box,
and 3 mm."""


class A2JOutput(NamedTuple):
    """Depths are from the camera."""

    hands: HandMotion
    """Joints only."""
    joints_2d: Tensor
    """(B, T, 21, 2) x, y in [0, 1] of the hand box."""
    depths_m: Tensor
    """(B, T, 21)."""
    anchors_2d: Tensor
    """(B, T, 21, 2): weighted means of the anchors themselves, as `joints_2d`."""


class A2J(Network):
    """Three branches over the anchors, and their weighted mean, lifted by `View`."""

    channels = 1
    needs_view = True
    spatial_parts = ("offset_branch", "depth_branch", "anchor_branch")
    # 1.5, 3 and 1 for pixels of an image of 176² and millimetres
    own_weights = {"in_plane": 1.5, "depths": 3 * 1000 / 176, "anchors": 1.0}

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        width = config.width
        self.offset_branch = _branch(width, 2 * NUM_JOINTS)
        self.depth_branch = _branch(width, NUM_JOINTS)
        self.anchor_branch = _branch(width, NUM_JOINTS, bias=False)  # softmax ignores a bias

    def crop_maps(self, images: Tensor, boxes_px: Tensor, is_left: Tensor) -> Tensor:
        """Depth images (N, 1, H, W), m, 0 where unknown → maps (N, width + 1, size, size), the last
        channel the centre's depth, m."""
        depths, boxes_px = mirror_left(images, boxes_px, is_left)
        centres_m = centre_depths(depths, boxes_px)[:, None, None, None]
        features = self.backbone(shown_depths(depths, centres_m))
        maps = self.backbone.crop(features, boxes_px, self.config.roi_size)
        return torch.cat([maps, centres_m.expand_as(maps[:, :1])], 1)

    def encode_maps(self, maps: Tensor) -> FrameFeatures:
        """maps (N, width + 1, size, size) → depths of 21 joints and the means of their anchors; 2D
        joints."""
        maps, centres_m = maps[:, :-1], maps[:, -1:, 0, 0]
        responses, offsets, depths = (
            branch(maps).flatten(2).float()
            for branch in (self.anchor_branch, self.offset_branch, self.depth_branch)
        )
        weights = responses.softmax(-1)  # (N, 21, size²)
        depths_m = centres_m + _RANGES_M[0] * (weights * depths).sum(-1)
        anchors_2d = soft_argmax(responses.transpose(1, 2), self.config.roi_size)
        offsets = (weights[:, :, None] * offsets.unflatten(1, (NUM_JOINTS, 2))).sum(-1)
        hand = torch.cat([depths_m, anchors_2d.flatten(1)], -1)
        return FrameFeatures(hand, anchors_2d + offsets)

    def decode(self, frames: FrameFeatures, window: Window) -> A2JOutput:
        """As `Network`."""
        joints_2d = mirror_joints_2d(frames.joints_2d, window.is_left)
        depths_m, anchors_2d = frames.hand.split([NUM_JOINTS, 2 * NUM_JOINTS], -1)
        anchors_2d = mirror_joints_2d(anchors_2d.unflatten(-1, (NUM_JOINTS, 2)), window.is_left)
        points_m = window.view.rays(joints_2d) * depths_m[..., None]
        hands = HandMotion(None, None, None, points_m - points_m[..., :1, :])
        return A2JOutput(hands, joints_2d, depths_m, anchors_2d)

    def losses(
        self, output: A2JOutput, targets: Targets, point_loss: PointLoss
    ) -> dict[str, Tensor]:
        """Joints in the image plane, of which the lifting needs all; their depths; and that their
        anchors surround them."""
        depths_m = targets.joints_cam_m[..., 2]
        return {
            "in_plane": _in_plane(output.joints_2d, targets.joints_2d),
            "depths": functional.smooth_l1_loss(output.depths_m, depths_m, beta=_BEND_M),
            "anchors": _in_plane(output.anchors_2d, targets.joints_2d),
        }


def centre_depths(depths: Tensor, boxes_px: Tensor) -> Tensor:
    """A depth near that of the hand or of what is in front of it: the lower quartile in the middle
    of the box. Depth images (N, 1, H, W), m, boxes_px (N, 4) → (N,), m."""
    height, width = depths.shape[-2:]
    steps = (torch.arange(_SAMPLES, device=depths.device) + 0.5) / _SAMPLES - 0.5
    corner, opposite = boxes_px.float().chunk(2, -1)  # (N, 2)
    places = (corner + opposite) / 2 + _MIDDLE * steps[:, None, None] * (opposite - corner)
    x, y = places.round().long().unbind(-1)  # (S, N)
    places = y.clamp(0, height - 1)[:, None] * width + x.clamp(0, width - 1)  # (S, S, N)
    is_inside = ((y >= 0) & (y < height))[:, None] & (x >= 0) & (x < width)
    sampled = depths.flatten(1).gather(1, places.flatten(0, 1).T)  # (N, S²)
    is_known = is_inside.flatten(0, 1).T & (sampled > 0)
    count = is_known.sum(1, keepdim=True)
    nearest_first = sampled.masked_fill(~is_known, torch.inf).sort(1).values
    rank = (_QUANTILE * (count - 1)).long().clamp(min=0)
    quartile = nearest_first.gather(1, rank)
    return torch.where(count > 0, quartile, _UNKNOWN_M)[:, 0]


def shown_depths(depths: Tensor, centres_m: Tensor) -> Tensor:
    """Depth images (N, 1, H, W), m, and depths (N, 1, 1, 1) → what the backbone sees, (N, 3, H, W):
    a channel for each range, from 0, nearest, to 1, farthest or unknown."""
    shown = torch.cat([((depths - centres_m) / reach_m + 1) / 2 for reach_m in _RANGES_M], 1)
    return torch.where(depths > 0, shown.clamp(0, 1), 1.0)


def _branch(width: int, out: int, bias: bool = True) -> nn.Sequential:
    layers = []
    for _ in range(_LAYERS):
        layers += [
            nn.Conv2d(width, width, 3, padding=1, bias=False), group_norm(width), nn.ReLU()
        ]  # fmt: skip
    return nn.Sequential(*layers, nn.Conv2d(width, out, 3, padding=1, bias=bias))


def _in_plane(points: Tensor, target: Tensor) -> Tensor:
    """(B, T, 21, 2) each → scalar."""
    errors = functional.smooth_l1_loss(points, target, beta=_BEND, reduction="none")
    return errors.sum(-1).mean()
