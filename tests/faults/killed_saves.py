"""Checkpoints saved by a process that is killed, or loses power, before one of its writes."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from deformer.training.checkpoint import (
    Content,
    add_metrics,
    load_checkpoint,
    load_experiment,
    note_best,
    save_checkpoint,
)
from tests.deformer.small_runs import VERY_SMALL, assert_same_tensors
from tests.faults.writes import before_each_write

ENDS = ("killed", "power cut", "power cut that keeps names")


def _tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(step)
    return {name: {"x": torch.randn(50, generator=generator)} for name in ("model", "optimizer")}


def _save(run: Path, step: int, error: float | None = None, keep: int = 2) -> None:
    metrics = {} if error is None else {"pa_mpjpe_mm": error}
    content = Content(
        step=step, experiment=VERY_SMALL, hand={}, stream={}, tensors=_tensors(step),
        metrics=metrics,
    )  # fmt: skip
    save_checkpoint(run, content, keep)


def _two(run: Path) -> None:
    _save(run, 1, 5.0)
    _save(run, 2)


def _three(run: Path) -> None:
    _two(run)
    _save(run, 3)
    next((run / "checkpoints" / "step-00000003").glob("model*")).write_bytes(b"damaged")


def _validate_later(run: Path) -> None:
    add_metrics(load_experiment(run), {"pa_mpjpe_mm": 4.0})
    note_best(run, 2, {"pa_mpjpe_mm": 4.0})


# name: what is there before, what is done, the last step before and after that
SAVES: dict[str, tuple[Callable, Callable, int, int]] = {
    "the first": (lambda run: run.mkdir(), lambda run: _save(run, 1), 0, 1),
    "a better one": (_two, lambda run: _save(run, 3, 4.0), 2, 3),
    "a worse one, and one is kept": (_two, lambda run: _save(run, 3, 6.0, keep=1), 2, 3),
    "its validation": (_two, _validate_later, 2, 2),
    "a damaged one again": (_three, lambda run: _save(run, 3, 4.0), 2, 3),
}


class Fault(NamedTuple):
    save: str
    end: str
    at: int
    """The number of writes before it."""


class _Disk:
    """What a disk holds for certain, under a folder: files and folders as they were flushed."""

    def __init__(self, root: Path) -> None:
        self.root, self.held = root, []
        self.flushed: dict[int, bytes | dict[str, int]] = {}
        for path in (root, *root.rglob("*")):
            self.flush(os.open(path, os.O_RDONLY))

    def flush(self, descriptor: int) -> None:
        self.held.append(os.dup(descriptor))  # no other file gets its inode
        path = Path(f"/proc/self/fd/{descriptor}")
        names = path.resolve()
        self.flushed[os.fstat(descriptor).st_ino] = (
            {entry.name: entry.stat().st_ino for entry in names.iterdir()}
            if names.is_dir()
            else path.read_bytes()
        )

    def restore(self, to: Path, inode: int) -> None:
        """Write what is left after a power cut, if nothing else reached the disk."""
        match self.flushed.get(inode, b""):
            case dict() as names:
                to.mkdir()
                for name, child in names.items():
                    self.restore(to / name, child)
            case data:
                to.write_bytes(data)

    def empty_the_rest(self) -> None:
        """What is left if all names reached the disk, but only the flushed content."""
        for path in self.root.rglob("*"):
            if path.is_file() and path.stat().st_ino not in self.flushed:
                path.write_bytes(b"")


def _work(run: Path, save: Callable, end: str, at: int | None) -> None:
    """In a process of its own, which ends before its write number `at`, or after the last."""
    disk, num_writes = _Disk(run), 0

    def cut() -> None:
        if end == "power cut":
            disk.restore(run.with_name("left"), run.stat().st_ino)
        elif end == "power cut that keeps names":
            disk.empty_the_rest()

    def write() -> None:
        nonlocal num_writes
        if num_writes == at:
            cut()
            os.kill(os.getpid(), signal.SIGKILL)
        num_writes += 1

    before_each_write(write, disk.flush)
    save(run)
    total, at = num_writes, None  # what follows does not count
    run.with_name("writes").write_text(str(total))
    cut()


def inject(run: Path, fault: Fault) -> str | None:
    """What was wrong after it, if anything. run: in a folder of its own, which is emptied."""
    before, save, old, new = SAVES[fault.save]
    shutil.rmtree(run.parent, ignore_errors=True)
    run.parent.mkdir(parents=True)
    before(run)
    if (child := os.fork()) == 0:
        status = 1
        try:
            _work(run, save, fault.end, fault.at)
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        return f"the save itself failed: {status}"
    left = run.with_name("left")
    return _wrong(left if left.exists() else run, save, old, new, status == 0)


def _wrong(run: Path, save: Callable, old: int, new: int, is_done: bool) -> str | None:
    try:
        last = _check(run)
        if last < (new if is_done else old):
            return f"the last whole step is {last}"
        if last == new:  # as a run that resumes
            note_best(run, new, load_experiment(run).metrics)
        if last < new or not load_experiment(run).metrics:
            save(run)
        _save(run, 9, 7.0)
        _check(run)
        names = sorted(path.name for path in (*run.iterdir(), *(run / "checkpoints").iterdir()))
        best = load_experiment(run, "best").step
        steps = {f"step-{step:08d}" for step in (best, new, 9)}
        if names != sorted({"checkpoints", "best.json"} | steps) or best != _best_of(run):
            return f"in the end there are {names}, the best is {best}"
    except Exception as error:
        return repr(error)
    return None


def _check(run: Path) -> int:
    """The last step, 0 for none. Raises for one with other tensors than were saved."""
    if not any((run / "checkpoints").glob("step-*")):
        return 0
    if (run / "best.json").exists():
        load_checkpoint(run, "best")
    last = load_checkpoint(run)
    assert_same_tensors(last.tensors, _tensors(last.step))
    return last.step


def _best_of(run: Path) -> int:
    there = [load_experiment(folder) for folder in (run / "checkpoints").iterdir()]
    return min(there, key=lambda one: one.metrics.get("pa_mpjpe_mm", 99)).step


def all_faults(run: Path) -> tuple[list[Fault], list[Fault]]:
    """Those within a save, and those after its last write."""
    within, after = [], []
    for name in SAVES:
        inject(run, Fault(name, ENDS[0], 10**9))
        num_writes = int(run.with_name("writes").read_text())
        within += [Fault(name, end, at) for end in ENDS for at in range(num_writes)]
        after += [Fault(name, end, num_writes) for end in ENDS]
    return within, after
