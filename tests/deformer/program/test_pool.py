"""Jobs in processes: all results, and none that outlives the program."""

import os
import resource
import signal
import sys
import threading
import time

import pytest

from deformer.program.pool import allow_many_files, run_in_processes, signals_held
from deformer.program.stopping import Terminated, sigterm_raises
from tests.processes import assert_nothing_is_left, session_of, start_python, wait_until


def double(value: int) -> int:
    return 2 * value


def die(value: int) -> int:
    if value == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def refuse(value: int) -> None:
    if value == 0:
        raise ValueError("no such sequence")
    time.sleep(60)


def sleep(value: int) -> None:
    os.write(1, b"working\n")  # at once: two of them say it
    time.sleep(600)


def test_every_job_with_its_place():
    assert dict(run_in_processes(double, [(5,), (7,), (9,)], 2)) == {0: 10, 1: 14, 2: 18}


def test_a_worker_that_is_killed_is_told_of_at_once():
    started = time.monotonic()
    with pytest.raises(ChildProcessError, match="a worker was killed: .*fewer --workers"):
        list(run_in_processes(die, [(0,), (1,)], 2))
    assert time.monotonic() - started < 40


def test_an_error_ends_the_other_jobs():
    with pytest.raises(ValueError, match="no such sequence"):
        list(run_in_processes(refuse, [(0,), (1,)], 2))


PROGRAM = """
from deformer.program.pool import run_in_processes
from deformer.program.console import run_command
from tests.deformer.program.test_pool import sleep
import sys
sys.exit(run_command(lambda: list(run_in_processes(sleep, [(0,), (1,), (2,)], 2)), "run it again"))
"""


@pytest.mark.parametrize(
    ("send", "kind", "status"),
    [
        (os.kill, signal.SIGTERM, 143),
        (os.killpg, signal.SIGTERM, 143),
        (os.killpg, signal.SIGINT, 130),
        (os.kill, signal.SIGKILL, -9),
    ],
)
def test_nobody_outlives_the_program(send, kind, status):
    process = start_python(PROGRAM)
    for _ in range(2):
        assert process.stdout.readline() == "working\n"
    send(process.pid, kind)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    if kind == signal.SIGKILL:
        assert "Traceback" not in errors
    else:
        assert errors == "run it again\n"
    assert_nothing_is_left(process.pid)


LATE = """
import multiprocessing, os, time
from deformer.program.pool import end_with_parent

def work(parent):
    os.write(1, b"working\\n")
    while os.getppid() == parent:
        time.sleep(0.01)
    end_with_parent()
    time.sleep(600)

multiprocessing.get_context("fork").Process(target=work, args=(os.getpid(),)).start()
if not os.fork():
    os.write(1, b"holding %d\\n" % os.getpid())
    time.sleep(600)
time.sleep(600)
"""


def test_a_forked_worker_ends_whose_parent_had_ended_before_it_looked():
    """Though a sibling holds the pipe that shows the parent's end."""
    process = start_python(LATE)
    said = sorted(process.stdout.readline() for _ in range(2))
    holder = int(said[0].removeprefix("holding "))
    process.kill()
    try:
        assert wait_until(lambda: session_of(process.pid) == [holder])
    finally:
        for pid in session_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


CALLS = """
from deformer.program.pool import ending_with_this
import subprocess, sys
sleep = "import time; print('working', flush=True); time.sleep(600)"
subprocess.run(ending_with_this([sys.executable, "-c", sleep]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_a_command_ends_with_a_program_that_is_killed():
    process = start_python(CALLS)
    assert process.stdout.readline() == "working\n"
    process.kill()
    process.communicate(timeout=60)
    assert_nothing_is_left(process.pid)


def test_a_signal_waits_until_processes_are_started():
    """Though another thread does not block it, and Python calls the handler in this one."""
    ended, started = threading.Event(), []
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        with pytest.raises(Terminated), sigterm_raises(), signals_held("spawn"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            started.append(True)
    finally:
        ended.set()
    assert started == [True]


def test_a_forked_process_ends_though_what_is_raised_is_swallowed():
    with sigterm_raises():
        if not (child := os.fork()):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            except BaseException:  # as an event loop does
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_open_files_are_allowed_as_far_as_may_be():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        allow_many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(4096, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
