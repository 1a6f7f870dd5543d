"""Files behind a URL that stalls, breaks off and fails: fetched in pieces, each tried again.

A request that fails is repeated after a wait that doubles each time, for `PATIENCE_S` at most, and
each failure is a warning. A file that broke off goes on at the byte after its last whole piece,
in another process as well.
"""

import logging
import random
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import fsspec
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from deformer.files.whole import room_for, sync_folder

PATIENCE_S = 120.0
"""A file is given up when no byte of it has come for so long: well before a reader of batches is,
`deformer.data.workers.PATIENCE_S`."""
REQUEST_S = 30.0
"""A request that takes longer has stalled, and is broken off; the second one after twice as long,
and so on, as a server that knows no ranges sends a whole shard at a time."""
PIECE_BYTES = 16 << 20
"""Asked for at once. After a failure a quarter of it, as a slow or broken line may give no more."""
_LEAST_BYTES = 64 << 10
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 20.0
_TIMES = 3
"""A server that refuses a file (404, 403) so often, or sends another, is believed: some do so in
passing."""
_REFUSED_IN_PASSING = (408, 425, 429)
_MISTAKES = (ValueError, TypeError, AttributeError, ImportError, NotImplementedError)
"""Of a URL or a program; they do not pass."""

_log = logging.getLogger(__name__)
T = TypeVar("T")


class RemoteError(OSError):
    """A file cannot be fetched. The message names it, the last error and the next step."""


def locate(url: str, name: str) -> tuple[AbstractFileSystem, str]:
    """File system and path of a file in the folder of a URL."""
    fs, root = fsspec.url_to_fs(url)
    return fs, f"{root.rstrip('/')}/{name}"


def read_file(url: str, name: str) -> bytes:
    """The content of a small file. Raises `FileNotFoundError`, `RemoteError`."""
    fs, path = locate(url, name)
    return tried_again(f"{url}/{name}", lambda attempt: fs.cat_file(path, **_limit(fs, attempt)))


def size_of(url: str, name: str, expected: int | None = None) -> int:
    """Of a file, bytes. Another size than expected is asked for again, `_TIMES` in all. Raises
    `FileNotFoundError`, `RemoteError`."""
    fs, path = locate(url, name)
    for _ in range(_TIMES):
        size = tried_again(
            f"{url}/{name}", lambda attempt: fs.info(path, **_limit(fs, attempt))["size"]
        )
        if expected in (None, size):
            break
    if size is None:
        raise RemoteError(f"{url}/{name}: the server does not say its size: choose another one")
    return size


def fetch(
    url: str, name: str, size: int | None, path: Path, is_whole: Callable[[Path], bool]
) -> None:
    """Fetch a file. It gets its name `path` when it is whole and on disk; until then it is beside
    it, as .part, and what another process has left there is not fetched again.

    size: bytes; None where the server alone knows. is_whole: whether the bytes are the right ones;
    if not, they are fetched again, `_TIMES` in all. Call it under a lock.

    Raises `FileNotFoundError`, `RemoteError` and `NoRoomError`.
    """
    part = path.with_name(f"{path.name}.part")
    for _ in range(_TIMES):
        with room_for(path):
            _fetch_pieces(url, name, size or size_of(url, name), part)
            sync_folder(part)  # a file as well as a folder
            if is_whole(part):
                part.replace(path)
                sync_folder(path.parent)
                return
        part.unlink()
        _log.warning("%s/%s: the bytes that came are not the right ones", url, name)
    raise RemoteError(
        f"{url}/{name} is not the file that dataset.json belongs to, {_TIMES} times: the dataset "
        "was built anew, then start again; or its copy there is damaged, then copy it once more"
    )


def _fetch_pieces(url: str, name: str, size: int, part: Path) -> None:
    """Append to `part` what it lacks of a file."""
    fs, path = locate(url, name)
    piece = PIECE_BYTES

    def request(attempt: int) -> bytes:
        nonlocal piece
        if attempt > 1:
            piece = max(piece // 4, _LEAST_BYTES)
        return read_range(fs, path, start, min(start + piece, size), attempt)

    if part.exists() and part.stat().st_size > size:
        part.unlink()
    with part.open("ab") as file:
        while (start := file.tell()) < size:
            what = f"{url}/{name} at byte {start:,} of {size:,}"
            file.write(tried_again(what, request))
            piece = min(2 * piece, PIECE_BYTES)


def read_range(fs: AbstractFileSystem, path: str, start: int, end: int, attempt: int = 1) -> bytes:
    """The bytes start … end − 1 of a file, or from `start` to the end of the file, where the server
    knows no ranges and sends all."""
    data = fs.cat_file(path, start=start, end=end, **_limit(fs, attempt))
    if len(data) > end - start:
        data = data[start:]
    if len(data) < end - start:
        raise RemoteError(f"{len(data):,} bytes came instead of {end - start:,}")
    return data


def _limit(fs: AbstractFileSystem, attempt: int) -> dict[str, float]:
    """fsspec's limit on the time of a request, which only asynchronous file systems take."""
    return {"timeout": REQUEST_S * attempt} if isinstance(fs, AsyncFileSystem) else {}


def tried_again(what: str, request: Callable[[int], T]) -> T:
    """The answer to a request, which gets the number of its attempt, from 1.

    what: for messages. Raises `FileNotFoundError` for a file that the server does not have,
    `RemoteError` for others that it refuses, and after `PATIENCE_S`.
    """
    since, attempt, refusals = time.monotonic(), 0, 0
    while True:
        attempt += 1
        try:
            return request(attempt)
        except _MISTAKES:
            raise
        except Exception as error:  # libraries' own kinds among them
            fault = _Fault(error)
        elapsed, wait = time.monotonic() - since, fault.wait(attempt)
        refusals += fault.is_refusal
        if refusals == _TIMES:
            kind = FileNotFoundError if fault.is_absent else RemoteError
            raise kind(f"{what}: {fault}: see that it is there and may be read") from None
        if elapsed + wait > PATIENCE_S:
            raise RemoteError(
                f"{what}: {fault}; {attempt} attempts in {elapsed:.0f} s. See that the server "
                "answers, then run the same command again: what has been fetched is kept"
            ) from None
        _log.warning("%s: %s; attempt %d, again in %.1f s", what, fault, attempt, wait)
        time.sleep(wait)


def _is_of_the_url(cause: BaseException) -> bool:
    """Whether nobody knows the host, its certificate is not trusted, or no key is there for it."""
    errors = (cause, *(getattr(cause, name, None) for name in ("os_error", "certificate_error")))
    return (
        any(isinstance(e, socket.gaierror) and e.errno == socket.EAI_NONAME for e in errors)
        or any(isinstance(e, ssl.SSLCertVerificationError) for e in errors)
        or type(cause).__name__ == "NoCredentialsError"  # of boto, which may not be installed
    )


class _Fault:
    """What an exception of a request means. fsspec and its parts each have kinds of their own."""

    def __init__(self, error: Exception) -> None:
        cause, hidden = error, error.__cause__
        is_of_http = type(hidden).__module__.startswith("aiohttp") or isinstance(hidden, OSError)
        if isinstance(error, FileNotFoundError) and is_of_http:  # all faults of HTTP's `info`
            cause = hidden
        status = getattr(cause, "status", None) or getattr(cause, "code", None)
        self.is_absent = status == 404 or isinstance(cause, FileNotFoundError)
        is_4xx = isinstance(status, int) and 400 <= status < 500
        self.is_refusal = (
            self.is_absent
            or isinstance(cause, PermissionError)
            or _is_of_the_url(cause)
            or (is_4xx and status not in _REFUSED_IN_PASSING)
        )
        headers = getattr(cause, "headers", None) or {}
        after = str(headers.get("Retry-After", ""))  # it may also be a date
        self._after_s = int(after) if after.isdecimal() else 0
        if self.is_absent:
            self._says = "not found"
        elif isinstance(cause, TimeoutError):
            self._says = "no answer in time"
        elif isinstance(status, int):
            self._says = f"{status} {getattr(cause, 'message', '')}".rstrip()
        else:
            self._says = " ".join(str(cause).split()) or type(cause).__name__

    def __str__(self) -> str:
        return self._says

    def wait(self, attempt: int) -> float:
        """Before the next attempt, s; by chance, as others may have failed at the same time."""
        doubled = min(_FIRST_WAIT_S * 2 ** (attempt - 1), _LONGEST_WAIT_S)
        return max(doubled * random.uniform(0.5, 1), min(self._after_s, _LONGEST_WAIT_S))
