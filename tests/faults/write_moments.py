"""Every moment at which a process changes the disk, by Python's audit hooks and fsync."""

import os
import sys
import traceback
from collections.abc import Callable

_WRITES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")


def before_each_write(
    act: Callable[[int | None], None], after_flush: Callable[[int], None]
) -> None:
    """Call `act` before each, in this process until it ends, with the descriptor of what is to be
    flushed, if it is that. after_flush: called with the descriptor that was flushed."""
    flush, is_acting = os.fsync, False

    def act_once(descriptor: int | None = None) -> None:
        nonlocal is_acting
        if not is_acting:  # what it writes itself does not count
            is_acting = True
            act(descriptor)
            is_acting = False

    def look(event: str, arguments: tuple) -> None:
        if event in _WRITES and (event != "open" or "r" not in (arguments[1] or "r")):
            act_once()

    def flush_and_tell(descriptor: int) -> None:
        act_once(descriptor)
        flush(descriptor)
        after_flush(descriptor)

    os.fsync = flush_and_tell
    sys.addaudithook(look)


def in_a_child(work: Callable[[], None]) -> int:
    """The status of a process that does this and ends."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
