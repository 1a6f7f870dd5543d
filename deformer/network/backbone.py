"""Image features of the hand: convolutional stages, a top-down pyramid to stride 4, RoIAlign.

The centre of pixel k has coordinate k, as K projects; an image of width W spans −0.5 … W − 0.5.
"""

from contextlib import nullcontext
from typing import Literal, get_args

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.ops import FrozenBatchNorm2d

from deformer.network.crop import crop_convolved

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3
"""The normalisation of EfficientNet-Lite."""
STRIDE = 4
"""Input pixels per pixel of the features."""

BackboneName = Literal["resnet50", "resnet18", "hrnet_w32", "efficientnet_lite0", "regnet_tiny"]
"""`hrnet_w32` is for rivals that are published with it. `efficientnet_lite0` has ImageNet weights
and suits CPUs: 2.9M parameters. `regnet_tiny` is for tests: 0.5M parameters, no weights."""
NormName = Literal["frozen", "sync", "group"]


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels // 8), channels)


class FrozenNorm(FrozenBatchNorm2d):
    """torchvision's FrozenBatchNorm2d as one kernel in its input's precision, with activation."""

    def __init__(self, channels: int, eps: float = 1e-5, act: nn.Module | None = None) -> None:
        super().__init__(channels, eps)
        self.act = act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        statistics = self.running_mean, self.running_var, self.weight, self.bias
        return self.act(functional.batch_norm(x, *statistics, eps=self.eps))


def fold_norms(body: nn.Module) -> None:
    """Multiply frozen norms into the convolutions before them, which saves passes over the maps.
    For inference: the arrays are then others than those of a checkpoint."""
    conv = None
    for name, layer in list(body.named_modules()):
        if isinstance(layer, nn.Conv2d):
            conv = layer  # a norm is registered behind its convolution
        elif isinstance(layer, FrozenNorm):
            if conv is None or conv.out_channels != len(layer.running_mean):
                raise ValueError(f"the norm {name} is not behind its convolution")
            statistics = layer.running_mean, layer.running_var, layer.eps, layer.weight, layer.bias
            conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
            body.set_submodule(name, layer.act)


_NORMS = {"frozen": FrozenNorm, "sync": nn.SyncBatchNorm, "group": _group_norm}


def _make_body(name: BackboneName, norm: NormName) -> tuple[nn.Module, list[int]]:
    """The network, and the channels of its four stages at strides 4, 8, 16 and 32."""
    if name == "efficientnet_lite0":
        return _make_lite(norm)
    if name == "hrnet_w32":
        return _make_hrnet(norm)
    if name == "regnet_tiny":
        widths = [32, 64, 128, 256]
        blocks = BlockParams([1, 1, 2, 2], widths, [16] * 4, [1.0] * 4, [2] * 4)
        body = RegNet(blocks, norm_layer=_NORMS[norm])
    else:
        body = torchvision.models.get_model(name, weights=None, norm_layer=_NORMS[norm])
        expansion = body.layer1[-1].expansion
        widths = [64 * expansion * 2**k for k in range(4)]
    body.avgpool = body.fc = nn.Identity()  # the classifier is not used
    return body, widths


def _make_lite(norm: NormName) -> tuple[nn.Module, list[int]]:
    """timm's EfficientNet-Lite0 up to its last stage."""
    from timm import create_model  # takes seconds to import
    from timm.layers import BatchNormAct2d, convert_sync_batchnorm

    if norm == "group":
        raise ValueError(
            "efficientnet_lite0 has BatchNorm, norm is 'group': choose 'frozen' or 'sync'"
        )
    body = create_model("tf_efficientnet_lite0", features_only=True, out_indices=(1, 2, 3, 4))
    if norm == "sync":
        body = convert_sync_batchnorm(body)
    else:
        for name, layer in list(body.named_modules()):
            if isinstance(layer, BatchNormAct2d):
                body.set_submodule(name, FrozenNorm(layer.num_features, layer.eps, layer.act))
    return body, body.feature_info.channels()


def _make_hrnet(norm: NormName) -> tuple[nn.Module, list[int]]:
    """timm's HRNet up to its last stage, which has a branch at every stride, as for poses.

    Source: Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition",
    PAMI 2020.
    """
    from timm import create_model  # takes seconds to import

    body = create_model(
        "hrnet_w32", features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
    )
    for name, layer in list(body.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            body.set_submodule(name, _NORMS[norm](layer.num_features))
    return body, body.feature_info.channels()


def _high_resolution_levels(body: nn.Module, x: Tensor) -> list[Tensor]:
    """HRNet adds maps of neighbouring strides, which fit where 32 divides both sides."""
    height, width = x.shape[-2:]
    levels = body(functional.pad(x, (0, -width % 32, 0, -height % 32)))
    strides = (4, 8, 16, 32)
    return [
        level[..., : -(-height // stride), : -(-width // stride)]
        for level, stride in zip(levels, strides, strict=True)
    ]


class Backbone(nn.Module):
    """A network of four stages, and the top-down half of an FPN down to its finest level P2.

    norm: normalisation of the stages. A GPU's batch is one window of seven similar frames, so its
    own statistics would be noise.

    - "frozen": ImageNet's statistics and scales, which never change; needs weights.
    - "sync": batch statistics over all ranks; trains on GPUs only.
    - "group": GroupNorm, for training without ImageNet weights; frames stay independent.

    frozen_stages: number of stages that never change, with all layers before them. They need no
    backward pass, which takes most of a step's time on a CPU. Not for hrnet_w32, whose strides
    exchange features up to the end.

    Source: the paper's section 3.3; Lin et al., "Feature Pyramid Networks", CVPR 2017.
    """

    def __init__(
        self, name: BackboneName, norm: NormName, channels: int, frozen_stages: int = 0
    ) -> None:
        super().__init__()
        for value, allowed in ((name, get_args(BackboneName)), (norm, get_args(NormName))):
            if value not in allowed:
                raise ValueError(f"{value!r} is no part of a backbone, must be one of {allowed}")
        if name == "hrnet_w32" and frozen_stages:
            raise ValueError(
                f"frozen_stages is {frozen_stages}, must be 0 for hrnet_w32: its strides exchange "
                "features up to the end"
            )
        self.name, self.norm = name, norm
        self.body, widths = _make_body(name, norm)
        self._num_frozen = frozen_stages + 1 if frozen_stages else 0
        for part in self._parts()[: self._num_frozen] if frozen_stages else ():
            for layer in part:
                layer.requires_grad_(False)
        # torchvision's FeaturePyramidNetwork would also compute P3 to P5
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.output = nn.Conv2d(channels, channels, 3, padding=1)
        for conv in (*self.lateral, self.output):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)
        is_lite = name == "efficientnet_lite0"
        mean, std = (LITE_MEAN, LITE_STD) if is_lite else (IMAGENET_MEAN, IMAGENET_STD)
        for key, value in (("mean", mean), ("std", std)):
            self.register_buffer(key, torch.tensor(value)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, 3, H, W) RGB in [0, 1] → features (N, channels, ⌈H/4⌉, ⌈W/4⌉), for `crop`
        alone: they are P2 before its last convolution.

        Raises `ValueError` for images of an integer type, which are not in [0, 1].
        """
        if not images.is_floating_point():
            raise ValueError(f"images are {images.dtype}, must be float in [0, 1]: divide by 255")
        levels = self._stages((images - self.mean) / self.std)
        top = self.lateral[3](levels[3])
        for k in (2, 1, 0):
            up = functional.interpolate(top, size=levels[k].shape[-2:], mode="nearest")
            top = self.lateral[k](levels[k]) + up
        return top

    def crop(self, features: Tensor, boxes_px: Tensor, size: int) -> Tensor:
        """RoIAlign of P2 with one box per image → (N, channels, size, size), float32.

        features: of `forward`; boxes_px (N, 4) as x0 y0 x1 y1, px of the input. A box may reach
        beyond the image, where P2 is 0.
        """
        # from the centre of the input's pixel 0 to that of the features', which covers STRIDE
        boxes = (boxes_px.float() + 0.5) / STRIDE - 0.5
        return crop_convolved(features, boxes, size, self.output)

    def _stages(self, x: Tensor) -> list[Tensor]:
        if self.name == "hrnet_w32":
            return _high_resolution_levels(self.body, x)
        levels = []
        for k, part in enumerate(self._parts()):
            with torch.no_grad() if k < self._num_frozen else nullcontext():
                for layer in part:
                    x = layer(x)
            if k > 0:
                levels.append(x)
        return levels

    def _parts(self) -> list[tuple[nn.Module, ...]]:
        """The layers before the stages, then the layers of each of the four stages."""
        body = self.body
        if self.name == "efficientnet_lite0":
            blocks = body.blocks
            first = (body.conv_stem, body.bn1, blocks[0])
            return [first, (blocks[1],), (blocks[2],), (blocks[3], blocks[4]), tuple(blocks[5:])]
        if isinstance(body, RegNet):
            first, stages = (body.stem,), body.trunk_output
        else:
            first = (body.conv1, body.bn1, body.relu, body.maxpool)
            stages = (body.layer1, body.layer2, body.layer3, body.layer4)
        return [first, *((stage,) for stage in stages)]
