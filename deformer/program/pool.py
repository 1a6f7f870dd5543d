"""Processes that work for a program: they end with it, and leave Ctrl-C to it."""

import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_EVERY_S = 1.0
_MANY_FILES = 4096


@contextmanager
def signals_held(method: str) -> Iterator[None]:
    """Hold back signals to stop while processes are started by this method of `multiprocessing`:
    they get none until they `become_worker`, this process gets them afterwards."""
    if method != "fork":
        resource_tracker.ensure_running()  # where it starts, it lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def become_worker(ignored: tuple[signal.Signals, ...] = (signal.SIGINT,)) -> None:
    """Call this first in a process of `multiprocessing`: it then ignores signals sent to the whole
    group, and ends when its parent has ended, however that was."""
    for kind in _STOPS:
        signal.signal(kind, signal.SIG_IGN if kind in ignored else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    is_child = os.getppid() == parent.pid  # under forkserver it is the server's
    # Under fork, siblings too hold the pipe by which a parent's end shows
    while parent.is_alive() and (not is_child or os.getppid() == parent.pid):
        parent.join(_LOOK_EVERY_S)
    os._exit(1)


def single_threaded() -> None:
    """One core per worker: the work is divided among processes.

    numpy asks for its number when it is imported, so that workers started later have one thread.
    """
    import cv2
    import torch  # takes seconds, and not every program that has workers needs it

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def as_done(work: Callable, jobs: list[tuple], workers: int) -> Iterator[tuple[int, Any]]:
    """`work(*job)` for every job in processes of their own: (place of the job, result), as they are
    done. Left early, it ends the processes at once.

    Raises what the work raises, and `ChildProcessError` when a worker is killed.
    """
    context = multiprocessing.get_context("spawn")  # threads of torch and Embree do not fork
    num = max(1, min(workers, len(jobs)))
    pool = ProcessPoolExecutor(num, context, initializer=become_worker)
    others = set(multiprocessing.active_children())
    try:
        with signals_held("spawn"):
            places = {pool.submit(work, *job): i for i, job in enumerate(jobs)}
            # The pool watches the processes that it had when it was last given a job: one that was
            # started by the last job could be killed unseen
            pool.submit(int)
        for future in as_completed(places):
            yield places[future], future.result()
    except BaseException as error:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        if isinstance(error, BrokenProcessPool):
            raise ChildProcessError(
                "a worker was killed: the machine is probably out of memory; give fewer --workers "
                "and run the same command again"
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def allow_many_files() -> None:
    """Raise the limit of open files as far as it may be, up to what every program here needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_FILES if hard == resource.RLIM_INFINITY else min(_MANY_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
