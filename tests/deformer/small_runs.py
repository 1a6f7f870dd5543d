"""What the tests of training share: a very small experiment, and ways to run it."""

import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console

from deformer.data.batch import Batch
from deformer.data.order import OrderConfig
from deformer.data.store import open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.data.windows import WindowConfig
from deformer.experiments import get_experiment
from deformer.network.config import DeformerConfig
from deformer.network.discriminator import DiscriminatorConfig
from deformer.train import Options, train
from deformer.training.checkpoint import load_checkpoint
from deformer.training.distributed import Place
from deformer.training.experiment import Experiment, OptimConfig, ValidationConfig, differences
from deformer.training.learner import Learner
from deformer.training.motion import RealMotion
from pipelines import build_shards

CPU = Place(torch.device("cpu"))
VERY_SMALL = replace(
    get_experiment("tiny"),
    stream=StreamConfig(
        size=32,
        limit=10,
        window=WindowConfig(num_frames=3, gap=1),
        order=OrderConfig(global_batch=4, streams=4),
    ),
    model=DeformerConfig(
        backbone="regnet_tiny", norm="group", width=16, heads=2, layers=1, ffn=16, roi_size=8,
        regressor=(32, 16),
    ),
    discriminator=DiscriminatorConfig(hidden=8),
    optim=OptimConfig(lr=1e-3, lr_discriminator=1e-2, warmup_steps=3),
    validation=ValidationConfig(every=4, limit=3),
)  # fmt: skip
SPEED = ("windows_per_s", "data_wait")


@cache
def build_dataset(raw_root: Path, depth: bool = False) -> Path:
    """Shards of 7 clips of 5 whole frames: 25 windows to train on (s0), 5 to validate on."""
    out = raw_root.parent / "built_for_training"
    options = build_shards.Options(
        "dexycb", root=raw_root, out=out, workers=0, frames_per_shard=12, depth=depth
    )
    build_shards.build(options)
    return out


@contextmanager
def own_signals() -> Iterator[None]:
    """A program takes signals for itself; the tests need them back."""
    kinds = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {kind: signal.getsignal(kind) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def arguments(dataset: Path | str, out: Path, *more: str) -> list[str]:
    """What the command line must say for a run of `VERY_SMALL`."""
    line = ["--experiment", "tiny", "--device", "cpu", "--workers", "0"]
    line += ["--steps", "6", "--log-every", "1"]
    for name, (_, value) in differences(get_experiment("tiny"), VERY_SMALL).items():
        values = value if isinstance(value, tuple) else (value,)
        line += [f"--{name.replace('_', '-')}", *map(str, values)]
    return [*line, "--data", str(dataset), "--out", str(out), *more]


class Killed(Exception):
    """Nothing more is done, as after SIGKILL."""


def run(
    dataset: Path,
    out: Path,
    experiment: Experiment = VERY_SMALL,
    console: Console | None = None,
    **options,
) -> int:
    """Train in this process; returns the exit status."""
    fast = {"steps": 6, "workers": 0, "log_every": 1, "save_every": 2, "device": "cpu"}
    chosen = Options(str(dataset), "tiny", out, experiment, **(fast | options))
    with own_signals():
        return train(chosen, CPU, console or Console(file=io.StringIO()))


def interrupt(monkeypatch, step: int, how: type[Exception] | signal.Signals = Killed) -> None:
    """Make the next run stop while it learns this step (counted from 0): by an exception before
    the weights change, or by a signal to this process after that."""
    real = Learner.step

    def interrupted(self, batch: Batch, now: int, rate: float):
        if now == step and isinstance(how, type):
            raise how(f"at step {step}")
        terms = real(self, batch, now, rate)
        if now == step:
            os.kill(os.getpid(), how)
        return terms

    monkeypatch.setattr(Learner, "step", interrupted)


def records(out: Path) -> list[dict]:
    """The log of a run, but for what depends on the machine's speed."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in SPEED} for line in lines]


def checkpoint_steps(out: Path) -> list[int]:
    return sorted(int(p.name.removeprefix("step-")) for p in (out / "checkpoints").glob("step-*"))


def assert_same_run(one: Path, other: Path) -> None:
    """The same records, and the same last checkpoint, bit for bit."""
    assert records(one) == records(other)
    a, b = load_checkpoint(one), load_checkpoint(other)
    for name in ("step", "experiment", "stream", "metrics"):
        assert getattr(a, name) == getattr(b, name), name
    assert_same_tensors(a.tensors, b.tensors)


def assert_same_tensors(one: dict, other: dict) -> None:
    """By file and name; bit for bit."""
    assert one.keys() == other.keys()
    for name, tensors in one.items():
        assert tensors.keys() == other[name].keys()
        differ = [key for key, value in tensors.items() if not torch.equal(value, other[name][key])]
        assert not differ, f"{name}: {len(differ)} of {len(tensors)} differ, such as {differ[0]}"


def make_stream(dataset: Path, experiment: Experiment = VERY_SMALL, **place) -> Stream:
    store, index = open_store(dataset)
    return Stream(experiment.stream, store, index, **place)


def make_learner(
    hands, stream: Stream, experiment: Experiment = VERY_SMALL, bf16: bool = False
) -> Learner:
    motion = None
    if experiment.adversarial:
        motion = RealMotion(stream.index, stream.windows, experiment.stream.seed)
    return Learner(experiment, hands, CPU, motion, bf16)


def changed(part: str, experiment: Experiment = VERY_SMALL, **change) -> Experiment:
    """The experiment with fields of one part replaced: changed("optim", lr=1.0)."""
    return replace(experiment, **{part: replace(getattr(experiment, part), **change)})


def snapshot(learner: Learner) -> dict[str, dict[str, torch.Tensor]]:
    """Copies of all tensors of a checkpoint."""
    return {
        name: {key: value.detach().clone() for key, value in tensors.items()}
        for name, tensors in learner.tensors().items()
    }


def with_column(monkeypatch, module, stream: Stream, name: str, change: Callable) -> None:
    """Let a module read other labels: change(list of all rows' values)."""
    table = pq.read_table(stream.index.folder / "annotations.parquet")
    values = table[name].to_pylist()
    change(values)
    column = pa.array(values, table[name].type)
    table = table.set_column(table.column_names.index(name), name, column)
    monkeypatch.setattr(module, "read_table", lambda _, columns: table.select(columns))
