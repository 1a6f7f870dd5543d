"""A disk that is full, as far as a program can see."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LINE = (
    r"no space left on the disk of {} \(.*\); what is finished is kept: make room and run the same"
)


@contextmanager
def little_room(num_bytes: int = 100) -> Iterator[None]:
    """No file may be larger: the system refuses it as it does where the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
