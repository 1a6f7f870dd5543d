"""A folder that one process writes at a time."""

import os
import signal
import subprocess
import sys

import pytest

from deformer.files.whole import NoRoomError
from deformer.program.lock import LOCK_FILE, LockError, locked
from tests.full_disk import LINE, little_room, names

HOLDING = """
import multiprocessing, os, sys, time
from pathlib import Path
from deformer.program.lock import locked
def read():  # the fork is over when this begins, which is not sure when `start` returns
    print(os.getpid(), flush=True)
    time.sleep(60)
with locked(Path(sys.argv[1]), "training"):
    multiprocessing.get_context("fork").Process(target=read).start()
    time.sleep(60)
"""


def test_one_at_a_time(tmp_path):
    out = tmp_path / "new" / "run"
    message = rf"another training \(process {os.getpid()} on "
    with locked(out, "training"), pytest.raises(LockError, match=message), locked(out, "training"):
        pass
    assert list(out.iterdir()) == []
    with locked(out, "training"):
        assert (out / LOCK_FILE).exists()


def test_the_lock_of_a_killed_process_goes_with_it_though_its_readers_live_on(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, tmp_path], stdout=subprocess.PIPE, text=True
    )
    reader = int(process.stdout.readline())
    try:
        message = f"process {process.pid} on "
        with pytest.raises(LockError, match=message), locked(tmp_path, "training"):
            pass
        process.kill()
        process.wait()
        os.kill(reader, 0)
        with locked(tmp_path, "training"):
            pass
    finally:
        process.kill()
        os.kill(reader, signal.SIGKILL)


def test_no_room_for_the_lock(tmp_path):
    refusal = pytest.raises(NoRoomError, match=LINE.format(tmp_path))
    with little_room(0), refusal, locked(tmp_path, "build"):
        pass
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    out, message = tmp_path / "file" / "run", "cannot be written.*give another by --out"
    with pytest.raises(LockError, match=message), locked(out, "training"):
        pass
