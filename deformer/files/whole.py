"""Writing files completely or not at all, with a one-line error when the disk is full."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Full disk, exceeded quota, or file too large."""
RESUME = "make room and run the same command with --resume"
"""Advice for a training that finds the disk full."""
_GO_ON = "make room and run the same command again"
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM)


class NoRoomError(OSError):
    """The disk is full. The message is the line to show."""

    def __init__(self, message: str, reason: str = "") -> None:
        """reason: of the operating system."""
        super().__init__(message)
        self.reason = reason


@contextmanager
def room_for(path: Path, advice: str = _GO_ON) -> Iterator[None]:
    """Context for writing to `path`: a full disk raises `NoRoomError` with the path and how to go
    on. In nested contexts, the outermost path is named."""
    try:
        yield
    except OSError as error:
        if isinstance(error, NoRoomError):
            reason = error.reason
        elif error.errno in NO_ROOM:
            reason = os.strerror(error.errno)
        else:
            raise
        message = f"no space left on the disk of {path} ({reason}); what is finished is kept: "
        raise NoRoomError(message + advice, reason) from error


@contextmanager
def whole_file(path: Path, temporary: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write. It gets its name once it is complete and on disk; until then, and after an
    error, the old file remains.

    temporary: path for writing, by default beside `path`. Creates the folder. Devices and pipes are
    written directly. Raises `NoRoomError`, or `OSError` when the path cannot be written.
    """
    path = Path(os.path.realpath(path))  # replace a link's target, not the link
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as file:
            yield file
        return
    temporary = temporary or path.with_name(f".{path.name}.part")
    try:
        with room_for(path):
            with _opened(path, temporary) as file:
                yield file
                file.flush()
                _sync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _opened(path: Path, temporary: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        return temporary.open("w+b")
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        is_file = isinstance(error, FileExistsError)  # in place of a folder
        reason = os.strerror(errno.ENOTDIR) if is_file else error.strerror
        raise OSError(f"{path} cannot be written ({reason}): give another path") from None


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file as `whole_file` does, text as UTF-8."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def claim_folder(note: Path, text: str) -> bool:
    """Write into a folder a note of what is made there. False if there is another note."""
    if note.exists():
        return note.read_bytes() == text.encode()  # damaged ones may be no text
    write_whole(note, text)
    return True


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill. It replaces `path` once it is complete; until then, and after an error, the
    old folder remains. Raises `NoRoomError`."""
    unfinished, old = (path.with_name(f".{path.name}.{end}") for end in ("part", "old"))
    if old.exists() and not path.exists():  # a program was killed between the two renames below
        old.rename(path)
    try:
        with room_for(path):
            _clear(unfinished, old)
            unfinished.mkdir(parents=True)
            yield unfinished
            _replace(path, unfinished, old)
            sync_folder(path.parent)
    finally:
        _clear(unfinished)


def _clear(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(path: Path, new: Path, old: Path) -> None:
    """Give a folder the name of another, which is kept as `old` until then."""
    if path.exists():
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    _clear(old)


def write_part(path: Path, content: bytes) -> None:
    """Write a file into an unfinished folder (`whole_folder`), which is discarded after an error.
    Creates the file's folder. Raises `NoRoomError`."""
    with room_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, if the file system supports that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in _NO_SYNC:
            return
        raise
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    """Flush to disk. Some file systems of networks and containers refuse; that is ignored."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
