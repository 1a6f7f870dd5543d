"""Runs one after the other and several at once: what each may use, what is done, what failed."""

import io
import json
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

from benchmarks.ablations.jobs import (
    CONSOLE_FILE,
    Job,
    Slot,
    make_slots,
    run_jobs,
    visible_gpus,
)
from benchmarks.evaluation.result import EVALUATION_FILE, write_evaluation
from deformer.data.dataset import dataset_sha256
from deformer.files.sealed import write_json
from deformer.training.checkpoint import Content, load_checkpoint, save_checkpoint
from tests.benchmarks.evaluations import make_evaluation
from tests.deformer.small_runs import own_signals


def script(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def logged(text: str) -> list[str]:
    """A command that appends a line to a file of its folder, with what it may use."""
    use = "os.environ.get('OMP_NUM_THREADS', ''), os.environ.get('CUDA_VISIBLE_DEVICES', '')"
    return script(f"import os; print({text!r}, {use}, file=open('commands.txt', 'a'), sep=';')")


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
               train or logged(f"train {name}"), logged(f"evaluate {name}"), 10, "s0_test",
               **more)  # fmt: skip


def lines() -> list[list[str]]:
    return [line.split(";") for line in Path("commands.txt").read_text().splitlines()]


def quietly(planned: list[Job], *slots: Slot) -> list[str]:
    return run_jobs(planned, Console(quiet=True), slots or [{}])


# ---------------------------------------------------------------------------------- what is done


def finish(job: Job, **data) -> None:
    about = {"split": "s0_test", "sha256": dataset_sha256(job.data)} | data
    write_evaluation(job.result / EVALUATION_FILE, make_evaluation({"step": 10}, about))


def save(job: Job, origin: dict | None = None, weights: float = 0.0, **changed) -> str:
    """A checkpoint of its run with one number for a model; returns the hash of the model.

    changed: fields of the experiment that it was trained by.
    """
    content = Content(
        step=10, experiment=replace(job.asked, **changed), origin=origin or {}, stream={},
        hand={"name": "standin", "sha256": ""}, tensors={"model": {"w": torch.tensor([weights])}},
    )  # fmt: skip
    save_checkpoint(job.run, content, keep=1)
    return load_checkpoint(job.run).model_sha256


def test_another_length_split_or_build_is_not_done(here):
    one = job("one")
    assert not one.is_done and one.left_steps == 10
    finish(one)
    assert one.is_done and one.left_steps == 0  # though it has no checkpoint
    for asked in (replace(one, steps=12), replace(one, split="s0_val")):
        assert not asked.is_done
    finish(one, sha256="ab" * 32)
    assert not one.is_done
    predictions = make_evaluation({"method": "[36]", "predictions": "hpe.txt"})
    write_evaluation(one.result / EVALUATION_FILE, predictions)
    assert not one.is_done


def test_a_run_of_another_configuration_or_towards_another_end_is_not_done(here):
    one = job("one")
    finish(one)
    assert one.is_done  # its checkpoints are gone: nothing speaks against it
    save(one, {"total_steps": 10})
    assert one.is_done and one.left_steps == 0
    save(one, optim=replace(one.asked.optim, lr=0.5))
    assert not one.is_done
    save(one, {"total_steps": 20})
    assert one.is_done == (not one.asked.optim.cooldown)
    cooling = job("cooling", experiment="lite")
    finish(cooling)
    assert cooling.asked.optim.cooldown
    for total_steps, is_done in ((10, True), (20, False)):
        save(cooling, {"total_steps": total_steps})
        assert cooling.is_done == is_done
    state = next(one.run.rglob("state.json"))
    write_json(state, json.loads(state.read_text()) | {"format": 0})
    assert not one.is_done  # the training says why


# ------------------------------------------------------------------------------- what each may use


@pytest.mark.parametrize(
    ("at_once", "processes", "cores", "gpus", "expected"),
    [
        (1, 1, 8, "01", [(None, None)]),
        (2, 4, 16, "", [("2", None)] * 2),
        (4, 2, 4, "", [("1", None)] * 4),  # never less than one
        (3, 1, 6, "57", [("2", "5"), ("2", "7"), ("2", "5")]),
        (2, 2, 16, "012", [("4", "0,1"), ("4", "2,0")]),
        (2, 4, 16, "01", [("2", "0,1")] * 2),  # the training says that these are too few
    ],
)
def test_slots_share_cores_and_gpus(at_once, processes, cores, gpus, expected):
    slots = make_slots(at_once, processes, cores, tuple(gpus))
    names = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"
    shown = [tuple(slot.get(name) for name in names) for slot in slots]
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


USING = """
import os, time
slot = os.environ["CUDA_VISIBLE_DEVICES"]
for what in ("begins", "ends"):
    with open("commands.txt", "a") as file:
        print(slot, os.environ["OMP_NUM_THREADS"], what, file=file, sep=";")
    time.sleep(0.2)
"""


def test_each_run_gets_a_slot_that_is_free(here):
    slots = [{"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": k} for k in "01"]
    planned = [replace(job(str(k), script(USING)), evaluate=script(USING)) for k in range(3)]
    assert quietly(planned, *slots) == []
    found = lines()
    assert len(found) == 12 and {threads for _, threads, _ in found} == {"3"}
    for slot in "01":  # one command at a time
        events = [what for used, _, what in found if used == slot]
        assert events == ["begins", "ends"] * (len(events) // 2) and len(events) in (4, 8)
    used = [used for used, *_ in found]
    assert used[:2] in (["0", "1"], ["1", "0"])  # and both at once
    assert (Path("runs/0") / CONSOLE_FILE).exists()


# ------------------------------------------------------------------------------------ what failed


def test_a_run_that_fails_stops_no_other_and_is_named(here):
    bad = job("bad", script("print('first'); print('error: no room\\n'); raise SystemExit(7)"))
    assert quietly([bad, job("good")], {}, {}) == [
        "tiny, seed 0: training ended with status 7: error: no room (runs/bad/console.log)"
    ]
    assert sorted(words for words, *_ in lines()) == ["evaluate good", "train good"]
    (failure,) = quietly([bad, job("good")])
    assert failure == "tiny, seed 0: training ended with status 7"


def test_a_command_that_cannot_be_run_and_a_result_that_cannot_be_read_stop_no_other(here):
    nothing, unread = job("nothing", ["no/such/program"]), job("unread")
    file = unread.result / EVALUATION_FILE
    write = f"import pathlib; pathlib.Path({str(file.parent)!r}).mkdir(parents=True); "
    write += f"pathlib.Path({str(file)!r}).write_text('[')"
    failures = quietly([nothing, replace(unread, evaluate=script(write)), job("good")])
    first, second = sorted(failures)
    assert first.startswith("tiny, seed 0: [Errno 2] No such file or directory: 'no/such/program'")
    assert second.startswith(f"tiny, seed 0: {file} is no evaluation")
    assert [words for words, *_ in lines()] == ["train unread", "train good", "evaluate good"]


STOPPING = """
import signal, sys, time
def stop(*_):
    open('stopped', 'a').write('1')
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
open('begun', 'a').write('1')
time.sleep(60)
"""


@pytest.mark.parametrize("slots", [[{}], [{}, {}]])
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
    console = Console(record=True, width=200, file=io.StringIO())
    with own_signals(), pytest.raises(KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
        run_jobs([*(job(str(k), script(STOPPING)) for k in range(3))], console, slots)
    waiting.join()
    assert Path("stopped").read_text() == "1" * len(slots)
    assert not Path("commands.txt").exists()  # nothing was evaluated
    text = console.export_text()
    assert text.count("tiny, seed 0: stopped at step 0") == len(slots) and "status" not in text


def test_what_it_reached_is_said(here):
    one, other = job("one"), job("other")
    console = Console(record=True, width=200)
    finish(one)
    replaced = replace(one, steps=20)  # so it is not done
    run_jobs([replaced, other], console, [{}])
    said = console.export_text()
    assert "tiny, seed 0, step 0, 40 frames of dexycb s0_test: PA-MPJPE 6.54 mm" in said
    assert "tiny, seed 0, step 0, not scored" in said
