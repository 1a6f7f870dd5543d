"""A training that is asked to stop does so after a step, with a checkpoint."""

import os
import signal
import stat

STOPPED = 143
"""The exit status of a run that was stopped before its end, as SIGTERM gives it."""


class Stopping:
    """SIGTERM, Ctrl-C and the hang-up of a terminal set `is_asked`; training looks at it after
    each step. Under nohup a hang-up is ignored, as it was before."""

    def __init__(self) -> None:
        self.is_asked = False
        for kind in (signal.SIGTERM, signal.SIGINT, *hang_ups()):
            signal.signal(kind, self._note)

    def _note(self, kind: int, _) -> None:
        self.is_asked = True
        if kind == signal.SIGHUP:
            leave_terminal()


def hang_ups() -> tuple[signal.Signals, ...]:
    """SIGHUP, unless this process was started with it ignored, as by nohup."""
    return () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)


def leave_terminal() -> None:
    """Send what is written to a terminal nowhere. The terminal is gone, and an error of writing to
    it would keep a run from saving. Files and pipes are still written to."""
    for output in (1, 2):
        if stat.S_ISCHR(os.fstat(output).st_mode):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, output)
            os.close(nowhere)
