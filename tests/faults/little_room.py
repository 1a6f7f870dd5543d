"""Disks that are full, or become so at a chosen write, and have room again afterwards."""

import ctypes
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

_NEW_NAMESPACE_OF_MOUNTS = 0x00020000


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
    """Whether this process may mount; its mounts are from now on seen by no other process, and go
    with it."""
    if os.geteuid() or ctypes.CDLL(None).unshare(_NEW_NAMESPACE_OF_MOUNTS):
        return False
    return not subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True).returncode


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int, int], None]]:
    """A file system in memory; gives a function that leaves room for so many more pages of 4 KiB
    and so many more files."""
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
