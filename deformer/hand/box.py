"""The hand box, and how far augmented training crops reach beyond it.

Shards keep exactly the pixels that training crops can need. So build and stream must agree on these
numbers, which are part of a dataset's parameters.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

BOX_SCALE = 1.5
"""The hand box is the tight box of the 2D joints, squared and enlarged by this factor."""


@dataclass(frozen=True)
class AugmentationRange:
    """The widest geometric augmentation that a dataset's crops allow. Rotation: any angle."""

    scale: float = 0.2
    """The window's side is multiplied by 1 − scale … 1 + scale."""
    shift: float = 0.1
    """The window's centre moves by up to this share of the hand box's side, along each axis."""

    def __post_init__(self) -> None:
        for name in ("scale", "shift"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must lie in [0, 1)")


def tight_box(points_px: np.ndarray) -> np.ndarray:
    """Tight boxes (..., 4) as x0, y0, x1, y1 of points (..., N, 2)."""
    return np.concatenate([points_px.min(-2), points_px.max(-2)], -1)


def hand_box(tight_box_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Square hand box of tight boxes (..., 4): centre (..., 2) and side (...), both px."""
    corner0, corner1 = tight_box_px[..., :2], tight_box_px[..., 2:]
    return (corner0 + corner1) / 2, (corner1 - corner0).max(-1) * BOX_SCALE


def reach_px(side_px: np.ndarray, limits: AugmentationRange) -> np.ndarray:
    """Largest distance, along an axis, of an augmented window from the hand box's centre.

    A square window of side s, turned by 45°, reaches s·√2/2 from its own centre.
    """
    return side_px * ((1 + limits.scale) * sqrt(2) / 2 + limits.shift)
