"""Worker processes of a program: they end with it, and leave Ctrl-C to it."""

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import sys
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
_ASK_FOR_SIGTERM = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


@contextmanager
def signals_held(method: str) -> Iterator[None]:
    """Hold stop signals back while processes are started by this method of `multiprocessing`. They
    stay blocked in the new processes until `become_worker`; this process receives them
    afterwards."""
    with _handlers_later(), blocked(_STOPS, method):
        yield


@contextmanager
def blocked(kinds: tuple[signal.Signals, ...], method: str = "spawn") -> Iterator[None]:
    """Block signals in this thread, in threads and in processes that it starts meanwhile."""
    if method != "fork":
        resource_tracker.ensure_running()  # its own start would unblock signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, kinds)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _handlers_later() -> Iterator[None]:
    """Call this program's handlers of stop signals afterwards. Blocking alone is not enough: any
    other thread may take the signal, and Python calls the handler in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no handler is called here
        return
    came: list[int] = []
    before = {kind: handler for kind in _STOPS if callable(handler := signal.getsignal(kind))}
    for kind in before:
        signal.signal(kind, lambda kind, _: came.append(kind))
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
        for kind in came[:1]:
            signal.raise_signal(kind)


def become_worker(ignored: tuple[signal.Signals, ...] = (signal.SIGINT,)) -> None:
    """Call this first in a process of `multiprocessing`. The process then ignores signals sent to
    the whole group, and ends when its parent ends for any reason."""
    for kind in _STOPS:
        signal.signal(kind, signal.SIG_IGN if kind in ignored else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    end_with_parent()


def end_with_parent() -> None:
    """Let this process of `multiprocessing` end when its parent ends for any reason."""
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    # Under fork, siblings also hold the pipe that shows the parent's end
    while parent.is_alive() and (_is_of_forkserver() or os.getppid() == parent.pid):
        parent.join(_LOOK_EVERY_S)
    os._exit(1)


def _is_of_forkserver() -> bool:
    """Whether this process is a child of the server, not of the program."""
    process = multiprocessing.current_process()
    if type(process) is multiprocessing.Process:  # of the default method
        return multiprocessing.get_start_method() == "forkserver"
    return isinstance(process, multiprocessing.context.ForkServerProcess)


def single_threaded() -> None:
    """Use one core per worker, because the work is divided among processes.

    numpy reads its number of threads at import, so only workers that start later have one.
    """
    import torch  # takes seconds, and not every program with workers needs it

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    single_threaded_opencv()


def single_threaded_opencv() -> None:
    """OpenCV alone, for a program that reads images itself and computes with all cores."""
    import cv2

    cv2.setNumThreads(1)


def run_in_processes(work: Callable, jobs: list[tuple], workers: int) -> Iterator[tuple[int, Any]]:
    """Run `work(*job)` for every job in worker processes; yields (index of the job, result) in the
    order of completion. If the caller stops early, the processes end at once.

    Raises what the work raises, and `ChildProcessError` when a worker is killed.
    """
    context = multiprocessing.get_context("spawn")  # threads of torch and Embree do not fork
    num = max(1, min(workers, len(jobs)))
    pool = ProcessPoolExecutor(num, context, initializer=become_worker)
    others = set(multiprocessing.active_children())
    try:
        with signals_held("spawn"):
            places = {pool.submit(work, *job): i for i, job in enumerate(jobs)}
            # The pool watches only processes that exist when it gets a job; without this one more
            # job, the death of a process started by the last job could go unnoticed
            pool.submit(int)
        for future in as_completed(places):
            yield places[future], future.result()
    except BaseException as error:
        with _handlers_later():  # Ctrl-C is often pressed twice
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


def ending_with_this(command: list[str]) -> list[str]:
    """A command to start from a thread that waits for it. It gets SIGTERM when this program, or
    that thread, ends; only Linux can do this, and elsewhere it is the command alone. Raises
    `FileNotFoundError`."""
    if sys.platform != "linux":
        return command
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    return [sys.executable, "-c", _ASK_FOR_SIGTERM, str(os.getpid()), *command]


def allow_many_files() -> None:
    """Raise the limit of open files, as far as allowed, to what programs here need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_FILES if hard == resource.RLIM_INFINITY else min(_MANY_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
