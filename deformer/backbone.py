"""Image features of the hand: stages of convolutions, top-down pyramid to stride 4, RoIAlign.

Pixels: the centre of pixel k lies at coordinate k, as K projects; an image of width W spans
−0.5 … W − 0.5.
"""

from pathlib import Path
from typing import Literal, get_args

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.ops import FrozenBatchNorm2d, roi_align

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STRIDE = 4
"""Input pixels per pixel of the features."""

BackboneName = Literal["resnet50", "resnet18", "regnet_tiny"]
"""`regnet_tiny` is for a CPU: 0.5M parameters, a quarter of the time of `resnet18`."""
NormName = Literal["frozen", "sync", "group"]


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels // 8), channels)


_NORMS = {"frozen": FrozenBatchNorm2d, "sync": nn.SyncBatchNorm, "group": _group_norm}


def _make_body(name: BackboneName, norm: NormName) -> tuple[nn.Module, list[int]]:
    """The network and the channels of its four stages, at strides 4, 8, 16 and 32."""
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


class Backbone(nn.Module):
    """A network of four stages and the top-down half of an FPN, of which only the finest level P2
    is computed.

    norm: how the stages normalise. The batch of one GPU is one window, seven frames that look
    alike, so statistics of that batch would be noise.

    - "frozen": ImageNet's statistics and scales, which never change. It needs weights.
    - "sync": batch statistics over all ranks; trains on GPUs only.
    - "group": GroupNorm, the choice without ImageNet weights. No frame depends on another one.

    Source: the paper's section 3.3; Lin et al., "Feature Pyramid Networks", CVPR 2017.
    """

    def __init__(self, name: BackboneName, norm: NormName, channels: int) -> None:
        super().__init__()
        for value, allowed in ((name, get_args(BackboneName)), (norm, get_args(NormName))):
            if value not in allowed:
                raise ValueError(f"{value!r} is no part of a backbone, must be one of {allowed}")
        self.name, self.norm = name, norm
        self.body, widths = _make_body(name, norm)
        # torchvision's FeaturePyramidNetwork also computes, and owns, the outputs P3 to P5
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.output = nn.Conv2d(channels, channels, 3, padding=1)
        for conv in (*self.lateral, self.output):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)
        for key, value in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(key, torch.tensor(value)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, 3, H, W) RGB in [0, 1] → features (N, channels, ⌈H/4⌉, ⌈W/4⌉).

        Raises `ValueError` for images of an integer type, which are not in [0, 1].
        """
        if not images.is_floating_point():
            raise ValueError(f"images are {images.dtype}, must be float in [0, 1]: divide by 255")
        levels = self._stages((images - self.mean) / self.std)
        top = self.lateral[3](levels[3])
        for k in (2, 1, 0):
            up = functional.interpolate(top, size=levels[k].shape[-2:], mode="nearest")
            top = self.lateral[k](levels[k]) + up
        return self.output(top)

    def _stages(self, x: Tensor) -> list[Tensor]:
        body = self.body
        if isinstance(body, RegNet):
            x, stages = body.stem(x), body.trunk_output
        else:
            x = body.maxpool(body.relu(body.bn1(body.conv1(x))))
            stages = (body.layer1, body.layer2, body.layer3, body.layer4)
        levels = []
        for stage in stages:
            x = stage(x)
            levels.append(x)
        return levels


def crop_hands(features: Tensor, boxes_px: Tensor, size: int) -> Tensor:
    """RoIAlign: one box per image → (N, C, size, size), float32.

    features (N, C, h, w) at `STRIDE`; boxes_px (N, 4) as x0 y0 x1 y1, px of the input. A box may
    reach beyond the image and is not clipped to it: what lies outside is 0.
    """
    num_images = len(features)
    index = torch.arange(num_images, device=features.device, dtype=torch.float32)[:, None]
    # roi_align counts from the image's edge, half a pixel before the centre of pixel 0
    rois = torch.cat([index, boxes_px.float() + 0.5], 1)
    return roi_align(
        features.float(), rois, size, spatial_scale=1 / STRIDE, sampling_ratio=2, aligned=True
    )


def load_backbone_weights(backbone: Backbone, source: str | Path) -> None:
    """Start the body of a backbone from weights, in place.

    source: "imagenet" (torchvision's IMAGENET1K_V1, fetched once into torch's cache), the path of
    a torchvision ResNet's state dict, or "none" (stay as initialised). A model that a checkpoint
    fills needs no call of this.

    Raises `FileNotFoundError` when the file is not there or cannot be fetched, `ValueError` when
    it does not fit the ResNet, or source and normalisation contradict each other.
    """
    if source == "none":
        if backbone.norm == "frozen":
            raise ValueError(
                "weights 'none' leave norm='frozen' without statistics to normalise by: choose "
                "norm 'group' or 'sync', or --backbone-weights imagenet or PATH"
            )
        return
    if backbone.norm == "group":
        raise ValueError(
            f"weights {str(source)!r} belong to a ResNet with BatchNorm, the backbone has "
            "norm='group': choose 'frozen' or 'sync', or --backbone-weights none"
        )
    if backbone.name == "regnet_tiny":
        raise ValueError(f"there are no weights {str(source)!r} for regnet_tiny: choose none")
    state = _fetch_imagenet(backbone.name) if source == "imagenet" else _read_state(Path(source))
    state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    try:
        backbone.body.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"the weights {str(source)!r} do not fit {backbone.name}: {error}"
        ) from error


def _fetch_imagenet(name: str) -> dict[str, Tensor]:
    # V1 is what a ResNet "pre-trained on ImageNet" meant for the paper; V2 is another recipe
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network; a broken download
        raise FileNotFoundError(
            f"ImageNet weights of {name} could not be fetched from {weights.url}: {error}. "
            "Download that file elsewhere and name it by --backbone-weights PATH, or start "
            "without by --backbone-weights none --model.norm group"
        ) from error


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"--backbone-weights {path}: no such file; it is imagenet, none, or the path of a "
            "torchvision ResNet's state dict (.pth)"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken file makes the unpickler raise
        raise ValueError(f"{path} is not a whole state dict saved by torch: {error}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, not a state dict")
    return state
