"""Checkpoints saved by a process that is killed, or loses power, before one of its writes, with one
half done, or after the last."""

import json
import os
import shutil
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch

from deformer.training.checkpoint import (
    Content,
    add_metrics,
    load_checkpoint,
    load_experiment,
    save_checkpoint,
    settle,
)
from tests.deformer.small_runs import VERY_SMALL, assert_same_tensors
from tests.faults.write_moments import before_each_write, in_a_child

_POWER_CUTS = ("power cut", "power cut that keeps names")
_HALF_WRITTEN = "killed within a file"
_HAND = {"name": "standin", "sha256": "0" * 64}


def _tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(step)
    return {name: {"x": torch.randn(50, generator=generator)} for name in ("model", "optimizer")}


def _save(run: Path, step: int, error: float | None = None, keep: int = 2) -> None:
    metrics = {} if error is None else {"pa_mpjpe_mm": error}
    content = Content(
        step=step, experiment=VERY_SMALL, hand=_HAND, stream={}, tensors=_tensors(step),
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
    settle(run, 2, {"pa_mpjpe_mm": 4.0}, keep=2)


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
    at: int | None
    """The number of writes before it; None: after the last."""

    @property
    def kind(self) -> str:
        return f"{self.end} {'after' if self.at is None else 'in the middle of'} a save"


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


def _work(run: Path, save: Callable, fault: Fault) -> None:
    """In a process of its own, which is killed at its fault. A whole save notes its writes: is each
    the flush of a file?"""
    disk, writes = _Disk(run), []

    def cut() -> None:
        if fault.end == "power cut":
            disk.restore(run.with_name("left"), run.stat().st_ino)
        elif fault.end == "power cut that keeps names":
            disk.empty_the_rest()

    def write(flushed: int | None) -> None:
        if len(writes) == fault.at:
            if fault.end == _HALF_WRITTEN:
                size = os.fstat(flushed).st_size
                os.ftruncate(flushed, Random(f"{fault.save} {fault.at}").randrange(size))
            cut()
            os.kill(os.getpid(), signal.SIGKILL)
        writes.append(flushed is not None and stat.S_ISREG(os.fstat(flushed).st_mode))

    before_each_write(write, disk.flush)
    save(run)
    saved = json.dumps(writes)  # what follows does not count
    run.with_name("writes").write_text(saved)
    cut()


def inject(run: Path, fault: Fault) -> str | None:
    """What was wrong after it, if anything. run: in a folder of its own, which is emptied."""
    before, save, old, new = SAVES[fault.save]
    shutil.rmtree(run.parent, ignore_errors=True)
    run.parent.mkdir(parents=True)
    before(run)
    is_done = fault.at is None
    status = in_a_child(lambda: _work(run, save, fault))
    assert status == (0 if is_done else -signal.SIGKILL), f"{fault} did not happen: {status}"
    left = run.with_name("left")
    return _wrong(left if left.exists() else run, save, old, new, is_done)


def _wrong(run: Path, save: Callable, old: int, new: int, is_done: bool) -> str | None:
    try:
        last = _check(run)
        if last < (new if is_done else old):
            return f"the last whole step is {last}"
        if last == new:  # as a run that resumes
            settle(run, new, load_experiment(run).metrics, keep=2)
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


def all_faults(run: Path, save: str) -> dict[str, list[Fault]]:
    """Those within a save, by end, and those after it."""
    wrong = inject(run, Fault(save, "nothing", None))
    assert wrong is None, f"{save}: {wrong}"
    is_flush = json.loads(run.with_name("writes").read_text())
    places = {end: range(len(is_flush)) for end in ("killed", *_POWER_CUTS)}
    places[_HALF_WRITTEN] = [at for at, flushes in enumerate(is_flush) if flushes]
    faults = {end: [Fault(save, end, at) for at in places[end]] for end in places}
    return faults | {"after": [Fault(save, end, None) for end in _POWER_CUTS]}
