"""The plan of the ablations: which runs, what is done, how long the rest takes."""

import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import ablations
from benchmarks.ablations import Options, plan, print_plan, run_jobs
from benchmarks.evaluation import EVALUATION_FILE, write_evaluation
from deformer.dataset import read_info
from deformer.experiments import EXPERIMENTS, get_experiment
from tests.benchmarks.evaluations import make_evaluation
from tests.deformer.training import build_dataset


@pytest.fixture(scope="module")
def data(raw_root) -> Path:
    return build_dataset(raw_root)


def _options(data: Path, tmp_path: Path, **more) -> Options:
    return Options(data, runs=tmp_path / "runs", results=tmp_path / "results", **more)


def _finish(job, steps: int, split: str = "s0_test") -> None:
    (job.run / "checkpoints" / f"step-{steps:08d}").mkdir(parents=True)
    evaluation = make_evaluation({"step": steps}, {"split": split})
    write_evaluation(job.result / EVALUATION_FILE, evaluation)


def test_the_seven_models_of_tables_4_and_5_once_per_seed(data, tmp_path):
    jobs = plan(_options(data, tmp_path, seeds=(0, 1)))
    names = [job.experiment for job in jobs]
    assert len(jobs) == 14 and names[:7] == names[7:] and names[0] == "tiny"
    assert set(names) <= EXPERIMENTS.keys() and len(set(names)) == 7
    assert len({job.run for job in jobs}) == len({job.result for job in jobs}) == 14
    one = jobs[8].train
    assert one[one.index("--stream.seed") + 1] == "1" and "--resume" in one


@pytest.fixture
def occluded(data, monkeypatch) -> Path:
    """The same shards, said to be of the benchmark."""
    info = read_info(data)
    marked = {**info, "synthetic": {**info["synthetic"], "benchmark": "occluded-hands"}}
    monkeypatch.setattr(ablations, "read_info", lambda _: marked)
    return data


def test_on_the_benchmark_all_runs_start_from_one(occluded, tmp_path):
    options = _options(occluded, tmp_path, seeds=(1, 2), steps=5, start_steps=9)
    frames, start, *jobs = plan(options)
    assert (frames.experiment, frames.steps, frames.seed) == ("tiny_occluded_frames", 9, 0)
    assert (start.experiment, start.steps, start.seed) == ("tiny_occluded_windows", 9, 0)
    assert "--start-from" not in frames.train
    assert start.train[start.train.index("--start-from") + 1] == str(frames.run)
    assert "tiny_occluded_nearby" in [job.experiment for job in jobs]
    assert len(jobs) == 16 and {job.steps for job in jobs} == {5}
    for job in jobs:
        assert job.train[job.train.index("--start-from") + 1] == str(start.run)
        assert job.evaluate[job.evaluate.index("--split") + 1] == "s3_test"
        assert get_experiment(job.experiment).stream.split == "s3_train"


def test_a_preset_without_the_kind_of_data_is_refused(occluded, tmp_path):
    with pytest.raises(ValueError, match="is occluded-hands; --preset paper is for dexycb, ho3d"):
        plan(_options(occluded, tmp_path, preset="paper"))


def test_only_some(data, tmp_path):
    jobs = plan(_options(data, tmp_path, only=("full", "mse"), steps=5))
    assert [(job.experiment, job.steps) for job in jobs] == [("tiny", 5), ("tiny_mse", 5)]
    with pytest.raises(ValueError, match=r"--only centre: the ablations are full, center"):
        _options(data, tmp_path, only=("centre",))


def test_what_is_done_is_skipped_and_a_shorter_run_is_not_done(data, tmp_path, monkeypatch):
    jobs = plan(_options(data, tmp_path, only=("full", "center", "mse"), steps=10))
    _finish(jobs[0], 10)
    _finish(jobs[1], 4)  # of an earlier, shorter call
    _finish(jobs[2], 10, "s0_val")
    assert [job.is_done for job in jobs] == [True, False, False]
    called = []

    def record(command):
        called.append(command)
        return type("Result", (), {"returncode": 0})

    monkeypatch.setattr(ablations.subprocess, "run", record)
    run_jobs(jobs, Console(quiet=True))
    assert called == [jobs[1].train, jobs[1].evaluate, jobs[2].train, jobs[2].evaluate]


def test_a_run_that_went_further_is_refused(data, tmp_path):
    (job,) = plan(_options(data, tmp_path, only=("full",), steps=10))
    _finish(job, 12)
    with pytest.raises(ValueError, match="was trained for 12 steps, and 10 are asked for"):
        plan(_options(data, tmp_path, only=("full",), steps=10))


def test_several_at_once_come_after_what_they_start_from(occluded, tmp_path, monkeypatch):
    jobs = plan(_options(occluded, tmp_path, steps=5, start_steps=9))
    called = []

    def record(command, env=None, **_):
        called.append((command, env and env["OMP_NUM_THREADS"]))
        return type("Result", (), {"returncode": 0})

    monkeypatch.setattr(ablations.subprocess, "run", record)
    monkeypatch.setattr(ablations.os, "cpu_count", lambda: 8)
    run_jobs(jobs, Console(quiet=True), at_once=4)
    commands = [command for command, _ in called]
    starts = [c for job in jobs[:2] for c in (job.train, job.evaluate)]
    assert commands[:4] == starts and {threads for _, threads in called[4:]} == {"2"}
    assert sorted(map(str, commands)) == sorted(str(c) for j in jobs for c in (j.train, j.evaluate))
    assert all(commands.index(job.train) < commands.index(job.evaluate) for job in jobs)


def test_a_command_that_fails_stops_with_its_status(data, tmp_path, monkeypatch):
    jobs = plan(_options(data, tmp_path, only=("mse",), steps=10))
    failing = type("Result", (), {"returncode": 7})
    monkeypatch.setattr(ablations.subprocess, "run", lambda command: failing)
    with pytest.raises(SystemExit, match="7"):
        run_jobs(jobs, Console(quiet=True))


def test_the_estimate_comes_from_the_log_of_a_run(data, tmp_path):
    options = _options(data, tmp_path, only=("full",), steps=3600)
    (job,) = plan(options)
    job.run.mkdir(parents=True)
    line = '{"step": 10, "kind": "train", "windows_per_s": 4.0}\n'
    (job.run / "log.jsonl").write_text(line + '{"step": 20, "ki')  # cut off by a kill
    console = Console(record=True, width=200)
    print_plan(options, [job], console)
    assert "3,600 steps left: about 2.0 hours" in console.export_text()  # 8 windows a step


def test_a_dry_run_trains_nothing(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablations, "seconds_of_training", lambda *_: 1.0)
    monkeypatch.setattr(ablations.subprocess, "run", None)
    where = ["--runs", str(tmp_path), "--results", str(tmp_path), "--data", str(data)]
    monkeypatch.setattr(sys, "argv", ["ablations", *where, "--dry-run"])
    assert ablations.main() == 0
    assert "7 runs" in capsys.readouterr().err
