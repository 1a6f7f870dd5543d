"""Write a network as two ONNX files, for programs without PyTorch.

    python -m deformer.export_onnx --checkpoint lite --out onnx

`frames.onnx` encodes frames, each once; `windows.onnx` turns windows of T frames into hands. The
batch is free; the image's side and T are those of the training and stand in the files' metadata,
with everything else that a caller must know. docs/exports.md says how to call them. Before a file
is written, ONNX Runtime must agree with PyTorch on it.

Exit status: 0 done, 1 unusable input, 2 wrong option.
"""

import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from deformer.files.whole import write_whole
from deformer.hand.conventions import JOINT_NAMES, MANO_JOINT_NAMES, NUM_VERTICES
from deformer.hand.rotations import rotmat_to_rot6d, rotmat_to_rotvec
from deformer.network.model import Deformer
from deformer.network.output import FrameFeatures
from deformer.program.console import PlainConsole, run_program
from deformer.training.checkpoint import Checkpoint
from deformer.training.weights_file import open_network
from deformer.video.network import trained_for_videos

_OPSET = 17
_AGREES = 1e-3
"""Largest difference from PyTorch that is rounding; features and outputs are of the order of 1."""
INSTALL = "pip install 'deformer-hands[onnx]' (or: pip install onnx onnxruntime)"


@dataclass(frozen=True)
class Options:
    """The network to write, and the folder."""

    checkpoint: Path
    """A run, one of its checkpoints, a file of weights, or the name of weights that ship."""
    out: Path
    """The folder of the two files."""
    which: str = "best"
    """Which checkpoint of a run: best, last, or a step. Without validation, best is the last."""
    mano_dir: Path | None = None
    """The folder with MANO's files, for networks trained with MANO; by default $MANO_DIR."""


class FrameHalf(nn.Module):
    """`Deformer.encode_frames` with tensors for outputs."""

    inputs = ("images", "boxes_px", "is_left")
    outputs = ("hand_feature", "joints_feature")

    def __init__(self, model: Deformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, boxes_px: Tensor, is_left: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.encode_frames(images, boxes_px, is_left))


class WindowHalf(nn.Module):
    """`Deformer.decode_windows`: the fused hands alone."""

    inputs = ("hand_feature", "joints_feature", "is_left")
    outputs = ("pose_rot6d", "pose_rotvec", "betas", "joints_m", "joints_2d", "weights")

    def __init__(self, model: Deformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, hand: Tensor, joints_2d: Tensor, is_left: Tensor) -> tuple[Tensor, ...]:
        output = self.model.decode_windows(FrameFeatures(hand, joints_2d), is_left)
        rotmats = output.fused.rotmats
        return (
            rotmat_to_rot6d(rotmats),
            rotmat_to_rotvec(rotmats).flatten(2),
            output.fused.betas[:, 0],  # one shape per window
            output.fused.joints_m,
            output.joints_2d,
            output.weights,
        )


def to_onnx(half: nn.Module, example: Callable[[int], tuple[Tensor, ...]], about: dict) -> bytes:
    """One half as a file's content, after ONNX Runtime has agreed with PyTorch on it.

    half: a `FrameHalf` or `WindowHalf`; example: batch size → inputs; about: strings for the
    metadata. Raises `ModuleNotFoundError` that says what to install, `ValueError` where they
    differ.
    """
    onnx, runtime = _import_onnx()
    names = (*half.inputs, *half.outputs)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # About what depends on the example. The comparison below, at another batch, judges that
        warnings.simplefilter("ignore")
        path = Path(folder) / "half.onnx"
        # The exporter by TorchScript: the newer one needs another package, onnxscript
        torch.onnx.export(
            half, example(2), str(path), dynamo=False, opset_version=_OPSET,
            input_names=list(half.inputs), output_names=list(half.outputs),
            dynamic_axes={name: {0: "batch"} for name in names},
        )  # fmt: skip
        proto = onnx.load(path)
    onnx.helper.set_model_props(proto, about)
    content = proto.SerializeToString()
    difference = _difference(runtime, content, half, example(5))
    if not difference < _AGREES:
        raise ValueError(
            f"ONNX Runtime differs from PyTorch by {difference:.2g}, and at most {_AGREES} is "
            "rounding: nothing is written; try other versions of onnx and onnxruntime"
        )
    return content


def _difference(
    runtime: ModuleType, content: bytes, half: nn.Module, inputs: tuple[Tensor, ...]
) -> float:
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    feed = {name: value.numpy() for name, value in zip(half.inputs, inputs, strict=True)}
    found = session.run(list(half.outputs), feed)
    with torch.no_grad():
        expected = half(*inputs)
    return max(float(np.abs(a - b.numpy()).max()) for a, b in zip(found, expected, strict=True))


def _import_onnx() -> tuple[ModuleType, ModuleType]:
    try:
        import onnx
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"export to ONNX needs {error.name}, which is not installed: {INSTALL}", name=error.name
        ) from None
    return onnx, onnxruntime


def frame_example(size: int) -> Callable[[int], tuple[Tensor, ...]]:
    """Inputs of the per-frame half: crops of `size` px that the hand box fills."""

    def example(num: int) -> tuple[Tensor, ...]:
        boxes = torch.tensor([-0.5, -0.5, size - 0.5, size - 0.5]).expand(num, 4)
        return torch.rand(num, 3, size, size), boxes.contiguous(), torch.arange(num) % 2 == 1

    return example


def window_example(num_frames: int, width: int) -> Callable[[int], tuple[Tensor, ...]]:
    """Inputs of the per-window half."""

    def example(num: int) -> tuple[Tensor, ...]:
        features = torch.randn(num, num_frames, width), torch.rand(num, num_frames, 21, 2)
        return *features, torch.arange(num) % 2 == 1

    return example


def about(checkpoint: Checkpoint, source: Path) -> dict[str, str]:
    """The metadata of both files."""
    experiment, mano = checkpoint.experiment, checkpoint.hand["name"] == "mano"
    window = experiment.stream.window
    return {
        "checkpoint": f"{source} {checkpoint.model_sha256}",
        "image_size": str(experiment.stream.size),
        "num_frames": str(window.num_frames),
        "gap_frames_at_30_fps": str(window.gap),
        "joints": json.dumps(JOINT_NAMES),
        "rotations": json.dumps(MANO_JOINT_NAMES),
        "hand_model": checkpoint.hand["name"],
        "licence": "holds arrays of MANO, whose licence forbids passing it on" if mano
        else "that of the checkpoint",
    }  # fmt: skip


def run(options: Options) -> None:
    """Write both halves, and print where."""
    console = PlainConsole()
    _import_onnx()  # before anything takes time
    checkpoint, hands = trained_for_videos(options.checkpoint, options.which, options.mano_dir)
    config, hand = checkpoint.experiment.model, checkpoint.hand
    # Of the mesh, joints need the fingertips alone
    model = open_network(checkpoint, hands, "cpu", NUM_VERTICES)
    stream, metadata = checkpoint.experiment.stream, about(checkpoint, options.checkpoint)
    windows = window_example(stream.window.num_frames, config.width)
    for name, half, example in (
        ("frames", FrameHalf(model), frame_example(stream.size)),
        ("windows", WindowHalf(model), windows),
    ):
        path = options.out / f"{name}.onnx"
        write_whole(path, to_onnx(half.eval(), example, metadata))
        console.print(f"{path}  {path.stat().st_size / 1e6:.1f} MB", soft_wrap=True)
    if hand["name"] == "mano":
        console.print("windows.onnx holds arrays of MANO, whose licence forbids passing it on")


def main() -> int:
    return run_program(run, Options, "deformer.export_onnx", __doc__)


if __name__ == "__main__":
    sys.exit(main())
