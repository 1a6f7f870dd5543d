"""Speed of the network that ships, and of predicting a clip with it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.speed.figure import (
    Figure,
    Spent,
    processor_seconds,
    products_per_second,
    run_module,
)
from benchmarks.speed.material import Material
from benchmarks.speed.networks import count_multiply_adds
from deformer.hand.conventions import NUM_VERTICES
from deformer.hand.mano import load_hands
from deformer.training.weights_file import open_network, open_trained

_WEIGHTS = "lite"
_BATCH = 16
_FEW, _MANY = 14, 42
"""Frames of the clips whose difference is measured."""


def inference(material: Material) -> Iterator[Figure]:
    """The spatial half alone; then a clip of drawn frames, from the file to the page."""
    checkpoint = open_trained(Path(_WEIGHTS), "best")
    model = open_network(checkpoint, load_hands("standin"), "cpu", NUM_VERTICES)
    size = checkpoint.experiment.stream.size
    images = torch.rand(_BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    boxes_px = torch.tensor([[0.2, 0.2, 0.8, 0.8]]).expand(_BATCH, 4) * size
    frames = images, boxes_px, torch.zeros(_BATCH, dtype=torch.bool)
    model.requires_grad_(False)
    products = count_multiply_adds(lambda: model.encode_frames(*frames))
    seconds = processor_seconds(lambda: model.encode_frames(*frames))
    floor = _BATCH * products_per_second() / products
    yield Figure(
        "inference", f"hands through the spatial half of {_WEIGHTS}, a core", _BATCH / seconds,
        "hands/s", None, floor, "its products of matrices alone",
    )  # fmt: skip
    frames = sorted(material.root.glob("*/*/*/color_*.jpg"))[:_MANY]
    with tempfile.TemporaryDirectory() as folder:
        some, all_ = (_predict(Path(folder), frames[:num]) for num in (_FEW, len(frames)))
    speed = (len(frames) - _FEW) / (all_ - some).processor_seconds
    yield Figure(
        "inference", "frames of a clip, found, predicted, drawn, a core", speed, "frames/s"
    )


def _predict(folder: Path, frames: list[Path]) -> Spent:
    clip = folder / f"{len(frames)} frames"
    clip.mkdir()
    for k, frame in enumerate(frames):
        (clip / f"{k:06d}.jpg").symlink_to(frame.resolve())
    return run_module("deformer.predict", str(clip), "--out", str(folder / "hands"))
