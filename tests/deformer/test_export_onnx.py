"""ONNX Runtime gives what PyTorch gives, on a network of which nothing is left at its start."""

import builtins
import json
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from deformer import export_onnx
from deformer.export_onnx import (
    FrameHalf,
    WindowHalf,
    frame_example,
    to_onnx,
    window_example,
)
from deformer.hand.mano import HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.model import Deformer
from deformer.network.output import FrameFeatures
from deformer.training.weights_file import open_trained

TINY = DeformerConfig(
    backbone="regnet_tiny", norm="group", width=16, heads=2, layers=1, ffn=16, roi_size=8,
    regressor=(32, 16),
)  # fmt: skip
SIZE, T = 64, 5


def _model(hands, **changes) -> Deformer:
    torch.manual_seed(0)
    model = Deformer(replace(TINY, **changes), HandLayer(hands, vertex_stride=778)).eval()
    with torch.no_grad():
        for head in (model.regressor, model.monocular_head, model.shape_head, model.heatmap_head):
            head[-1].weight.normal_(0, 0.2)
    return model


def _run(content: bytes, names, inputs) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_outputs()] == list(names)
    feed = dict(zip([v.name for v in session.get_inputs()], map(torch.Tensor.numpy, inputs)))  # noqa: B905
    return session.run(None, feed)


@pytest.mark.parametrize("num", [1, 4])
def test_frames_are_encoded_as_by_torch(hands, num):
    """Of both sides, in boxes that are not the whole image and reach beyond it."""
    model = _model(hands)
    content = to_onnx(FrameHalf(model), frame_example(SIZE), {})
    images, _, is_left = frame_example(SIZE)(num)
    boxes = torch.tensor([[10.0, -8, 50, 32]]) + torch.arange(num)[:, None]
    found = _run(content, FrameHalf.outputs, (images, boxes, ~is_left))
    with torch.no_grad():
        expected = model.encode_frames(images, boxes, ~is_left)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and np.abs(a - b.numpy()).max() < 1e-4


@pytest.mark.parametrize(("fusion", "motion"), [("dynamic", "frame"), ("pairwise", "step")])
def test_windows_are_decoded_as_by_torch(hands, fusion, motion):
    model = _model(hands, fusion=fusion, motion=motion)
    content = to_onnx(WindowHalf(model), window_example(T, TINY.width), {})
    hand, joints_2d, is_left = inputs = window_example(T, TINY.width)(3)
    found = dict(zip(WindowHalf.outputs, _run(content, WindowHalf.outputs, inputs), strict=True))
    with torch.no_grad():
        output = model.decode_windows(FrameFeatures(hand, joints_2d), is_left)
    fused = output.fused
    expected = {
        "pose_rot6d": fused.rotmats[..., :2].transpose(-1, -2).flatten(-2),
        "betas": fused.betas[:, 0],
        "joints_m": fused.joints_m,
        "joints_2d": output.joints_2d,
        "weights": output.weights,
    }
    for name, value in expected.items():
        assert found[name].shape == value.shape and value.std() > 1e-3, name
        assert np.abs(found[name] - value.numpy()).max() < 1e-4, name
    assert found["pose_rotvec"].shape == (3, T, 48)
    rotations = torch.from_numpy(found["pose_rotvec"]).unflatten(-1, (16, 3))
    again = torch.linalg.matrix_exp(_cross(rotations.double()))
    assert (again - fused.rotmats).abs().max() < 1e-4


def _cross(rotvec: torch.Tensor) -> torch.Tensor:
    x, y, z = rotvec.unbind(-1)
    rows = torch.stack([0 * x, -z, y, z, 0 * x, -x, -y, x, 0 * x], -1)
    return rows.unflatten(-1, (3, 3))


def test_a_file_that_differs_is_not_written(hands, monkeypatch):
    monkeypatch.setattr(export_onnx, "_difference", lambda *_: 0.02)
    with pytest.raises(ValueError, match=r"ONNX Runtime differs from PyTorch by 0.02"):
        to_onnx(WindowHalf(_model(hands)), window_example(T, TINY.width), {})


def test_the_command(whole, tmp_path, monkeypatch, capsys):
    """From a run; the metadata say what a caller must know."""
    monkeypatch.setattr(
        sys, "argv", ["export_onnx", "--checkpoint", str(whole), "--out", str(tmp_path)]
    )
    assert export_onnx.main() == 0
    checkpoint = open_trained(whole)
    for name in ("frames", "windows"):
        proto = onnx.load(tmp_path / f"{name}.onnx")
        onnx.checker.check_model(proto)
        about = {entry.key: entry.value for entry in proto.metadata_props}
        assert (about["image_size"], about["num_frames"]) == ("32", "3")
        assert about["hand_model"] == "standin" and checkpoint.model_sha256 in about["checkpoint"]
        assert json.loads(about["joints"])[0] == "wrist"
    assert "windows.onnx" in capsys.readouterr().err


def test_without_onnx_it_says_what_to_install(whole, tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(
        sys, "argv", ["export_onnx", "--checkpoint", str(whole), "--out", str(tmp_path / "out")]
    )
    assert export_onnx.main() == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not (tmp_path / "out").exists()
    assert "needs onnxruntime, which is not installed: pip install 'deformer-hands[onnx]'" in error
