"""Tars on disk and behind URLs. `memory://`, which this process alone sees, is a remote store."""

import fcntl
import multiprocessing
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from deformer.data import remote, workers
from deformer.data import store as stores
from deformer.data.order import OrderConfig
from deformer.data.store import ClipReader, Prefetcher, open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.data.windows import WindowConfig
from tests.pipelines.handmade import build_dataset, make_clip
from tests.processes import wait_until

CONFIG = StreamConfig(size=32, window=WindowConfig(3, 2), order=OrderConfig(8, mix_clips=2))
TARS = [f"{k:06d}.tar" for k in range(3)]


class CountingFileSystem(MemoryFileSystem):
    """A remote store that notes what is fetched, and waits for `gate` before each file."""

    protocol = "counting"
    store: dict = {}
    pseudo_dirs = [""]
    fetched: list[str] = []
    gate = threading.Event()

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("counting:/"))

    def cat_file(self, path, start=None, end=None, **kwargs):
        self.fetched.append(Path(path).name)
        assert self.gate.wait(20)
        return super().cat_file(path, start, end, **kwargs)


fsspec.register_implementation("counting", CountingFileSystem, clobber=True)


def upload(folder: Path, url: str) -> str:
    fs, root = fsspec.url_to_fs(url)
    if fs.exists(root):
        fs.rm(root, recursive=True)
    fs.put(str(folder), root, recursive=True)
    return url


@pytest.fixture(autouse=True)
def short_waits(monkeypatch) -> None:
    monkeypatch.setattr(remote, "_FIRST_WAIT_S", 0.001)


@pytest.fixture
def url(dataset) -> str:
    """The dataset in memory."""
    CountingFileSystem.fetched.clear()
    CountingFileSystem.gate.set()
    return upload(dataset, "counting://bucket/dataset")


def tars_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.tar"))


def bytes_of_batches(store, index, workers: int = 0, config: StreamConfig = CONFIG) -> list[bytes]:
    stream = Stream(config, store, index, workers=workers)
    batches = stream.batches(0, 2 * stream.steps_per_epoch)
    return [b"".join(field.numpy().tobytes() for field in batch[:-1]) for batch in batches]


def test_a_shard_that_the_split_does_not_need_may_be_absent(own_dataset):
    (own_dataset / TARS[2]).unlink()  # s0_test
    assert len(bytes_of_batches(*open_store(own_dataset))) == 10
    with pytest.raises(FileNotFoundError, match=r"lacks 000002.tar: python -m pipelines.verify"):
        Stream(CONFIG.for_evaluation("s0_test"), *open_store(own_dataset))


def test_missing_and_truncated_remote_shards_are_errors_before_the_first_step(url, tmp_path):
    fs, root = fsspec.url_to_fs(url)
    store, index = open_store(url, tmp_path)
    fs.pipe_file(f"{root}/{TARS[0]}", fs.cat_file(f"{root}/{TARS[0]}")[:-1])
    with pytest.raises(ValueError, match=r"counting://bucket/dataset: 000000.tar .* not whole"):
        Stream(CONFIG, store, index)
    fs.rm(f"{root}/{TARS[0]}")
    with pytest.raises(FileNotFoundError, match=r"counting://bucket/dataset lacks 000000.tar"):
        Stream(CONFIG, store, index)


def test_no_dataset_under_a_url_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_store("memory://nowhere/dataset", tmp_path)


def test_workers_read_remote_shards(dataset, tmp_path):
    # a URL that any process can open, with a cache of its own in between
    behind = open_store(f"simplecache::file://{dataset}", tmp_path)
    assert behind[0].is_remote and not open_store(f"file://{dataset}")[0].is_remote
    assert bytes_of_batches(*behind, workers=1) == bytes_of_batches(*open_store(dataset))


def test_a_file_is_given_up_well_before_its_reader():
    given_up_after = remote.PATIENCE_S + remote.REQUEST_S + remote._LONGEST_WAIT_S
    assert 3 * given_up_after < workers.PATIENCE_S


def test_what_is_in_the_cache_is_not_fetched_again(url, tmp_path):
    first = bytes_of_batches(*open_store(url, tmp_path))
    fetched = list(CountingFileSystem.fetched)
    tables, info = ["frames.parquet", "annotations.parquet"], "dataset.json"
    assert fetched[:4] == [info, *tables, info]  # it must not change meanwhile
    assert sorted(fetched[4:]) == TARS[:2]
    assert bytes_of_batches(*open_store(url, tmp_path)) == first
    assert CountingFileSystem.fetched == [*fetched, info]


def test_a_bounded_cache_drops_what_was_asked_for_longest_ago(url, tmp_path, dataset):
    sizes = [(dataset / name).stat().st_size for name in TARS]
    store, _ = open_store(url, tmp_path, cache_bytes=max(sizes[0] + sizes[1], sizes[0] + sizes[2]))
    for name, expected in [
        (TARS[0], TARS[:1]), (TARS[1], TARS[:2]), (TARS[0], TARS[:2]),
        (TARS[2], [TARS[0], TARS[2]]),
    ]:  # fmt: skip
        path = store.path(name)
        assert tars_of(store.folder) == expected
        assert path.read_bytes() == (dataset / name).read_bytes()
        time.sleep(0.01)  # file times may be coarse


def test_batches_are_the_same_with_a_cache_of_one_shard(url, tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(stores, "_MAX_OPEN", 1)
    store, index = open_store(url, tmp_path, cache_bytes=1)
    config = StreamConfig(**vars(CONFIG) | {"split": "all"})
    batches = bytes_of_batches(store, index, config=config)
    assert batches == bytes_of_batches(*open_store(dataset), config=config)
    assert wait_until(lambda: len(tars_of(store.folder)) == 1)  # the prefetcher may be at work
    tars = [name for name in CountingFileSystem.fetched if name.endswith(".tar")]
    assert len(tars) > 3  # some came more than once


def test_a_shard_that_others_drop_all_the_time_is_still_read(url, tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(stores, "_MAX_OPEN", 1)
    store, index = open_store(url, tmp_path, cache_bytes=0)
    first_rows = [int(np.flatnonzero(index.shard == shard)[0]) for shard in range(3)]
    local = ClipReader(open_store(dataset)[0], index, num_clips=9)
    expected = [local.image(row) for row in first_rows]
    is_over = threading.Event()

    def ask_for_another() -> None:
        while not is_over.is_set():
            store.path(TARS[2])

    others = [threading.Thread(target=ask_for_another) for _ in range(2)]
    for other in others:
        other.start()
    try:
        reader = ClipReader(store, index, num_clips=9)
        for _ in range(40):
            assert [reader.image(row) for row in first_rows] == expected
    finally:
        is_over.set()
        for other in others:
            other.join()


def test_another_build_under_the_same_url_replaces_the_cache(url, tmp_path):
    store, index = open_store(url, tmp_path / "cache")
    old = store.path(TARS[0]).read_bytes()
    other = build_dataset(tmp_path / "other", [[make_clip("other", seed=5)]])
    upload(other, url)
    store, index = open_store(url, tmp_path / "cache")
    assert index.clips == ("other",) and tars_of(store.folder) == []
    assert store.path(TARS[0]).read_bytes() == (other / TARS[0]).read_bytes() != old


def test_a_prefetcher_brings_shards_in_the_order_asked_for(url, tmp_path):
    store, _ = open_store(url, tmp_path)
    fs, root = fsspec.url_to_fs(url)
    fs.rm(f"{root}/{TARS[0]}")
    CountingFileSystem.fetched.clear()
    prefetcher = Prefetcher(store)
    prefetcher.ask([TARS[2], TARS[0]])
    prefetcher.ask([TARS[0], TARS[1]])  # what fails is left to the reader
    assert wait_until(lambda: tars_of(store.folder) == TARS[1:])
    assert CountingFileSystem.fetched == [TARS[2], TARS[0], TARS[0], TARS[0], TARS[1]]
    prefetcher.close()
    assert wait_until(lambda: not prefetcher._thread.is_alive())


def test_a_closed_prefetcher_begins_nothing_more(url, tmp_path):
    store, _ = open_store(url, tmp_path)
    CountingFileSystem.gate.clear()
    CountingFileSystem.fetched.clear()
    prefetcher = Prefetcher(store)
    prefetcher.ask(TARS)
    assert wait_until(lambda: CountingFileSystem.fetched == TARS[:1])
    prefetcher.close()
    CountingFileSystem.gate.set()
    assert wait_until(lambda: not prefetcher._thread.is_alive())
    assert tars_of(store.folder) == TARS[:1]


def test_shards_are_brought_before_the_step_that_needs_them(url, tmp_path):
    store, index = open_store(url, tmp_path)
    config = StreamConfig(**vars(CONFIG.for_evaluation("all")))
    batches = Stream(config, store, index).batches()
    next(batches)
    assert wait_until(lambda: tars_of(store.folder) == TARS)
    batches.close()


def test_a_process_forked_during_a_fetch_does_not_keep_the_shard_locked(url, tmp_path):
    # Workers are forked while the prefetcher is at work; they inherit its open lock file
    store, _ = open_store(url, tmp_path)
    CountingFileSystem.gate.clear()
    CountingFileSystem.fetched.clear()
    prefetcher = Prefetcher(store)
    prefetcher.ask(TARS[:1])
    assert wait_until(lambda: CountingFileSystem.fetched == TARS[:1])
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    try:
        CountingFileSystem.gate.set()
        prefetcher.close()
        assert wait_until(lambda: not prefetcher._thread.is_alive())
        with (store.folder / "000000.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        worker.kill()
        worker.join()


def test_the_reader_keeps_labels_of_so_many_clips_and_no_masks(dataset):
    store, index = open_store(dataset)
    reader = ClipReader(store, index, num_clips=2)
    for clip in range(4):
        labels = reader.labels(clip)
        assert labels["joints_px"].shape == (5 + clip % 3, 21, 2)
        assert not [name for name in labels if name.startswith("mask")]
    assert reader.labels(3) is labels
    assert reader.labels.cache_info()[1:] == (4, 2, 2)  # read, kept at most, kept


def test_the_reader_closes_files_it_has_not_used_for_long(dataset, monkeypatch):
    monkeypatch.setattr(stores, "_MAX_OPEN", 2)
    store, index = open_store(dataset)
    reader = ClipReader(store, index, num_clips=9)
    rows = [int(np.flatnonzero(index.shard == shard)[0]) for shard in (0, 1, 2, 0)]
    images = [reader.image(row) for row in rows]
    assert images[0] == images[3]
    assert len(reader._files) == 2 and not any(file.closed for file in reader._files.values())
