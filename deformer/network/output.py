"""What passes between the parts of a network, and what the Deformer gives."""

from typing import NamedTuple

import torch
from torch import Tensor

from deformer.network.posed_hands import HandMotion


class Maps(NamedTuple):
    """What the backbone sees in the hand boxes; left hands are mirrored."""

    maps: Tensor
    """(B, T, width, size, size), or (N, width, size, size) of single frames."""


class FrameFeatures(NamedTuple):
    """Features of single frames, independent of windows; left hands are mirrored."""

    hand: Tensor
    """(N, C): what a network keeps of a hand; the Deformer's is F⁺, of `width` numbers."""
    joints_2d: Tensor
    """(N, 21, 2) x, y in [0, 1] of the hand box."""


class View(NamedTuple):
    """How windows were photographed; px of the images, which left hands do not mirror here."""

    boxes_px: Tensor
    """(B, T, 4): square hand boxes, x0 y0 x1 y1."""
    K: Tensor
    """(B, T, 3, 3); may have a skew."""

    def rays(self, joints_2d: Tensor) -> Tensor:
        """Where points of the images are in the camera frame, but for their depth: joints_2d
        (B, T, P, 2) in [0, 1] of the boxes, not mirrored → (B, T, P, 3) with z = 1."""
        corner, opposite = self.boxes_px.float()[..., None, :].chunk(2, -1)
        K = self.K.float()[..., None, :, :]
        x, y = (corner + joints_2d * (opposite - corner) - K[..., :2, 2]).unbind(-1)
        # The inverse by hand, because torch's waits for the device
        (fx, skew), (tilt, fy) = (row.unbind(-1) for row in K[..., :2, :2].unbind(-2))
        rays = torch.stack([fy * x - skew * y, fx * y - tilt * x], -1)
        rays = rays / (fx * fy - skew * tilt)[..., None]
        return torch.cat([rays, torch.ones_like(rays[..., :1])], -1)


class Window(NamedTuple):
    """What is known of B windows besides their images."""

    is_left: Tensor
    """(B,) bool: one side per window."""
    occlusion: Tensor | None = None
    """(B, T): hidden share of the hand, in [0, 1]; only the fusion `occlusion` needs it."""
    view: View | None = None
    """For networks that lift 2D joints to 3D; those that say so have it."""


class DeformerOutput(NamedTuple):
    """Predictions for B windows of T frames."""

    fused: HandMotion
    """The result: fused poses of all T frames, with one shape per window."""
    monocular: HandMotion
    """Poses and shapes of each frame alone; for supervision."""
    forward: HandMotion
    """T−1 frames: [:, t] is frame t deformed by one step, so it predicts frame t+1."""
    backward: HandMotion
    """T−1 frames: [:, t] is frame t+1 deformed by one step back, so it predicts frame t."""
    joints_2d: Tensor
    """(B, T, 21, 2) x, y in [0, 1] of the hand box, dataset order."""
    confidence: Tensor
    """(B, T) logits; only dynamic, nearby and pairwise fusion use them."""
    deformed: Tensor
    """(B, T, T, 16, 6) rot6d, MANO's order: [:, i, j] is the pose of frame i deformed to frame j,
    before fusion; [:, i, i] is the pose of frame i."""
    weights: Tensor
    """(B, T, T): [:, i, j] is the weight of frame i in the fused pose of frame j."""

    @property
    def hands(self) -> HandMotion:
        """As every `Output`."""
        return self.fused
