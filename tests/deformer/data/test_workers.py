"""Batches that processes read ahead: the same ones, and nobody is waited for in vain."""

import errno
import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from deformer.data import workers as data_workers
from deformer.data.batch import Batch
from deformer.data.workers import read_ahead
from tests.processes import assert_nothing_is_left, start_python

METHODS = ["fork", *(pytest.param(m, marks=pytest.mark.slow) for m in ("spawn", "forkserver"))]
OTHERS = (signal.SIGINT, signal.SIGHUP)
needs_linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


def batch_of(step: int) -> Batch:
    """Tensors of all types and of no elements, with values that only this step has."""
    torch.manual_seed(step)
    T, num = step % 3 + 1, len(Batch._fields) - 1
    types = (torch.uint8, torch.float32, torch.bool, torch.int64)
    values = [(200 * torch.rand(2, T, (k + 9) % num, 3)).to(types[k % 4]) for k in range(num)]
    values[1][0] = torch.nan
    return Batch(*values, ("clip.000001.jpg",) if step == 4 else ())


def is_same(one: Batch, other: Batch) -> bool:
    return one.skipped == other.skipped and all(
        a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
        for a, b in zip(one[:-1], other[:-1], strict=True)
    )


@dataclass(frozen=True)
class At3:
    """Reads batches, and does something else at step 3."""

    do: Callable
    argument: object

    def __call__(self, step: int) -> Batch:
        if step == 3:
            self.do(self.argument)
        return batch_of(step)


def refuse(fault: str) -> None:
    raise ValueError(fault)


SLEEP, DIE = At3(time.sleep, 60), At3(signal.raise_signal, signal.SIGKILL)


@pytest.fixture(params=METHODS)
def method(request):
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


def test_the_same_batches_by_any_start_of_processes(method):
    steps = range(2, 21)
    batches = list(read_ahead(batch_of, steps, 2, False))
    assert len(batches) == len(steps)
    assert all(is_same(b, batch_of(s)) for b, s in zip(batches, steps, strict=True))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1, 5])
def test_the_same_batches_by_any_number_of_processes(workers):
    batches = list(read_ahead(batch_of, range(3), workers, False))
    assert all(is_same(b, batch_of(s)) for s, b in enumerate(batches))
    assert len(batches) == 3
    assert list(read_ahead(batch_of, range(0), workers, False)) == []


def test_one_is_pinned_while_another_is_used(monkeypatch):
    """Without a GPU: what pins is stood in for."""
    pinned, devices = [], []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    monkeypatch.setattr(data_workers, "_pinned", lambda data: pinned.append(0) or data.clone())
    batches = read_ahead(batch_of, range(9), 2, True)
    come = [next(batches)]
    time.sleep(0.5)
    assert len(pinned) == 2
    come.extend(batches)
    assert all(is_same(b, batch_of(s)) for s, b in enumerate(come))
    assert (len(come), len(pinned), devices) == (9, 9, [3])
    with pytest.raises(ChildProcessError, match="killed by SIGKILL"):
        list(read_ahead(DIE, range(9), 2, True))
    batches = read_ahead(SLEEP, range(9), 2, True)
    started = [next(batches) for _ in range(3)]  # the thread waits for the one that sleeps
    batches.close()
    assert len(started) == 3
    assert not multiprocessing.active_children()


def test_a_batch_may_be_written_and_outlives_its_worker():
    (batch,) = read_ahead(batch_of, range(1), 1, False)
    batch.images[:] = 1
    assert batch.images.sum() == batch.images.numel()


@pytest.mark.parametrize(
    ("read", "error", "says"),
    [
        (DIE, ChildProcessError, r"killed by SIGKILL: .*out of memory.*--workers 0"),
        (At3(os._exit, 7), ChildProcessError, r"ended with status 7: .*--workers 0"),
        (SLEEP, TimeoutError, r"no batch for step 3 within 1 s: .*--shm-size.*--workers 0"),
        (At3(refuse, "step [v2]: verify it"), ValueError, r"^step \[v2\]: verify it$"),
        (At3({}.__getitem__, "no"), RuntimeError, r"(?s)in a data worker:.*KeyError: 'no'"),
    ],
)
def test_what_a_worker_cannot_do_is_told(monkeypatch, read, error, says):
    monkeypatch.setattr(data_workers, "PATIENCE_S", 1)
    started, come = time.monotonic(), []
    with pytest.raises(error, match=says), closing(read_ahead(read, range(9), 2, False)) as batches:
        come.extend(batches)
    assert len(come) == 0 or is_same(come[-1], batch_of(2))
    assert len(come) == 3
    assert time.monotonic() - started < 20
    assert not multiprocessing.active_children()


def test_workers_that_cannot_be_started(monkeypatch):
    def start(_) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(multiprocessing.Process, "start", start)
    message = "3 data workers cannot be started .*temporarily unavailable.*--workers 0"
    with pytest.raises(ChildProcessError, match=message):
        next(read_ahead(batch_of, range(9), 3, False))


@needs_linux
def test_batches_hold_a_descriptor_at_most_and_nothing_of_shared_memory():
    def held() -> tuple[int, list[Path]]:
        gc.collect()
        names = [str(p.readlink()) for p in Path("/proc/self/fd").iterdir() if p.exists()]
        return sum("memfd:batch" in n for n in names), sorted(Path("/dev/shm").glob("torch*"))

    files, shared = held()
    batches = read_ahead(batch_of, range(40), 2, False)
    kept = [next(batches) for _ in range(30)]
    assert held() == (files + 30, shared)
    assert is_same(kept[7], batch_of(7))
    del kept[1:]
    assert held() == (files + 1, shared)
    batches.close()


PROGRAM = """
import multiprocessing, signal, sys, time
multiprocessing.set_start_method(sys.argv[1])
from deformer.data.workers import read_ahead
from tests.deformer.data.test_workers import batch_of
asked, saved = [], 0
for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(kind, lambda kind, _: asked.append(kind))
for step, batch in enumerate(read_ahead(batch_of, range(10**6), 2, False)):
    if step == 20:
        print("reading", flush=True)
    if asked:
        time.sleep(0.5)
        asked.clear()
        print("saved", flush=True)
        if (saved := saved + 1) == 2: break
"""


@needs_linux
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "kind", [signal.SIGTERM, *(pytest.param(k, marks=pytest.mark.slow) for k in OTHERS)]
)
def test_a_signal_to_all_is_for_the_program_alone(method, kind):
    """As Ctrl-C in a terminal, and a scheduler that ends a job, send it."""
    process = start_python(PROGRAM, method)
    assert process.stdout.readline() == "reading\n"
    os.killpg(process.pid, kind)
    assert process.stdout.readline() == "saved\n"
    os.killpg(process.pid, kind)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "saved\n", "")
    assert_nothing_is_left(process.pid)


@needs_linux
@pytest.mark.parametrize("method", METHODS)
def test_workers_end_with_a_program_that_is_killed(method):
    process = start_python(PROGRAM, method)
    assert process.stdout.readline() == "reading\n"
    process.kill()
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert_nothing_is_left(process.pid)


ENDS_WITHIN = """
from deformer.data.workers import read_ahead
from tests.deformer.data.test_workers import batch_of
kept = read_ahead(batch_of, range(100), 2, False)
next(kept)
"""


def test_a_program_that_never_finishes_reading_ends():
    process = start_python(ENDS_WITHIN)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
