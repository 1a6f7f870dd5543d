"""The build with Dask's workers: the same bytes, whoever is interrupted or killed."""

import json
import logging
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines.build_shards import build
from pipelines.building import cluster, shard
from pipelines.datasets.source import UnusableInputError
from tests.pipelines.building.test_build import REPOSITORY, bytes_of, command, options
from tests.processes import assert_nothing_is_left, session_of


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_any_number_of_workers_gives_the_same_bytes(
    raw_root, built, tmp_path, workers, recwarn, monkeypatch
):
    monkeypatch.setattr(shard, "PART_FRAMES", 1)  # a shard's clips are made by several
    with socket.socket() as other:  # another Dask has the port of the dashboard
        with suppress(OSError):  # truly
            other.bind(("", 8787))
            other.listen()
        build(options(raw_root, tmp_path / "out", workers=workers))
    assert not [str(warning.message) for warning in recwarn if "in use" in str(warning.message)]
    assert bytes_of(tmp_path / "out") == bytes_of(built)


def _start_slow_build(root: Path, out: Path) -> subprocess.Popen:
    """A build by two workers, one clip a shard, each clip taking half a second more."""
    slow = (
        "import time, pipelines.datasets.dexycb as d; real = d.read_clip\n"
        "def read_clip(*a):\n    time.sleep(0.5)\n    return real(*a)\n"
        "ROOT_VARIABLE, list_clips = d.ROOT_VARIABLE, d.list_clips\n"
    )
    (out.parent / "slow_dexycb").mkdir(exist_ok=True)
    (out.parent / "slow_dexycb" / "__init__.py").write_text("")
    (out.parent / "slow_dexycb" / "dexycb.py").write_text(slow)
    arguments = command(root, out, "--workers", "2", "--frames-per-shard", "1")
    arguments[arguments.index("dexycb")] = "slow_dexycb.dexycb"
    path = os.pathsep.join([str(out.parent), str(REPOSITORY)])
    return subprocess.Popen(
        arguments,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _wait_for_a_shard(process: subprocess.Popen, out: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(out.glob("*.tar")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _one_clip_a_shard(raw_root: Path, folder: Path) -> dict[str, bytes]:
    """What the slow build must come to: the same shards, made in one go in this process."""
    build(options(raw_root, folder / "reference", frames_per_shard=1))
    return _bytes_but_for_the_name(folder / "reference")


def _assert_it_ends_with_the_same_bytes(process: subprocess.Popen, root: Path, out: Path) -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert _bytes_but_for_the_name(out) == _one_clip_a_shard(root, out.parent)


def _bytes_but_for_the_name(out: Path) -> dict[str, bytes]:
    """All files, without the one line of `dataset.json` that names the dataset's module."""
    files = bytes_of(out)
    info = json.loads(files["dataset.json"])
    del info["parameters"]["dataset"]
    return files | {"dataset.json": json.dumps(info).encode()}


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(raw_root, tmp_path):
    out = tmp_path / "out"
    process = _start_slow_build(raw_root, out)
    _wait_for_a_shard(process, out)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to every process
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command to go on" in errors
    assert "Traceback" not in errors
    assert not (out / "dataset.json").exists()
    assert_nothing_is_left(process.pid)
    process = _start_slow_build(raw_root, out)
    _assert_it_ends_with_the_same_bytes(process, raw_root, out)


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_its_shard(raw_root, tmp_path):
    out = tmp_path / "out"
    process = _start_slow_build(raw_root, out)
    _wait_for_a_shard(process, out)
    in_session = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in session_of(process.pid)}
    workers = [pid for pid, command_line in in_session.items() if b"spawn_main" in command_line]
    os.kill(workers[-1], signal.SIGKILL)
    _assert_it_ends_with_the_same_bytes(process, raw_root, out)


@pytest.mark.slow
def test_killed_outright_and_resumed(raw_root, tmp_path):
    out = tmp_path / "out"
    process = _start_slow_build(raw_root, out)
    _wait_for_a_shard(process, out)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    process = _start_slow_build(raw_root, out)
    _assert_it_ends_with_the_same_bytes(process, raw_root, out)


@pytest.mark.slow
def test_a_scheduler_that_is_already_running(raw_root, built, tmp_path):
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        out = tmp_path / "out"
        build(options(raw_root, out, workers=None, scheduler=cluster.scheduler_address))
    assert bytes_of(out) == bytes_of(built)


def test_a_scheduler_that_is_not_there(raw_root, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "SCHEDULER_TIMEOUT_S", 1)
    with pytest.raises(UnusableInputError, match=r"tcp://127\.0\.0\.1:9.*no scheduler"):
        build(options(raw_root, tmp_path, workers=None, scheduler="tcp://127.0.0.1:9"))


def test_a_scheduler_that_ends():
    with (
        _scheduler_here() as here,
        pytest.raises(UnusableInputError, match="the scheduler has ended.*run the same command"),
        cluster.dask_client(cluster.WorkerOptions(scheduler=here.scheduler_address), 1) as client,
    ):
        nobody_can = client.submit(int, resources={"a thing that no worker has": 1})
        here.close()
        nobody_can.result()


def test_a_connection_that_breaks(capfd):
    """While the program asks something: Dask logs an error, and raises another kind of it."""
    with (
        _scheduler_here() as here,
        pytest.raises(UnusableInputError, match="the connection to it broke"),
        cluster.dask_client(cluster.WorkerOptions(scheduler=here.scheduler_address), 1) as client,
    ):
        logging.getLogger("distributed.client").error("a traceback")
        client.sync(_break_connection, client)
    assert "a traceback" not in capfd.readouterr().err


async def _break_connection(client) -> None:
    client.scheduler_comm.comm.abort()
    await client.scheduler_comm.comm.write("a question")


def _scheduler_here():
    from dask.distributed import LocalCluster

    place = {"processes": False, "protocol": "tcp", "dashboard_address": ":0"}
    return LocalCluster(n_workers=1, threads_per_worker=1, **place)
