"""The processes of a run watch one another: when one is lost, the others end with an error."""

import os
import re
import threading
from datetime import timedelta

import torch
import torch.distributed as dist

from deformer.program.console import PlainConsole, print_error

SILENT_S = 40.0
"""A process that gives no sign of life for so long is lost."""
_MEET_EVERY_S = 0.5
_TO_END_S = 5.0
_LAST = 2**40
"""More waits than a run has."""


class LostProcessError(OSError):
    """Another process of this run has ended or hangs."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"another process of this run was lost ({cause}): its own message says why, if it "
            "could give one. Start all processes again, a training with --resume"
        )


class Watch:
    """A thread that meets those of all other processes twice a second, however busy the processes
    are, through connections of their own.

    Waiting for a process that works has no limit. One that dies is noticed at once, one that hangs
    after `SILENT_S`. Then this process has seconds to end by itself; if it cannot, because it waits
    for the lost one, the thread prints the error and ends it.
    """

    def __init__(self) -> None:
        """Every process of the default group must call this."""
        limit = timedelta(seconds=SILENT_S)
        self._group = dist.new_group(backend="gloo", timeout=limit)
        self._come_to = self._all_came_to = 0  # number of a wait
        self._news = threading.Condition()
        self._hurry = threading.Event()
        self._is_leaving = False
        self._lost: LostProcessError | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def wait_for_all(self) -> None:
        """Until every process has called this as often. Raises `LostProcessError`."""
        self._wait(self._come_to + 1)

    def end_with_all(self) -> None:
        """The last wait. Raises `LostProcessError`."""
        self._wait(_LAST)
        self._thread.join()

    def leave(self) -> bool:
        """End the thread, after an error of this process. False if it does not end, since another
        process is silent."""
        self._is_leaving = True
        self._hurry.set()
        self._thread.join(2 * _MEET_EVERY_S)
        return not self._thread.is_alive()

    def lost(self) -> LostProcessError | None:
        """The error when a process was lost just now. It is noticed here a moment later than by
        what waits for that process."""
        with self._news:
            self._news.wait_for(lambda: self._lost is not None, 4 * _MEET_EVERY_S)
        return self._lost

    def _wait(self, number: int) -> None:
        self._come_to = number
        self._hurry.set()
        with self._news:
            self._news.wait_for(lambda: self._lost or self._all_came_to >= number)
        if self._lost:
            raise self._lost

    def _watch(self) -> None:
        try:
            while self._all_came_to < _LAST and not self._is_leaving:
                self._meet()
                self._hurry.wait(_MEET_EVERY_S)
                self._hurry.clear()
        except RuntimeError as error:
            self._end_soon(error)

    def _meet(self) -> None:
        """Raises `RuntimeError` when a process is lost."""
        come_to = torch.tensor(self._come_to)
        dist.all_reduce(come_to, dist.ReduceOp.MIN, self._group)
        with self._news:
            self._all_came_to = int(come_to)
            self._news.notify_all()

    def _end_soon(self, error: RuntimeError) -> None:
        with self._news:
            self._lost = LostProcessError(_cause(error))
            self._news.notify_all()
        threading.Event().wait(_TO_END_S)
        if self._is_leaving:  # by an error of its own
            return
        print_error(self._lost, PlainConsole())
        os._exit(1)


def _cause(error: RuntimeError) -> str:
    """The first sentence of an error of gloo, without the place in its source."""
    return re.sub(r"^\[[^\]]*\] ", "", str(error).splitlines()[0]).partition(". ")[0]
