"""The bytes of a dataset: from a folder, or from any fsspec URL through a bounded cache.

Members are always read from a local tar, by the index's offsets. A remote shard is first fetched
whole into the cache: by the worker that needs it, or earlier by a `Prefetcher`.
"""

import contextlib
import functools
import queue
import resource
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from deformer.data.cache import COPY_AGAIN, fetched_index, open_cached
from deformer.data.clip import decode_labels, depth_member, image_member, labels_member
from deformer.data.dataset import read_info, read_member
from deformer.data.index import FrameIndex, read_index
from deformer.data.remote import size_of
from deformer.files.patient import open_file

DEFAULT_CACHE = Path("~/.cache/deformer")
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
            return COPY_AGAIN
        return f"python -m pipelines.verify {self.url} --repair --root RAW makes them again"

    def advice(self, index: FrameIndex) -> str:
        """For members that are corrupt, found with this index."""
        if self.is_remote:
            return f"They were right when they came: delete {self.folder}, where they are kept"
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
        if self.is_remote:
            return open_cached(self.url, path, self.cache_bytes)
        try:
            return open_file(path)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.url} lacks {name}: {self._repair}") from None

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
                if self.is_remote:
                    size = size_of(self.url, name, sizes[name])
                else:
                    size = path.stat().st_size
            except FileNotFoundError:
                missing.append(name)
                continue
            if size != sizes[name]:
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
    or for a cache in the home of a user without one, `RemoteError` when the index cannot be
    fetched.
    """
    url = str(url)
    fs, root = fsspec.url_to_fs(url)
    if isinstance(fs, LocalFileSystem):
        store = Store(url, Path(root), cache_bytes)
        return store, read_index(store.folder)
    try:
        cache = cache.expanduser()
    except RuntimeError:
        raise ValueError(
            f"this user has no home folder for the cache {cache}: name another by --cache, or set "
            "$HOME"
        ) from None
    folder = fetched_index(url, cache)
    return Store(url, folder, cache_bytes), read_index(folder)


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
