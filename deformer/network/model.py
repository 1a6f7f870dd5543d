"""The Deformer: a window of frames → a hand mesh for every frame.

Source: the paper's section 3; comments mark choices that it leaves open.
"""

import torch
from torch import Tensor
from torch.nn import functional

from deformer.hand.conventions import NUM_JOINTS
from deformer.hand.mano import HandLayer
from deformer.hand.rotations import mirror_rot6d
from deformer.network.config import DeformerConfig
from deformer.network.frames import NUM_BETAS, POSE, SMALL, SpatialNetwork, start_open
from deformer.network.fusion import deform_poses, fuse_poses, fusion_weights, step_poses
from deformer.network.losses import PointLoss, Targets, deformer_losses
from deformer.network.output import DeformerOutput, FrameFeatures, Window
from deformer.network.posed_hands import HandMotion
from deformer.network.sides import mirror_joints_2d
from deformer.network.transformer import MLP, Decoder, Encoder, sine_positions_1d


class Deformer(SpatialNetwork):
    """The network. It starts with every rotation near the identity and every motion near 0."""

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        width = config.width
        shape = (width, config.heads, config.ffn, config.layers)
        self.temporal_encoder = Encoder(*shape)
        self.shape_decoder = Decoder(*shape)
        self.shape_head = MLP(width, 2 * NUM_BETAS, gain=SMALL)
        self.regressor = MLP(width + NUM_JOINTS * 2, *config.regressor, 3 * POSE + 1, gain=SMALL)
        start_open(self.regressor)
        # After all parts that every variant has, so that one seed gives those the same weights
        if config.motion == "step":
            self.motion_head = MLP(2 * width, *config.regressor, 2 * POSE, gain=SMALL)
        if config.fusion == "pairwise":
            self.lender, self.borrower = (MLP(width, width, gain=0.1) for _ in range(2))

    def decode(self, frames: FrameFeatures, window: Window) -> DeformerOutput:
        """The temporal half: frames' features (B, T, …)."""
        hand, joints_2d = frames
        _, T, width = hand.shape
        attended = self.temporal_encoder(hand, sine_positions_1d(T, width, hand.device))
        shape_feature = self.shape_decoder(attended, sine_positions_1d(T, width, hand.device))
        regressed = torch.cat([attended, joints_2d.flatten(-2).to(attended)], -1)
        predicted = self.regressor(regressed)
        if self.config.motion == "step":
            pose, _, _, confidence = predicted.split([POSE, POSE, POSE, 1], -1)
            joined = self.motion_head(torch.cat([attended[:, :-1], attended[:, 1:]], -1))
            ahead, back = joined.chunk(2, -1)  # (B, T−1, 96); padded at the window's ends
            ahead, back = functional.pad(ahead, (0, 0, 0, 1)), functional.pad(back, (0, 0, 1, 0))
            predicted = torch.cat([pose, ahead, back, confidence], -1)
        affinity = None
        if self.config.fusion == "pairwise":
            offered, wanted = self.lender(attended), self.borrower(attended)
            affinity = (offered @ wanted.transpose(1, 2) / width**0.5).float()
        betas = self.shape_head(shape_feature)
        monocular = self.monocular_head(hand)
        # Geometry in float32: bfloat16 cannot resolve millimetres
        with torch.autocast(hand.device.type, enabled=False):
            return self._assemble(
                predicted.float(), monocular.float(), betas.float(), joints_2d, window, affinity,
            )  # fmt: skip

    def _assemble(
        self,
        predicted: Tensor,  # (B, T, 3·96+1): pose, forward, backward, confidence
        monocular: Tensor,  # (B, T, 96+20)
        shape: Tensor,  # (B, 20)
        joints_2d: Tensor,
        window: Window,
        affinity: Tensor | None,  # (B, T, T)
    ) -> DeformerOutput:
        """Fuse poses, undo the mirroring, and pose all hands in one call of the hand layer."""
        T, config = predicted.shape[1], self.config
        confidence = config.confidence_scale * predicted[..., -1]
        poses, forward, backward = predicted[..., :-1].unflatten(-1, (3, -1, 6)).unbind(2)
        weights = fusion_weights(
            config.fusion, confidence, window.occlusion, config.reach, affinity
        )
        deformed = deform_poses(poses, forward, backward)
        fused = fuse_poses(deformed, weights)
        monocular_poses = monocular[..., :POSE].unflatten(-1, (-1, 6))
        steps = step_poses(poses, forward, backward)
        rot6d = torch.cat([fused, monocular_poses, *steps], 1)  # (B, 4T−2, 16, 6)
        monocular_betas, window_betas = monocular[..., POSE:], shape[:, None]  # (B, T and 1, 20)
        shared = window_betas.expand(-1, T, -1), window_betas.expand(-1, 2 * T - 2, -1)
        betas = torch.cat([shared[0], monocular_betas, shared[1]], 1)
        hands = self.pose(rot6d, betas, window.is_left)
        parts = zip(*(value.split([T, T, T - 1, T - 1], 1) for value in hands), strict=True)
        joints_2d = mirror_joints_2d(joints_2d, window.is_left)
        deformed = torch.where(
            window.is_left[:, None, None, None, None], mirror_rot6d(deformed), deformed
        )
        return DeformerOutput(
            *(HandMotion(*part) for part in parts), joints_2d, confidence, deformed, weights
        )

    def losses(
        self, output: DeformerOutput, targets: Targets, point_loss: PointLoss
    ) -> dict[str, Tensor]:
        """`deformer_losses`."""
        return deformer_losses(output, targets, point_loss)
