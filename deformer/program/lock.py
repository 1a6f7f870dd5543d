"""One process at a time writes into a folder."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deformer.files.whole import NoRoomError, room_for

LOCK_FILE = ".deformer-lock"


class LockError(ValueError):
    """A folder cannot be locked. The message says what to do."""


@contextmanager
def locked(out: Path, what: str) -> Iterator[None]:
    """Lock a folder, and create it if it is missing. Any end of the process releases the lock.

    what: the program's name in messages, such as "build". Raises `LockError` when another process
    holds the lock or the folder cannot be written.
    """
    path = out / LOCK_FILE
    try:
        with room_for(out):
            out.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
    except NoRoomError:
        raise
    except OSError as error:
        raise LockError(
            f"the output folder {out} cannot be written ({error.filename}: {error.strerror}); give "
            "another by --out"
        ) from None
    os.register_at_fork(
        after_in_child=file.close
    )  # a forked worker would keep the lock after a kill
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LockError(
                f"another {what} ({file.read().strip()}) is writing {out}; wait for it, or give "
                "another --out"
            ) from None
        except OSError as error:
            raise LockError(
                f"the file system of {out} has no locks ({error.strerror}), and two {what}s into "
                "one folder would not notice each other; give an --out on another file system"
            ) from None
        if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
            raise LockError(f"another {what} of {out} has just ended; look at it first")
        try:
            with room_for(out):  # unbuffered: closing would write a buffer again
                os.ftruncate(file.fileno(), 0)
                os.write(
                    file.fileno(),
                    f"process {os.getpid()} on {socket.gethostname()}".encode(errors="replace"),
                )
            yield
        finally:
            path.unlink()
