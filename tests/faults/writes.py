"""Every moment at which a process changes the disk, by Python's audit hooks and fsync."""

import os
import sys
from collections.abc import Callable

_WRITES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")


def before_each_write(act: Callable[[], None], after_flush: Callable[[int], None]) -> None:
    """Call `act` before each, in this process until it ends. after_flush: called with the
    descriptor that was flushed."""
    flush, is_acting = os.fsync, False

    def act_once() -> None:
        nonlocal is_acting
        if not is_acting:  # what it writes itself does not count
            is_acting = True
            act()
            is_acting = False

    def look(event: str, arguments: tuple) -> None:
        if event in _WRITES and (event != "open" or "r" not in (arguments[1] or "r")):
            act_once()

    def flush_and_tell(descriptor: int) -> None:
        act_once()
        flush(descriptor)
        after_flush(descriptor)

    os.fsync = flush_and_tell
    sys.addaudithook(look)
