"""Processes that read batches ahead, in order.

A batch travels as one anonymous file in memory. That needs no space in /dev/shm, which has 64 MB in
containers, but a file descriptor as long as the batch lives. A dead worker is an error at once, a
silent one after `PATIENCE_S`.
"""

import atexit
import contextlib
import mmap
import multiprocessing
import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import recv_handle, send_handle
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

from deformer.data.batch import Batch
from deformer.program.pool import become_worker, signals_held, single_threaded

PATIENCE_S = 600.0
"""Longest wait for a batch: a remote shard may have to be fetched first."""
_BATCHES_AHEAD = 4
"""Batches that each worker reads ahead."""
_END_WITHIN_S = 1.0
_ALIGNED = 64
_WITHOUT_WORKERS = "--workers 0 reads in the program itself"


def read_ahead(
    read: Callable[[int], Batch], steps: range, workers: int, pin: bool
) -> Iterator[Batch]:
    """`read(step)` for every step, in order, by `workers` processes; 0 reads in this process.

    pin: put batches into page-locked memory, for a GPU. Raises what `read` raises,
    `ChildProcessError` when a worker dies or cannot start, `TimeoutError` when none answers.
    """
    if not workers:
        for step in steps:
            batch = read(step)
            yield Batch(*tree_map(_pinned, batch[:-1]), batch.skipped) if pin else batch
        return
    settings = (torch.cuda.set_device, (torch.cuda.current_device(),)) if pin else ()
    with ThreadPoolExecutor(1, "pin", *settings) as thread, _team(read, workers) as team:
        for i, step in enumerate(steps[: _BATCHES_AHEAD * workers]):
            team[i % workers].ask(step)

        def take(i: int) -> Batch:
            worker, later = team[i % workers], i + _BATCHES_AHEAD * workers
            batch = worker.receive(steps[i], pin)
            if later < len(steps):
                worker.ask(steps[later])
            return batch

        places = range(len(steps))
        yield from _one_ahead(take, places, thread) if pin else map(take, places)


def _one_ahead(
    take: Callable[[int], Batch], places: range, thread: ThreadPoolExecutor
) -> Iterator[Batch]:
    """Takes each batch while the one before is in use."""
    coming = [thread.submit(take, i) for i in places[:1]]
    for i in places:
        batch = coming.pop().result()
        coming += [thread.submit(take, later) for later in places[i + 1 : i + 2]]
        yield batch


def _pinned(data: Tensor) -> Tensor:
    return data.pin_memory()


# ------------------------------------------------------------------------------------ the workers


@contextmanager
def _team(read: Callable[[int], Batch], workers: int) -> Iterator[list["_Worker"]]:
    team: list[_Worker] = []

    def end() -> None:
        for worker in team:
            worker.dismiss()
        for worker in team:
            worker.end()

    atexit.register(end)  # the iterator of batches may live until the program ends
    try:
        try:
            with signals_held(multiprocessing.get_start_method()):
                for _ in range(workers):
                    team.append(_Worker(read))
        except OSError as error:
            raise ChildProcessError(
                f"{workers} data workers cannot be started ({error.strerror or error}): give fewer "
                f"--workers; {_WITHOUT_WORKERS}"
            ) from None
        yield team
    finally:
        atexit.unregister(end)
        end()


class _Worker:
    """The program's end of a worker process."""

    def __init__(self, read: Callable[[int], Batch]) -> None:
        self._connection, its = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_serve, args=(its, read), daemon=True)
        with its:
            self._process.start()

    def ask(self, step: int | None) -> None:
        with contextlib.suppress(OSError):  # it is dead: `receive` raises
            self._connection.send(step)

    def receive(self, step: int, pin: bool) -> Batch:
        """The oldest batch requested; pin: in page-locked memory."""
        if not wait([self._connection, self._process.sentinel], PATIENCE_S):
            raise TimeoutError(
                f"the data workers gave no batch for step {step} within {PATIENCE_S:.0f} s: look "
                f"whether the disk or server of the dataset answers and memory is left (in a "
                f"container: --memory, --shm-size); {_WITHOUT_WORKERS}"
            )
        try:
            answer = self._connection.recv()
            if isinstance(answer, _Parcel):
                return answer.open(recv_handle(self._connection), pin)
        except (EOFError, OSError, RuntimeError) as error:
            raise self._failure(error) from None
        raise answer

    def _failure(self, error: Exception) -> OSError:
        self._process.join(_END_WITHIN_S)
        status = self._process.exitcode
        if status is None:
            return OSError(
                f"a batch could not be taken over from a data worker ({error}): allow more open "
                f"files (ulimit -n 4096), or give fewer --workers; {_WITHOUT_WORKERS}"
            )
        how = f"ended with status {status}"
        if status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        return ChildProcessError(
            f"a data worker {how}: the machine, or the container, is probably out of memory; give "
            f"fewer --workers; {_WITHOUT_WORKERS}"
        )

    def dismiss(self) -> None:
        self.ask(None)

    def end(self) -> None:
        """Wait for the process, then kill it."""
        self._process.join(_END_WITHIN_S)
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(connection: Connection, read: Callable[[int], Batch]) -> None:
    """Run a worker until it is dismissed or the program ends."""
    # The program handles signals to the whole group; it may want to save first
    become_worker((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    single_threaded()
    with contextlib.suppress(EOFError, ConnectionError):  # the program has ended
        while (step := connection.recv()) is not None:
            _answer(connection, read, step)


def _answer(connection: Connection, read: Callable[[int], Batch], step: int) -> None:
    try:
        parcel, file = _Parcel.pack(read(step))
    except (ValueError, OSError) as error:
        connection.send(error)
    except Exception:
        connection.send(RuntimeError(f"in a data worker:\n{traceback.format_exc()}"))
    else:
        connection.send(parcel)
        send_handle(connection, file, None)
        os.close(file)


# ------------------------------------------------------------------------------------ the batches


class _Parcel(NamedTuple):
    """Layout of a batch's tensors in a file."""

    places: list[tuple[int, torch.dtype, torch.Size]]
    """Offset, type and shape of each tensor."""
    form: TreeSpec
    """Their places in the batch."""
    size: int
    skipped: tuple[str, ...]

    @staticmethod
    def pack(batch: Batch) -> tuple["_Parcel", int]:
        """A batch's layout, and the descriptor of its file."""
        descriptor = _file_in_memory()
        tensors, form = tree_flatten(batch[:-1])
        places, size = [], 0
        with open(descriptor, "wb", closefd=False) as file:
            for value in tensors:
                size += -size % _ALIGNED
                places.append((size, value.dtype, value.shape))
                file.seek(size)
                file.write(value.contiguous().numpy().data)
                size += value.nbytes
        return _Parcel(places, form, size, batch.skipped), descriptor

    def open(self, descriptor: int, pin: bool) -> Batch:
        """The batch. Its tensors share the file's memory, or with `pin` a page-locked copy of it.

        One call pins all of it: a call per tensor would wait for the interpreter's lock each time,
        while the program trains.
        """
        try:
            memory = mmap.mmap(descriptor, self.size)
        finally:
            os.close(descriptor)
        data = torch.frombuffer(memory, dtype=torch.uint8)
        if pin:
            data = _pinned(data)
        tensors = [
            data[offset : offset + shape.numel() * dtype.itemsize].view(dtype).view(shape)
            for offset, dtype, shape in self.places
        ]
        return Batch(*tree_unflatten(tensors, self.form), self.skipped)


def _file_in_memory() -> int:
    if hasattr(os, "memfd_create"):  # Linux
        return os.memfd_create("batch")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
