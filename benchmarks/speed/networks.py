"""What a network costs: parameters, multiply-adds and time of a frame.

A frame costs what it costs `benchmarks.evaluate`: it is encoded once, and one window is decoded for
it. Weights are random: no download is needed, and the cost is the same. On a processor one thread
works, and the seconds are its own, so other programs that run meanwhile hardly matter.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import get_type_hints

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.rivals import RIVALS
from benchmarks.speed.figure import least_seconds
from deformer.experiments import get_experiment
from deformer.files.foreign import read_json
from deformer.files.wellformed import check_types
from deformer.hand.conventions import NUM_VERTICES
from deformer.hand.mano import HandLayer, load_hands
from deformer.network.network import Network, count_parameters
from deformer.network.output import FrameFeatures, View
from deformer.network.registry import network_class
from deformer.program.least import check_least
from deformer.program.processor import processor
from deformer.training.experiment import Experiment

COSTS_FILE = "networks.json"
Steps = tuple[Callable[[], object], Callable[[], object]]
"""What encodes a batch of frames, and what decodes a batch of windows."""


@dataclass(frozen=True)
class NetworksCost:
    """Measure the whole method and all rivals, with the sizes of one experiment."""

    base: str = "lite_video"
    """The experiment of the whole method."""
    batch: int = 8
    """Frames encoded at a time, and windows decoded at a time."""
    repeats: int = 10
    """Measurements of time; the least counts."""
    out: Path = Path("results/speed")
    """The folder for networks.json."""

    def __post_init__(self) -> None:
        check_least(self, "--", batch=1, repeats=1)


@dataclass(frozen=True)
class Cost:
    """Of one network."""

    network: str
    """Its name: see `deformer.network.registry`."""
    size: int
    """Side of the input, px."""
    num_frames: int
    """Of a window."""
    parameters_m: float
    """Millions, with those that only training needs."""
    multiply_adds_g: float
    """10⁹ per frame, of matrix products and convolutions."""
    frames_per_second: float


@dataclass(frozen=True)
class Costs:
    """The content of `networks.json`."""

    base: str
    machine: str
    torch: str
    batch: int
    rows: tuple[Cost, ...]

    def of(self, network: str) -> Cost | None:
        return next((cost for cost in self.rows if cost.network == network), None)


@torch.no_grad()
def measure_networks(config: NetworksCost) -> dict:
    """`Costs` as plain data; on a GPU where there is one."""
    base = get_experiment(config.base)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    experiments = [base, *(rival.applied_to(base) for rival in RIVALS.values())]
    models = [_model(experiment) for experiment in experiments]
    once = [_steps(model, 1, e) for model, e in zip(models, experiments, strict=True)]
    multiply_adds = [sum(map(count_multiply_adds, steps)) for steps in once]
    for model in models:
        model.to(device, memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steps = [
            _steps(model, config.batch, e) for model, e in zip(models, experiments, strict=True)
        ]
        seconds = _least_seconds(steps, config.repeats, device)
    finally:
        torch.set_num_threads(threads)
    rows = tuple(
        Cost(
            e.network, e.stream.size, e.stream.window.num_frames,
            count_parameters(model)["total"] / 1e6, num / 1e9, config.batch / least,
        )
        for e, model, num, least in zip(experiments, models, multiply_adds, seconds, strict=True)
    )  # fmt: skip
    is_cuda = device.type == "cuda"
    machine = torch.cuda.get_device_name() if is_cuda else f"{processor()}, one thread"
    return asdict(Costs(base.name, machine, torch.__version__, config.batch, rows))


def _model(experiment: Experiment) -> Network:
    # as in an evaluation without a mesh: only the fingertips are needed of its vertices
    layer = HandLayer(load_hands("standin"), vertex_stride=NUM_VERTICES)
    model = network_class(experiment.network)(experiment.model, layer).eval()
    return model.requires_grad_(False)  # the counter fails on parameters that want gradients


def _steps(model: Network, batch: int, experiment: Experiment) -> Steps:
    size, num_frames = experiment.stream.size, experiment.stream.window.num_frames
    device = next(model.parameters()).device
    images = torch.rand(batch, model.channels, size, size, device=device)
    boxes_px = torch.tensor([0.1, 0.1, 0.9, 0.9], device=device).mul(size).expand(batch, 4)
    is_left = torch.zeros(batch, dtype=torch.bool, device=device)
    K = torch.tensor([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]], device=device)
    view = View(boxes_px[:, None].expand(-1, num_frames, -1), K.expand(batch, num_frames, 3, 3))
    occlusion = torch.zeros(batch, num_frames, device=device)
    encoded = model.encode_frames(images, boxes_px, is_left)
    windows = FrameFeatures(*(torch.stack([value] * num_frames, 1) for value in encoded))

    def encode() -> object:
        return model.encode_frames(images, boxes_px, is_left)

    def decode() -> object:
        return model.decode_windows(windows, is_left, occlusion, view)

    return encode, decode


def count_multiply_adds(step: Callable[[], object]) -> int:
    """Of a step on the CPU, where recurrent layers are split into the products that are counted."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() // 2


def _least_seconds(steps: list[Steps], repeats: int, device: torch.device) -> list[float]:
    """Of encoding and decoding with each network."""
    calls, clock = [step for pair in steps for step in pair], time.process_time
    if device.type == "cuda":
        calls, clock = [partial(_wait_for, step) for step in calls], time.perf_counter
    seconds = least_seconds(*calls, repeats=repeats, clock=clock)
    return np.reshape(seconds, (-1, 2)).sum(1).tolist()


def _wait_for(step: Callable[[], object]) -> None:
    step()
    torch.cuda.synchronize()


def read_costs(folder: Path) -> dict[str, Costs]:
    """Every `networks.json` under a folder, by its base. Raises `ValueError` for a file of another
    kind and for two of the same base."""
    found: dict[str, tuple[Path, Costs]] = {}
    for path in sorted(folder.rglob(COSTS_FILE)):
        content = read_json(path)
        try:
            check_types(content, get_type_hints(Costs) | {"rows": list})
            for row in content["rows"]:
                check_types(row, get_type_hints(Cost))
        except (ValueError, AttributeError) as error:  # AttributeError: a row is no mapping
            raise ValueError(
                f"{path} holds no costs of networks ({error}): measure again with python -m "
                "benchmarks.speed networks, or take the file away"
            ) from error
        costs = Costs(**content | {"rows": tuple(Cost(**row) for row in content["rows"])})
        if costs.base in found:
            raise ValueError(
                f"{found[costs.base][0]} and {path} are both of {costs.base}, perhaps of two "
                "machines: take one of them away"
            )
        found[costs.base] = path, costs
    return {base: costs for base, (_, costs) in found.items()}
