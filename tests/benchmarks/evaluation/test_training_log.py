"""Logs of trainings are read whole."""

import pytest

from benchmarks.evaluation.training_log import find_logs, read_log
from tests.benchmarks.drawn_results import write_run


def test_logs_are_read_whole_and_a_line_cut_off_is_left_out(tmp_path):
    run = write_run(tmp_path / "runs" / "a")
    with (run / "log.jsonl").open("a") as file:
        file.write('{"step": 50, "kind": "tra')
    (log,) = find_logs(tmp_path / "runs")
    assert (log.name, log.last_step, log.step.tolist()) == ("a", 40, [10, 20, 30, 40])
    assert log.validation["pa_mpjpe_mm"].tolist() == [20.0, 12.0]
    (run / "log.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(ValueError, match=r"log\.jsonl is no training log"):
        read_log(run, tmp_path / "runs")


def test_another_file_in_its_place_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"is no training log \(it is a Git LFS pointer: fetch"):
        read_log(tmp_path, tmp_path)
    path.write_text("[" * 100_000 + "\n")
    with pytest.raises(ValueError, match="is no training log .*: take it away"):
        read_log(tmp_path, tmp_path)
