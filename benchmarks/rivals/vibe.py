"""VIBE: recurrent regression of a hand from the features of frames, with a motion discriminator.

Source: Kocabas, Athanasiou, Black, "VIBE: Video Inference for Human Body Pose and Shape
Estimation", CVPR 2020.

A bidirectional GRU reads the feature vectors of a window. Its states, projected to the features'
width and added to them, go through a regressor that starts at a mean hand and corrects it three
times. The motion discriminator is this project's, which follows the same paper.

Differs from the original: MANO for SMPL; frames are encoded by the Deformer's spatial half, so that
what differs between the rows is what happens over time; where that half learns too, its monocular
terms stand for the original's pretrained frame network; 2D joints come from it, in place of a
predicted camera; the losses are the Deformer's, with squared errors, without motion and smoothness.
"""

import torch
from torch import Tensor, nn

from deformer.hand.mano import HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.frames import (
    NUM_BETAS,
    POSE,
    SMALL,
    SpatialNetwork,
    SpatialOutput,
    start_open,
)
from deformer.network.losses import PointLoss, Targets, hand_losses, joints_2d_loss
from deformer.network.output import FrameFeatures, Window
from deformer.network.sides import mirror_joints_2d
from deformer.network.transformer import MLP

_CORRECTIONS = 3
_PARAMETERS = POSE + 2 * NUM_BETAS


class IterativeRegressor(nn.Module):
    """Starts at a mean hand and corrects it from what it sees: HMR's regressor, which VIBE, TCMR
    and TempCLR share."""

    def __init__(self, width: int, hidden: tuple[int, int]) -> None:
        super().__init__()
        self.correction = MLP(width + _PARAMETERS, *hidden, _PARAMETERS, gain=SMALL)
        mean = MLP(1, _PARAMETERS, gain=0.0)
        start_open(mean)
        self.mean = nn.Parameter(mean[-1].bias.detach().clone())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, T, width) → rot6d (B, T, 16, 6), betas (B, T, 20), float32."""
        hand = self.mean.expand(*features.shape[:2], -1)
        for _ in range(_CORRECTIONS):
            hand = hand + self.correction(torch.cat([features, hand.to(features)], -1)).float()
        pose, betas = hand.split([POSE, 2 * NUM_BETAS], -1)
        return pose.unflatten(-1, (-1, 6)), betas


class Vibe(SpatialNetwork):
    """GRU over the frames of a window, then `IterativeRegressor`."""

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        width = config.width
        self.gru = nn.GRU(width, 2 * width, num_layers=2, bidirectional=True, batch_first=True)
        self.to_residual = nn.Linear(4 * width, width)
        self.regressor = IterativeRegressor(width, config.regressor)

    def decode(self, frames: FrameFeatures, window: Window) -> SpatialOutput:
        """As `Network`."""
        states, _ = self.gru(frames.hand)  # (B, T, 4·width)
        moved = frames.hand + self.to_residual(states.relu())
        rot6d, betas = self.regressor(moved)
        hands = self.pose(rot6d, betas, window.is_left)
        joints_2d = mirror_joints_2d(frames.joints_2d, window.is_left)
        return SpatialOutput(hands, self.monocular(frames, window.is_left), joints_2d)

    def losses(
        self, output: SpatialOutput, targets: Targets, point_loss: PointLoss
    ) -> dict[str, Tensor]:
        """Mesh, joints, pose and shape, of the window's hands and of the frames', and 2D joints."""
        return {
            **hand_losses(output.hands, targets.hand, point_loss),
            **hand_losses(output.monocular, targets.hand, point_loss, "monocular_"),
            "joints_2d": joints_2d_loss(
                output.joints_2d, targets.joints_2d, targets.joints_in_image
            ),
        }
