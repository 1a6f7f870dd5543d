"""The cache of remote datasets, which processes of one machine share.

It has a folder per URL, in it one per build, which is named by the hash of `dataset.json`.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

import pyarrow.parquet as pq

from deformer.data.dataset import ANNOTATIONS_FILE, DATASET_FILE, FRAMES_FILE, read_info
from deformer.data.remote import RemoteError, fetch, read_file
from deformer.files.foreign import UnreadableFileError
from deformer.files.sealed import ChangedFileError, check_parquet
from deformer.files.tables import DAMAGE
from deformer.files.whole import write_whole

COPY_AGAIN = "copy them there from the built folder"
"""Advice for shards that a URL lacks."""
_TABLES = (FRAMES_FILE, ANNOTATIONS_FILE)


# ---------------------------------------------------------------------------------------- shards


def open_cached(url: str, path: Path, cache_bytes: int) -> BinaryIO:
    """The tar of a URL that belongs at `path`, fetched unless it is there; then others of the URL
    are deleted until all fit `cache_bytes`.

    Raises `FileNotFoundError` for a missing tar, `RemoteError` for one that cannot be fetched.
    """
    lock = _lock_of(path)
    before = lock.read_text() if lock.exists() else ""
    with _locked(lock) as failure:  # without it, the tar could be deleted in between
        if not path.exists():
            _fetch_shard(url, path, failure, before)
        os.utime(path)  # the least recently used is deleted
        file = path.open("rb")
    _evict(path.parent.parent, cache_bytes, keep=path)
    return file


def _fetch_shard(url: str, path: Path, failure: TextIO, before: str) -> None:
    """Fetch a tar.

    failure: the file that notes the last failed fetch, before: what it held when this process
    began to wait for the lock. If another has failed since, so has this one: else those that wait
    would lose their patience in turn.
    """
    failure.seek(0)
    if (says := failure.read()) != before:
        raise RemoteError(says.partition("\n")[2])
    (shard,) = (s for s in read_info(path.parent)["shards"] if s["name"] == path.name)
    is_shard = functools.partial(_is_shard, sha256=shard["sha256"])
    try:
        fetch(url, path.name, shard["size"], path, is_shard)
    except FileNotFoundError:
        raise FileNotFoundError(f"{url} lacks {path.name}: {COPY_AGAIN}") from None
    except RemoteError as error:
        failure.truncate(0)
        failure.write(f"{time.time_ns()}\n{error}")
        failure.flush()  # before the lock is free
        raise


def _evict(base: Path, cache_bytes: int, keep: Path) -> None:
    """Delete the least recently used shards of all builds until the rest fits; open files stay
    readable. A shard that is being fetched stays."""
    with _locked(base / "evict.lock"):
        found = []
        for path in base.rglob("*.tar*"):  # with those that are not whole, whose readers have died
            with contextlib.suppress(FileNotFoundError):  # it may just have become whole
                found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        excess = sum(size for _, size, _ in found) - cache_bytes
        for _, size, path in sorted(found):
            if excess > 0 and path != keep:
                lock = _locked(_lock_of(path), fcntl.LOCK_NB)
                with contextlib.suppress(BlockingIOError), lock:
                    path.unlink(missing_ok=True)
                    excess -= size


def _is_shard(path: Path, sha256: str) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _lock_of(path: Path) -> Path:
    """000000.lock of 000000.tar and of 000000.tar.part."""
    return path.with_name(f"{path.name.partition('.')[0]}.lock")


# ----------------------------------------------------------------------------------------- index


def fetched_index(url: str, cache: Path) -> Path:
    """The local folder of the build that is at a URL now, with its index. Those of earlier builds
    stay, as programs may be reading them.

    Raises `FileNotFoundError` where there is no dataset, `RemoteError` when it cannot be fetched.
    """
    base = cache / hashlib.sha256(url.encode()).hexdigest()[:16]
    base.mkdir(parents=True, exist_ok=True)
    with _locked(base / "index.lock"):
        return _fetch_index(url, base)


def _fetch_index(url: str, base: Path) -> Path:
    content = _read_info(url)
    while True:
        folder = base / hashlib.sha256(content).hexdigest()[:16]
        write_whole(folder / DATASET_FILE, content)
        try:
            counts = read_info(folder)["counts"]
        except UnreadableFileError:
            raise RemoteError(
                f"{url}/{DATASET_FILE} is not what a build writes: look whether the server sends a "
                "page in its place"
            ) from None
        is_table = functools.partial(_is_table, num_rows=counts["frames"] + counts["halo"])
        lacking = [name for name in _TABLES if not _is_kept(folder / name)]
        for name in lacking:
            fetch(url, name, None, folder / name, is_table)
        if not lacking or content == (now := _read_info(url)):
            return folder
        for name in lacking:  # they may be of the build that has come meanwhile
            (folder / name).unlink()
        content = now


def _read_info(url: str) -> bytes:
    try:
        return read_file(url, DATASET_FILE)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{url} is no built dataset (no {DATASET_FILE}): name the folder that holds it"
        ) from None


def _is_kept(path: Path) -> bool:
    """Whether a table is there, and as it was when it came."""
    try:
        check_parquet(path)
    except (ChangedFileError, FileNotFoundError):
        return False
    return True


def _is_table(path: Path, num_rows: int) -> bool:
    """Whether a table has so many rows, and bytes that fit its checksums."""
    try:
        check_parquet(path)
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group)
            return file.metadata.num_rows == num_rows
    except (ChangedFileError, *DAMAGE):
        return False


@contextlib.contextmanager
def _locked(path: Path, more: int = 0) -> Iterator[TextIO]:
    """Exclude other processes of this machine. Yields the file, whose content stays. Raises
    `BlockingIOError` where `more` is LOCK_NB and another holds the lock."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | more)
        try:
            yield file
        finally:
            # Closing is not enough: a process forked meanwhile holds the same open file
            fcntl.flock(file, fcntl.LOCK_UN)
