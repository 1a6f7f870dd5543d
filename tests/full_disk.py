"""Disks that are full, or become so at a chosen write, and have room again afterwards."""

import ctypes
import errno
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

LINE = (
    r"no space left on the disk of {} \(.*\); what is finished is kept: make room and run the same"
)

_NEW_NAMESPACE_OF_MOUNTS = 0x00020000


@contextmanager
def little_room(num_bytes: int = 100) -> Iterator[None]:
    """No file may be larger: the system refuses it as it does where the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def refused(function: str, number: int) -> Iterator[list[int]]:
    """The call with this number of a function of `os` finds the disk full, counted from 0; those
    that were made are counted in the list."""
    real, calls = getattr(os, function), [0]

    def counted(*given, **named):
        calls[0] += 1
        if calls[0] == number + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*given, **named)

    with patch.object(os, function, counted):
        yield calls


@cache
def can_mount() -> bool:
    """Whether a program may have mounts of its own: root in a container often may not."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    try:
        return not subprocess.run(command, capture_output=True).returncode
    except FileNotFoundError:
        return False


@cache
def _leave_mounts() -> None:
    """This thread's mounts, and those of programs that it starts, are from now on seen by no other
    thread, and go with it."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NAMESPACE_OF_MOUNTS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int, int], None]]:
    """A file system in memory; gives a function that leaves room for so many more pages of 4 KiB
    and so many more files. Other threads of this process do not see it. Needs `can_mount`."""
    _leave_mounts()
    mount = ["mount", "-t", "tmpfs", "-o"]
    subprocess.run([*mount, "size=256m", "tmpfs", str(folder)], check=True)

    def leave(pages: int, files: int) -> None:
        now = os.statvfs(folder)
        pages += now.f_blocks - now.f_bfree
        files += now.f_files - now.f_ffree
        limits = f"remount,nr_blocks={max(1, pages)},nr_inodes={files}"  # 0: as many as there are
        subprocess.run([*mount, limits, "tmpfs", str(folder)], check=True)

    try:
        yield leave
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
