"""Hasson et al.: MANO's parameters from one vector of the whole image, with priors.

Source: Hasson, Varol, Tzionas, Kalevatykh, Black, Laptev, Schmid, "Learning Joint Reconstruction of
Hands and Manipulated Objects", CVPR 2019: its hand branch.

A convolutional network averages the image to a vector, and a fully connected one regresses pose and
shape from it. Errors of vertices and joints teach it; pose and shape are not supervised, but drawn
to the flat hand of mean shape.

Left out: the object branch, and the terms of contact and penetration between the two meshes, which
need the object's mesh: a batch holds none. In the paper they make grasps more plausible.

Differs from the original: it regresses 30 coefficients of MANO's PCA basis and axis-angle of the
wrist, here it is rot6d of each joint, because a `HandLayer` keeps no PCA basis; so the pose prior
is on rotations, weighted to agree with the original's for small angles. The backbone is this
project's, and ends in a map of the hand box, which residual blocks halve down to a side of 2 before
the mean. Points are relative to the wrist, not to the middle finger's first joint. 2D joints, which
the original does not have, come from a head of their own, since a hand is placed by them.
"""

import torch
from torch import Tensor, nn

from benchmarks.rivals.convolutions import MapEncoder
from benchmarks.rivals.frame_regressor import FrameRegressor
from deformer.hand.conventions import NUM_JOINTS
from deformer.hand.mano import HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.frames import SMALL
from deformer.network.losses import PointLoss, Targets, hand_losses, joints_2d_loss
from deformer.network.network import HandOutput
from deformer.network.output import FrameFeatures
from deformer.network.posed_hands import HandMotion
from deformer.network.transformer import MLP

_PRIOR = 0.03
"""The authors' training weighs squared errors in mm, averaged over coordinates, as squared
coefficients; 1e4 of squared errors in metres, added over coordinates, are 0.03 of those."""


class Hasson(FrameRegressor):
    """The map's mean, halved first, as the vector of a frame."""

    spatial_parts = ("map_encoder", "joints_2d_head")
    # The mean over 30 coefficients is a quarter of the mean ‖R − 1‖² of 15 joints: ≈ 2·angle² each
    own_weights = {"pose_prior": _PRIOR / 4, "shape_prior": _PRIOR}

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        width = config.width
        self.map_encoder = MapEncoder(width, config.roi_size)
        self.joints_2d_head = MLP(width, *config.regressor, 2 * NUM_JOINTS, gain=SMALL)
        nn.init.constant_(self.joints_2d_head[-1].bias, 0.5)  # the box's centre

    def encode_maps(self, maps: Tensor) -> FrameFeatures:
        """maps (N, width, size, size) → vectors of `width` numbers, and 2D joints."""
        vectors = self.map_encoder(maps).mean((2, 3)).float()
        joints_2d = self.joints_2d_head(vectors).float().unflatten(-1, (NUM_JOINTS, 2))
        return FrameFeatures(vectors, joints_2d)

    def losses(
        self, output: HandOutput, targets: Targets, point_loss: PointLoss
    ) -> dict[str, Tensor]:
        """Mesh and joints, `prior_losses`, and 2D joints."""
        supervised = hand_losses(output.hands, targets.hand, point_loss)
        return {
            "vertices": supervised["vertices"],
            "joints": supervised["joints"],
            **prior_losses(output.hands),
            "joints_2d": joints_2d_loss(
                output.joints_2d, targets.joints_2d, targets.joints_in_image
            ),
        }


def prior_losses(hands: HandMotion) -> dict[str, Tensor]:
    """Scalars: `pose_prior`, the mean ‖R − 1‖² of the finger joints, and `shape_prior`, the mean
    β²; 0 for the flat hand of mean shape, however the wrist is turned."""
    fingers = hands.rotmats[:, :, 1:]
    flat = torch.eye(3, device=fingers.device)
    return {
        "pose_prior": (fingers - flat).square().sum((-2, -1)).mean(),
        "shape_prior": hands.betas.square().mean(),
    }
