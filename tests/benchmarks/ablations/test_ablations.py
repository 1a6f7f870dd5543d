"""The plan of the ablations: which runs, what is done, how long the rest takes."""

import os
import signal
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.ablations import __main__ as ablations
from benchmarks.ablations import presets as ablation_plan
from benchmarks.ablations.presets import Options, plan, preset_of
from deformer.data.dataset import read_info
from deformer.experiments import EXPERIMENTS, get_experiment
from deformer.train import parse
from tests.commands import call
from tests.deformer.small_runs import own_signals


def _options(data: Path, tmp_path: Path, **more) -> Options:
    return Options(data, runs=tmp_path / "runs", results=tmp_path / "results", **more)


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
    monkeypatch.setattr(ablation_plan, "read_info", lambda _: marked)
    return data


def test_on_encoded_frames_every_run_begins_by_itself(occluded, tmp_path):
    options = _options(occluded, tmp_path, preset="lite", features=Path("f"), steps=5)
    jobs = plan(options)
    assert len(jobs) == 9 and jobs[0].experiment == "lite_temporal"
    assert "lite_temporal_nearby" in [job.experiment for job in jobs]
    for job in jobs:
        assert job.evaluate[job.evaluate.index("--split") + 1] == "s3_test"
        assert get_experiment(job.experiment).stream.split == "s3_train"
        assert "--start-from" not in job.train
        for command in (job.train, job.evaluate):
            assert command[command.index("--features") + 1] == "f"
        assert parse(job.train[job.train.index("deformer.train") + 1 :]).config == job.asked
    (by_default, *_) = plan(_options(occluded, tmp_path, preset="lite", steps=5))
    assert by_default.features == by_default.asked.features == "features/lite"
    with pytest.raises(ValueError, match="--features f: tiny learns from images"):
        plan(_options(occluded, tmp_path, base="tiny", features=Path("f"), steps=5))


def test_the_preset_of_an_experiment():
    assert preset_of("tiny") == preset_of("tiny_ho3d_mse_noadv") == "tiny"
    assert preset_of("lite_temporal_nearby") == "lite"
    assert preset_of("ho3d_center") == "paper" and preset_of("my_own") is None


def test_a_preset_without_the_kind_of_data_is_refused(occluded, tmp_path):
    with pytest.raises(ValueError, match="is occluded-hands; --preset paper is for dexycb, ho3d"):
        plan(_options(occluded, tmp_path, preset="paper"))


def test_of_a_dataset_of_ones_own_the_experiment_and_the_split_are_named(
    data, tmp_path, monkeypatch
):
    info = read_info(data)
    mine = {**info, "parameters": {**info["parameters"], "dataset": "my_hands"}}
    monkeypatch.setattr(ablation_plan, "read_info", lambda _: mine)
    with pytest.raises(ValueError, match="is my_hands; .* name the experiment to vary by --base"):
        plan(_options(data, tmp_path))
    with pytest.raises(ValueError, match="is my_hands: give --split"):
        plan(_options(data, tmp_path, base="lite"))
    with pytest.raises(
        ValueError, match="--base tiny_center has no ablations; .* dexycb, .* BASES"
    ):
        plan(_options(data, tmp_path, base="tiny_center"))
    first, *jobs = plan(_options(data, tmp_path, base="lite", split="train", steps=5))
    assert first.experiment == "lite" and len(jobs) == 6
    assert all(get_experiment(job.experiment) for job in jobs)
    assert first.evaluate[first.evaluate.index("--split") + 1] == "train"


def test_only_some(data, tmp_path):
    jobs = plan(_options(data, tmp_path, only=("full", "mse"), steps=5))
    assert [(job.experiment, job.steps) for job in jobs] == [("tiny", 5), ("tiny_mse", 5)]
    with pytest.raises(ValueError, match=r"--only centre: the ablations are full, center"):
        _options(data, tmp_path, only=("centre",))
    with pytest.raises(ValueError, match="--seeds 0 1 0: a seed is one run, so name each once"):
        _options(data, tmp_path, seeds=(0, 1, 0))


def test_a_run_that_went_further_is_refused(data, tmp_path):
    (job,) = plan(_options(data, tmp_path, only=("full",), steps=10))
    (job.run / "checkpoints" / "step-00000012").mkdir(parents=True)
    with pytest.raises(ValueError, match="was trained for 12 steps, and 10 are asked for"):
        plan(_options(data, tmp_path, only=("full",), steps=10))


def test_failures_are_listed_and_tell_in_the_status(data, tmp_path, monkeypatch, capsys):
    where = "--runs", tmp_path, "--results", tmp_path, "--data", data
    arguments = *where, "--steps", 3, "--at-once", 2
    monkeypatch.setattr(ablations, "estimate_seconds_per_step", lambda *_: 1.0)
    given = []

    def run_jobs(jobs, console, slots) -> list[str]:
        given.append((len(jobs), len(slots)))
        return ["tiny, seed 0: training ended with status 1: [oh] (console.log)"]

    monkeypatch.setattr(ablations, "run_jobs", run_jobs)
    with own_signals():
        assert call(ablations.main, *arguments) == 1
    assert given == [(7, 2)]
    assert "failed: tiny, seed 0: training ended with status 1: [oh]" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_as_ctrl_c_does_and_is_heard_once(data, tmp_path, monkeypatch, kind, capsys):
    where = "--runs", tmp_path, "--results", tmp_path, "--data", data
    arguments = *where, "--steps", 3
    monkeypatch.setattr(ablations, "estimate_seconds_per_step", lambda *_: 1.0)
    heard = []

    def run_jobs(*_) -> list[str]:
        try:
            os.kill(os.getpid(), kind)
        except BaseException:
            os.kill(os.getpid(), kind)  # while the commands are ended
            heard.append(kind)
            raise
        return []

    monkeypatch.setattr(ablations, "run_jobs", run_jobs)
    with own_signals():
        assert call(ablations.main, *arguments) == 143
    assert heard == [kind]
    assert "stopped; the same command goes on" in capsys.readouterr().err
    with own_signals():  # as nohup has it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert call(ablations.main, *arguments) == (143 if kind == signal.SIGTERM else 0)


def test_the_estimate_comes_from_the_log_of_a_run(data, tmp_path):
    options = _options(data, tmp_path, only=("full",), steps=3600)
    (job,) = plan(options)
    job.run.mkdir(parents=True)
    line = '{"step": 10, "kind": "train", "windows_per_s": 4.0}\n'
    (job.run / "log.jsonl").write_text(line + '{"step": 20, "ki')  # cut off by a kill
    console = Console(record=True, width=200)
    ablations.print_plan(options, [[job]], console)
    assert "3,600 steps left: about 2.0 hours" in console.export_text()  # 8 windows a step


def test_a_dry_run_shows_the_plan_and_trains_nothing(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablations, "estimate_seconds_per_step", lambda *_: 1.0)
    monkeypatch.setattr(ablations, "run_jobs", None)
    where = "--runs", tmp_path, "--results", tmp_path, "--dry-run"
    assert call(ablations.main, *where, "--data", data) == 0
    assert "7 runs" in capsys.readouterr().err
    not_built = "--data", "shards/my_ho3d", "--preset", "paper"
    assert call(ablations.main, *where, *not_built) == 0
    said = capsys.readouterr().err
    assert "ho3d_average" in said and "its epochs" in said and "shards/my_ho3d is not built" in said
    assert call(ablations.main, *where[:-1], *not_built) == 1
