"""The commands that repeat what was measured are ones that the programs take."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import tyro
from benchmarks.material import Material
from benchmarks.repeat import (
    dataset_commands,
    encoding_commands,
    make_commands,
    over_seeds,
    training_command,
    training_commands,
)

from benchmarks.evaluation.result import Run
from benchmarks.evaluation.training_log import TrainingLog, read_log
from deformer.experiments import EXPERIMENTS
from deformer.train import parse
from deformer.training.experiment import Experiment
from pipelines import build_shards, synthesize
from tests.benchmarks.drawn_results import write_run
from tests.benchmarks.evaluations import make_evaluation

REPOSITORY = Path(__file__).parents[2]
MARK = {
    "generator": "pipelines.synthesize", "version": 1, "layout": "dexycb", "seed": 0,
    "sequences": 200, "cameras": 2, "frames": 72, "depth": False, "benchmark": "occluded-hands",
    "benchmark_version": 2, "motions_sha256": "ab" * 32,
    "retargeting_residual_mm": {"mean": 4.9, "p90": 8.3, "left": 5.1},
}  # fmt: skip
"""What a dataset says of how it was synthesized."""


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
    for name, value in (("sequences", 40), ("cameras", 4), ("seed", 1)):
        assert make_commands(MARK | {name: value}, runs) == []
    rule = (REPOSITORY / "Makefile").read_text().split("\nablations:")[1]
    rule = rule.split("\n\n")[0]
    for word in shlex.split(lines[0])[2:]:
        assert f"$({word.partition('=')[0]})" in rule
    assert f"--sequences {MARK['sequences']} --cameras {MARK['cameras']} --no-depth" in rule


def test_commands_that_make_and_build_a_dataset():
    parameters = {
        "dataset": "dexycb", "hand": "standin", "limit": 7, "frames_per_shard": 12,
        "augmentation": {"scale": 0.2, "shift": 0.3},
    }  # fmt: skip
    mark = MARK | {"seed": 3}
    make, build = dataset_commands({"parameters": parameters, "synthetic": mark}, "occluded")
    assert make == (
        "python -m pipelines.synthesize --layout dexycb --out data/occluded --benchmark "
        "occluded-hands --sequences 200 --cameras 2 --frames 72 --seed 3 --motions MOTIONS "
        "--no-depth"
    )
    told = tyro.cli(synthesize.SynthesisConfig, args=make.split()[3:]).mark()
    versions = {"version", "benchmark_version"}
    assert all(told[name] == mark[name] for name in (told.keys() & mark.keys()) - versions)
    assert build == (
        "python -m pipelines.build_shards --dataset dexycb --root data/occluded --out "
        "shards/occluded --frames-per-shard 12 --limit 7 --augmentation.shift 0.3"
    )
    assert tyro.cli(build_shards.Options, args=build.split()[3:]).augmentation.shift == 0.3
    recorded = parameters | {"dataset": "ho3d", "hand": "none", "limit": None}
    (build,) = dataset_commands({"parameters": recorded, "synthetic": None}, "ho3d")
    assert "--dataset ho3d --root RAW --out shards/ho3d" in build and "--hand none" in build


def test_the_training_command_names_what_differs_from_the_preset(tmp_path):
    log = read_log(write_run(tmp_path / "run"), tmp_path)
    command = training_command(log, {})
    assert command.startswith("python -m deformer.train --experiment tiny --data shards/NAME")
    assert " --steps 40" in command
    assert " --stream.window.gap 1 " in command and " --discriminator.hidden 8 " in command
    assert " --seed" not in command


def _of(log: TrainingLog, experiment: Experiment) -> TrainingLog:
    return replace(log, checkpoint=replace(log.checkpoint, experiment=experiment))


def test_the_training_command_is_one_that_the_program_takes(tmp_path):
    log = read_log(write_run(tmp_path / "run"), tmp_path)
    preset = EXPERIMENTS["tiny"]
    asked = replace(
        preset,
        adversarial=False,
        stream=replace(
            preset.stream,
            where="occlusion > 0.5",
            order=replace(preset.stream.order, shuffle=False, mix_clips=7),
        ),
        model=replace(preset.model, regressor=(32, 16)),
        validation=replace(preset.validation, limit=None),
    )
    words = shlex.split(training_command(_of(log, asked), {}))
    assert {"--no-adversarial", "--stream.order.no-shuffle"} <= set(words)
    assert parse(words[3:]).config == asked
    unset = replace(asked, name="tiny_noadv", adversarial=True)
    assert "--adversarial" in training_command(_of(log, unset), {}).split()


def test_of_a_run_on_features_the_encoding_and_what_encoded_are_told(tmp_path):
    spatial = read_log(write_run(tmp_path / "spatial"), tmp_path)
    log = read_log(write_run(tmp_path / "temporal"), tmp_path)
    features = tmp_path / "features"
    log = _of(log, replace(EXPERIMENTS["tiny_temporal"], features=str(features)))
    evaluation = make_evaluation({"checkpoint": str(log.folder)})
    material = Material(
        tmp_path, tmp_path, (), None, {"temporal": evaluation}, [], {}, [], [spatial, log]
    )
    assert encoding_commands(material) == []  # they are gone
    assert [command for _, command in training_commands(material)] == [
        training_command(log, material.evaluations)
    ]
    features.mkdir()
    told = {"format": 1, "command": "python -m deformer.encode …"}
    told["checkpoint"] = {"run": str(spatial.folder), "step": 40}
    (features / "features.json").write_text(json.dumps(told))
    assert encoding_commands(material) == ["python -m deformer.encode …"]
    assert [command for _, command in training_commands(material)] == [
        training_command(spatial, material.evaluations),
        training_command(log, material.evaluations),
    ]


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
