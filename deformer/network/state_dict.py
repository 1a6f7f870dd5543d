"""Weights in files of others: find the network's part, and report misfits in one line."""

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from deformer.files.foreign import UnreadableFileError, describe_fault

_ZIP = b"PK\x03\x04"
_OTHER_OBJECT = re.compile(r"GLOBAL (\S{1,80}) was not an allowed")
_DEEPEST = 4
_COUNTER = "num_batches_tracked"
"""A counter of batch normalisation, which older files lack and inference does not need."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file; nested ones have names such as "state_dict.conv1.weight".

    Raises `UnreadableFileError` unless torch or safetensors saved the file, and it holds tensors.
    """
    content = _load(path)
    tensors = _flat(content)
    if not tensors:
        raise UnreadableFileError(
            f"{path} holds no tensors but a {type(content).__name__}: it is no state dict"
        )
    return tensors


def extract_network(tensors: dict[str, Tensor], names: list[str], path: Path) -> dict[str, Tensor]:
    """The tensors of the network whose parameters have these names, under these names.

    The network may be in a wrapper or part of a larger one, as in
    "state_dict.module.backbone.conv1.weight"; other tensors are dropped. Raises `ValueError` when
    `path` holds another network, or this one more than once.
    """
    needed = [name for name in names if not name.endswith(_COUNTER)]
    first = needed[0]
    befores = {
        key.removesuffix(first) for key in tensors if key == first or key.endswith(f".{first}")
    }
    if not befores:
        raise ValueError(
            f"{path} holds another network: its tensors are called {_some(tensors)}, wanted are "
            f"{_some(needed)}"
        )
    whole = sorted(b for b in befores if all(f"{b}{name}" in tensors for name in needed))
    if len(whole) > 1:
        raise ValueError(
            f"{path} holds the network {len(whole)} times ({_some(map(repr, whole))}): save one "
            "of them alone"
        )
    before = whole[0] if whole else min(befores, key=len)
    return {
        key.removeprefix(before): value for key, value in tensors.items() if key.startswith(before)
    }


def load_state(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """`module.load_state_dict`, with a one-line `ValueError`: `what`, then the reason."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError:
        expected = module.state_dict()
        lacking = [n for n in expected if n not in tensors and not n.endswith(_COUNTER)]
        unknown = [n for n in tensors if n not in expected and not n.endswith(_COUNTER)]
        shapes = [
            f"{n} {tuple(tensors[n].shape)} instead of {tuple(value.shape)}"
            for n, value in expected.items()
            if n in tensors and tensors[n].shape != value.shape
        ]
        parts = (
            ("lack", lacking, f" of {len(expected)} tensors"),
            ("have", unknown, " unknown tensors"),
            ("have", shapes, " of another shape"),
        )
        faults = [f"{verb} {len(names)}{of} ({_some(names)})" for verb, names, of in parts if names]
        raise ValueError(f"{what}: they {', and '.join(faults)}") from None


def _load(path: Path) -> object:
    path.open("rb").close()  # raises `OSError` for a file that may not be read
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(action="ignore"):  # warnings about other kinds of files
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # broken files raise almost anything, `OSError` too
        # torch's own message is long and advises unsafe loading
        if found := _OTHER_OBJECT.search(str(error)):
            why = f"it holds more than tensors ({found[1]})"
        elif "TorchScript" in str(error):
            why = "it is a program of TorchScript"
        else:
            why = ""
    if why:
        raise UnreadableFileError(
            f"{path} is no state dict: {why}; where it was made, save the tensors alone by "
            "torch.save(model.state_dict(), PATH)"
        )
    raise UnreadableFileError(
        f"{path} is not a whole state dict saved by torch: "
        f"{describe_fault(path.read_bytes(), '', _ZIP)}"
    )


def _flat(content: object, path: str = "", depth: int = 0) -> dict[str, Tensor]:
    """All tensors of nested dictionaries, by their keys joined with dots."""
    if isinstance(content, Tensor):
        return {path: content}
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return {}
    tensors = {}
    for key, value in content.items():
        tensors |= _flat(value, f"{path}.{key}" if path else str(key), depth + 1)
    return tensors


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(name[:100] for name in names[:2]) + (", …" if len(names) > 2 else "")
