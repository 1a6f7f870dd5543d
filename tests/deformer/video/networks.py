"""Small networks with random weights, whose frames differ much."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from deformer.data.windows import WindowConfig
from deformer.hand.mano import HandLayer, load_hands
from deformer.network.model import Deformer
from deformer.network.output import FrameFeatures
from deformer.training.checkpoint import Checkpoint
from deformer.training.weights_file import write_weights
from tests.deformer.small_runs import VERY_SMALL, changed

K = np.array([[80.0, 0, 31.5], [0, 80.0, 31.5], [0, 0, 1]])


def random_model(fusion: str = "dynamic", motion: str = "frame") -> Deformer:
    torch.manual_seed(0)
    config = replace(VERY_SMALL.model, fusion=fusion, motion=motion)
    model = Deformer(config, HandLayer(load_hands("standin"))).eval()
    with torch.no_grad():
        for head in (model.regressor, model.heatmap_head, model.shape_head):
            head[-1].weight.normal_(0, 0.3)
    return model


def random_features(num: int, seed: int = 0) -> FrameFeatures:
    generator = torch.Generator().manual_seed(seed)
    hand = torch.randn(num, VERY_SMALL.model.width, generator=generator)
    return FrameFeatures(hand, torch.rand(num, 21, 2, generator=generator))


def write_random_weights(
    path: Path, window: WindowConfig, fusion: str = "dynamic"
) -> Path:  # fmt: skip
    """A file of weights for `open_for_videos`."""
    experiment = changed("stream", changed("model", fusion=fusion), window=window)
    hands = load_hands("standin")
    write_weights(
        path,
        Checkpoint(
            step=1, experiment=experiment, hand={"name": hands.name, "sha256": hands.sha256},
            stream={}, tensors={"model": random_model(fusion).state_dict()}, folder=path,
            model_sha256="",
        ),
    )  # fmt: skip
    return path
