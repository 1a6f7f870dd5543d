"""Programs that start at once: forked from a process that has imported what they import.

A cold start spends seconds on imports, which random moments would mostly hit.
"""

import atexit
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.processes import is_alive, session_of, start_python, wait_until

_WITHIN_S = 120
"""No program of the tests takes as long."""
_DASK = ("distributed.cli.dask_scheduler", "distributed.cli.dask_worker", "dask.distributed")
_ALSO = {
    "pipelines.build_shards": (
        "pipelines.datasets.dexycb", "webdataset", "pyarrow.dataset", "embreex", *_DASK,
    ),
    "pipelines.predict_videos": ("mediapipe.tasks.python.vision", *_DASK),
}  # fmt: skip
"""What programs import late."""
_SERVER = "from tests.faults.fork_server import serve; serve()"


@dataclass(frozen=True)
class Life:
    """A program from its start to its end; it leads a session of its own."""

    pid: int
    log: Path
    _server: "Server"

    @property
    def is_over(self) -> bool:
        return not is_alive(self.pid)

    @property
    def workers(self) -> list[int]:
        """Its processes but itself and what `multiprocessing` needs for its books."""
        others = (pid for pid in session_of(self.pid) if pid != self.pid)
        return [pid for pid in others if b"resource_tracker" not in _command_line(pid)]

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> int:
        """Wait for the program and for all of its processes; returns its exit status."""
        assert wait_until(lambda: self.is_over, _WITHIN_S), f"it does not end: {self.said}"
        status = os.waitstatus_to_exitcode(int(self._server.ask({"wait": self.pid})))
        assert wait_until(lambda: not session_of(self.pid), 30), (
            f"{session_of(self.pid)} outlive it (status {status}): {self.said}"
        )
        self._server.lives.remove(self.pid)
        return status


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


class Server:
    """Starts programs."""

    def __init__(self, folder: Path, process) -> None:
        self._folder, self._process, self._number = folder, process, 0
        self.lives: set[int] = set()
        """Those of which nobody has seen the end."""

    def ask(self, question: dict) -> str:
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def start(self, module: str, *line: object, method: str = "fork", before: str = "") -> Life:
        """Run `module.main()` with a command line. method: by which Dask starts its workers;
        before: code to run first."""
        self._number += 1
        log = self._folder / f"{self._number}.log"
        log.touch()
        question = {"module": module, "line": [*map(str, line)], "method": method}
        pid = int(self.ask(question | {"before": before, "log": str(log)}))
        self.lives.add(pid)
        return Life(pid, log, self)

    def end(self) -> None:
        """Kill what tests that failed have left."""
        for pid in [pid for life in self.lives for pid in session_of(life)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()


@contextmanager
def warm_server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        process = start_python(_SERVER, stdin=-1, stderr=None, env={"OMP_NUM_THREADS": "1"})
        server = Server(Path(folder), process)
        try:
            yield server
        finally:
            server.end()


# ------------------------------------------------------------------------------- in the server


def serve() -> None:
    """Fork a program for every line of standard input, or wait for one that has ended."""
    for line in sys.stdin:
        question = json.loads(line)
        answer = os.waitpid(question["wait"], 0)[1] if "wait" in question else _fork(**question)
        print(answer, flush=True)


def _fork(module: str, **how) -> int:
    """The process, once it leads its session."""
    for name in (module, *_ALSO.get(module, ())):
        import_module(name)
    until, leads = os.pipe()
    if not (pid := os.fork()):
        os.setsid()
        os.close(until)
        os.close(leads)
        _live(module, **how)
    os.close(leads)
    os.read(until, 1)
    os.close(until)
    return pid


def _live(module: str, line: list[str], method: str, before: str, log: str) -> None:
    import dask

    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), file, file)):
        os.dup2(descriptor, number)
    sys.stdin = None  # the server's
    dask.config.set({"distributed.worker.multiprocessing-method": method})
    dask.config.set({"temporary-directory": str(Path(log).parent)})  # folders of the killed
    exec(before, {})
    sys.argv = [module, *line]
    try:
        status = import_module(module).main()
    except SystemExit as end:
        status = end.code
    # The end of a program, without the seconds that it takes to free what is shared with the server
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)
