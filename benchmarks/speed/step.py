"""Where the time of a training step goes, on a CPU.

One thread works, and the seconds are its own, so other programs that run meanwhile hardly matter.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.speed.model import without_weights
from deformer.data.batch import Batch, to_input
from deformer.data.store import open_store
from deformer.data.stream import Stream
from deformer.experiments import get_experiment
from deformer.hand.mano import load_hands_of
from deformer.network.output import FrameFeatures
from deformer.program.least import check_least
from deformer.program.processor import processor
from deformer.training.distributed import Place
from deformer.training.learner import Learner
from deformer.training.motion import RealMotion


@dataclass(frozen=True)
class StepShares:
    """Measure the parts of training steps, and a window of frames that all differ."""

    data: str
    """A built dataset."""
    experiments: tuple[str, ...] = ("lite", "dexycb")
    """By name; of those that learn from images."""
    split: str = "all"
    batch: int = 1
    """Windows per step."""
    repeats: int = 3
    """Measurements of each part; medians are taken."""
    out: Path = Path("results/speed")
    """The folder for step.json."""

    def __post_init__(self) -> None:
        check_least(self, "--", batch=1, repeats=1)


def measure_step(config: StepShares) -> dict:
    """Seconds of each part, by experiment. Weights are random: a step takes the same time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [_measure(name, config) for name in config.experiments]
    finally:
        torch.set_num_threads(threads)
    return {"machine": f"{processor()}, one thread", "torch": torch.__version__, "rows": rows}


def _measure(name: str, config: StepShares) -> dict:
    experiment = get_experiment(name)
    if experiment.features is not None:
        raise ValueError(
            f"--experiments {name} learns from features, so its step has no backbone: name one "
            "that learns from images"
        )
    experiment = without_weights(experiment, config.split, config.batch)
    store, index = open_store(config.data)
    stream = Stream(experiment.stream, store, index)
    motion = RealMotion(index, stream.windows, 0) if experiment.adversarial else None
    place = Place(torch.device("cpu"))
    learner = Learner(experiment, load_hands_of(index.info), place, motion)
    batch = next(iter(stream.batches(0, 1)))
    seconds = _seconds(learner, batch, config.repeats)
    inputs, behind, gradient = (seconds.pop(key) for key in ("inputs", "behind", "gradient"))
    return {
        "experiment": name,
        "size": experiment.stream.size,
        "batch": config.batch,
        "distinct_frames": config.batch + int((~batch.is_repeat).sum()),
        "step_seconds": seconds["step"],
        "of_these": {
            "images_to_input": inputs,
            "spatial_half": gradient - inputs - behind,
            "temporal_half_hand_layer_losses": behind,
            "discriminator_optimizers_python": seconds["step"] - gradient,
        },
        "distinct_window_seconds": seconds["window"],
    }


def _seconds(learner: Learner, batch: Batch, repeats: int) -> dict[str, float]:
    """Medians; the parts take turns."""
    model = learner.model.train()
    distinct = Batch(*(value[:1] for value in batch[:-1]), skipped=())
    distinct = distinct._replace(is_repeat=torch.zeros_like(distinct.is_repeat))
    B, T = batch.images.shape[:2]
    with torch.no_grad():
        frames = to_input(batch).flatten(0, 1), batch.boxes_px.flatten(0, 1)
        encoded = model.encode_frames(*frames, batch.is_left.repeat_interleave(T))
    windows = FrameFeatures(*(value.unflatten(0, (B, T)).requires_grad_() for value in encoded))
    parts: dict[str, Callable[[], object]] = {
        "step": lambda: learner.step(batch, 0, 1.0),
        "inputs": lambda: to_input(batch),
        "gradient": lambda: _gradient(learner, batch),
        "behind": lambda: _gradient(learner, batch, windows),
        "window": lambda: _gradient(learner, distinct),
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(1 + repeats):  # the first round warms up
        for name, part in parts.items():
            start = time.process_time()
            part()
            seconds[name].append(time.process_time() - start)
            learner.optimizer.zero_grad()
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def _gradient(learner: Learner, batch: Batch, windows: FrameFeatures | None = None) -> None:
    """Forward and backward through the model and its losses, the adversarial one apart. windows:
    what its frames are encoded to; then the spatial half is left out."""
    if windows is None:
        output, targets = learner.predict(batch)
    else:
        occlusion = batch.occlusion if learner.experiment.model.fusion == "occlusion" else None
        output = learner.model(
            windows, batch.boxes_px, batch.is_left, occlusion, batch.is_repeat, batch.K
        )
        targets = learner.targets(batch)
    learner.weighted(learner.losses(output, targets)).backward()
