"""What every network of this project is: the Deformer, and its rivals in `benchmarks.rivals`.

    images ── crop_maps ──► maps ── encode_maps ──► FrameFeatures ── decode_windows ──► Output

`crop_maps` is the backbone, which all share; the rest, and `losses`, are a network's own. Frames
are encoded one by one, so overlapping windows share them; windows are decoded from features. The
stream, the learner, checkpoints and evaluation know a network by this alone.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from deformer.hand.mano import HandLayer
from deformer.hand.rotations import mirror_rot6d, rot6d_to_rotmat
from deformer.network.backbone import Backbone
from deformer.network.config import DeformerConfig
from deformer.network.losses import PointLoss, Targets
from deformer.network.output import FrameFeatures, Maps, View, Window
from deformer.network.posed_hands import HandMotion, pose_hands
from deformer.network.sides import mirror_left, of_side


class Output(Protocol):
    """What a network gives for B windows of T frames: this, and all that its losses need."""

    @property
    def hands(self) -> HandMotion:
        """The result. A network without MANO has no rotations and shapes, one without a mesh no
        vertices: None."""

    joints_2d: Tensor
    """(B, T, 21, 2) x, y in [0, 1] of the hand box, dataset order."""


class HandOutput(NamedTuple):
    """For a network whose losses need no more."""

    hands: HandMotion
    joints_2d: Tensor


class Network(nn.Module, ABC):
    """A network; `deformer.network.registry` finds one by name.

    Every image shows one hand; left hands are mirrored (`deformer.network.sides`).
    """

    spatial_parts: ClassVar[tuple[str, ...]]
    """Names of the child modules behind the backbone that see single frames."""
    channels: ClassVar[int] = 3
    """Of its images."""
    needs_view: ClassVar[bool] = False
    """Whether it lifts 2D joints to 3D, for which it has to know the camera."""
    own_weights: ClassVar[dict[str, float]] = {}
    """Weights of its loss terms that `LossWeights` does not have."""

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__()
        self.config = config
        self.hand_layer = hand_layer
        self.backbone = Backbone(config.backbone, config.norm, config.width, config.frozen_stages)

    @abstractmethod
    def encode_maps(self, maps: Tensor) -> FrameFeatures:
        """Frame by frame: maps (N, width, size, size), float32, of right or mirrored hands; size is
        the config's `roi_size`."""

    @abstractmethod
    def decode(self, frames: FrameFeatures, window: Window) -> Output:
        """Windows of features (B, T, …)."""

    @abstractmethod
    def losses(self, output: Output, targets: Targets, point_loss: PointLoss) -> dict[str, Tensor]:
        """Unweighted terms, scalars. point_loss: for the terms of points and parameters."""

    def crop_maps(self, images: Tensor, boxes_px: Tensor, is_left: Tensor) -> Tensor:
        """What the backbone sees in the hand boxes, frame by frame: images (N, channels, H, W),
        boxes_px (N, 4), is_left (N,) → maps (N, width, size, size)."""
        images, boxes_px = mirror_left(images, boxes_px, is_left)
        return self.backbone.crop(self.backbone(images), boxes_px, self.config.roi_size)

    def encode_frames(self, images: Tensor, boxes_px: Tensor, is_left: Tensor) -> FrameFeatures:
        """The spatial half, frame by frame: images (N, channels, H, W), boxes_px (N, 4), is_left
        (N,).

        Overlapping windows share frames: encode each frame once, then gather the windows for
        `decode_windows`.
        """
        return self.encode_maps(self.crop_maps(images, boxes_px, is_left))

    def decode_windows(
        self,
        frames: FrameFeatures,
        is_left: Tensor,
        occlusion: Tensor | None = None,
        view: View | None = None,
    ) -> Output:
        """Windows of features (B, T, …); the others as in `Window`. Raises `ValueError` for a
        network that needs the view and is not given it."""
        if self.needs_view and view is None:
            raise ValueError(
                f"{type(self).__name__} lifts 2D joints to 3D: give K, the intrinsics of the images"
            )
        return self.decode(frames, Window(is_left, occlusion, view))

    def forward(
        self,
        images: Tensor | Maps | FrameFeatures,
        boxes_px: Tensor,
        is_left: Tensor,
        occlusion: Tensor | None = None,
        is_repeat: Tensor | None = None,
        K: Tensor | None = None,
    ) -> Output:
        """Predict the hands of a batch of windows.

        images (B, T, channels, H, W): RGB, float in [0, 1], in order of time, T ≥ 1; or what
        `crop_maps` or `encode_frames` makes of them, (B, T, …).
        boxes_px (B, T, 4): square hand boxes, x0 y0 x1 y1, px of these images; not clipped.
        is_left (B,) bool: one side per window.
        occlusion (B, T): hidden share of the hand, in [0, 1]; only the fusion `occlusion` needs it.
        is_repeat (B, T−1) bool: frames t and t+1 have the same image and box. On the CPU, such
        frames are encoded once; on a GPU this is ignored, because reading it would wait for the
        device. The result does not depend on it.
        K (B, T, 3, 3): of these images; for networks that need a `View`.

        Raises `ValueError` for a wrong shape.
        """
        view = None if K is None else View(boxes_px, K)
        if isinstance(images, FrameFeatures):
            return self.decode_windows(images, is_left, occlusion, view)
        if isinstance(images, Maps):
            B, T = images.maps.shape[:2]
            encoded = self.encode_maps(images.maps.flatten(0, 1))
            windows = FrameFeatures(*(value.unflatten(0, (B, T)) for value in encoded))
            return self.decode_windows(windows, is_left, occlusion, view)
        B, T = images.shape[:2]
        for name, tensor, shape in (
            ("images", images, (B, T, self.channels, *images.shape[3:5])),
            ("boxes_px", boxes_px, (B, T, 4)),
            ("is_left", is_left, (B,)),
            ("occlusion", occlusion, (B, T)),
            ("is_repeat", is_repeat, (B, T - 1)),
            ("K", K, (B, T, 3, 3)),
        ):
            if tensor is not None and tensor.shape != shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, must be {tuple(shape)}")
        frames = images.flatten(0, 1), boxes_px.flatten(0, 1), is_left.repeat_interleave(T)
        if is_repeat is None or is_repeat.is_cuda or not is_repeat.any():
            features = self.encode_frames(*frames)
        else:
            is_new = torch.cat([is_repeat.new_ones(B, 1), ~is_repeat], 1).flatten()
            chosen = is_new.nonzero().squeeze(1).to(images.device)
            place = (is_new.cumsum(0) - 1).to(images.device)  # index of each frame among the chosen
            encoded = self.encode_frames(*(value[chosen] for value in frames))
            features = (value[place] for value in encoded)
        windows = FrameFeatures(*(value.unflatten(0, (B, T)) for value in features))
        return self.decode_windows(windows, is_left, occlusion, view)

    def pose(self, rot6d: Tensor, betas: Tensor, is_left: Tensor) -> HandMotion:
        """Pose right hands, mirrored back where `is_left` (B,): rot6d (B, T, 16, 6) in MANO's
        order; betas (B, T, 20), ten for each side. In float32: bfloat16 cannot resolve
        millimetres."""
        with torch.autocast(rot6d.device.type, enabled=False):
            rot6d, betas = rot6d.float(), betas.float()
            rot6d = torch.where(is_left[:, None, None, None], mirror_rot6d(rot6d), rot6d)
            rotmats, betas = rot6d_to_rotmat(rot6d), of_side(betas, is_left)
            return pose_hands(self.hand_layer, rotmats, betas, is_left, self.config.tips)


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Number of parameters of each part of a network, and the "total"."""
    parts = {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in model.named_children()
        if name != "hand_layer"  # the hand model is not learned
    }
    return parts | {"total": sum(parts.values())}
