"""Where the time of a training step goes, and what a large window costs, on one core."""

from collections.abc import Iterator

import torch

from benchmarks.speed.figure import Figure, processor_seconds, products_per_second
from benchmarks.speed.material import Material
from benchmarks.speed.model import without_weights
from benchmarks.speed.networks import count_multiply_adds
from deformer.data.batch import Batch, to_input
from deformer.data.store import open_store
from deformer.data.stream import Stream
from deformer.experiments import get_experiment
from deformer.hand.mano import load_hands_of
from deformer.network.output import FrameFeatures
from deformer.training.distributed import Place
from deformer.training.learner import Learner
from deformer.training.motion import RealMotion

_BACKWARD = 2
"""Products that the backward pass takes for one of the forward pass."""
_PUBLISHED_S = 25
"""Seconds of the released research code for a window of 7×512², forward and backward."""
_STEPS_OF = ("lite", "dexycb")
_WINDOWS_OF = {"dexycb": _PUBLISHED_S, "dexycb_fast": _PUBLISHED_S / 4}
"""With the aims, s."""


def step(material: Material) -> Iterator[Figure]:
    """Shares of a step of one window. Weights are random: a step takes the same time."""
    for name in _STEPS_OF:
        what = f"share of a step of {name} beside images and spatial half"
        yield Figure("step", what, 100 * _rest(*_learner(material, name)), "%", 10)


def _rest(learner: Learner, batch: Batch) -> float:
    """The share of a step that is not the images' and the spatial half's: 0 to 1."""
    windows = _encoded(learner, batch)
    whole = processor_seconds(lambda: learner.step(batch, 0, 1.0), 1)
    gradient = processor_seconds(lambda: _gradient(learner, batch), 1)
    behind = processor_seconds(lambda: _gradient(learner, batch, windows), 1)
    return (whole - gradient + behind) / whole


def large_window(material: Material) -> Iterator[Figure]:
    """Forward and backward of 7 distinct frames."""
    for name, aim in _WINDOWS_OF.items():
        learner, batch = _learner(material, name)
        seconds, floor = _of_window(learner, batch)
        what = f"forward and backward of a window of 7×{batch.images.shape[2]}² ({name})"
        yield Figure("window", what, seconds, "s", aim, floor, "its products of matrices alone")


def _of_window(learner: Learner, batch: Batch) -> tuple[float, float]:
    """Seconds, and seconds of products of matrices alone."""
    batch = batch._replace(is_repeat=torch.zeros_like(batch.is_repeat))
    with torch.no_grad():
        products = count_multiply_adds(lambda: learner.predict(batch))
    floor = (1 + _BACKWARD) * products / products_per_second()
    return processor_seconds(lambda: _gradient(learner, batch), 1), floor


def _learner(material: Material, name: str) -> tuple[Learner, Batch]:
    experiment = without_weights(get_experiment(name), "all", batch=1)
    store, index = open_store(material.data)
    stream = Stream(experiment.stream, store, index)
    motion = RealMotion(index, stream.windows, 0)
    hands, place = load_hands_of(index.info), Place(torch.device("cpu"))
    learner = Learner(experiment, hands, place, motion)
    learner.model.train()
    return learner, next(iter(stream.batches(0, 1)))


def _encoded(learner: Learner, batch: Batch) -> FrameFeatures:
    """What the spatial half makes of the frames of a batch."""
    B, T = batch.images.shape[:2]
    frames = to_input(batch).flatten(0, 1), batch.boxes_px.flatten(0, 1)
    with torch.no_grad():
        encoded = learner.model.encode_frames(*frames, batch.is_left.repeat_interleave(T))
    return FrameFeatures(*(value.unflatten(0, (B, T)).requires_grad_() for value in encoded))


def _gradient(learner: Learner, batch: Batch, windows: FrameFeatures | None = None) -> None:
    """Forward and backward through the model and its losses, the adversarial one apart. windows:
    what its frames are encoded to; then the spatial half is left out."""
    if windows is None:
        output, targets = learner.predict(batch)
    else:
        output = learner.model(
            windows, batch.boxes_px, batch.is_left, None, batch.is_repeat, batch.K
        )
        targets = learner.targets(batch)
    learner.weighted(learner.losses(output, targets)).backward()
    learner.optimizer.zero_grad()
