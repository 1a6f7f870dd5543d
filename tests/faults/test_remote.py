"""Shards behind a web server that stalls, breaks off and fails."""

import multiprocessing
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deformer.data import remote
from deformer.data.order import OrderConfig
from deformer.data.store import Prefetcher, open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.data.windows import WindowConfig
from deformer.files.whole import NoRoomError
from tests.deformer.data.conftest import labelled_clip
from tests.faults.web_server import KINDS, Request, WebServer, faults_by_seed, serve
from tests.full_disk import little_room
from tests.pipelines.handmade import TEST, build_dataset
from tests.processes import assert_nothing_is_left, start_python, wait_until

CONFIG = StreamConfig(size=32, window=WindowConfig(3, 2), order=OrderConfig(8, mix_clips=2))
TARS = [f"{k:06d}.tar" for k in range(3)]


def build(folder: Path, seed: int = 0, num_frames: int = 12) -> Path:
    """Two shards of s0_train, one of s0_test."""
    clips = [
        [
            labelled_clip(
                f"clip-{k}", seed + k, num_frames=num_frames, splits=TEST if k == 2 else None
            )
        ]
        for k in range(3)
    ]
    return build_dataset(folder, clips)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("remote") / "dataset")


@pytest.fixture(autouse=True)
def hurry(monkeypatch) -> Iterator[None]:
    """Small pieces, little patience."""
    fast = {
        "PIECE_BYTES": 32768, "_LEAST_BYTES": 8192, "REQUEST_S": 2, "PATIENCE_S": 10,
        "_FIRST_WAIT_S": 0.002, "_LONGEST_WAIT_S": 0.02,
    }  # fmt: skip
    for name, value in fast.items():
        monkeypatch.setattr(remote, name, value)
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("fork", force=True)  # so that workers have them as well
    yield
    multiprocessing.set_start_method(before, force=True)


def expect_stalls(monkeypatch) -> None:
    """Requests that stall are given up soon; so are some that are slow on a busy machine."""
    monkeypatch.setattr(remote, "REQUEST_S", 0.2)


def epoch(url: str | Path, cache: Path, workers: int = 0) -> list[bytes]:
    """The batches of an epoch, to the last bit."""
    stream = Stream(CONFIG, *open_store(url, cache), workers=workers)
    return [b"".join(f.numpy().tobytes() for f in batch[:-1]) for batch in stream.batches()]


def read_epochs(dataset: Path, folder: Path, seeds: range, kinds: tuple[str, ...], workers=0):
    """Returns how many faults there were, how many of them in epochs read rightly, and by seed what
    went wrong in others."""
    expected = epoch(dataset, folder)
    injected = survived = 0
    wrong = {}
    for seed in seeds:
        with serve(dataset, faults_by_seed(seed, kinds)) as server:
            try:
                found = epoch(server.url, folder / str(seed), workers)
            except (ValueError, OSError) as error:
                found = error
            faults = server.injected.total()
        injected += faults
        if found == expected and not list((folder / str(seed)).rglob("*.part")):
            survived += faults
        else:
            wrong[seed] = found if isinstance(found, Exception) else "other batches"
    return injected, survived, wrong


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_is_whole_though_requests_fail(
    dataset, tmp_path, monkeypatch, count_faults, caplog, kind
):
    if kind == "stall":
        expect_stalls(monkeypatch)
    injected, survived, wrong = read_epochs(dataset, tmp_path, range(1), (kind,))
    count_faults(f"remote: {kind}", injected, survived)
    assert not wrong and injected
    assert kind == "no range" or "/dataset/" in caplog.text


@pytest.mark.parametrize("workers", [0, 2])
def test_faults_of_all_kinds_together(dataset, tmp_path, monkeypatch, count_faults, workers):
    expect_stalls(monkeypatch)
    injected, survived, wrong = read_epochs(dataset, tmp_path, range(1), KINDS, workers)
    count_faults("remote: all kinds together", injected, survived)
    assert not wrong and injected


@pytest.mark.soak
@pytest.mark.parametrize("chunk", range(10))
def test_100_epochs_with_faults(dataset, tmp_path, monkeypatch, count_faults, chunk):
    expect_stalls(monkeypatch)
    seeds = range(100 + 10 * chunk, 110 + 10 * chunk)
    injected, survived, wrong = read_epochs(dataset, tmp_path, seeds, KINDS, workers=chunk % 3)
    count_faults("remote: all kinds together", injected, survived)
    assert not wrong


# ------------------------------------------------------------------------ faults that do not pass

LASTING = [
    ("stall", OSError, r"no answer in time; \d+ attempts in \d+ s.* the server answers"),
    ("500", OSError, r"500 .*; \d+ attempts in"),
    ("reset", OSError, r"; \d+ attempts in"),
    ("404", FileNotFoundError, r"lacks 000001.tar: copy them there from the built folder"),
    ("403", OSError, r"403 .*: see that it is there and may be read"),
    ("wrong", OSError, "is not the file that dataset.json belongs to, 3 times: .*start again"),
]


LASTING_BY_WORKERS = [
    pytest.param(
        *row, workers, id=f"{row[0]}-{workers}",
        marks=pytest.mark.slow if workers and row[0] not in ("stall", "404") else (),
    )
    for row in LASTING for workers in (0, 2)
]  # fmt: skip


@pytest.mark.parametrize(("kind", "error", "says", "workers"), LASTING_BY_WORKERS)
def test_what_cannot_be_fetched_is_named(
    dataset, tmp_path, monkeypatch, count_faults, kind, error, says, workers
):
    is_failing = False

    def fault(request: Request) -> str | None:
        return kind if is_failing and request.name == TARS[1] else None

    with serve(dataset, fault) as server:
        store, index = open_store(server.url, tmp_path)
        stream = Stream(CONFIG, store, index, workers=workers)
        store.path(TARS[0])  # so that little patience is had with the shard that fails alone
        is_failing = True
        began = time.monotonic()
        with monkeypatch.context() as patch, pytest.raises(error) as raised:
            patch.setattr(remote, "PATIENCE_S", 0.5)
            if kind == "stall":
                expect_stalls(patch)
            list(stream.batches())
        elapsed = time.monotonic() - began
        message = str(raised.value)
        is_named = re.search(says, message) and server.url in message and TARS[1] in message
        count_faults(f"remote: {kind} that lasts", 1, int(bool(is_named)))
        assert is_named and "\n" not in message, message
        assert elapsed < 15
        is_failing = False
        assert len(list(stream.batches())) == 3  # nothing else is left of it


def fails_first_shard(request: Request) -> str | None:
    return "500" if request.name == TARS[0] else None


def test_those_who_wait_for_a_shard_share_its_failure(dataset, tmp_path, monkeypatch):
    with serve(dataset, fails_first_shard) as server:
        store, _ = open_store(server.url, tmp_path)
        monkeypatch.setattr(remote, "PATIENCE_S", 1)
        began, errors = time.monotonic(), []

        def read() -> None:
            with pytest.raises(OSError, match="000000.tar .*attempts in") as raised:
                store.open(TARS[0])
            errors.append(str(raised.value))

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(errors) == 8 and len(set(errors)) == 1
        assert time.monotonic() - began < 5


def test_a_shard_that_fails_does_not_hold_up_another(dataset, tmp_path):
    with serve(dataset, fails_first_shard) as server:
        store, _ = open_store(server.url, tmp_path)
        prefetcher = Prefetcher(store)
        prefetcher.ask(TARS[:1])
        assert wait_until(lambda: server.injected.total() > 2)
        began = time.monotonic()
        assert store.open(TARS[1]).read() == (dataset / TARS[1]).read_bytes()
        assert time.monotonic() - began < 5
        prefetcher.close()
        server.fault = lambda request: None


# ---------------------------------------------------------------------------- several processes

FETCH = """
import sys
from pathlib import Path
from deformer.data import remote
from deformer.data.store import open_store
remote.PIECE_BYTES = 8192
store, _ = open_store(sys.argv[1], Path(sys.argv[2]))
print("opened", flush=True)
sys.stdin.readline()
print(len(store.open("000000.tar").read()))
"""


def fetched_bytes(server: WebServer) -> int:
    return sum(end - start for name, start, end in server.asked if name == TARS[0])


@pytest.mark.slow
def test_two_processes_fetch_a_shard_once_and_another_goes_on_where_they_are_killed(
    dataset, tmp_path, count_faults
):
    size, survived = (dataset / TARS[0]).stat().st_size, 0

    def fault(request: Request) -> str | None:
        return "stall" if request[:2] == (TARS[0], 5) else None

    with serve(dataset, fault) as server:
        readers = [
            start_python(FETCH, server.url, str(tmp_path), stdin=subprocess.PIPE) for _ in range(3)
        ]
        for reader in readers:
            assert reader.stdout.readline() == "opened\n"
        for reader in readers[:2]:
            reader.stdin.write("\n")
            reader.stdin.flush()
        assert wait_until(lambda: server.injected["stall"] > 0)
        for kind in (signal.SIGSTOP, signal.SIGKILL):  # the one must not go on for the other
            for reader in readers[:2]:
                reader.send_signal(kind)
        for reader in readers[:2]:
            reader.communicate()
        try:
            assert fetched_bytes(server) == 6 * 8192
            assert [path.stat().st_size for path in tmp_path.rglob("*.part")] == [5 * 8192]
            said = readers[2].communicate("\n", timeout=60)
            assert said == (f"{size}\n", "")
            assert fetched_bytes(server) == size + 8192  # the piece that stalled came twice
            survived = 2
        finally:
            count_faults("remote: reader killed by SIGKILL", 2, survived)
    tars = [path.name for path in tmp_path.rglob("*") if path.suffix in (".tar", ".part")]
    assert tars == TARS[:1]


READ = """
import logging, sys
from deformer.program.console import run_command
from pathlib import Path
from tests.faults import test_remote
def work():
    print("begins", flush=True)
    test_remote.epoch(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
sys.exit(run_command(work))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("kind", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_program_whose_fetch_stalls(
    dataset, tmp_path, count_faults, kind, status, workers
):
    def fault(request: Request) -> str | None:
        return "stall" if request.name == TARS[1] and request.has_body else None

    with serve(dataset, fault) as server:
        program = start_python(READ, server.url, str(tmp_path), str(workers))
        assert wait_until(lambda: server.injected["stall"] > 0, 60)
        began = time.monotonic()
        os.killpg(program.pid, kind)
        _, errors = program.communicate(timeout=30)
        count_faults(
            f"remote: {kind.name} while a fetch stalls", 1, int(program.returncode == status)
        )
        assert (program.returncode, "Traceback" in errors) == (status, False)
        assert time.monotonic() - began < 15
        assert_nothing_is_left(program.pid)


# ------------------------------------------------------------------------------- another build


def test_a_dataset_built_anew_behind_a_url_is_not_mixed_with_the_old(
    dataset, tmp_path, count_faults
):
    other = build(tmp_path / "other", seed=50)
    cache = tmp_path / "cache"
    with serve(dataset) as server:
        store, _ = open_store(server.url, cache)
        assert store.open(TARS[0]).read() == (dataset / TARS[0]).read_bytes()
        server.folder = other
        with pytest.raises(OSError, match="000001.tar is not the file .* built anew, then start"):
            store.open(TARS[1])
        assert store.open(TARS[0]).read() == (dataset / TARS[0]).read_bytes()
        found = epoch(server.url, cache)
        count_faults("remote: dataset built anew", 1, int(found == epoch(other, cache)))
        assert found == epoch(other, cache) != epoch(dataset, cache)
        assert len(list(cache.rglob("*.parquet"))) == 4  # programs may be reading the old build


def test_a_build_that_comes_while_the_index_is_fetched(dataset, tmp_path, count_faults):
    other = build(tmp_path / "other", seed=50)

    def fault(request: Request) -> None:
        if request.name == "annotations.parquet":
            server.folder = other

    with serve(dataset, fault) as server:
        found = epoch(server.url, tmp_path / "cache")
    count_faults("remote: dataset built anew", 1, int(found == epoch(other, tmp_path)))
    assert found == epoch(other, tmp_path)


def test_a_page_in_place_of_a_dataset_is_told(tmp_path):
    (tmp_path / "dataset.json").write_text("<html>Please log in</html>")
    with serve(tmp_path) as server, pytest.raises(OSError, match="dataset.json is not what a"):
        open_store(server.url, tmp_path / "cache")


def test_a_full_disk_is_told(dataset, tmp_path):
    with serve(dataset) as server:
        store, _ = open_store(server.url, tmp_path)
        with little_room(), pytest.raises(NoRoomError, match="no space left.*000000.tar"):
            store.open(TARS[0])
        assert store.open(TARS[0]).read() == (dataset / TARS[0]).read_bytes()
