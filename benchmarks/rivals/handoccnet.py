"""HandOccNet: what is seen of a hand is injected where something hides it.

Source: Park, Oh, Moon, Choi, Lee, "HandOccNet: Occlusion-Robust 3D Hand Mesh Estimation Network",
CVPR 2022.

A spatial attention map splits the features into primary ones, where the hand is seen, and secondary
ones, of all else, hidden regions among them; nothing but the task teaches it. In the feature
injecting transformer (FIT), each place of the secondary map asks the primary one: softmax
attention says what to take from where, and a sigmoid of the correlation with the whole primary map
how much, because softmax always takes something. The self-enhancing transformer (SET) is
self-attention over the result. The hand head of Liu et al. makes 2D heatmaps of it, and one vector
of features and heatmaps, which becomes MANO's parameters.

Differs from the original: the backbone, the crop and the transformers' sizes are this project's, as
for the Deformer; positions are sines, not learned; SET is the Deformer's encoder, with
normalisation before each block; FIT's correlations are averaged over the primary map, where the
original adds them, so that the sigmoid does not saturate however large the map is; GroupNorm
replaces batch statistics, and also precedes the attention map; a frame's vector has `width`
numbers, where the original has four times as many. The losses are the original's: mesh, joints,
pose, shape and 2D joints, with the base's weights.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.rivals.convolutions import group_norm
from benchmarks.rivals.frame_regressor import FrameRegressor
from benchmarks.rivals.liu import HandHead
from deformer.hand.mano import HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.output import FrameFeatures
from deformer.network.transformer import Encoder, FeedForward, sine_positions_2d


class SpatialAttention(nn.Module):
    """Splits maps by where the hand is seen, told from the largest and the mean channel.

    Source: Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # Before the split: a norm of each place after it would undo it
        self.norm = group_norm(width)
        self.seen = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """maps (N, width, size, size) → primary and secondary maps, which add up to the normalised
        maps."""
        maps = self.norm(maps)
        pooled = torch.cat([maps.amax(1, keepdim=True), maps.mean(1, keepdim=True)], 1)
        primary = self.seen(pooled).sigmoid() * maps
        return primary, maps - primary


class InjectionLayer(nn.Module):
    """Attention whose sum is scaled by a sigmoid, then a feed-forward block."""

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)  # softmax ignores a key's bias
        self.gate_query, self.gate_key = nn.Linear(width, width), nn.Linear(width, width)
        self.norm, self.feed_forward = nn.LayerNorm(width), FeedForward(width, ffn)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(N, L, width) each → (N, L, width): of values alone, queries only choose."""

        def split(x: Tensor) -> Tensor:  # (N, L, width) → (N, heads, L, width/heads)
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        taken = functional.scaled_dot_product_attention(
            split(self.query(queries)), split(self.key(keys)), split(self.value(values))
        )
        # The mean correlation with all keys is the correlation with their mean
        whole = split(self.gate_key(keys.mean(1, keepdim=True)))
        asked = split(self.gate_query(queries))
        gate = ((asked * whole).sum(-1, keepdim=True) / asked.shape[-1] ** 0.5).sigmoid()
        taken = (gate * taken).transpose(1, 2).flatten(2)
        return taken + self.feed_forward(self.norm(taken))


class InjectingTransformer(nn.Module):
    """FIT: `InjectionLayer`s, then convolutions over what was injected and the primary map."""

    def __init__(self, width: int, heads: int, ffn: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(InjectionLayer(width, heads, ffn) for _ in range(layers))
        self.join = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(2 * width, width, 1)

    def forward(self, primary: Tensor, secondary: Tensor, positions: Tensor) -> Tensor:
        """Maps (N, width, size, size), positions (size², width) → (N, width, size, size)."""
        seen, injected = _tokens(primary), _tokens(secondary)
        for layer in self.layers:
            injected = layer(injected + positions, seen + positions, seen)
        both = torch.cat([primary, _maps(injected, primary)], 1)
        return self.join(both) + self.shortcut(both)


class HandOccNet(FrameRegressor):
    """FIT, SET, heatmaps, and a vector for each frame from which `mano_head` regresses the hand."""

    spatial_parts = ("attention", "injecting", "enhancing", "hand_head", "mano_head")

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        width, size = config.width, config.roi_size
        shape = (width, config.heads, config.ffn, config.layers)
        self.attention = SpatialAttention(width)
        self.injecting = InjectingTransformer(*shape)
        self.enhancing = Encoder(*shape)
        self.hand_head = HandHead(width, size)
        self.register_buffer("positions_2d", sine_positions_2d(size, width), persistent=False)

    def encode_maps(self, maps: Tensor) -> FrameFeatures:
        """maps (N, width, size, size) → vectors of `width` numbers, and 2D joints."""
        maps = self.injecting(*self.attention(maps), self.positions_2d)
        tokens = self.enhancing(_tokens(maps), self.positions_2d)
        return self.hand_head(_maps(tokens, maps))


def _tokens(maps: Tensor) -> Tensor:
    """(N, C, size, size) → (N, size², C)."""
    return maps.flatten(2).transpose(1, 2)


def _maps(tokens: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_tokens`, for maps as large as these."""
    return tokens.transpose(1, 2).unflatten(2, like.shape[2:])
