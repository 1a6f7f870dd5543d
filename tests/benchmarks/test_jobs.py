"""Runs one after the other and several at once: what each may use, what is done, what failed."""

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from benchmarks.evaluation import EVALUATION_FILE, write_evaluation
from benchmarks.jobs import (
    CONSOLE_FILE,
    Job,
    Slot,
    make_slots,
    run_jobs,
    score_text,
    visible_gpus,
)
from deformer.checkpoint import load_checkpoint, save_checkpoint
from deformer.dataset import dataset_sha256
from tests.benchmarks.evaluations import make_evaluation, make_metrics
from tests.deformer.training import VERY_SMALL

START = "tiny_occluded_windows"


def script(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def told(text: str) -> list[str]:
    """A command that appends a line to a file of its folder, with what it may use."""
    use = "os.environ.get('OMP_NUM_THREADS', ''), os.environ.get('CUDA_VISIBLE_DEVICES', '')"
    return script(f"import os; print({text!r}, {use}, file=open('told.txt', 'a'), sep=';')")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text("{}")
    return tmp_path


def job(name: str, train: list[str] | None = None, experiment: str = "tiny", **more) -> Job:
    return Job(experiment, 0, Path("data"), Path("runs") / name, Path("results") / name,
               train or told(f"train {name}"), told(f"evaluate {name}"), 10, "s0_test",
               **more)  # fmt: skip


def lines() -> list[list[str]]:
    return [line.split(";") for line in Path("told.txt").read_text().splitlines()]


def quietly(jobs: list[Job], *slots: Slot) -> list[str]:
    return run_jobs(jobs, Console(quiet=True), slots or [Slot()])


# ---------------------------------------------------------------------------------- what is done


def finish(job: Job, **data) -> None:
    about = {"split": "s0_test", "sha256": dataset_sha256(job.data)} | data
    write_evaluation(job.result / EVALUATION_FILE, make_evaluation({"step": 10}, about))


def save(folder: Path, origin: dict | None, weights: float = 0.0) -> str:
    """A checkpoint of nothing; returns the hash of its model."""
    hand, tensors = {"name": "standin", "sha256": ""}, {"model": {"w": torch.tensor([weights])}}
    save_checkpoint(folder, 10, VERY_SMALL, hand, {}, {}, tensors, 1, origin)
    return load_checkpoint(folder).model_sha256


def test_another_length_split_or_build_is_not_done(here):
    one = job("one")
    assert not one.is_done
    finish(one)
    assert one.is_done
    for asked in (replace(one, steps=12), replace(one, split="s0_val")):
        assert not asked.is_done
    finish(one, sha256="ab" * 32)
    assert not one.is_done
    predictions = make_evaluation({"method": "[36]", "predictions": "hpe.txt"})
    write_evaluation(one.result / EVALUATION_FILE, predictions)
    assert not one.is_done


def test_a_run_of_another_start_is_not_done(here):
    one = job("one", start=Path("runs/start"))
    finish(one)
    sha256 = save(Path("runs/start"), None)
    assert one.is_done  # its checkpoints are gone: nothing speaks against it
    save(one.run, {"start_sha256": sha256})
    assert one.is_done
    save(Path("runs/start"), None, weights=1.0)  # trained anew
    assert not one.is_done
    save(one.run, None)  # from before it was kept
    assert one.is_done


# ------------------------------------------------------------------------------- what each may use


@pytest.mark.parametrize(
    ("at_once", "processes", "cores", "gpus", "expected"),
    [
        (1, 1, 8, "01", [(None, None)]),
        (4, 1, 8, "", [(2, None)] * 4),
        (2, 4, 8, "", [(1, None)] * 2),
        (4, 2, 4, "", [(1, None)] * 4),  # never less than one
        (3, 1, 6, "57", [(2, "5"), (2, "7"), (2, "5")]),
        (2, 2, 16, "0123", [(4, "0,1"), (4, "2,3")]),
        (2, 2, 16, "012", [(4, "0,1"), (4, "2,0")]),
        (2, 4, 16, "01", [(2, "0,1"), (2, "0,1")]),  # the training says that these are too few
    ],
)
def test_slots_share_cores_and_gpus(at_once, processes, cores, gpus, expected):
    slots = make_slots(at_once, processes, cores, tuple(gpus))
    shown = [(slot.threads, slot.gpus and ",".join(slot.gpus)) for slot in slots]
    assert shown == expected


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        (None, 0, ()),
        (None, 2, ("0", "1")),
        ("3,5", 2, ("3", "5")),
        ("", 0, ()),
        ("4,-1", 1, ("4",)),
    ],
)
def test_gpus_are_those_that_this_program_may_use(monkeypatch, given, count, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert visible_gpus() == expected


def test_each_run_gets_a_slot_that_is_free(here):
    slots = [Slot(3, ("0",)), Slot(3, ("1",))]
    assert quietly([job(str(k)) for k in range(4)], *slots) == []
    assert {(threads, gpu) for _, threads, gpu in lines()} <= {("3", "0"), ("3", "1")}
    assert len(lines()) == 8
    assert (Path("runs/0") / CONSOLE_FILE).exists()


def test_what_others_start_from_comes_first_and_may_use_everything(here):
    jobs = [job("windows", experiment=START), *(job(str(k)) for k in range(3))]
    assert quietly(jobs, Slot(1), Slot(1)) == []
    assert lines()[:2] == [["train windows", "", ""], ["evaluate windows", "", ""]]
    assert {threads for _, threads, _ in lines()[2:]} == {"1"}
    text = [words for words, *_ in lines()]
    assert all(text.index(f"train {k}") < text.index(f"evaluate {k}") for k in range(3))
    assert not (Path("runs/windows") / CONSOLE_FILE).exists()


# ------------------------------------------------------------------------------------ what failed


def test_a_run_that_fails_stops_no_other_and_is_told(here):
    bad = job("bad", script("print('first'); print('error: no room\\n'); raise SystemExit(7)"))
    assert quietly([bad, job("good")], Slot(1), Slot(1)) == [
        "tiny, seed 0: training ended with status 7: error: no room (runs/bad/console.log)"
    ]
    assert sorted(words for words, *_ in lines()) == ["evaluate good", "train good"]
    (failure,) = quietly([bad, job("good")])
    assert failure == "tiny, seed 0: training ended with status 7"


def test_what_starts_from_a_run_that_failed_is_not_tried(here):
    jobs = [job("windows", script("raise SystemExit(1)"), START), job("a"), job("b")]
    first, rest = quietly(jobs, Slot(1), Slot(1))
    assert first == f"{START}, seed 0: training ended with status 1"
    assert rest == "2 other runs start from it, and were not tried"
    assert not Path("told.txt").exists()


STOPPING = """
import signal, sys, time
def stop(*_):
    open('stopped', 'a').write('1')
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
open('begun', 'a').write('1')
time.sleep(60)
"""


@pytest.mark.parametrize("slots", [[Slot()], [Slot(1), Slot(1)]])
def test_ctrl_c_ends_the_commands_and_waits_for_them(here, slots):
    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if Path("begun").exists() and len(Path("begun").read_text()) == len(slots):
                os.kill(os.getpid(), signal.SIGINT)
                break
            time.sleep(0.02)

    waiting = threading.Thread(target=interrupt)
    waiting.start()
    with pytest.raises(KeyboardInterrupt):
        quietly([*(job(str(k), script(STOPPING)) for k in range(3))], *slots)
    waiting.join()
    assert Path("stopped").read_text() == "1" * len(slots)
    assert not Path("told.txt").exists()  # nothing was evaluated


# --------------------------------------------------------------------------------- what it reached


def test_scores_are_told(here):
    one = job("one")
    assert score_text(one) == "not scored"
    finish(one)
    words = "PA 6.54 mm, root-aligned 14.57 mm, acceleration 2.22 mm/frame²"
    assert score_text(one) == words
    metrics = make_metrics()
    metrics["all"]["accel_mm_per_frame2"] = None
    write_evaluation(one.result / EVALUATION_FILE, make_evaluation(metrics=metrics))
    assert score_text(one) == "PA 6.54 mm, root-aligned 14.57 mm"
    console = Console(record=True, width=200)
    run_jobs([one], console, [Slot()])
    assert "tiny, seed 0, step 0: PA 6.54 mm" in console.export_text()
