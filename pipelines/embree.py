"""The ray caster's device, one per process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from embreex.rtcore import EmbreeDevice

_DEVICE = None


def embree_device() -> EmbreeDevice:
    """One per process: a scene cannot outlive its device.

    It builds scenes with as many threads as it finds cores when it is made. Workers fill the cores
    already, and small scenes wait longer for threads than one thread takes: it finds one.
    """
    global _DEVICE  # noqa: PLW0603
    if _DEVICE is None:
        with _on_one_core():
            _DEVICE = EmbreeDevice()
    return _DEVICE


@contextmanager
def _on_one_core() -> Iterator[None]:
    if not hasattr(os, "sched_getaffinity"):  # not Linux
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
