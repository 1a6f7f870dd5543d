"""A temporal transformer behind a rival of single frames: rows "… + temporal transformer + maxMSE".

Source: Fu, Liu, Xu, Niebles, Kitani, "Deformer: Dynamic Fusion Transformer for Robust Hand Pose
Estimation", ICCV 2023, Table 2.

The rival encodes each frame to one vector. Self-attention over the window's vectors, then an MLP
for the pose of every frame and a decoder for one shape: the Deformer's temporal half, without
motions and fusion. The rival's own hands of single frames are supervised too, as the Deformer's
monocular ones, so that the spatial half learns the same with and without the window.

The paper gives no more than the rows' names. Their networks are taken to have the Deformer's sizes,
no motion discriminator and no loss of smoothness, which those names do not mention.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.rivals.frame_regressor import FrameRegressor
from benchmarks.rivals.handoccnet import HandOccNet
from benchmarks.rivals.liu import Liu
from deformer.hand.conventions import NUM_JOINTS
from deformer.hand.mano import HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.frames import NUM_BETAS, POSE, SMALL, start_open
from deformer.network.losses import PointLoss, Targets, hand_losses
from deformer.network.network import HandOutput
from deformer.network.output import FrameFeatures, Window
from deformer.network.posed_hands import HandMotion
from deformer.network.transformer import MLP, Decoder, Encoder, sine_positions_1d


class TemporalOutput(NamedTuple):
    """Of a rival with a temporal transformer."""

    hands: HandMotion
    frames: HandOutput
    """What the rival gives for each frame alone; for supervision."""
    joints_2d: Tensor
    """(B, T, 21, 2) x, y in [0, 1] of the hand box."""


class TemporalTransformer(nn.Module):
    """Features of a window's frames → a pose of each, and one shape."""

    def __init__(self, config: DeformerConfig) -> None:
        super().__init__()
        width = config.width
        shape = (width, config.heads, config.ffn, config.layers)
        self.encoder = Encoder(*shape)
        self.pose_head = MLP(width + 2 * NUM_JOINTS, *config.regressor, POSE, gain=SMALL)
        start_open(self.pose_head)
        self.shape_decoder = Decoder(*shape)
        self.shape_head = MLP(width, 2 * NUM_BETAS, gain=SMALL)

    def forward(self, frames: FrameFeatures) -> tuple[Tensor, Tensor]:
        """hand (B, T, width), joints_2d (B, T, 21, 2) → rot6d (B, T, 16, 6) and, the same for all
        frames, betas (B, T, 20); float32."""
        _, T, width = frames.hand.shape
        positions = sine_positions_1d(T, width, frames.hand.device)
        attended = self.encoder(frames.hand, positions)
        seen = torch.cat([attended, frames.joints_2d.flatten(-2).to(attended)], -1)
        rot6d = self.pose_head(seen).float().unflatten(-1, (-1, 6))
        betas = self.shape_head(self.shape_decoder(attended, positions)).float()
        return rot6d, betas[:, None].expand(-1, T, -1)


class OverTime(FrameRegressor):
    """To be put before a rival of single frames, as in `class LiuOverTime(OverTime, Liu)`.

    The rival's `spatial_parts` stay what they are, so features and weights of a trained rival can
    be used here.
    """

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        self.temporal = TemporalTransformer(config)

    def decode(self, frames: FrameFeatures, window: Window) -> TemporalOutput:
        """As `Network`."""
        single = super().decode(frames, window)
        rot6d, betas = self.temporal(frames)
        hands = self.pose(rot6d, betas, window.is_left)
        return TemporalOutput(hands, single, single.joints_2d)

    def losses(
        self, output: TemporalOutput, targets: Targets, point_loss: PointLoss
    ) -> dict[str, Tensor]:
        """Mesh, joints, pose and shape of the window's hands; the same of the frames' hands as
        `monocular_…`; and the rival's other terms."""
        terms = hand_losses(output.hands, targets.hand, point_loss)
        for name, value in super().losses(output.frames, targets, point_loss).items():
            terms[f"monocular_{name}" if name in terms else name] = value
        return terms


class LiuOverTime(OverTime, Liu):
    """[36] + temporal transformer."""


class HandOccNetOverTime(OverTime, HandOccNet):
    """[40] + temporal transformer."""
