"""The plan of Tables 1 to 3: the whole method and its rivals, from images or in stages."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tyro
from rich.console import Console

from benchmarks import evaluate
from benchmarks.ablations import __main__ as ablations
from benchmarks.ablations import presets
from benchmarks.ablations.jobs import Encoding, Job
from benchmarks.ablations.presets import Options
from benchmarks.ablations.rivals import plan_rivals
from benchmarks.rivals import RIVALS
from deformer.data.dataset import dataset_sha256, read_info
from deformer.experiments import get_experiment
from deformer.train import parse


def _options(data: Path, tmp_path: Path, **more) -> Options:
    return Options(
        data,
        runs=tmp_path / "runs",
        results=tmp_path / "results",
        tables=(1, 2, 3),
        steps=5,
        **more,
    )


@pytest.fixture
def marked(monkeypatch) -> None:
    """All shards are said to be of the benchmark."""

    def read(folder: Path) -> dict:
        info = read_info(folder)
        return {**info, "synthetic": {**info["synthetic"], "benchmark": "occluded-hands"}}

    monkeypatch.setattr(presets, "read_info", read)


@pytest.fixture
def occluded(data, marked) -> Path:
    return data


def test_from_images_every_method_is_one_run(data, tmp_path):
    (jobs,) = plan_rivals(_options(data, tmp_path, seeds=(0, 1)))
    rivals = {f"tiny_{name}" for name, rival in RIVALS.items() if rival.input == "rgb"}
    names = [get_experiment(job.experiment).name for job in jobs]
    assert set(names) == {"tiny", *rivals} and len(names) == 2 * len(set(names))
    assert names[0] == "tiny" and len({job.run for job in jobs}) == len(jobs)
    for job in jobs:
        arguments = job.train[job.train.index("deformer.train") + 1 :]
        assert parse(arguments).config == job.asked


def _where(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def test_on_features_every_stage_makes_what_the_next_reads(occluded, tmp_path):
    options = _options(occluded, tmp_path, preset="lite", seeds=(3, 4))
    maps, frames, encodings, windows = plan_rivals(options)
    kept = Path("features") / occluded.name / "maps"
    assert [work.out for work in maps] == [kept]
    assert all(job.features == str(kept) for job in frames)
    runs = {str(job.run) for job in frames}
    made = {str(work.out) for work in encodings}
    for work in encodings:
        assert _where(work.command, "--features") == str(kept)
        assert _where(work.command, "--checkpoint") in runs  # the first seed's
        assert _where(work.command, "--checkpoint").endswith("-seed3")
    for job in [*frames, *windows]:
        arguments = job.evaluate[job.evaluate.index("benchmarks.evaluate") + 1 :]
        assert tyro.cli(evaluate.Options, args=arguments).mesh  # for Table 3
    for job in windows:
        assert job.features in made and _where(job.evaluate, "--features") == job.features
        assert get_experiment(job.experiment).stream.window.num_frames == 7
    names = {get_experiment(job.experiment).name for job in [*frames, *windows]}
    for rival in RIVALS.values():
        base = "lite_maps" if rival.frames is None else "lite_video"
        is_there = rival.backbone is None and rival.input == "rgb"
        assert (f"{base}_{rival.name}" in names) == is_there
    assert {"lite_maps", "lite_video"} <= names


def test_a_rival_that_takes_depth_learns_from_images_where_there_is_depth(
    data_with_depth, marked, tmp_path
):
    options = _options(data_with_depth, tmp_path, preset="lite", only=("a2j", "hasson"))
    _, others, *_ = plan_rivals(options)
    maps = Path("features") / data_with_depth.name / "maps"
    assert [job.features for job in others] == [None, str(maps)]
    one, other = (job.asked for job in others)
    assert one.stream.input == "depth" and one.backbone_weights == "imagenet"
    assert one.stream.order == other.stream.order and one.optim == other.optim
    only = plan_rivals(_options(data_with_depth, tmp_path, preset="lite", only=("a2j",)))
    assert [len(stage) for stage in only] == [0, 1, 0, 0]


def test_without_depth_it_is_left_out_with_a_line(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ablations, "estimate_seconds_per_step", lambda *_: 1.0)
    options = _options(data, tmp_path, only=("a2j",))
    with pytest.raises(
        ValueError, match="a2j takes depth, and .* is built without: build .*--depth"
    ):
        plan_rivals(options)
    ablations.run(_options(data, tmp_path, dry_run=True))
    assert "left out: a2j takes depth" in capsys.readouterr().err


def test_the_encoder_of_a_video_rival_has_its_spatial_half(occluded, tmp_path):
    for rival in RIVALS.values():
        if rival.frames is None:
            continue
        plan = plan_rivals(_options(occluded, tmp_path, preset="lite", only=(rival.name,)))
        (encoding,) = plan[2]
        encoder = RIVALS[rival.frames].network if rival.frames in RIVALS else None
        if encoder:
            assert encoder.spatial_parts == rival.network.spatial_parts
        assert get_experiment(_where(encoding.command, "--experiment")).name.startswith(
            "lite_video"
        )


def test_one_command_plans_all_tables(occluded, tmp_path):
    options = Options(occluded, preset="lite", tables=(1, 4), only=("vibe", "full"), steps=5)
    *first, last = ablations.plan_stages(options)
    assert [type(stage[0]) for stage in first] == [Encoding, Job, Encoding, Job]
    assert [job.experiment for job in last] == ["lite_temporal"]


def test_what_is_unknown_or_impossible_is_refused(data, occluded, tmp_path):
    with pytest.raises(ValueError, match="the rivals are .*vibe"):
        _options(data, tmp_path, only=("wibe",))
    with pytest.raises(ValueError, match="spurr_hrnet has a backbone of its own"):
        plan_rivals(_options(occluded, tmp_path, preset="lite", only=("spurr_hrnet",)))
    with pytest.raises(ValueError, match="--tables 7: the tables are 1 to 6"):
        Options(data, tables=(7,))


def test_features_of_another_run_or_dataset_are_made_again(occluded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (work,), *_ = plan_rivals(_options(occluded, tmp_path, preset="lite"))
    assert not work.is_done
    made_by = {"run": "lite", "step": 7}
    info = {
        "format": 1, "spatial_sha256": "0", "network": {}, "size": 32, "augment": {},
        "copies": {}, "files": {}, "checkpoint": made_by,
        "dataset_sha256": dataset_sha256(occluded),
    }  # fmt: skip
    work.out.mkdir(parents=True)
    for change, is_done in ({}, True), ({"dataset_sha256": "0"}, False):
        (work.out / "features.json").write_text(json.dumps(info | change))
        assert work.is_done == is_done
    (work.out / "features.json").write_text(json.dumps(info))
    assert not replace(work, checkpoint="runs/other").is_done
    assert not replace(work, step=8).is_done


def test_what_the_stages_would_ignore_is_refused(occluded, data, tmp_path):
    with pytest.raises(ValueError, match="leave --base and --features away"):
        plan_rivals(_options(occluded, tmp_path, preset="lite", features=Path("f")))
    with pytest.raises(ValueError, match="no row of --tables 1 2 is asked for: .*tempclr"):
        options = _options(data, tmp_path, only=("tempclr",))
        plan_rivals(replace(options, tables=(1, 2)))


def test_the_time_of_one_rival_is_estimated(data, tmp_path, capsys):
    options = _options(data, tmp_path, only=("hasson",))
    ablations.print_plan(options, plan_rivals(options), Console())
    assert "5 steps left: about" in capsys.readouterr().out
