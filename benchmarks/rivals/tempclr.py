"""TempCLR: single frames, whose features a contrastive loss makes coherent over time.

Source: Ziani, Fan, Kocabas, Christen, Hilliges, "TempCLR: Reconstructing Hands via Time-Coherent
Contrastive Learning", 3DV 2022.

In training, features of neighbouring frames attract each other, and repel those of other videos;
both frames are augmented alike, because an augmentation that changes over time is no motion. HMR's
iterative regressor predicts the hand of each frame. At test time, nothing but the frame is seen.

Differs from the original: it learns to contrast from unlabelled videos of other data, then a hand's
labels; here both losses are summed in one training on the same frames, so that all rows have one
budget and the same data. The Deformer's spatial half stands for its ResNet with pooled features, so
that rows differ in what they do about time; 2D joints come from it, in place of a predicted camera.
The videos that repel are the other windows of a forward pass; of windows of one clip, this is not
known. The losses of hands are the Deformer's, with squared errors.
"""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.rivals.vibe import IterativeRegressor
from deformer.hand.mano import HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.frames import SpatialNetwork
from deformer.network.losses import (
    PointLoss,
    Targets,
    hand_losses,
    joints_2d_loss,
    masked_mean,
)
from deformer.network.output import FrameFeatures, Window
from deformer.network.posed_hands import HandMotion
from deformer.network.sides import mirror_joints_2d
from deformer.network.transformer import MLP

_TEMPERATURE = 0.1


class TempClrOutput(NamedTuple):
    """Predictions for B windows of T frames."""

    hands: HandMotion
    joints_2d: Tensor
    """(B, T, 21, 2) x, y in [0, 1] of the hand box."""
    embeddings: Tensor
    """(B, T, width): projected features, float32; for the contrastive loss."""


class TempClr(SpatialNetwork):
    """The Deformer's spatial half with `IterativeRegressor` as its head."""

    own_weights: ClassVar = {"contrastive": 1.0}

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        width = config.width
        self.monocular_head = IterativeRegressor(width, config.regressor)
        self.projection = MLP(width, width, width, gain=1.0)

    def decode(self, frames: FrameFeatures, window: Window) -> TempClrOutput:
        """As `Network`."""
        rot6d, betas = self.monocular_head(frames.hand)
        hands = self.pose(rot6d, betas, window.is_left)
        joints_2d = mirror_joints_2d(frames.joints_2d, window.is_left)
        return TempClrOutput(hands, joints_2d, self.projection(frames.hand).float())

    def losses(
        self, output: TempClrOutput, targets: Targets, point_loss: PointLoss
    ) -> dict[str, Tensor]:
        """Mesh, joints, pose and shape, 2D joints, and `contrastive`."""
        return {
            **hand_losses(output.hands, targets.hand, point_loss),
            "joints_2d": joints_2d_loss(
                output.joints_2d, targets.joints_2d, targets.joints_in_image
            ),
            "contrastive": contrastive_loss(output.embeddings, targets.is_repeat),
        }


def contrastive_loss(embeddings: Tensor, is_repeat: Tensor) -> Tensor:
    """Cross-entropy of finding a frame's neighbour among it and the frames of other windows
    (InfoNCE), by cosines: embeddings (B, T, D) of B windows, is_repeat (B, T−1) bool → scalar.

    Frames of one window that are not neighbours neither attract nor repel: the hand has moved.
    Neighbours that are the same frame teach nothing and do not count. 0 for one window, and for
    T = 1.
    """
    B, T, _ = embeddings.shape
    if T == 1:
        return 0.0 * embeddings.sum()
    with torch.autocast(embeddings.device.type, enabled=False):
        unit = functional.normalize(embeddings, dim=-1)
        cosines = torch.einsum("btd,cud->btcu", unit, unit) / _TEMPERATURE
        is_own = torch.eye(B, dtype=torch.bool, device=unit.device)[:, None, :, None]
        # Not −∞, which would have no gradient where there is no other window
        others = cosines.masked_fill(is_own, -1e4).flatten(2).logsumexp(-1)  # (B, T)
        near = (unit[:, 1:] * unit[:, :-1]).sum(-1) / _TEMPERATURE  # (B, T − 1)
        terms = [functional.softplus(others[:, at] - near) for at in (slice(1, None), slice(-1))]
        return masked_mean(torch.stack(terms).mean(0), ~is_repeat)
