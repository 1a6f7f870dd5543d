"""A web server of a folder that fails by seed, as slow and broken ones do."""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np

KINDS = (
    "stall", "reset", "cut", "500", "503", "404", "short", "wrong", "no range", "another file",
)  # fmt: skip
"""No answer; connection reset or closed within the body; statuses; fewer or other bytes than asked
for, as if they were right; the whole file in place of a range; a file of another build."""
_ONCE = ("404", "wrong", "short", "another file")
"""Whoever gets these again and again must give up; in passing they come once per file."""
_OF_A_BODY = ("reset", "cut", "short", "wrong", "no range", "another file")
_UNTRUE = ("wrong", "short", "another file")
"""Not of `dataset.json`, which alone has no checksum."""
SHARE = 0.4
"""Of requests that fail."""


class Request(NamedTuple):
    name: str
    """Of the file."""
    number: int
    """Of the requests of this file, from 0."""
    has_body: bool
    """False for HEAD."""
    range: str | None
    """As asked for, "bytes=0-99"."""

    def can_meet(self, kind: str) -> bool:
        """Whether such a fault changes the answer."""
        if kind == "no range" and self.range is None:
            return False
        if kind in _UNTRUE and self.name == "dataset.json":
            return False
        return self.has_body or kind not in _OF_A_BODY


Fault = Callable[[Request], str | None]
"""How the answer to a request fails, None for a good one."""


class WebServer(ThreadingHTTPServer):
    """Answers requests of files in `folder`, and fails as `fault` says, where the request can meet
    such a fault."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, fault: Fault) -> None:
        super().__init__(("localhost", 0), _Handler)
        self.folder, self.fault = folder, fault
        self.url = f"http://localhost:{self.server_port}/dataset"
        self.asked: list[tuple[str, int, int]] = []
        """Name of the file, first byte, and the one after the last."""
        self.injected: Counter[str] = Counter()
        self.is_over = threading.Event()
        self._numbers: Counter[str] = Counter()
        self._lock = threading.Lock()

    def next_fault(self, name: str, has_body: bool, asked: str | None) -> str | None:
        with self._lock:
            request = Request(name, self._numbers[name], has_body, asked)
            self._numbers[name] += 1
            fault = self.fault(request)
            if fault is None or not request.can_meet(fault):
                return None
            self.injected[fault] += 1
            return fault

    def handle_error(self, *_) -> None:
        """Clients leave stalled connections."""


@contextmanager
def serve(folder: Path, fault: Fault = lambda request: None) -> Iterator[WebServer]:
    server = WebServer(folder, fault)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def faults_by_seed(seed: int, kinds: tuple[str, ...] = KINDS) -> Fault:
    rng = np.random.default_rng(seed)
    met: set[tuple[str, str]] = set()

    def choose(request: Request) -> str | None:
        able = [k for k in kinds if request.can_meet(k) and (request.name, k) not in met]
        if not able or rng.random() > SHARE:
            return None
        kind = str(rng.choice(able))
        if kind in _ONCE:
            met.add((request.name, kind))
        return kind

    return choose


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        name = Path(self.path).name
        asked = self.headers.get("Range")
        fault = self.server.next_fault(name, with_body, asked)
        if fault and fault.isdigit():
            return self._status(int(fault))
        path = self.server.folder / name
        if not path.is_file():
            return self._status(404)
        data = path.read_bytes()
        tag = str(len(data))
        if fault == "another file":
            data, tag = data[::-1], "another"
        start, end, status = 0, len(data), 200
        if asked and fault != "no range":
            first, last = asked.removeprefix("bytes=").split("-")
            start, end, status = int(first), min(int(last) + 1, end), 206
        body = data[start:end]
        if with_body:
            self.server.asked.append((name, start, end))
        if fault == "short":
            body = body[: len(body) // 2]
        elif fault == "wrong":
            body = bytes(255 - byte for byte in body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", tag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        if fault == "stall" and not with_body:
            self.server.is_over.wait(60)
        self.end_headers()
        if not with_body:
            return None
        if fault not in ("stall", "reset", "cut"):
            self.wfile.write(body)
            return None
        self.wfile.write(body[: len(body) // 2])
        self.close_connection = True
        if fault == "stall":
            self.server.is_over.wait(60)
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return None

    def _status(self, number: int) -> None:
        self.send_response(number)
        if number == 503:
            self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "0")
        self.end_headers()
