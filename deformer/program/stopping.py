"""A training that is asked to stop does so after a step, with a checkpoint."""

import signal

STOPPED = 143
"""The exit status of a run that was stopped before its end, as SIGTERM gives it."""


class Stopping:
    """SIGTERM, Ctrl-C and the hang-up of a terminal set `is_asked`; training looks at it after
    each step. Under nohup a hang-up is ignored, as it was before."""

    def __init__(self) -> None:
        self.is_asked = False
        for kind in (signal.SIGTERM, signal.SIGINT, *hang_ups()):
            signal.signal(kind, self._note)

    def _note(self, *_) -> None:
        self.is_asked = True


def hang_ups() -> tuple[signal.Signals, ...]:
    """SIGHUP, unless this process was started with it ignored, as by nohup."""
    return () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
