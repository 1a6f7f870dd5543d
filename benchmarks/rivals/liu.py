"""Liu et al.: a transformer over the hand's surroundings, heatmaps from an hourglass, then MANO.

Source: Liu, Jiang, Xu, Liu, Wang, "Semi-Supervised 3D Hand-Object Poses Estimation with
Interactions in Time", CVPR 2021. [36] in the Deformer paper.

One layer of attention reads the map of the hand's box. An hourglass gives heatmaps of the joints,
whose soft-argmax are the 2D joints. Maps and heatmaps together go through residual blocks and
pooling down to 2×2, and an MLP regresses pose and shape from that.

Differs from the original: a batch has no box, mesh or pose of an object, so the object's branch is
left out. The original's attention lets the object's features ask the region where hand and object
meet, and reaches the hand through the shared backbone alone; without an object it would have
nothing to learn from. So here the map of the hand's box, which shows what the hand holds, stands
for both, and every place asks all others. The 2×2 codes are projected to one normed vector of
`width` numbers, which a temporal transformer can read; heatmaps have peak 1, not sum 1; GroupNorm
stands for batch statistics. The semi-supervised rounds on unlabelled videos are left out, as every
rival learns from the same frames.
"""

from torch import Tensor, nn

from benchmarks.rivals.convolutions import (
    Hourglass,
    MapEncoder,
    ResidualBlock,
    group_norm,
    num_halvings,
)
from benchmarks.rivals.frame_regressor import FrameRegressor
from deformer.hand.conventions import NUM_JOINTS
from deformer.hand.mano import HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.output import FrameFeatures
from deformer.network.transformer import Encoder, sine_positions_2d, soft_argmax


class HandHead(nn.Module):
    """Maps of a hand → 2D joints and one vector, by way of heatmaps; HandOccNet has it too."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.hourglass = nn.Sequential(
            Hourglass(width, max(1, num_halvings(size))), ResidualBlock(width),
            nn.Conv2d(width, width, 1), group_norm(width), nn.ReLU(),
        )  # fmt: skip
        self.score = nn.Conv2d(width, NUM_JOINTS, 1, bias=False)  # softmax ignores a bias
        self.from_maps = nn.Conv2d(width, width, 1)
        self.from_heatmaps = nn.Conv2d(NUM_JOINTS, width, 1, bias=False)
        self.encoder = MapEncoder(width, size)
        codes = width * self.encoder.side**2
        self.to_vector = nn.Sequential(nn.Linear(codes, width), nn.LayerNorm(width))

    def forward(self, maps: Tensor) -> FrameFeatures:
        """maps (N, width, size, size) → a vector (N, width), joints_2d (N, 21, 2); float32."""
        maps = self.hourglass(maps)
        logits = self.score(maps).float().flatten(2)  # (N, 21, size²)
        joints_2d = soft_argmax(logits.transpose(1, 2), self.size)
        heatmaps = (logits - logits.amax(-1, keepdim=True)).exp()  # with peak 1, as the Deformer's
        heatmaps = heatmaps.unflatten(-1, (self.size, self.size))
        code = self.encoder(self.from_maps(maps) + self.from_heatmaps(heatmaps))
        return FrameFeatures(self.to_vector(code.flatten(1)).float(), joints_2d)


class Liu(FrameRegressor):
    """Attention, `HandHead`, and an MLP. `FrameFeatures.hand` is one vector of `width` numbers."""

    spatial_parts = ("context", "hand_head", "mano_head")

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        width, size = config.width, config.roi_size
        self.context = Encoder(width, config.heads, config.ffn, layers=1)
        self.hand_head = HandHead(width, size)
        self.register_buffer("positions_2d", sine_positions_2d(size, width), persistent=False)

    def encode_maps(self, maps: Tensor) -> FrameFeatures:
        """As `Network`."""
        tokens = self.context(maps.flatten(2).transpose(1, 2), self.positions_2d)
        return self.hand_head(tokens.transpose(1, 2).unflatten(-1, maps.shape[-2:]))
