"""A training that is asked to stop does so after a step, with a checkpoint."""

import signal

STOPPED = 143
"""The exit status of a run that was stopped before its end, as SIGTERM gives it."""


class Stopping:
    """SIGTERM and Ctrl-C are noted; whoever trains looks at `is_asked`."""

    def __init__(self) -> None:
        self.is_asked = False
        for kind in (signal.SIGTERM, signal.SIGINT):
            signal.signal(kind, self._note)

    def _note(self, *_) -> None:
        self.is_asked = True
