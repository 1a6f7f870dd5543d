"""A Dask cluster of its own processes, as on other machines: one scheduler, two workers."""

import json
import os
import signal
from pathlib import Path

from tests.faults.fork_server import Life, Server
from tests.processes import wait_until

_WORKERS = 2


class Cluster:
    """Starts again whatever of it has ended."""

    def __init__(self, server: Server, folder: Path, before: str) -> None:
        """before: code that its workers run first."""
        self._server, self._folder, self._before = server, folder, before
        self._file = folder / "scheduler.json"
        self.scheduler: Life | None = None
        self.workers: Life | None = None

    def address(self) -> str:
        """Of the running scheduler, which has workers."""
        if self.scheduler is None or self.scheduler.is_over:
            self.end()
            self.scheduler = self._start("scheduler", "--port", 0, "--host", "127.0.0.1")
            assert wait_until(self._is_up, 60), self.scheduler.said
            self._address = json.loads(self._file.read_text())["address"]
        self.have_workers()
        return self._address

    def have_workers(self) -> None:
        if self.workers is None or self.workers.is_over:
            line = ("--nworkers", _WORKERS, "--nthreads", 1, "--local-directory", self._folder)
            wanted = self._arrived() + _WORKERS
            self.workers = self._start("worker", *line)
            # Dask replaces a worker only once it has arrived
            assert wait_until(lambda: self._arrived() >= wanted, 60), self.workers.said

    def _arrived(self) -> int:
        return self.scheduler.said.count("Starting worker compute stream")

    def _start(self, what: str, *line: object) -> Life:
        line = ("--scheduler-file", self._file, "--no-dashboard", *line)
        return self._server.start(f"distributed.cli.dask_{what}", *line, before=self._before)

    def _is_up(self) -> bool:
        return self._file.exists() and self._file.read_text().rstrip().endswith("}")

    def end(self) -> None:
        for life in filter(None, (self.workers, self.scheduler)):
            if not life.is_over:
                os.killpg(life.pid, signal.SIGKILL)
            life.end()
        self.workers = self.scheduler = None
        self._file.unlink(missing_ok=True)
