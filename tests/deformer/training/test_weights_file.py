"""Weights as one file: what is written is read, and what is not weights is named."""

import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save, save_file

from deformer.training import weights_file
from deformer.training.checkpoint import load_checkpoint
from deformer.training.weights_file import (
    find_weights,
    mean_model,
    open_model,
    read_weights,
    write_weights,
)
from deformer.weights import __main__ as program
from tests.deformer.small_runs import build_dataset, run


@pytest.fixture(scope="module")
def trained(raw_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "run"
    run(build_dataset(raw_root), folder, steps=1)
    return folder


@pytest.fixture
def file(trained, tmp_path):
    write_weights(tmp_path / "mine.safetensors", load_checkpoint(trained))
    return tmp_path / "mine.safetensors"


def test_a_file_is_the_checkpoint_in_half_precision(trained, file):
    checkpoint, read = load_checkpoint(trained), open_model(file)
    assert (read.step, read.experiment, read.hand, read.stream, read.metrics) == (
        checkpoint.step, checkpoint.experiment, checkpoint.hand, checkpoint.stream,
        checkpoint.metrics,
    )  # fmt: skip
    model = checkpoint.tensors["model"]
    assert read.tensors["model"].keys() == model.keys() and set(read.tensors) == {"model"}
    for key, value in read.tensors["model"].items():
        assert value.dtype == model[key].dtype
        assert torch.allclose(value, model[key], rtol=1e-3, atol=1e-6)
    assert file.stat().st_size < 0.6 * sum(v.numel() * v.element_size() for v in model.values())


def test_the_mean_of_models_is_that_of_each_array(trained):
    one = load_checkpoint(trained)
    model = one.tensors["model"]
    shifted = {k: v + 2 if v.is_floating_point() else v for k, v in model.items()}
    other = replace(one, tensors=one.tensors | {"model": shifted}, step=7)
    mean = mean_model([one, other])
    assert mean.step == 7 and mean.experiment == one.experiment
    for key, value in mean.tensors["model"].items():
        expected = model[key] + 1 if value.is_floating_point() else model[key]
        assert value.dtype == model[key].dtype
        assert torch.allclose(value, expected, atol=1e-6)


def test_the_mean_of_different_networks_is_refused(trained):
    one = load_checkpoint(trained)
    smaller = dict(list(one.tensors["model"].items())[1:])
    other = replace(one, tensors=one.tensors | {"model": smaller})
    with pytest.raises(ValueError, match="are of different networks"):
        mean_model([other, one])
    with pytest.raises(ValueError, match="learned different hand models"):
        mean_model([replace(one, hand=one.hand | {"sha256": "0"}), one])


def test_a_name_means_what_ships_and_a_path_a_run(trained, file, monkeypatch):
    monkeypatch.setattr(weights_file, "FOLDER", file.parent)
    assert weights_file.shipped() == ["mine"]
    assert open_model("mine").folder == file
    assert find_weights("elsewhere/mine") is None
    assert open_model(trained).folder.parent.parent == trained
    with pytest.raises(FileNotFoundError, match=r"other is no run, .* that ship \(mine\)"):
        open_model("other")


def test_a_file_of_another_kind_says_what_is_wanted(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"is a file, .*\(.safetensors\): name one, or a run's"):
        open_model(path)
    with pytest.raises(ValueError, match="weights.pt is a file: name the run's folder"):
        load_checkpoint(path)


def test_what_is_not_whole_or_not_ours_is_named(file, tmp_path):
    content = file.read_bytes()
    for broken, fault in (
        (content[:-100], "damaged or cut off"),
        (content[:20], "damaged or cut off"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer: fetch the file itself"),
        (save({"x": torch.zeros(1)}, {"deformer": "[" * 100_000}), "the header of .* is damaged"),
        (save({"x": torch.zeros(1)}, {"deformer": "{}"}), "is damaged .*'format'"),
        (save({"x": torch.zeros(1)}, {"deformer": '{"format": 9}'}), "has format 9, this program"),
        (save({"x": torch.zeros(1)}, {"deformer": '{"format": 1}'}), "is damaged .*'step'.*again"),
    ):
        (tmp_path / "broken.safetensors").write_bytes(broken)
        with pytest.raises(ValueError, match=fault) as caught:
            read_weights(tmp_path / "broken.safetensors")
        assert "broken.safetensors" in str(caught.value) and "\n" not in str(caught.value)
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not those of a Deformer"):
        read_weights(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_weights(tmp_path / "none.safetensors")


def test_the_command(trained, tmp_path, monkeypatch, capsys):
    out = tmp_path / "small.safetensors"
    monkeypatch.setattr(sys, "argv", ["x", "--checkpoint", str(trained), "--out", str(out)])
    program.main()
    assert "sha256" in capsys.readouterr().out
    assert read_weights(out).step == 1
