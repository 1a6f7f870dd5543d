"""Training by two processes of which one is killed, hangs, or gets windows it cannot learn."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from deformer.training.failed_step import repeat
from deformer.training.learner import NonFiniteError
from tests.deformer.small_runs import arguments, assert_same_run, checkpoint_steps
from tests.processes import REPOSITORY, free_port, start_python, wait_until

STEPS = 12
SOON_S = 60
_LOST = "another process of this run was lost"


class Fault(NamedTuple):
    """As the arguments of `faulty_rank`."""

    rank: int
    place: str
    call: int
    delay_s: float
    kind: str


def _command(dataset: Path, out: Path, fault: Fault | None, *more: str) -> list[str]:
    program = ["tests.faults.faulty_rank", *map(str, fault)] if fault else ["deformer.train"]
    line = arguments(dataset, out, "--steps", str(STEPS), "--save-every", "3", *more)
    return ["-m", *program, *line]


def _start(dataset: Path, out: Path, *more: str, fault: Fault | None = None) -> list:
    """Both processes, as on two machines: nothing ends one when the other ends."""
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        subprocess.Popen(
            [sys.executable, *_command(dataset, out, fault, *more)],
            cwd=REPOSITORY,
            env=os.environ | place | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for rank in range(2)
    ]


def _end(processes: list) -> list[tuple[int, str]]:
    """Statuses, and what was said."""
    said = [process.communicate(timeout=300)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, dataset):
    """A run of two processes that nothing interrupted."""
    out = tmp_path_factory.mktemp("ranks") / "whole"
    for status, said in _end(_start(dataset, out)):
        assert status == 0, said
    return out


def _assert_as_if_nothing_happened(out: Path, whole: Path) -> None:
    assert_same_run(out, whole)
    assert (out / "best.json").read_text() == (whole / "best.json").read_text()
    files = [
        sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.parent.name != "tensorboard")
        for run in (out, whole)
    ]
    assert files[0] == files[1]


def _is_lost(process: subprocess.Popen) -> bool:
    """Dead or stopped."""
    if process.poll() is not None:
        return True
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].startswith("T")


def _lose_one(dataset: Path, out: Path, fault: Fault, *more: str) -> str | None:
    """Run until one process is lost. Returns what was wrong with how the other ended, if anything:
    it must end soon, and its last line must say why."""
    processes = _start(dataset, out, *more, fault=fault)
    other = processes[1 - fault.rank]
    try:
        if not wait_until(lambda: _is_lost(processes[fault.rank]), 200):
            return "the fault did not happen"
        _, said = other.communicate(timeout=SOON_S)
        is_told = _LOST in said and "Traceback" not in said
        return None if other.returncode == 1 and is_told else f"{other.returncode}: {said}"
    except subprocess.TimeoutExpired:
        return f"the other process lives on after {SOON_S} s"
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _draw(random: Random, kind: str) -> Fault:
    """A fault in the first half of a run, or of what is left of one."""
    place = random.choice(["start", "step", "step", "gradient", "validation", "log", "save"])
    most = {"start": 1, "validation": 2, "save": 2}.get(place, STEPS // 2 - 1)
    rank = 0 if place == "save" else random.randrange(2)  # only the first process saves
    return Fault(rank, place, random.randint(1, most), random.uniform(0, 0.05), kind)


def _lose_and_resume(dataset, whole, out: Path, faults: list[Fault], count_faults) -> None:
    wrong = {fault: _lose_one(dataset, out, fault, "--resume") for fault in faults}
    is_same = None
    try:
        for status, said in _end(_start(dataset, out, "--resume")):
            assert status == 0, said
        _assert_as_if_nothing_happened(out, whole)
        is_same = True
    finally:
        for fault in faults:
            what = "killed" if fault.kind == "SIGKILL" else "stopped for ever"
            survived = is_same and wrong[fault] is None
            count_faults(f"training: one process of two {what}", 1, int(survived or 0))
    assert not any(wrong.values()), wrong


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_the_run_goes_on(
    dataset, whole, tmp_path, count_faults
):
    faults = [_draw(Random(seed), "SIGKILL") for seed in (0, 1)]
    _lose_and_resume(dataset, whole, tmp_path / "run", faults, count_faults)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_killed_processes_often(dataset, whole, tmp_path, count_faults, seed):
    random = Random(100 + seed)
    faults = [_draw(random, "SIGKILL") for _ in range(2)]
    _lose_and_resume(dataset, whole, tmp_path / "run", faults, count_faults)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_stopped_processes_often(dataset, whole, tmp_path, count_faults, seed):
    faults = [_draw(Random(200 + seed), "SIGSTOP")]
    _lose_and_resume(dataset, whole, tmp_path / "run", faults, count_faults)


@pytest.mark.slow
def test_torchrun_ends_when_a_process_is_killed(dataset, whole, tmp_path):
    out, fault = tmp_path / "run", Fault(1, "step", 6, 0.0, "SIGKILL")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [sys.executable, *torchrun, *_command(dataset, out, fault)],
        cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE,
        text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 1 and "Signal 9 (SIGKILL)" in ended.stderr
    assert checkpoint_steps(out) == [3, 4]


# -------------------------------------------------------------------- windows it cannot learn


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_the_process_with_the_poison_saves_it_and_both_stop(
    dataset, whole, tmp_path, count_faults, rank
):
    out = tmp_path / "run"
    ends = _end(_start(dataset, out, fault=Fault(rank, "batch", 5, 0.0, "poison")))
    folder = out / "failed" / f"step-00000005-rank-{rank}"
    count_faults("training: a poisoned batch", 1, int(folder.exists()))
    assert [status for status, _ in ends] == [1, 1], ends
    lines = [said.splitlines()[-1] for _, said in ends]
    assert all("error: step 5: the gradient is not finite" in line for line in lines), lines
    assert f"The step is saved in {folder}" in lines[rank]
    assert "another process are the cause, which saves them" in lines[1 - rank]
    assert [path.name for path in (out / "failed").iterdir()] == [folder.name]
    with pytest.raises(NonFiniteError, match="step 5: the gradient is not finite"):
        repeat(folder)
    for status, said in _end(_start(dataset, out, "--resume")):
        assert status == 0, said
    assert_same_run(out, whole)


# -------------------------------------------------------------------- waiting for one another

_PAIRS = """
import json, os, signal, sys, time
from datetime import timedelta
import torch
from deformer.program.console import run_command
from deformer.training import distributed, watch
from deformer.training.distributed import process_group, sum_over_ranks
from tests.processes import free_port

watch.SILENT_S = 6.0

def work(rank, how, kind):
    if kind == "missing":
        distributed._PATIENCE = timedelta(seconds=3)
        if rank == 1:
            os._exit(0)
    with process_group("cpu") as place:
        place.wait_for_all()
        if rank == 1 and kind == "busy":
            time.sleep(1.5 * watch.SILENT_S)
        elif rank == 1:
            os.kill(os.getpid(), getattr(signal, kind))
        if how == "sum":
            sum_over_ranks(torch.ones(3))
        elif how == "wait":
            place.wait_for_all()
        else:
            time.sleep(100)

def start(rank, port, how, kind):
    if (child := os.fork()) == 0:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                       "MASTER_PORT": str(port)}
        os._exit(run_command(lambda: work(rank, how, kind)))
    return child

pairs = {}
for how, kind in json.loads(sys.argv[1]):
    port = free_port()
    pairs[how, kind] = [start(rank, port, how, kind) for rank in (0, 1)]
since, ends = time.monotonic(), []
for (how, kind), (first, second) in pairs.items():
    status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    ends.append([how, kind, status, time.monotonic() - since])
    os.kill(second, signal.SIGKILL)
print(json.dumps(ends))
"""


_FEW = [("sum", "SIGKILL"), ("wait", "SIGSTOP"), ("alone", "SIGKILL"), ("sum", "busy")]
_REST = [
    ("sum", "SIGSTOP"), ("wait", "SIGKILL"), ("alone", "SIGSTOP"), ("wait", "busy"),
    ("wait", "missing"),
]  # fmt: skip


@pytest.mark.parametrize("pairs", [_FEW, pytest.param(_REST, marks=pytest.mark.slow)])
def test_a_lost_process_is_noticed_and_a_busy_one_waited_for(count_faults, pairs):
    """In a sum, alone at work, and where one waits for the other; silence is 6 s here, not 40, and
    the wait for one that never comes 3 s."""
    process = start_python(_PAIRS, json.dumps(pairs), env={"OMP_NUM_THREADS": "1"})
    said, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    ends = json.loads(said)
    lost = [status == 1 for _, kind, status, _ in ends if kind != "busy"]
    num_missing = pairs.count(("wait", "missing"))
    count_faults("processes: one of two killed or stopped", len(lost), sum(lost))
    assert all(lost) and errors.count(_LOST) == len(lost) - num_missing, errors
    missing = "the 2 processes of this run did not find one another"
    assert errors.count(missing) == num_missing, errors
    assert all(status == 0 for _, kind, status, _ in ends if kind == "busy"), errors
    assert max(seconds for *_, seconds in ends) < SOON_S
