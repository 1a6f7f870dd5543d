"""The bytes of a dataset: from a folder, or from any fsspec URL through a bounded cache.

Members are always read from a local tar, by the index's offsets. A remote shard is first fetched
whole into the cache: by the worker that needs it, or earlier by a `Prefetcher`. The cache has a
folder per URL, in it one per build, which is named by the hash of `dataset.json`.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import queue
import resource
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from deformer.data.clip import decode_labels, depth_member, image_member, labels_member
from deformer.data.dataset import (
    ANNOTATIONS_FILE,
    DATASET_FILE,
    FRAMES_FILE,
    read_info,
    read_member,
)
from deformer.data.index import FrameIndex, read_index
from deformer.data.remote import RemoteError, fetch, read_file, size_of
from deformer.files.whole import write_whole

DEFAULT_CACHE = Path.home() / ".cache" / "deformer"
_TABLES = (FRAMES_FILE, ANNOTATIONS_FILE)
_LABELS = (
    "crop_xywh", "box_px", "K", "joints_cam_m", "joints_px", "pose_rotvec", "betas", "occlusion"
)  # fmt: skip
"""The fields that windows need."""
_MAX_OPEN = 128
"""Files a process keeps open; the usual limit of a process is 1024."""


class CorruptMemberError(ValueError):
    """A member of a shard is corrupt. The message names it."""


@dataclass(frozen=True)
class Store:
    """The tars of one dataset. Picklable; opens nothing by itself."""

    url: str
    """The folder or URL, as given."""
    folder: Path
    """The local folder of the index and tars."""
    cache_bytes: int
    """Size of the cache of remote shards; the newest shard is always kept. A deleted shard takes
    up space until readers close it: they hold the last `_MAX_OPEN` open."""

    @property
    def name(self) -> str:
        """The last part of the folder or URL."""
        return self.url.rstrip("/").rpartition("/")[2]

    @property
    def is_remote(self) -> bool:
        return not isinstance(fsspec.url_to_fs(self.url)[0], LocalFileSystem)

    @property
    def _repair(self) -> str:
        """Advice for lost shards."""
        if self.is_remote:
            return "copy them there from the built folder"
        return f"python -m pipelines.verify {self.url} --repair --root RAW makes them again"

    def advice(self, index: FrameIndex) -> str:
        """For members that are corrupt, found with this index."""
        try:
            is_replaced = read_info(self.folder)["shards"] != index.info["shards"]
        except (ValueError, OSError):
            is_replaced = True
        if is_replaced:
            return "The dataset was built anew meanwhile: start again"
        return f"Find them all by: python -m pipelines.verify {self.url}"

    def path(self, name: str) -> Path:
        """The local file of a tar, fetched if remote; another process may delete it soon.

        Raises `FileNotFoundError` for a missing tar.
        """
        self.open(name).close()
        return self.folder / name

    def open(self, name: str) -> BinaryIO:
        """A tar, fetched if remote. An open file stays readable after the cache deletes it.

        Raises `FileNotFoundError` for a missing tar, `RemoteError` for one that cannot be fetched.
        """
        path = self.folder / name
        if not self.is_remote:
            try:
                return path.open("rb")
            except FileNotFoundError:
                raise FileNotFoundError(f"{self.url} lacks {name}: {self._repair}") from None
        lock = path.with_suffix(".lock")  # without it, the tar could be deleted in between
        before = lock.read_text() if lock.exists() else ""
        with _locked(lock) as failure:
            if not path.exists():
                self._fetch(name, failure, before)
            os.utime(path)  # the cache deletes the least recently used
            file = path.open("rb")
        self._evict(keep=path)
        return file

    def _fetch(self, name: str, failure: TextIO, before: str) -> None:
        """Copy a tar into the local folder.

        failure: the file that notes the last failed fetch, before: what it held when this process
        began to wait for the lock. If another has failed since, so has this one: else those that
        wait would lose their patience in turn.
        """
        failure.seek(0)
        if (says := failure.read()) != before:
            raise RemoteError(says.partition("\n")[2])
        (shard,) = (s for s in read_info(self.folder)["shards"] if s["name"] == name)
        try:
            fetch(
                self.url, name, shard["size"], self.folder / name,
                functools.partial(_is_shard, sha256=shard["sha256"]),
            )  # fmt: skip
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.url} lacks {name}: {self._repair}") from None
        except RemoteError as error:
            failure.truncate(0)
            failure.write(f"{time.time_ns()}\n{error}")
            failure.flush()  # before the lock is free
            raise

    def _evict(self, keep: Path) -> None:
        """Delete the least recently used shards of all builds until the rest fits; open files stay
        readable. A shard that is being fetched stays."""
        base = self.folder.parent
        with _locked(base / "evict.lock"):
            found = []
            for path in (*base.rglob("*.tar"), *base.rglob("*.part")):
                with contextlib.suppress(FileNotFoundError):  # a part may just have become a tar
                    found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
            excess = sum(size for _, size, _ in found) - self.cache_bytes
            for _, size, path in sorted(found):
                if excess > 0 and path != keep:
                    lock = _locked(path.with_suffix(".lock"), fcntl.LOCK_NB)
                    with contextlib.suppress(BlockingIOError), lock:
                        path.unlink(missing_ok=True)
                        excess -= size

    def check_shards(self, index: FrameIndex, shards: Iterable[str]) -> None:
        """Raises `FileNotFoundError` that names missing shards, `ValueError` for shards of another
        size than `dataset.json` says."""
        sizes = {shard["name"]: shard["size"] for shard in index.info["shards"]}
        missing, wrong = [], []
        for name in shards:
            path = self.folder / name
            if self.is_remote and path.exists():  # it was checked when it came
                continue
            try:
                size = size_of(self.url, name) if self.is_remote else path.stat().st_size
            except FileNotFoundError:
                missing.append(name)
                continue
            if size is not None and size != sizes[name]:
                wrong.append(f"{name} ({size:,} bytes instead of {sizes[name]:,})")
        if missing:
            raise FileNotFoundError(f"{self.url} lacks {', '.join(missing[:5])}: {self._repair}")
        if wrong:
            raise ValueError(f"{self.url}: {', '.join(wrong[:5])} are not whole: {self._repair}")


def open_store(
    url: str | Path, cache: Path = DEFAULT_CACHE, cache_bytes: int = 64 << 30
) -> tuple[Store, FrameIndex]:
    """Open a dataset by its folder or URL (`s3://bucket/dexycb`, `https://…`): tars and index.

    Raises `FileNotFoundError` when there is no dataset, `ValueError` for another schema version,
    `RemoteError` when the index cannot be fetched.
    """
    url = str(url)
    fs, root = fsspec.url_to_fs(url)
    if isinstance(fs, LocalFileSystem):
        store = Store(url, Path(root), cache_bytes)
        return store, read_index(store.folder)
    base = cache / hashlib.sha256(url.encode()).hexdigest()[:16]
    base.mkdir(parents=True, exist_ok=True)
    with _locked(base / "index.lock"):
        store = Store(url, _fetch_index(url, base), cache_bytes)
        for path in base.rglob("*.parquet"):
            if path.parent != store.folder:  # an earlier build's; its shards go by their age
                path.unlink()
        return store, read_index(store.folder)


def _fetch_index(url: str, base: Path) -> Path:
    """The local folder of the build that is at a URL now, with its index."""
    content = _read_info(url)
    while True:
        folder = base / hashlib.sha256(content).hexdigest()[:16]
        write_whole(folder / DATASET_FILE, content)
        counts = read_info(folder)["counts"]
        is_table = functools.partial(_is_table, num_rows=counts["frames"] + counts["halo"])
        lacking = [name for name in _TABLES if not (folder / name).exists()]
        for name in lacking:
            fetch(url, name, size_of(url, name), folder / name, is_table)
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


def _is_table(path: Path, num_rows: int) -> bool:
    """Whether a table has so many rows, and bytes that fit its checksums."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group)
            return file.metadata.num_rows == num_rows
    except (pa.ArrowException, OSError):
        return False


def _is_shard(path: Path, sha256: str) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


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


class Prefetcher:
    """A thread that fetches remote shards into the cache, in the order requested.

    It ignores errors: the worker that needs the shard meets the same error and raises it.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._want = functools.lru_cache(_MAX_OPEN)(self._queue.put)
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ask(self, names: Iterable[str]) -> None:
        """Request shards that are needed soon; repeating a recent request costs nothing."""
        for name in names:
            self._want(name)

    def close(self) -> None:
        """Start no further fetch."""
        self._is_closed.set()
        self._queue.put(None)

    def _run(self) -> None:
        while (name := self._queue.get()) is not None and not self._is_closed.is_set():
            with contextlib.suppress(OSError):
                self.store.path(name)


class ClipReader:
    """Reads members by the index, and caches the labels of the last `num_clips` clips.

    It holds open files, so each process needs its own.
    """

    def __init__(self, store: Store, index: FrameIndex, num_clips: int) -> None:
        self.store, self.index = store, index
        self._first_rows = index.clip_bounds
        self.labels = functools.lru_cache(num_clips)(self._read_labels)
        self._files: OrderedDict[int, BinaryIO] = OrderedDict()
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # −1: unlimited
        self._max_open = min(_MAX_OPEN, allowed // 4) if allowed > 0 else _MAX_OPEN

    def image(self, row: int) -> bytes:
        """The JPEG of a valid frame. Raises `CorruptMemberError`."""
        return self._member(row)

    def depth(self, row: int) -> bytes:
        """The depth image of a valid frame, in a build with depth: PNG, uint16, mm. Raises
        `CorruptMemberError`."""
        return self._member(row, "depth_")

    def _read_labels(self, clip: int) -> dict:
        """The fields of a clip that windows need, by name. Raises `CorruptMemberError`."""
        row = int(self._first_rows[clip])
        data = self._member(row, "labels_")
        try:
            return decode_labels(data, _LABELS)
        except ValueError as error:
            raise CorruptMemberError(f"{self.member_name(row, 'labels_')}: {error}") from None

    def _member(self, row: int, prefix: str = "") -> bytes:
        numbers = self.index.numbers
        offset, size, crc32 = (
            int(numbers[prefix + name][row]) for name in ("offset", "size", "crc32")
        )
        try:
            return read_member(self._file(int(self.index.shard[row])), offset, size, crc32)
        except ValueError as error:
            raise CorruptMemberError(f"{self.member_name(row, prefix)}: {error}") from None

    def member_name(self, row: int, prefix: str = "") -> str:
        """Name of a frame's image; with the prefix "depth_" of its depth image, with "labels_" of
        its clip's labels."""
        clip = self.index.clips[self.index.clip[row]]
        if prefix == "labels_":
            return labels_member(clip)
        member = depth_member if prefix else image_member
        return member(clip, int(self.index.numbers["clip_index"][row]))

    def _file(self, shard: int) -> BinaryIO:
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        file = self.store.open(self.index.shards[shard])
        self._files[shard] = file
        if len(self._files) > self._max_open:
            self._files.popitem(last=False)[1].close()
        return file
