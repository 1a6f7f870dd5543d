"""The runs that are kept."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks.keep.runs import (
    common_start,
    last_saturation,
    training_minutes,
)

from benchmarks.evaluation.training_log import read_log
from deformer.training.checkpoint import Content, save_checkpoint
from deformer.training.machine import Machine
from tests.deformer.small_runs import VERY_SMALL

RECORDS = (
    {"step": 0, "kind": "validation", "pa_mpjpe_mm": 20.0, "mpjpe_mm": 120.0},
    {"step": 10, "kind": "train", "total": 9.0, "windows_per_s": 2.0, "saturation": 0.2},
    {"step": 20, "kind": "train", "total": 8.0, "windows_per_s": 4.0, "saturation": 0.4},
    {"step": 25, "kind": "validation", "pa_mpjpe_mm": 11.5, "mpjpe_mm": 60.0},
    {"step": 40, "kind": "train", "total": 7.0, "windows_per_s": 1.0, "saturation": 0.75},
)
MINUTES = (10 * 4 / 2 + 10 * 4 / 4 + 20 * 4 / 1) / 60
"""Of four windows a step."""
MACHINE = Machine("NVIDIA H100", 2, "a processor", 8, "2.9", 4)


def train(folder: Path, name: str, seed: int, start_from: str | None, **changed) -> None:
    """A run that never was: a log, and a checkpoint with an empty model."""
    experiment = replace(
        VERY_SMALL, name=name, start_from=start_from, stream=replace(VERY_SMALL.stream, seed=seed),
        model=replace(VERY_SMALL.model, fusion=changed.get("fusion", "dynamic")),
    )  # fmt: skip
    content = Content(
        step=40, experiment=experiment, hand={"name": "standin", "sha256": ""}, stream={},
        tensors={"model": {}}, origin={"precision": "bf16"}, machine=MACHINE,
    )  # fmt: skip
    save_checkpoint(folder, content, keep=1)
    (folder / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))


def test_minutes_are_not_known_without_the_speed_or_the_size_of_a_step(tmp_path):
    train(tmp_path / "run", "tiny", 0, None)
    log = read_log(tmp_path / "run", tmp_path)
    assert training_minutes(log) == pytest.approx(MINUTES)
    assert training_minutes(replace(log, checkpoint=None)) is None
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


def test_seeds_have_a_common_start_or_none():
    def start(*names: str | None) -> str | None:
        return common_start([SimpleNamespace(start_from=name) for name in names])

    assert start("runs/a", "runs/a") == "runs/a"
    for names in (("runs/a", "runs/b"), ("runs/a", None), (None,), ("nothing", "nothing"), ()):
        assert start(*names) is None
