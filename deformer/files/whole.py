"""Files that are whole or not there, and one line where the disk has no room for them."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, the user's share of it is, or no file may be so large."""
RESUME = "make room and run the same command with --resume"
"""What to do where a training finds no room."""
_GO_ON = "make room and run the same command again"
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM)


class NoRoomError(OSError):
    """There is no room for what is written. The message is the line to show."""

    def __init__(self, message: str, reason: str = "") -> None:
        """reason: as the system gives it."""
        super().__init__(message)
        self.reason = reason


@contextmanager
def room_for(path: Path, advice: str = _GO_ON) -> Iterator[None]:
    """Whatever is written within goes to `path`. Raises `NoRoomError`, which names it and says how
    to go on, where there is no room. Of nested calls the outermost names the path."""
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
    """A file to write. It gets its name when it is whole and on disk; until then, and after an
    error, what was there before is there still.

    temporary: where it is written; by default beside it. Makes the folder. A device or a pipe is
    written as it is. Raises `NoRoomError`, or `OSError` where the path cannot be written.
    """
    path = Path(os.path.realpath(path))  # the file that a link names, not the link
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
        return temporary.open("wb")
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        is_file = isinstance(error, FileExistsError)  # what should be a folder
        reason = os.strerror(errno.ENOTDIR) if is_file else error.strerror
        raise OSError(f"{path} cannot be written ({reason}): give another path") from None


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file, text as UTF-8: see `whole_file`."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def note_work(note: Path, text: str) -> bool:
    """Note in a folder what is being made there; False, and nothing changes, where the note says
    that it is something else."""
    if note.exists():
        return note.read_text() == text
    write_whole(note, text)
    return True


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill. It takes the place of `path` when it is whole; until then, and after an
    error, what was there before is there still. Raises `NoRoomError`."""
    unfinished = path.with_name(f".{path.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with room_for(path):
            unfinished.mkdir(parents=True)
            yield unfinished
            shutil.rmtree(path, ignore_errors=True)
            unfinished.rename(path)
            sync_folder(path.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_part(path: Path, content: bytes) -> None:
    """Write a file of a folder that gets its name when all in it is there: an error leaves it cut,
    and what is cut goes with the folder. Makes the folder. Raises `NoRoomError`."""
    with room_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk, where its file system can do that."""
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
    """Some file systems of networks and containers refuse it, and then it is as safe as it gets."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
