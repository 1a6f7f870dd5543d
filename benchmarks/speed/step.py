"""Where the time of a training step goes, and what a large window costs, on one core."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._pytree import tree_map

from benchmarks.speed.figure import Figure, least_seconds, processor_seconds, products_per_second
from benchmarks.speed.material import Material
from benchmarks.speed.model import without_weights
from benchmarks.speed.networks import count_multiply_adds
from deformer.data.batch import Batch
from deformer.data.store import open_store
from deformer.data.stream import Stream
from deformer.experiments import get_experiment
from deformer.hand.mano import HandLayer, load_hands_of
from deformer.training.distributed import Place
from deformer.training.learner import Learner
from deformer.training.motion import RealMotion

_BACKWARD = 2
"""Products that the backward pass takes for one of the forward pass."""
_PUBLISHED_S = 25
"""Seconds of the released research code for a window of 7×512², forward and backward."""
_STEPS_OF = {"lite": 8, "dexycb": 1}
"""Experiments, and windows of a step."""
_WINDOWS_OF = {"dexycb": _PUBLISHED_S, "dexycb_fast": _PUBLISHED_S / 4}
"""With the aims, s."""


def step(material: Material) -> Iterator[Figure]:
    """Shares of a step. Weights are random: a step takes the same time."""
    for name, num_windows in _STEPS_OF.items():
        learner, batch = _learner(material, name, num_windows)
        what = f"all but the network's halves in a step of {name}, {num_windows} windows"
        yield Figure("step", what, 100 * _share(learner, batch), "%", 10)


def _share(learner: Learner, batch: Batch) -> float:
    """Of all but the network's two halves: 0 to 1."""
    with torch.no_grad(), _posed(learner.model.hand_layer) as calls:
        output, targets = learner.predict(batch)
    output = tree_map(_leaf, output)
    whole, gradient, losses, hands = least_seconds(
        lambda: learner.step(batch, 0, 1.0),
        lambda: _gradient(learner, batch),
        lambda: learner.weighted(learner.losses(output, targets)).backward(),
        lambda: [_pose(learner.model.hand_layer, call) for call in calls],
    )
    return (whole - gradient + losses + hands) / whole


@contextmanager
def _posed(layer: HandLayer) -> Iterator[list[tuple]]:
    """The arguments that a layer gets meanwhile."""
    calls: list[tuple] = []
    hook = layer.register_forward_pre_hook(lambda _, arguments: calls.append(arguments))
    yield calls
    hook.remove()


def _pose(layer: HandLayer, arguments: tuple) -> None:
    """Forward and backward of a call."""
    vertices, joints = layer(*map(_leaf, arguments))
    (vertices.sum() + joints.sum()).backward()


def _leaf(value: object) -> object:
    """A tensor of numbers with a gradient of its own; anything else as it is."""
    is_number = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.detach().requires_grad_() if is_number else value


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
    products = count_multiply_adds(lambda: learner.predict(batch))
    floor = (1 + _BACKWARD) * products / products_per_second()
    return processor_seconds(lambda: _gradient(learner, batch), 1), floor


def _learner(material: Material, name: str, num_windows: int = 1) -> tuple[Learner, Batch]:
    experiment = without_weights(get_experiment(name), "all", num_windows)
    store, index = open_store(material.data)
    stream = Stream(experiment.stream, store, index)
    motion = RealMotion(index, stream.windows, 0)
    hands, place = load_hands_of(index.info), Place(torch.device("cpu"))
    learner = Learner(experiment, hands, place, motion)
    learner.model.train()
    return learner, next(iter(stream.batches(0, 1)))


def _gradient(learner: Learner, batch: Batch) -> None:
    """Forward and backward through the model and its losses, the adversarial one apart."""
    output, targets = learner.predict(batch)
    learner.weighted(learner.losses(output, targets)).backward()
    learner.optimizer.zero_grad()
