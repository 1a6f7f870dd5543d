"""The runs that are kept, and the commands that repeat them."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tyro

from benchmarks.evaluation import Run
from benchmarks.figures.training_log import read_log
from benchmarks.kept_runs import (
    common_start,
    dataset_commands,
    last_saturation,
    make_commands,
    over_seeds,
    training_minutes,
)
from deformer.checkpoint import save_checkpoint
from deformer.machine import Machine
from pipelines import build_shards, synthesize
from tests.benchmarks.evaluations import make_evaluation
from tests.deformer.training import VERY_SMALL

RECORDS = (
    {"step": 0, "kind": "validation", "pa_mpjpe_mm": 20.0, "mpjpe_mm": 120.0},
    {"step": 10, "kind": "train", "total": 9.0, "windows_per_s": 2.0, "saturation": 0.2},
    {"step": 20, "kind": "train", "total": 8.0, "windows_per_s": 4.0, "saturation": 0.4},
    {"step": 25, "kind": "validation", "pa_mpjpe_mm": 11.5, "mpjpe_mm": 60.0},
    {"step": 40, "kind": "train", "total": 7.0, "windows_per_s": 1.0, "saturation": 0.75},
)
MINUTES = (10 * 4 / 2 + 10 * 4 / 4 + 20 * 4 / 1) / 60
"""Of four windows a step."""
MACHINE = Machine("NVIDIA H100", 2, "a processor", 8, "2.9")
MARK = {
    "generator": "pipelines.synthesize", "version": 1, "layout": "dexycb", "seed": 3,
    "sequences": 200, "cameras": 2, "frames": 72, "depth": False, "benchmark": "occluded-hands",
    "benchmark_version": 2, "motions_sha256": "ab" * 32,
    "retargeting_residual_mm": {"mean": 4.9, "p90": 8.3, "left": 5.1},
}  # fmt: skip
"""What a dataset says of how it was synthesized."""


def train(folder: Path, name: str, seed: int, start_from: str | None, **changed) -> None:
    """A run that never was: a log, and a checkpoint with an empty model."""
    experiment = replace(
        VERY_SMALL, name=name, start_from=start_from, stream=replace(VERY_SMALL.stream, seed=seed),
        model=replace(VERY_SMALL.model, fusion=changed.get("fusion", "dynamic")),
    )  # fmt: skip
    save_checkpoint(folder, 40, experiment, {"name": "standin", "sha256": ""}, {}, {},
                    {"model": {}}, 1, {"precision": "bf16"}, MACHINE)  # fmt: skip
    (folder / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))


def test_minutes_are_not_known_without_the_speed_or_the_size_of_a_step(tmp_path):
    train(tmp_path / "run", "tiny", 0, None)
    log = read_log(tmp_path / "run", tmp_path)
    assert training_minutes(log) == pytest.approx(MINUTES)
    assert training_minutes(replace(log, experiment=None)) is None
    assert training_minutes(replace(log, train={})) is None
    lacking = {"windows_per_s": np.array([2.0, np.nan, 1.0])}
    assert training_minutes(replace(log, train=lacking)) is None


def test_the_saturation_is_of_the_last_tenth(tmp_path):
    train(tmp_path / "run", "tiny", 0, None)
    log = read_log(tmp_path / "run", tmp_path)
    assert last_saturation(log) == 0.75  # of three records the last
    values = np.r_[np.zeros(28), 0.5, np.nan]
    many = replace(log, step=np.arange(30), train={"saturation": values})
    assert last_saturation(many) == pytest.approx(0.25)  # 0, 0.5, and one that is not known
    assert last_saturation(replace(log, train={})) is None
    assert last_saturation(replace(many, train={"saturation": values * np.nan})) is None


def test_one_command_makes_the_benchmark_again():
    def run(experiment: str, seed: int, step: int = 600) -> Run:
        return make_evaluation({"experiment": experiment, "seed": seed, "step": step}).run

    runs = [run("tiny_occluded", 1), run("tiny_occluded_mse", 0), run("small_occluded", 0, 3000),
            run("tiny", 7), run("my_own", 7)]  # fmt: skip
    starts = [run("tiny_occluded_windows", 5), run("tiny_occluded_frames", 5, 900)]
    lines = make_commands(MARK, [*starts, *runs])
    assert lines == [
        'make ablations PRESET=small MOTIONS=FILE SEEDS="0" STEPS=3000',
        'make ablations PRESET=tiny MOTIONS=FILE SEEDS="0 1" STEPS=600',
    ]
    without = {name: value for name, value in MARK.items() if name != "motions_sha256"}
    assert make_commands(without, runs[:1]) == [
        'make ablations PRESET=tiny SEEDS="1" STEPS=600'
    ]  # fmt: skip
    assert make_commands(MARK, starts) == []
    rule = (Path(__file__).parents[2] / "Makefile").read_text().split("\nablations:")[1]
    rule = rule.split("\n\n")[0]
    for word in shlex.split(lines[0])[2:]:
        assert f"$({word.partition('=')[0]})" in rule


def test_commands_that_make_and_build_a_dataset():
    parameters = {
        "dataset": "dexycb", "hand": "standin", "limit": 7, "frames_per_shard": 12,
        "augmentation": {"scale": 0.2, "shift": 0.3},
    }  # fmt: skip
    make, build = dataset_commands({"parameters": parameters, "synthetic": MARK}, "occluded")
    assert make == (
        "python -m pipelines.synthesize --layout dexycb --out data/occluded --benchmark "
        "occluded-hands --sequences 200 --cameras 2 --frames 72 --seed 3 --motions MOTIONS "
        "--no-depth"
    )
    told = tyro.cli(synthesize.SynthesisConfig, args=make.split()[3:]).mark()
    versions = {"version", "benchmark_version"}
    assert all(told[name] == MARK[name] for name in (told.keys() & MARK.keys()) - versions)
    assert build == (
        "python -m pipelines.build_shards --dataset dexycb --root data/occluded --out "
        "shards/occluded --frames-per-shard 12 --limit 7 --augmentation.shift 0.3"
    )
    assert tyro.cli(build_shards.Options, args=build.split()[3:]).augmentation.shift == 0.3
    recorded = parameters | {"dataset": "ho3d", "hand": "none", "limit": None}
    (build,) = dataset_commands({"parameters": recorded, "synthetic": None}, "ho3d")
    assert "--dataset ho3d --root RAW --out shards/ho3d" in build and "--hand none" in build


def test_seeds_have_a_common_start_or_none():
    def start(*names: str | None) -> str | None:
        return common_start([SimpleNamespace(start_from=name) for name in names])

    assert start("runs/a", "runs/a") == "runs/a"
    for names in (("runs/a", "runs/b"), ("runs/a", None), (None,), ("nothing", "nothing"), ()):
        assert start(*names) is None


def test_commands_that_differ_by_the_seed_are_one():
    def evaluate(run: str, seed: int, more: str = "") -> tuple[int, str]:
        return seed, f"python x --checkpoint runs/{run}-seed{seed} --out r/{run}-seed{seed}{more}"

    assert over_seeds(
        [evaluate("a", 0), evaluate("b", 10), evaluate("a", 10), evaluate("a", 2, " --limit 2")]
    ) == [
        "for s in 0 10; do python x --checkpoint runs/a-seed$s --out r/a-seed$s; done",
        evaluate("b", 10)[1],
        evaluate("a", 2, " --limit 2")[1],
    ]
    start = "python x --out 'my runs'/a-seed{} --start-from s-seed0 --stream.seed {}"
    assert over_seeds([(s, start.format(s, s)) for s in (0, 1)]) == [
        "for s in 0 1; do python x --out 'my runs/a-seed'$s --start-from s-seed0 --stream.seed $s; "
        "done"
    ]
    assert over_seeds([(None, "python x --out seedNone")] * 2) == ["python x --out seedNone"]
