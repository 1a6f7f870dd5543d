"""Transformer encoder and decoder, sine positions in one and two dimensions, MLPs and soft-argmax.

Normalisation precedes each block (pre-norm), because the paper's schedule has no warm-up, which
post-norm transformers need. Positions are added to queries and keys in every layer, as in DETR,
which the paper builds on. There is no dropout, because the paper mentions none.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_TEMPERATURE = 10_000.0


def sine_positions_1d(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Positions (length, width) of the frames of a window, counted from its centre frame.

    So the centre frame has the same position in windows of any length.
    """
    steps = torch.arange(length, device=device, dtype=torch.float32) - length // 2
    return _sines(steps, width)


def sine_positions_2d(size: int, width: int) -> Tensor:
    """Positions (size², width) of a square grid in row-major order: half of the channels for y,
    half for x, both from 0 to 2π over the grid.
    """
    centres = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    sines = _sines(centres * 2 * torch.pi, width // 2)  # (size, width/2)
    y = sines[:, None].expand(size, size, -1)
    x = sines[None, :].expand(size, size, -1)
    return torch.cat([y, x], -1).flatten(0, 1)


def _sines(values: Tensor, width: int) -> Tensor:
    """values (n,) → (n, width): sines, then cosines, at width/2 frequencies."""
    powers = torch.arange(width // 2, device=values.device, dtype=torch.float32) / (width // 2)
    phases = values[:, None] / _TEMPERATURE**powers
    return torch.cat([phases.sin(), phases.cos()], -1)


class Attention(nn.Module):
    """Multi-head attention through `scaled_dot_product_attention`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.value, self.out = (nn.Linear(width, width) for _ in range(3))
        self.key = nn.Linear(width, width, bias=False)  # softmax ignores a key's bias
        _xavier(self)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """queries (N, Q, width), keys and values (N, K, width) → (N, Q, width)."""

        def split(x: Tensor) -> Tensor:  # (N, L, width) → (N, heads, L, width/heads)
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        attended = functional.scaled_dot_product_attention(
            split(self.query(queries)), split(self.key(keys)), split(self.value(values))
        )
        return self.out(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Sequential):
    """Two linear layers with a ReLU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        _xavier(self)


def _xavier(module: nn.Module) -> None:
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.xavier_uniform_(child.weight)
            if child.bias is not None:
                nn.init.zeros_(child.bias)


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(width, heads), FeedForward(width, ffn)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        tokens = self.attend(tokens, positions)
        return tokens + self.feed_forward(self.norm2(tokens))

    def attend(self, tokens: Tensor, positions: Tensor) -> Tensor:
        normed = self.norm1(tokens)
        placed = normed + positions
        return tokens + self.attention(placed, placed, normed)


class Encoder(nn.Module):
    """Layers of self-attention and feed-forward blocks, and a final norm."""

    def __init__(self, width: int, heads: int, ffn: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, heads, ffn) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """tokens (N, L, width), positions (L, width) → (N, L, width)."""
        for layer in self.layers:
            tokens = layer(tokens, positions)
        return self.norm(tokens)


class DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(width, heads), FeedForward(width, ffn)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, query: Tensor, keys: Tensor, memory: Tensor) -> Tensor:
        query = query + self.attention(self.norm1(query), keys, memory)
        return query + self.feed_forward(self.norm2(query))


class Decoder(nn.Module):
    """One learned query that reads a memory through layers of cross-attention and feed-forward.

    There is no self-attention: for a single query it would be just another linear layer.
    """

    def __init__(self, width: int, heads: int, ffn: int, layers: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, width))
        self.norm_memory = nn.LayerNorm(width)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, ffn) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, memory: Tensor, positions: Tensor) -> Tensor:
        """memory (N, L, width), positions (L, width) → (N, width)."""
        memory = self.norm_memory(memory)
        keys = memory + positions
        query = self.query.expand(memory.shape[0], 1, -1)
        for layer in self.layers:
            query = layer(query, keys, memory)
        return self.norm(query).squeeze(1)


class MLP(nn.Sequential):
    """Linear layers with ReLU between. With a small `gain`, outputs start near the last bias."""

    def __init__(self, *widths: int, gain: float) -> None:
        layers = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        super().__init__(*layers[:-1])
        nn.init.xavier_uniform_(self[-1].weight, gain)
        nn.init.zeros_(self[-1].bias)


def soft_argmax(logits: Tensor, size: int) -> Tensor:
    """Expected position under softmax: logits (N, size², J), row-major → (N, J, 2), x y in [0, 1].

    A token has the position of its cell's centre, so results stay half a cell inside the border.
    """
    centres = (torch.arange(size, device=logits.device, dtype=logits.dtype) + 0.5) / size
    shares = logits.softmax(1).unflatten(1, (size, size))  # (N, y, x, J)
    # Sums, because autocast would round a matrix product to bfloat16
    x = (shares.sum(1) * centres[:, None]).sum(1)
    y = (shares.sum(2) * centres[:, None]).sum(1)
    return torch.stack([x, y], -1)
