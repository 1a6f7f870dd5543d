"""Reading from disks that answer late or fail for a moment, as those of networks do.

What fails for a moment is tried again. What goes on failing is an error that names the file, never
a missing or a damaged file: a dataset built meanwhile would lack good frames for ever. pathlib's
own `is_file`, `exists` and `glob` say "not there" after some errors or, since Python 3.14, all.
"""

import errno
import io
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

_MOMENTARY = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR)
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_WAITS_S = (0.1, 0.3, 1.0, 3.0)
"""Between one try and the next."""
Result = TypeVar("Result")


class NoAnswerError(OSError):
    """A disk fails again and again. The message is the line to show."""


def patiently(path: Path, read: Callable[[], Result]) -> Result:
    """`read()`, tried again while the disk of `path` fails for a moment.

    Raises what `read` raises; `NoAnswerError`, which names the file, after the last try.
    """
    for wait_s in _WAITS_S:
        try:
            return read()
        except OSError as error:
            if error.errno not in _MOMENTARY:
                raise
        time.sleep(wait_s)
    try:
        return read()
    except OSError as error:
        if error.errno not in _MOMENTARY:
            raise
        raise NoAnswerError(
            f"{error.filename or path} cannot be read ({os.strerror(error.errno)}), tried "
            f"{len(_WAITS_S) + 1} times: see whether its disk or network answers, and run the same "
            "command again"
        ) from None


class _PatientFile(io.RawIOBase):
    """A file that is opened again after an error: a server that was away has forgotten it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.name = str(path)
        self._path, self._at, self._descriptor = path, 0, None
        patiently(path, self._opened)

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            if stat.S_ISDIR(os.fstat(self._descriptor).st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.name)
        return self._descriptor

    def _closed(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _tried(self, call: Callable[[int], int]) -> int:
        def once() -> int:
            try:
                return call(self._opened())
            except OSError:
                self._closed()
                raise

        return patiently(self._path, once)

    def readinto(self, buffer) -> int:
        num = self._tried(lambda descriptor: os.preadv(descriptor, [buffer], self._at))
        self._at += num
        return num

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = 0
        if whence == os.SEEK_CUR:
            start = self._at
        elif whence == os.SEEK_END:
            start = self._tried(lambda descriptor: os.fstat(descriptor).st_size)
        if start + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), self.name)
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._opened()

    def close(self) -> None:
        self._closed()
        super().close()


def open_file(path: Path) -> BinaryIO:
    """A file to read, whose every read is tried again as `patiently` does."""
    return io.BufferedReader(_PatientFile(Path(path)))


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises `OSError` that names it; `NoAnswerError` as `patiently` does."""
    return patiently(path, path.read_bytes)


def is_file(path: Path) -> bool:
    """Whether there is such a file; raises `OSError` where that cannot be found out."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path) -> bool:
    """As `is_file`, of a folder."""
    return stat.S_ISDIR(_mode(path))


def status(path: Path) -> os.stat_result:
    """As `Path.stat`. Raises `NoAnswerError` as `patiently` does."""
    return patiently(path, path.stat)


def _mode(path: Path) -> int:
    try:
        return status(path).st_mode
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        return 0


def entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted; raises `OSError` where that cannot be read to its end."""
    return sorted(patiently(folder, lambda: list(folder.iterdir())))


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones; raises as `entries`."""
    return [path for path in entries(folder) if is_visible(path.name) and is_folder(path)]


def is_visible(name: str) -> bool:
    """Whether a folder of this name may hold data: hidden ones do not, nor the one of lost files
    that every Linux disk has and only root may open."""
    return not name.startswith(".") and name != "lost+found"


def is_damage(error: Exception) -> bool:
    """Whether a library's error is about what a file holds: then it has no number of the system,
    and is no error of ours, which have none either."""
    return not isinstance(error, OSError) or (type(error) is OSError and not error.errno)
