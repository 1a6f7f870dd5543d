"""Weights as others save them: wrapped, prefixed, damaged; misfits are reported in one line."""

import argparse
import gzip
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deformer.network.state_dict import extract_network, load_state, read_tensors


def small(channels: int = 4, layers: int = 2) -> nn.Module:
    """Named as a ResNet is, classifier included."""
    torch.manual_seed(channels + layers)
    layer1 = [nn.Sequential(OrderedDict(conv1=nn.Conv2d(4, 4, 1))) for _ in range(layers)]
    parts = {
        "conv1": nn.Conv2d(3, channels, 3),
        "bn1": nn.BatchNorm2d(channels),
        "layer1": nn.Sequential(*layer1),
        "fc": nn.Linear(channels, 2),
    }
    return nn.Sequential(OrderedDict(parts))


@pytest.fixture
def body() -> nn.Module:
    """What is to be filled: another start, and no classifier."""
    module = small()
    module.fc = nn.Identity()
    for value in module.state_dict().values():
        value.zero_()
    return module


def load(body: nn.Module, path: Path) -> None:
    state = extract_network(read_tensors(path), list(body.state_dict()), path)
    state = {key: value for key, value in state.items() if not key.startswith(("fc.", "head."))}
    load_state(body, state, f"{path} does not fit")


def prefixed(state: dict, prefix: str) -> dict:
    return {prefix + key: value for key, value in state.items()}


WRAPPERS = {
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
    "twice": lambda state: {"checkpoint": {"model_state_dict": state}},
    "module.": lambda state: prefixed(state, "module."),
    "lightning": lambda state: {"state_dict": prefixed(state, "model.backbone.")},
    "detector": lambda state: {
        **prefixed(state, "backbone.body."),
        "rpn.conv1.weight": torch.ones(3),
        "backbone.fpn.weight": torch.ones(2),
    },
    "another head": lambda state: {**state, "head.weight": torch.ones(2)},
    "no counters": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    "half": lambda state: {k: v.half() for k, v in state.items()},
}


@pytest.mark.parametrize("case", WRAPPERS)
def test_weights_in_a_wrapper_are_found(tmp_path, body, case):
    given = small().state_dict()
    torch.save(WRAPPERS[case](given), tmp_path / "r.pth")
    load(body, tmp_path / "r.pth")
    exact = 1e-3 if case == "half" else 0
    for name, value in body.state_dict().items():
        torch.testing.assert_close(value, given[name], atol=exact, rtol=exact)


def test_safetensors_are_read(tmp_path, body):
    save_file(small().state_dict(), tmp_path / "r.safetensors")
    load(body, tmp_path / "r.safetensors")
    assert torch.equal(body.conv1.weight, small().conv1.weight)


LFS = b"version https://git-lfs.github.com/spec/v1\n"
BAD = {
    "lfs": (lambda _: LFS, "git lfs pull"),
    "cut": (lambda data: data[: len(data) // 2], "damaged or cut off"),
    "cut at its end": (lambda data: data[:-10], "damaged or cut off"),
    "gzip": (lambda data: gzip.compress(data, 1), "gzip: unpack it"),
    "tensor file": (lambda _: b"\x80\x02.", "damaged"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_told_in_a_line(tmp_path, body, suffix, case):
    change, message = BAD[case]
    path = tmp_path / f"r{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(small().state_dict(), path)
    path.write_bytes(change(path.read_bytes()))
    _refused(body, path, message)


def renamed(state: dict) -> dict:
    return {f"stem.{k}": value for k, value in enumerate(state.values())}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda m: m,
            r"more than tensors \(\S+\); where it was made, .*save\(model.state_dict\(\)",
        ),
        (lambda m: {"model": m.state_dict(), "args": argparse.Namespace()}, "argparse.Namespace"),
        (lambda m: {"state_dict": {}}, "holds no tensors but a dict"),
        (lambda m: "text", "holds no tensors but a str"),
        (lambda m: small(layers=3).state_dict(), r"have 2 unknown tensors \(layer1.2.conv1.weight"),
        (lambda m: small(5).state_dict(), r"have 6 of another shape \(conv1.weight \(5, 3, 3, 3\)"),
        (
            lambda m: renamed(m.state_dict()),
            r"another network: .* stem.0, .* wanted are conv1.weight",
        ),
        (lambda m: {"conv1.weight": torch.zeros(1)}, r"lack 9 of 11 tensors \(conv1.bias, bn1.w"),
        (lambda m: {n: m.state_dict() for n in ("q", "k")}, r"network 2 times \('k.', 'q.'\)"),
    ],
)
def test_other_content_is_told_in_a_line(tmp_path, body, content, message):
    torch.save(content(small()), tmp_path / "r.pth")
    _refused(body, tmp_path / "r.pth", message)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_program_is_told_in_a_line(tmp_path, body):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "r.pth")
    _refused(body, tmp_path / "r.pth", "program of TorchScript")


def test_what_does_not_fit_is_told_without_all_names():
    module = nn.Sequential(*(nn.Linear(2, 2) for _ in range(100)))
    with pytest.raises(
        ValueError, match=r"^mine: they lack 200 of 200 tensors \(0.weight"
    ) as caught:
        load_state(module, {"x" * 10_000: torch.ones(1)}, "mine")
    assert len(str(caught.value)) < 400


def _refused(body: nn.Module, path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load(body, path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and len(text) < 400 + len(str(path))
    assert "weights_only" not in text and "safe_globals" not in text
