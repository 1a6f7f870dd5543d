"""A program that is asked to stop: a training does so after a step, with a checkpoint, all others
at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPPED = 143
"""The exit status of a program that was stopped before its end, as SIGTERM gives it."""


class Stopping:
    """SIGTERM, Ctrl-C and the hang-up of a terminal set `is_asked`; training looks at it after
    each step."""

    def __init__(self) -> None:
        self.is_asked = False
        for kind in (signal.SIGINT, *_stops()):
            signal.signal(kind, self._note)

    def _note(self, *_) -> None:
        self.is_asked = True


class Terminated(BaseException):
    """SIGTERM has come, or the terminal has closed."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """SIGTERM, and a terminal that closes, end a program as Ctrl-C does: what is half written is
    removed, workers end."""
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    before = {kind: signal.getsignal(kind) for kind in _stops()}

    def stop(*_) -> None:
        for kind in before:
            signal.signal(kind, signal.SIG_IGN)  # they are often sent more than once
        raise Terminated

    for kind in before:
        signal.signal(kind, stop)
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _stops() -> tuple[signal.Signals, ...]:
    """SIGTERM, and SIGHUP unless this process was started with it ignored, as by nohup."""
    is_ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return (signal.SIGTERM,) if is_ignored else (signal.SIGTERM, signal.SIGHUP)
