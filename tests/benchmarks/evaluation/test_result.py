"""The file of an evaluation: written, read back, refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmarks.evaluation import result
from benchmarks.evaluation.result import (
    config_hash,
    find_evaluations,
    read_evaluation,
    write_evaluation,
)
from deformer.files.sealed import write_json
from deformer.training.checkpoint import Content, load_checkpoint, save_checkpoint
from deformer.training.experiment import shaping_fields
from tests.benchmarks.evaluations import make_evaluation
from tests.deformer.small_runs import VERY_SMALL


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "results" / "demo" / "evaluation.json"
    write_evaluation(path, make_evaluation())
    return path


def test_round_trip(path):
    assert read_evaluation(path) == make_evaluation()
    method = make_evaluation({"method": "[36]", "predictions": "hpe.txt"})
    write_evaluation(path, method)
    assert read_evaluation(path) == method
    assert [p.name for p in path.parent.iterdir()] == ["evaluation.json"]


def test_the_headline_has_the_error_in_camera_space_beside_the_aligned_one(path):
    assert read_evaluation(path).headline == (
        "40 frames of dexycb s0_test: PA-MPJPE 6.54 mm, as the official evaluators align 6.43 mm, "
        "CS-MPJPE 30.00 mm, root-aligned MPJPE 14.57 mm, acceleration error 2.22 mm/frame²"
    )


@pytest.mark.parametrize(("fusion", "motion"), [("dynamic", "frame"), ("pairwise", "step")])
def test_a_result_written_before_motion_was_stored_still_opens(path, fusion, motion):
    content = json.loads(path.read_text())
    del content["run"]["motion"]
    content["run"] |= {"row": "a name of its folder", "fusion": fusion}
    write_json(path, content)
    evaluation = make_evaluation({"fusion": fusion, "motion": motion})
    assert read_evaluation(path) == evaluation
    write_evaluation(path, evaluation)
    assert "row" not in json.loads(path.read_text())["run"]


@pytest.mark.parametrize("run", [None, {"method": "[36]", "predictions": "hpe.txt"}])
def test_a_result_written_before_hands_not_found_were_counted_still_opens(path, run):
    content = json.loads(path.read_text())
    del content["counts"]["not_found"]
    write_json(path, content | ({"run": run} if run else {}))
    assert read_evaluation(path) == make_evaluation(run)


def test_a_result_written_before_files_had_sums_still_opens(path):
    content = json.loads(path.read_text())
    del content["file_sha256"]
    write_json(path, content | {"format": 2})
    assert read_evaluation(path) == make_evaluation()
    write_json(path, content)
    with pytest.raises(ValueError, match="names lacking or unknown: file_sha256"):
        read_evaluation(path)


def test_evaluations_are_found_in_order(tmp_path, path):
    other = tmp_path / "results" / "a" / "b" / "evaluation.json"
    write_evaluation(other, make_evaluation({"seed": 1}))
    assert list(find_evaluations(tmp_path / "results")) == [other, path]
    assert find_evaluations(tmp_path / "nothing") == {}


def test_runs_of_another_precision_or_start_are_not_alike_and_of_another_machine_are(tmp_path):
    def hashed(origin: dict, machine: dict | None = None) -> str:
        content = Content(
            step=1, experiment=VERY_SMALL, hand={"name": "standin", "sha256": ""}, stream={},
            tensors={"model": {}}, origin=origin, machine=machine or {},
        )  # fmt: skip
        save_checkpoint(tmp_path, content, keep=1)
        return config_hash(load_checkpoint(tmp_path))

    full = {"total_steps": 9, "start_sha256": "ab", "precision": "float32"}
    assert hashed(full) == hashed(full, {"device": "NVIDIA H100"})
    others = [full | {"precision": "bf16"}, full | {"start_sha256": "cd"}, {}]
    assert len({hashed(origin) for origin in [full, *others]}) == 4


def test_depth_is_another_configuration_and_colour_that_of_before_there_was_a_choice(monkeypatch):
    depth = replace(VERY_SMALL, stream=replace(VERY_SMALL.stream, input="depth"))
    hashes = [config_hash(SimpleNamespace(experiment=e, origin={})) for e in (VERY_SMALL, depth)]
    assert len(set(hashes)) == 2
    before = shaping_fields(VERY_SMALL)
    assert (before.pop("stream.input"), before.pop("network")) == ("rgb", "deformer")
    monkeypatch.setattr(result, "shaping_fields", lambda _: before)
    assert config_hash(SimpleNamespace(experiment=VERY_SMALL, origin={})) == hashes[0]


LFS = "version https://git-lfs.github.com/spec/v1"


def put(path: str, value) -> Callable[[dict], dict]:
    """The content with one value changed or added; path: its keys with dots between."""
    first, _, rest = path.partition(".")
    return lambda content: content | {first: put(rest, value)(content[first]) if rest else value}


FAULTS = [
    ("{", "this is not JSON"),
    (put("format", 1), "it has format 1, this program reads 3"),
    (put("counts.borrowed", 3), r"Counts\(predicted=40, borrowed=3, lost=0, corrupt=0, behind=0, "
     r"not_found=0\) do not add up to 40"),
    (put("extra", 1), "names lacking or unknown: extra"),
    (put("data", {}), "names lacking or unknown: dataset, frames"),
    (put("run.adversarial", "yes"), "adversarial is 'yes'"),
    (put("metrics", {}), "its metrics are not those of this program"),
    (put("metrics.all", {}), r"its metrics are not those of this program\): evaluate"),
    (LFS, r"no evaluation \(it is a Git LFS pointer: fetch the file"),
    ("<!DOCTYPE html>", r"no evaluation \(it is a web page"),
    ("[" * 100_000, r"no evaluation \(this is not JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "message"), FAULTS, ids=[message for _, message in FAULTS])
def test_a_bad_file_is_refused_by_name(fault, message, path):
    if isinstance(fault, str):
        path.write_text(fault)
    else:
        write_json(path, fault(json.loads(path.read_text())))
    with pytest.raises(ValueError, match=message) as error:
        read_evaluation(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert "evaluate again" in str(error.value)
