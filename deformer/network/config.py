"""`DeformerConfig`: sizes and choices of a network."""

from dataclasses import dataclass
from typing import Literal, get_args

from deformer.hand.conventions import TIPS, Tips
from deformer.network.backbone import BackboneName, NormName
from deformer.network.fusion import FusionVariant
from deformer.program.least import check_least

MotionSource = Literal["frame", "step"]
_CHOICES = {
    "backbone": get_args(BackboneName),
    "norm": get_args(NormName),
    "fusion": get_args(FusionVariant),
    "motion": get_args(MotionSource),
    "tips": TIPS,
}


_MOST_ROI_SIZE = 256
"""Attention between its 65,536 tokens takes 16 GiB."""


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
        if self.roi_size > _MOST_ROI_SIZE:
            raise ValueError(f"roi_size is {self.roi_size}, must be {_MOST_ROI_SIZE} at most")
        if self.width % self.heads or self.width % 4:
            raise ValueError(
                f"width is {self.width}, must be a multiple of heads ({self.heads}) and of 4"
            )
