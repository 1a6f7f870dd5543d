"""Signals that stop a program: a training stops after a step and saves, other programs at once."""

import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")

STOPPED = 143
"""Exit status of a stopped program, as after SIGTERM."""


class _Asked(BaseException):
    """Ends the wait for a batch."""


class Stopping:
    """Training checks `is_asked` after each step; SIGTERM, Ctrl-C and a closed terminal set it."""

    def __init__(self, ends_waiting: bool = False) -> None:
        """ends_waiting: a signal also ends `until` while it waits. Not where several processes must
        stop at the same step."""
        self.is_asked = False
        self._ends_waiting, self._is_waiting = ends_waiting, False
        for kind in (signal.SIGINT, *_stops()):
            signal.signal(kind, self._note)

    def _note(self, *_) -> None:
        self.is_asked = True
        if self._is_waiting:
            self._is_waiting = False  # closing what was waited for must not be interrupted
            raise _Asked

    def until(self, items: Generator[T, None, None]) -> Iterator[T]:
        """The items, which may be long in coming, until a signal while one is waited for."""
        with closing(items), suppress(_Asked):
            while not (self._ends_waiting and self.is_asked):
                self._is_waiting = self._ends_waiting
                try:
                    item = next(items)
                except StopIteration:
                    return
                finally:
                    self._is_waiting = False
                yield item


class Terminated(BaseException):
    """SIGTERM arrived, or the terminal closed."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """SIGTERM and a closed terminal end a program like Ctrl-C, with all cleaning up.

    Raises `Terminated` after them, whatever becomes of the one that is raised at once: native code
    that calls Python back replaces or drops it.
    """
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    stops = _stops()
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, *stops)}
    owner, has_come = os.getpid(), False

    def stop(kind: int, _) -> None:
        nonlocal has_come
        if os.getpid() != owner:  # a forked process, whose event loop may swallow what is raised
            signal.signal(kind, signal.SIG_DFL)
            os.kill(os.getpid(), kind)
            return
        has_come = True
        for other in before:
            signal.signal(other, signal.SIG_IGN)  # often more than one is sent
        raise Terminated

    for kind in stops:
        signal.signal(kind, stop)
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
        if has_come:
            raise Terminated


def _stops() -> tuple[signal.Signals, ...]:
    """SIGTERM, and SIGHUP unless this process inherited that it is ignored, as from nohup."""
    is_ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return (signal.SIGTERM,) if is_ignored else (signal.SIGTERM, signal.SIGHUP)
