"""Residual blocks, an hourglass, and a way from a map to a vector, for rivals that read maps by
convolutions.

Sources: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016; Newell, Yang, Deng,
"Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016. Both normalise by batch
statistics; GroupNorm stands in their place, so that frames stay independent.
"""

from math import gcd

from torch import Tensor, nn
from torch.nn import functional


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm for any number of channels; 8 groups where 8 divides it."""
    return nn.GroupNorm(gcd(8, channels), channels)


def num_halvings(size: int) -> int:
    """How often a map can be halved until its side is 2 or 3; 0 for smaller ones."""
    return max(0, size.bit_length() - 2)


class ResidualBlock(nn.Sequential):
    """A bottleneck with normalisation before each convolution, added to its input."""

    def __init__(self, width: int) -> None:
        inner = width // 2
        super().__init__(
            group_norm(width), nn.ReLU(), nn.Conv2d(width, inner, 1),
            group_norm(inner), nn.ReLU(), nn.Conv2d(inner, inner, 3, padding=1),
            group_norm(inner), nn.ReLU(), nn.Conv2d(inner, width, 1),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        """maps (N, width, size, size) → the same shape."""
        return maps + super().forward(maps)


class Hourglass(nn.Module):
    """Sees the map at all scales, each halved from the one above, and joins them again."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.across, self.down, self.up = (ResidualBlock(width) for _ in range(3))
        self.within = Hourglass(width, depth - 1) if depth > 1 else ResidualBlock(width)

    def forward(self, maps: Tensor) -> Tensor:
        """maps (N, width, size, size) → the same shape; size is at least 2^depth."""
        coarse = self.up(self.within(self.down(functional.max_pool2d(maps, 2))))
        return self.across(maps) + functional.interpolate(coarse, size=maps.shape[-2:])


class MapEncoder(nn.Module):
    """Two residual blocks at each scale, down to a side of 2 or 3 (`side`)."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        num = num_halvings(size)
        self.side = size >> num
        self.scales = nn.ModuleList(
            nn.Sequential(ResidualBlock(width), ResidualBlock(width)) for _ in range(num)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """maps (N, width, size, size) → (N, width, side, side)."""
        for blocks in self.scales:
            maps = functional.max_pool2d(blocks(maps), 2)
        return maps
