"""The commands that write much, small enough to be run some hundred times."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import evaluate
from benchmarks.evaluation.predictions import read_predictions
from benchmarks.evaluation.result import read_evaluation, write_evaluation
from benchmarks.tables import __main__ as tables
from deformer import export, predict, train
from deformer.data.store import open_store
from deformer.data.stream import Stream
from deformer.data.windows import WindowConfig
from deformer.hand.mano import load_hands
from deformer.training.checkpoint import load_checkpoint
from deformer.training.log import read_records
from deformer.training.weights_file import read_weights
from deformer.video.hands_file import read_hands
from deformer.weights import __main__ as weights
from pipelines import build_shards, synthesize, verify
from pipelines.building.shard import index_shard
from tests.benchmarks.evaluations import make_evaluation
from tests.benchmarks.untrained import save_untrained
from tests.deformer.small_runs import SPEED, VERY_SMALL, arguments, own_signals
from tests.deformer.test_predict import make_boxes, make_video
from tests.deformer.video.hand_rows import write_clip
from tests.deformer.video.networks import write_random_weights
from tests.pipelines.rewriting import problems


@dataclass(frozen=True)
class Writer:
    """A command that writes a folder."""

    main: Callable[[], int]
    arguments: Callable[[Path], list]
    """By the folder to write."""
    check: Callable[[Path], None]
    """Raises where a file under its final name is not whole; the folder may be absent."""
    prepare: Callable[[Path], None] = lambda out: None
    again: tuple[str, ...] = ()
    """More arguments to go on after a fault."""


def build(raw: Path) -> Writer:
    def check(out: Path) -> None:
        for path in out.glob("*.tar"):
            index_shard(path, path.name, with_depth=False)
        if (out / "dataset.json").exists():
            assert problems(out) == []

    line = ["--dataset", "dexycb", "--root", raw, "--workers", 0, "--frames-per-shard", 6]
    return Writer(build_shards.main, lambda out: [*line, "--out", out], check)


def repair(raw: Path, built: Path) -> Writer:
    """Of a dataset with a flipped bit in three of its files."""
    whole = {path.name: path.read_bytes() for path in built.iterdir()}
    flipped = {}
    for name in ("000001.tar", "annotations.parquet", "dataset.json"):
        data = bytearray(whole[name])
        data[len(data) // 2] ^= 2
        flipped[name] = bytes(data)

    def prepare(out: Path) -> None:
        for name, data in (whole | flipped).items():
            (out / name).write_bytes(data)

    def check(out: Path) -> None:
        for name, data in whole.items():
            assert (out / name).read_bytes() in (data, flipped.get(name)), name

    line = ["--repair", "--root", raw, "--workers", 0]
    return Writer(verify.main, lambda out: [out, *line], check, prepare)


def synthesizing(layout: str) -> Writer:
    line = ["--layout", layout, "--sequences", 3, "--cameras", 1, "--frames", 2, "--workers", 1]

    def check(out: Path) -> None:
        for path in out.rglob("*"):
            if path.suffix == ".json":
                json.loads(path.read_bytes())
            assert not path.is_file() or path.stat().st_size, path

    return Writer(synthesize.main, lambda out: [*line, "--out", out], check)


def evaluating(built: Path, run: Path) -> Writer:
    store, index = open_store(built)
    save_untrained(run, Stream(VERY_SMALL.stream, store, index), load_hands("standin"))
    line = ["--checkpoint", run, "--data", built, "--split", "s0_train", "--workers", 0]

    def check(out: Path) -> None:
        for name, read in (
            ("predictions.parquet", read_predictions),
            ("evaluation.json", read_evaluation),
        ):
            if (out / name).exists():
                read(out / name)

    return Writer(evaluate.main, lambda out: [*line, "--device", "cpu", "--out", out], check)


def predicting(folder: Path) -> Writer:
    weights = write_random_weights(folder / "small.safetensors", WindowConfig(3, 2))
    video, boxes = make_video(folder / "clip.mp4", 3), make_boxes(folder / "boxes.csv", range(3))
    line = [video, "--checkpoint", weights, "--boxes", boxes, "--device", "cpu", "--smooth"]

    def check(out: Path) -> None:
        for path in out.glob("*.parquet"):
            read_hands(path)
        for path in out.glob("*.html"):
            assert "</html>" in path.read_text("utf-8")[-20:]

    return Writer(predict.main, lambda out: [*line, "--out", out], check)


def training(built: Path) -> Writer:
    def check(out: Path) -> None:
        if any((out / "checkpoints").glob("step-*")):
            load_checkpoint(out)
            for folder in (out / "checkpoints").glob("step-*"):
                load_checkpoint(folder)
        if (out / "best.json").exists():
            load_checkpoint(out, "best")
        if (out / "log.jsonl").exists():
            read_records(out / "log.jsonl")

    def main() -> int:
        with own_signals():
            return train.main()

    more = ["--steps", "2", "--save-every", "1", "--validation.split", "None"]
    more += ["--stream.limit", "4"]
    return Writer(main, lambda out: arguments(built, out, *more), check, again=("--resume",))


def tabling() -> Writer:
    def prepare(out: Path) -> None:
        write_evaluation(out / "demo" / "evaluation.json", make_evaluation())

    def check(out: Path) -> None:
        read_evaluation(out / "demo" / "evaluation.json")

    return Writer(tables.main, lambda out: ["--results", out], check, prepare)


def weighing(folder: Path) -> Writer:
    source = write_random_weights(folder / "source.safetensors", WindowConfig(3, 2))

    def check(out: Path) -> None:
        for path in out.glob("*.safetensors"):
            read_weights(path)

    line = ["--checkpoint", source, source]
    return Writer(weights.main, lambda out: [*line, "--out", out / "mean.safetensors"], check)


def exporting(folder: Path) -> Writer:
    line = [write_clip(folder), "--format", "npz"]

    def check(out: Path) -> None:
        for path in out.glob("*.npz"):
            with np.load(path) as file:
                dict(file)

    return Writer(export.main, lambda out: [*line, "--out", out], check)


def contents(out: Path) -> dict[str, object]:
    """What a folder holds, without times and speeds."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.name == "log.jsonl":
            records = (json.loads(line) for line in path.read_text().splitlines())
            found[name] = [{k: v for k, v in r.items() if k not in SPEED} for r in records]
        elif path.name in ("state.json", "evaluation.json"):
            state = json.loads(path.read_bytes())
            found[name] = {k: v for k, v in state.items() if k not in ("command", "file_sha256")}
        elif path.is_file() and "tfevents" not in path.name:
            found[name] = path.read_bytes()
    return found
