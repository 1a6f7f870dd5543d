"""The spatial half: an image of a hand → one feature vector and 2D joints. The Deformer has it, and
so have those rivals that learn from the same features.

Source: the paper's section 3.1; comments mark choices that it leaves open.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from deformer.hand.conventions import NUM_JOINTS, NUM_MANO_JOINTS
from deformer.hand.mano import HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.network import Network
from deformer.network.output import FrameFeatures
from deformer.network.posed_hands import HandMotion
from deformer.network.transformer import MLP, Decoder, Encoder, sine_positions_2d, soft_argmax

NUM_BETAS = 10
POSE = NUM_MANO_JOINTS * 6
"""Numbers of a pose, as rot6d."""
SMALL = 0.01
"""Gain of outputs, so that they start at their bias: open hand, no motion."""


class SpatialNetwork(Network):
    """A network with the Deformer's spatial half. `load_backbone_weights` initialises the backbone;
    the rest starts at random."""

    spatial_parts = (
        "spatial_encoder", "heatmap_head", "memory_projection", "spatial_decoder", "monocular_head",
    )  # fmt: skip

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        width = config.width
        shape = (width, config.heads, config.ffn, config.layers)
        self.spatial_encoder = Encoder(*shape)
        self.heatmap_head = MLP(width, width, NUM_JOINTS, gain=1.0)
        self.memory_projection = nn.Linear(width + NUM_JOINTS, width)
        self.spatial_decoder = Decoder(*shape)
        self.monocular_head = MLP(width, *config.regressor, POSE + 2 * NUM_BETAS, gain=SMALL)
        start_open(self.monocular_head)
        positions = sine_positions_2d(config.roi_size, width)
        self.register_buffer("positions_2d", positions, persistent=False)

    def encode_maps(self, maps: Tensor) -> FrameFeatures:
        """maps (N, width, size, size) → F⁺ and 2D joints."""
        size = self.config.roi_size
        tokens = maps.flatten(2).transpose(1, 2)  # (N, size², width)
        tokens = self.spatial_encoder(tokens, self.positions_2d)
        logits = self.heatmap_head(tokens).float()  # (N, size², 21)
        joints_2d = soft_argmax(logits, size)
        # Heatmaps with peak 1 stay bounded, however sharp they become
        heatmaps = (logits - logits.amax(1, keepdim=True)).exp()
        memory = self.memory_projection(torch.cat([tokens, heatmaps.to(tokens)], -1))
        if self.config.placed_memory:
            memory = memory + self.positions_2d
        return FrameFeatures(self.spatial_decoder(memory, self.positions_2d), joints_2d)

    def monocular(self, frames: FrameFeatures, is_left: Tensor) -> HandMotion:
        """Hands of single frames, for supervision of the spatial half: features (B, T, …)."""
        predicted = self.monocular_head(frames.hand)
        rot6d, betas = predicted.split([POSE, 2 * NUM_BETAS], -1)
        return self.pose(rot6d.unflatten(-1, (-1, 6)), betas, is_left)


class SpatialOutput(NamedTuple):
    """Of a network that has the Deformer's spatial half."""

    hands: HandMotion
    monocular: HandMotion
    """Of each frame alone; for supervision."""
    joints_2d: Tensor
    """(B, T, 21, 2) x, y in [0, 1] of the hand box."""


def start_open(head: MLP) -> None:
    """Let the first numbers of a head start at rotations near the identity: an open hand."""
    with torch.no_grad():
        head[-1].bias[:POSE] = torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(NUM_MANO_JOINTS)
