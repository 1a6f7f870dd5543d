"""The program as it is called: bad input, several processes, kills."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
import torch

from deformer import train
from deformer.files.sealed import write_json
from deformer.training import learner
from deformer.training.checkpoint import load_checkpoint
from tests.deformer.small_runs import (
    arguments,
    assert_same_run,
    checkpoint_steps,
    make_learner,
    make_stream,
    own_signals,
    records,
)
from tests.processes import REPOSITORY, wait_until


@pytest.fixture
def main(monkeypatch, capsys):
    """Call the program in this process; returns exit status and what it says on stderr."""

    def call(*line: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["train", *line])
        with own_signals():
            status = train.main()
        return status, capsys.readouterr().err

    return call


def _refused(result: tuple[int, str]) -> str:
    """The one line that says what is wrong."""
    status, said = result
    assert status == 1
    (line,) = said.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_run_from_the_command_line(main, dataset, tmp_path):
    status, said = main(*arguments(dataset, tmp_path / "run", "--steps", "1", "--resume"))
    assert status == 0
    for text in (
        "has no checkpoint yet: starting at step 0",
        "tiny: ",
        "(synthetic) s0_train: 10 windows, 3 steps per epoch of 4",
        "1 process(es) on cpu, float32, 0 worker(s) each",
        "M parameters: backbone ",
        "step 1/1  loss ",
        "done: ",
    ):
        assert text in said
    line = _refused(main(*arguments(dataset, tmp_path / "run", "--steps", "2")))
    assert f"{tmp_path / 'run'} holds a run: --resume goes on with it" in line
    other = arguments(dataset, tmp_path / "run", "--resume", "--optim.lr", "7e-4")
    line = _refused(main(*other, "--stream.window.gap", "2"))
    assert "step-00000001 is of another configuration" in line
    assert "optim.lr was 0.001, now 0.0007" in line and "stream.window.gap was 1, now 2" in line
    state = tmp_path / "run" / "checkpoints" / "step-00000001" / "state.json"
    write_json(
        state, json.loads(re.sub('"fingerprint": ".', '"fingerprint": "_', state.read_text()))
    )
    line = _refused(main(*arguments(dataset, tmp_path / "run", "--resume")))
    assert "step 1 is of another stream" in line
    os.truncate(state, 100)
    line = _refused(main(*arguments(dataset, tmp_path / "run", "--resume")))
    assert "no checkpoint of" in line and "is whole" in line


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (["--validation.split", "val"], "split 'val' is not in this dataset"),
        (["--model.tips", "ho3d"], "choose --model.tips dexycb or ho3d, now ho3d"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_be_used_is_named(main, dataset, tmp_path, option, text):
    assert text in _refused(main(*arguments(dataset, tmp_path / "run", *option)))
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(main, dataset, tmp_path):
    line = _refused(main(*arguments(dataset, tmp_path / "run", "--device", "cuda")))
    assert "finds 0 GPU(s)" in line and "--device cpu" in line


def test_out_of_memory_names_the_settings(main, dataset, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried 2.00 GiB.\nOf the allocated …")

    monkeypatch.setattr(learner.Learner, "step", full)
    status, said = main(*arguments(dataset, tmp_path / "run"))
    line = said.splitlines()[-1]
    assert status == 1 and line.startswith("error: the GPU is out of memory (CUDA out of memory. ")
    for option in (
        "--optim.micro-batch", "--stream.size", "--stream.window.num-frames",
        "--stream.order.global-batch",
    ):  # fmt: skip
        assert option in line


def _start(
    dataset: Path, out: Path, *more: str, processes: int = 0, **how: Any
) -> subprocess.Popen:
    """The real command; by torchrun where `processes` are asked for. how: of `Popen`."""
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    line = [sys.executable, "-m", *(torchrun if processes else []), "deformer.train"]
    return subprocess.Popen(
        [*line, *arguments(dataset, out, "--save-every", "4", *more)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        **{"stderr": subprocess.PIPE} | how,
    )


def _finish(process: subprocess.Popen) -> tuple[int, str]:
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def _wait_for(process: subprocess.Popen, out: Path, step: int) -> None:
    """Until the log holds that step."""
    log = out / "log.jsonl"

    def is_logged() -> bool:
        assert process.poll() is None, process.stderr and process.stderr.read()
        return log.exists() and f'{{"step": {step}, ' in log.read_text()

    assert wait_until(is_logged, 200)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, dataset):
    """Thirty steps of one process that nothing interrupted."""
    out = tmp_path_factory.mktemp("processes") / "whole"
    status, said = _finish(_start(dataset, out, "--steps", "30"))
    assert status == 0, said
    return out


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "term", "ctrl-c", "hang-up"])
def test_interrupted_and_resumed_equals_uninterrupted(whole, dataset, tmp_path, how):
    """Beside two processes that read ahead. Ctrl-C goes to all of the terminal's processes; a
    hang-up too, and takes the terminal away."""
    out, more = tmp_path / "run", ("--steps", "30", "--workers", "2")
    ours, its = os.openpty()
    terminal = {"stdin": its, "stdout": its} | ({"stderr": its} if how == "hang-up" else {})
    process = _start(
        dataset, out, *more, start_new_session=True, **terminal,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(its)
    _wait_for(process, out, 10)
    if how == "hang-up":
        os.close(ours)
    elif how == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
    status, said = _finish(process)
    (*_, last) = checkpoint_steps(out)
    if how == "kill":
        assert status == -9 and last >= 8
    else:
        assert status == 143, said
        assert 30 > last == max(record["step"] for record in records(out)) >= 10
        assert how == "hang-up" or f"stopped at step {last}; --resume goes on from here" in said
    status, said = _finish(_start(dataset, out, *more, "--resume"))
    assert status == 0, said
    assert f"going on from {out}" in said.replace("\n", "")
    assert_same_run(out, whole)


def _assert_same_curve(one: Path, other: Path) -> None:
    """The same records, to float tolerance."""
    for a, b in zip(records(one), records(other), strict=True):
        assert a == {
            k: v if k == "kind" else pytest.approx(v, rel=1e-4, abs=1e-6) for k, v in b.items()
        }


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch", ["None", "1"])
def test_two_processes_learn_what_one_learns(hands, dataset, tmp_path, micro_batch):
    more = ("--steps", "6", "--optim.micro-batch", micro_batch)
    for processes in (0, 2):
        started = _start(dataset, tmp_path / str(processes), *more, processes=processes)
        status, said = _finish(started)
        assert status == 0, said
        assert f"{max(1, processes)} process(es) on cpu" in said
    _assert_same_curve(tmp_path / "2", tmp_path / "0")
    start = make_learner(hands, make_stream(dataset)).tensors()
    for part in ("model", "discriminator"):
        before, one, two = (
            torch.cat([tensors[part][name].flatten() for name in start[part]])
            for tensors in (start, *(load_checkpoint(tmp_path / n).tensors for n in ("0", "2")))
        )
        # Some have no gradient but rounding errors, such as biases in front of a softmax
        assert (two - one).norm() < 0.03 * (one - before).norm(), part


@pytest.mark.slow
def test_a_run_of_two_processes_is_stopped_and_goes_on_with_one(whole, dataset, tmp_path):
    out = tmp_path / "run"
    process = _start(dataset, out, "--steps", "30", processes=2)
    _wait_for(process, out, 5)
    process.send_signal(signal.SIGTERM)
    status, said = _finish(process)
    assert status != 0
    (*_, last) = checkpoint_steps(out)
    assert f"stopped at step {last}; --resume goes on from here" in said
    status, said = _finish(_start(dataset, out, "--steps", str(last + 2), "--resume"))
    assert status == 0, said
    curve = [record["total"] for record in records(whole) if record["kind"] == "train"]
    found = [record["total"] for record in records(out) if record["kind"] == "train"]
    assert found == pytest.approx(curve[: last + 2], rel=1e-2)
