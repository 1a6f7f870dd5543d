"""Speed and memory of a training step."""

import platform
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from deformer.data.store import open_store
from deformer.data.stream import Stream
from deformer.experiments import get_experiment
from deformer.hand.mano import load_hands_of
from deformer.program.processor import usable_cores
from deformer.training.distributed import Place
from deformer.training.experiment import Experiment
from deformer.training.features import open_features
from deformer.training.learner import Learner
from deformer.training.motion import RealMotion


@dataclass(frozen=True)
class ModelSpeed:
    """Measure training steps on batches that are already in memory."""

    data: str
    """A built dataset."""
    experiments: tuple[str, ...] = ("tiny",)
    """By name, such as dexycb and dexycb_fast on a GPU."""
    precisions: tuple[str, ...] = ("float32",)
    """float32, bf16."""
    modes: tuple[Literal["eager", "compile", "graph", "compile+graph"], ...] = ("eager",)
    """compile: the spatial half is compiled; graph: the step is recorded as a CUDA graph."""
    split: str = "all"
    features: str | None = None
    """The folder of encoded frames, for experiments that learn from them; by default theirs."""
    batch: int | None = None
    """Windows per step; by default the experiment's."""
    steps: int = 10
    """Measured steps; before them come as many to warm up, 3 at most."""
    out: Path = Path("results/speed")
    """The folder for model.json."""


def measure_model(config: ModelSpeed) -> dict:
    """Windows per second and peak memory, by experiment, precision and mode. Weights are random:
    they need no download, and a step takes the same time."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for name in config.experiments:
        experiment = without_weights(
            get_experiment(name), config.split, config.batch, config.features
        )
        for precision in config.precisions:
            for mode in config.modes:
                rows.append(_measure(experiment, config, torch.device(kind), precision, mode))
    gpu = torch.cuda.get_device_name() if kind == "cuda" else None
    return {
        "machine": gpu or f"{usable_cores()} cores, {platform.machine()}",
        "torch": torch.__version__,
        "rows": rows,
    }


def without_weights(
    experiment: Experiment, split: str, batch: int | None = None, features: str | None = None
) -> Experiment:
    """The experiment from random weights, on another split, with so many windows per step."""
    stream = replace(experiment.stream, split=split)
    if batch:
        order = replace(stream.order, global_batch=batch, streams=1)
        stream = replace(stream, order=order)
    if experiment.features is not None:
        return replace(experiment, features=features or experiment.features, stream=stream)
    # With a start, no pretrained weights are loaded; nobody loads this one, so all stay random
    return replace(experiment, start_from="random weights", stream=stream)


def _measure(
    experiment: Experiment, config: ModelSpeed, device: torch.device, precision: str, mode: str
) -> dict:
    store, index = open_store(config.data)
    encoded, frozen = None, ()
    if experiment.features is not None:
        features = open_features(experiment.features)
        encoded, frozen = features.frames(experiment.stream.split), features.spatial().keys()
    stream = Stream(experiment.stream, store, index, features=encoded)
    motion = RealMotion(index, stream.windows, 0) if experiment.adversarial else None
    hands, place = load_hands_of(index.info), Place(device)
    learner = Learner(
        experiment, hands, place, motion,
        bf16=precision == "bf16", compile="compile" in mode, cuda_graph="graph" in mode,
        frozen=frozen,
    )  # fmt: skip
    batches = list(stream.batches(0, 4))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for step in range(min(3, config.steps) + config.steps):
        start = time.perf_counter()
        learner.step(batches[step % len(batches)], step, 1.0)  # waits for the device
        seconds.append(time.perf_counter() - start)
    num = experiment.stream.order.global_batch
    is_cuda = device.type == "cuda"
    return {
        "experiment": experiment.name,
        "precision": precision,
        "mode": mode,
        "size": experiment.stream.size,
        "batch": num,
        "windows_per_second": num / statistics.median(seconds[-config.steps :]),
        "peak_memory_mib": torch.cuda.max_memory_allocated() / 2**20 if is_cuda else None,
    }
