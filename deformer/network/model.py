"""The Deformer: a window of frames → a hand mesh for every frame.

Internally every hand is a right hand: images of left hands are mirrored at the input, rotations and
2D joints at the output. So both sides share everything learned, and a mirrored image gives exactly
the mirrored pose. Each side has its own shape outputs, because the left MANO model is not the
mirror image of the right one: its published shape space has a sign error.

Source: the paper's section 3; comments mark choices that it leaves open.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from deformer.hand.conventions import NUM_JOINTS, NUM_MANO_JOINTS, TIPS, Tips
from deformer.hand.mano import HandLayer
from deformer.hand.rotations import mirror_rot6d, rot6d_to_rotmat
from deformer.network.backbone import Backbone, BackboneName, NormName, crop_features
from deformer.network.fusion import (
    FusionVariant,
    deform_poses,
    fuse_poses,
    fusion_weights,
    step_poses,
)
from deformer.network.posed_hands import HandMotion, pose_hands
from deformer.network.transformer import (
    MLP,
    Decoder,
    Encoder,
    sine_positions_1d,
    sine_positions_2d,
    soft_argmax,
)
from deformer.program.least import check_least

NUM_BETAS = 10
MotionSource = Literal["frame", "step"]
_POSE = NUM_MANO_JOINTS * 6
_SMALL = 0.01  # gain of outputs, so that they start at their bias: open hand, no motion
_CHOICES = {
    "backbone": get_args(BackboneName),
    "norm": get_args(NormName),
    "fusion": get_args(FusionVariant),
    "motion": get_args(MotionSource),
    "tips": TIPS,
}


@dataclass(frozen=True)
class DeformerConfig:
    """The network. The defaults are the paper's."""

    backbone: BackboneName = "resnet50"
    norm: NormName = "frozen"
    """Normalisation of the backbone: see `Backbone`."""
    frozen_stages: int = 0
    """Number of the backbone's four stages, with all layers before them, that never change."""
    fusion: FusionVariant = "dynamic"
    """Weights of the fused poses: see `fusion_weights`."""
    confidence_scale: float = 1.0
    """Factor on the confidence before its softmax. A small network trained for minutes needs more
    than 1 to learn differences between frames."""
    reach: float = 1.0
    """For the fusions `nearby` and `pairwise`: steps of the window over which a weight falls by a
    factor e. Chosen on the validation split of `occluded-hands`, where 1 and 2 differ little."""
    motion: MotionSource = "frame"
    """Input of the motion between two frames: "frame", the frame that it leaves, as in the paper,
    or "step", both frames."""
    tips: Tips = "dexycb"
    """Fingertip convention of the joints."""
    width: int = 256
    """Channels of tokens and image features."""
    heads: int = 8
    layers: int = 3
    """Layers of each encoder and decoder."""
    ffn: int = 256
    """Hidden width of the transformers' feed-forward blocks."""
    roi_size: int = 32
    """The hand box becomes roi_size² tokens, which is also the heatmaps' resolution."""
    placed_memory: bool = False
    """Whether positions are part of the spatial decoder's values. In the paper, as in DETR, they
    are part of its keys only."""
    regressor: tuple[int, int] = (1024, 512)
    """Hidden widths of the MLPs that predict pose, motion and confidence."""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, must be one of {allowed}")
        check_least(self, width=1, heads=1, layers=1, ffn=1, roi_size=1)
        for name in ("confidence_scale", "reach"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be more than 0")
        if not 0 <= self.frozen_stages <= 4:
            raise ValueError(f"frozen_stages is {self.frozen_stages}, must be 0 to 4")
        if len(self.regressor) != 2 or min(self.regressor) < 1:
            raise ValueError(f"regressor is {self.regressor}, must be two widths of 1 or more")
        if self.width % self.heads or self.width % 4:
            raise ValueError(
                f"width is {self.width}, must be a multiple of heads ({self.heads}) and of 4"
            )


class FrameFeatures(NamedTuple):
    """Features of single frames, independent of windows; left hands are mirrored."""

    hand: Tensor
    """(N, width): F⁺, one vector per hand."""
    joints_2d: Tensor
    """(N, 21, 2) x, y in [0, 1] of the hand box."""


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


class Deformer(nn.Module):
    """The network. `load_backbone_weights` initialises the backbone; the rest starts at random,
    with every rotation near the identity and every motion near 0."""

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__()
        self.config = config
        width = config.width
        shape = (width, config.heads, config.ffn, config.layers)
        self.backbone = Backbone(config.backbone, config.norm, width, config.frozen_stages)
        self.spatial_encoder = Encoder(*shape)
        self.heatmap_head = MLP(width, width, NUM_JOINTS, gain=1.0)
        self.memory_projection = nn.Linear(width + NUM_JOINTS, width)
        self.spatial_decoder = Decoder(*shape)
        self.monocular_head = MLP(width, *config.regressor, _POSE + 2 * NUM_BETAS, gain=_SMALL)
        self.temporal_encoder = Encoder(*shape)
        self.shape_decoder = Decoder(*shape)
        self.shape_head = MLP(width, 2 * NUM_BETAS, gain=_SMALL)
        self.regressor = MLP(width + NUM_JOINTS * 2, *config.regressor, 3 * _POSE + 1, gain=_SMALL)
        # After all parts that every variant has, so that one seed gives those the same weights
        if config.motion == "step":
            self.motion_head = MLP(2 * width, *config.regressor, 2 * _POSE, gain=_SMALL)
        if config.fusion == "pairwise":
            self.lender, self.borrower = (MLP(width, width, gain=0.1) for _ in range(2))
        self.hand_layer = hand_layer
        positions = sine_positions_2d(config.roi_size, width)
        self.register_buffer("positions_2d", positions, persistent=False)
        with torch.no_grad():
            identity = torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(NUM_MANO_JOINTS)
            for head in (self.monocular_head, self.regressor):
                head[-1].bias[:_POSE] = identity

    def forward(
        self,
        images: Tensor | FrameFeatures,
        boxes_px: Tensor,
        is_left: Tensor,
        occlusion: Tensor | None = None,
        is_repeat: Tensor | None = None,
    ) -> DeformerOutput:
        """Predict the hands of a batch of windows.

        images (B, T, 3, H, W): RGB, float in [0, 1], in order of time, T ≥ 1; or features of
        `encode_frames`, (B, T, …), which need no boxes.
        boxes_px (B, T, 4): square hand boxes, x0 y0 x1 y1, px of these images; not clipped.
        is_left (B,) bool: one side per window.
        occlusion (B, T): hidden share of the hand, in [0, 1]; only the fusion `occlusion` needs it.
        is_repeat (B, T−1) bool: frames t and t+1 have the same image and box. On the CPU, such
        frames are encoded once; on a GPU this is ignored, because reading it would wait for the
        device. The result does not depend on it.

        Raises `ValueError` for a wrong shape.
        """
        if isinstance(images, FrameFeatures):
            return self.decode_windows(images, is_left, occlusion)
        B, T = images.shape[:2]
        for name, tensor, shape in (
            ("images", images, (B, T, 3, *images.shape[3:5])),
            ("boxes_px", boxes_px, (B, T, 4)),
            ("is_left", is_left, (B,)),
            ("occlusion", occlusion, (B, T)),
            ("is_repeat", is_repeat, (B, T - 1)),
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
        return self.decode_windows(windows, is_left, occlusion)

    def encode_frames(self, images: Tensor, boxes_px: Tensor, is_left: Tensor) -> FrameFeatures:
        """The spatial half, frame by frame: images (N, 3, H, W), boxes_px (N, 4), is_left (N,).

        Overlapping windows share frames: encode each frame once, then gather the windows for
        `decode_windows`.
        """
        size = self.config.roi_size
        images, boxes_px = _mirror_left(images, boxes_px, is_left)
        features = crop_features(self.backbone(images), boxes_px, size)  # (N, width, size, size)
        tokens = features.flatten(2).transpose(1, 2)  # (N, size², width)
        tokens = self.spatial_encoder(tokens, self.positions_2d)
        logits = self.heatmap_head(tokens).float()  # (N, size², 21)
        joints_2d = soft_argmax(logits, size)
        # Heatmaps with peak 1 stay bounded, however sharp they become
        heatmaps = (logits - logits.amax(1, keepdim=True)).exp()
        memory = self.memory_projection(torch.cat([tokens, heatmaps.to(tokens)], -1))
        if self.config.placed_memory:
            memory = memory + self.positions_2d
        return FrameFeatures(self.spatial_decoder(memory, self.positions_2d), joints_2d)

    def decode_windows(
        self, frames: FrameFeatures, is_left: Tensor, occlusion: Tensor | None = None
    ) -> DeformerOutput:
        """The temporal half: frames' features (B, T, …), is_left (B,), occlusion (B, T)."""
        hand, joints_2d = frames
        _, T, width = hand.shape
        attended = self.temporal_encoder(hand, sine_positions_1d(T, width, hand.device))
        shape_feature = self.shape_decoder(attended, sine_positions_1d(T, width, hand.device))
        regressed = torch.cat([attended, joints_2d.flatten(-2).to(attended)], -1)
        predicted = self.regressor(regressed)
        if self.config.motion == "step":
            pose, _, _, confidence = predicted.split([_POSE, _POSE, _POSE, 1], -1)
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
                predicted.float(), monocular.float(), betas.float(), joints_2d, is_left, occlusion,
                affinity,
            )  # fmt: skip

    def _assemble(
        self,
        predicted: Tensor,  # (B, T, 3·96+1): pose, forward, backward, confidence
        monocular: Tensor,  # (B, T, 96+20)
        shape: Tensor,  # (B, 20)
        joints_2d: Tensor,
        is_left: Tensor,
        occlusion: Tensor | None,
        affinity: Tensor | None,  # (B, T, T)
    ) -> DeformerOutput:
        """Fuse poses, undo the mirroring, and pose all hands in one call of the hand layer."""
        T, config = predicted.shape[1], self.config
        confidence = config.confidence_scale * predicted[..., -1]
        poses, forward, backward = predicted[..., :-1].unflatten(-1, (3, -1, 6)).unbind(2)
        weights = fusion_weights(config.fusion, confidence, occlusion, config.reach, affinity)
        deformed = deform_poses(poses, forward, backward)
        fused = fuse_poses(deformed, weights)
        monocular_poses = monocular[..., :_POSE].unflatten(-1, (-1, 6))
        steps = step_poses(poses, forward, backward)
        rot6d = torch.cat([fused, monocular_poses, *steps], 1)  # (B, 4T−2, 16, 6)
        rot6d = torch.where(is_left[:, None, None, None], mirror_rot6d(rot6d), rot6d)

        monocular_betas = _of_side(monocular[..., _POSE:], is_left)
        window_betas = _of_side(shape, is_left)[:, None]  # (B, 1, 10)
        shared = window_betas.expand(-1, T, -1), window_betas.expand(-1, 2 * T - 2, -1)
        betas = torch.cat([shared[0], monocular_betas, shared[1]], 1)
        hands = pose_hands(self.hand_layer, rot6d_to_rotmat(rot6d), betas, is_left, config.tips)
        parts = zip(*(value.split([T, T, T - 1, T - 1], 1) for value in hands), strict=True)
        mirrored = torch.cat([1 - joints_2d[..., :1], joints_2d[..., 1:]], -1)
        joints_2d = torch.where(is_left[:, None, None, None], mirrored, joints_2d)
        deformed = torch.where(is_left[:, None, None, None, None], mirror_rot6d(deformed), deformed)
        return DeformerOutput(
            *(HandMotion(*part) for part in parts), joints_2d, confidence, deformed, weights
        )


def count_parameters(model: Deformer) -> dict[str, int]:
    """Number of parameters of each part of the network, and the "total"."""
    parts = {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in model.named_children()
        if name != "hand_layer"  # the hand model is not learned
    }
    return parts | {"total": sum(parts.values())}


def _mirror_left(images: Tensor, boxes_px: Tensor, is_left: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror left hands: images (N, 3, H, W), boxes_px (N, 4), is_left (N,)."""
    x0, y0, x1, y1 = boxes_px.unbind(-1)
    last = images.shape[-1] - 1
    flipped_boxes = torch.stack([last - x1, y0, last - x0, y1], -1)
    boxes_px = torch.where(is_left[:, None], flipped_boxes, boxes_px)
    return torch.where(is_left[:, None, None, None], images.flip(-1), images), boxes_px


def _of_side(betas: Tensor, is_left: Tensor) -> Tensor:
    """betas (B, …, 20), ten for the right hand and ten for the left → (B, …, 10)."""
    right, left = betas.chunk(2, -1)
    return torch.where(is_left.reshape(-1, *[1] * (betas.ndim - 1)), left, right)
