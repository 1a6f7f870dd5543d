"""Programs that tests start, and what is left of them."""

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def start_python(code: str, *arguments: str, **more) -> subprocess.Popen:
    """A script in a session of its own, as `python -c`; what it says can be read."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | more.pop("env", {})
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY,
        env=environment,
        start_new_session=True,
        **settings,
    )


def free_port() -> int:
    """A port of this machine that no program is given unasked."""
    while True:
        port = random.SystemRandom().randrange(20000, 30000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def session_of(leader: int) -> list[int]:
    """Processes of a session that live."""
    numbers = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return [pid for pid in numbers if _stat(pid)[3] == str(leader) and is_alive(pid)]


def is_alive(pid: int) -> bool:
    return _stat(pid)[0] not in "ZX"


def _stat(pid: int) -> list[str]:
    """State, parent, group and session, and more; "X" where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", "", "", ""]


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Does it hold, now or soon?"""
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds


def assert_nothing_is_left(leader: int) -> None:
    """Every process of the session ends soon."""
    assert wait_until(lambda: not session_of(leader), 30), f"{session_of(leader)} live on"
