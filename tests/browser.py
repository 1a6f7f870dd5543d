"""A page in headless Chromium, over its debugging protocol. Tests that need it skip without it."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop
from tornado.websocket import WebSocketClientConnection, websocket_connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    "--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking",
    "--disable-dev-shm-usage", "--enable-unsafe-swiftshader", "--use-angle=swiftshader",
    "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip
_WAIT_S = 120


class Page:
    """An open page, what it complained about and what it asked the network for."""

    def __init__(self, loop: IOLoop, socket: WebSocketClientConnection) -> None:
        self._loop, self._socket, self._number = loop, socket, 0
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **params: Any) -> dict:
        """The answer of one method of the protocol; raises `RuntimeError` if it is refused."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._run(lambda: self._socket.write_message(json.dumps(message)))
        while (answer := self._next()).get("id") != self._number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise."""
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", expression=script, **options)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def wait_for(self, event: str) -> None:
        while self._next().get("method") != event:
            pass

    def _next(self) -> dict:
        message = json.loads(self._run(self._socket.read_message))
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(params["entry"]["text"])
        return message

    def _run(self, work) -> Any:
        return self._loop.run_sync(work, timeout=_WAIT_S)


@contextmanager
def open_page(path: Path, width: int = 1280, height: int = 800) -> Iterator[Page]:
    """Open a file. All that it does from its first moment on is recorded."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        browser = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        loop = IOLoop(make_current=False)
        try:
            port = _port(Path(profile) / "DevToolsActivePort", browser)
            page = Page(loop, loop.run_sync(lambda: _connect(port), timeout=_WAIT_S))
            for domain in ("Page", "Runtime", "Log", "Network"):
                page.call(f"{domain}.enable")
            size = {"width": width, "height": height, "deviceScaleFactor": 1}
            page.call("Emulation.setDeviceMetricsOverride", mobile=width < 600, **size)
            page.call("Page.navigate", url=path.absolute().as_uri())
            page.wait_for("Page.loadEventFired")
            yield page
        finally:
            browser.terminate()
            browser.wait()
            loop.close()


def _port(file: Path, browser: subprocess.Popen) -> int:
    """The port that the browser listens on, which it writes into a file."""
    end = time.monotonic() + _WAIT_S
    while not (file.exists() and file.read_text().count("\n")):
        if browser.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{CHROMIUM} did not start")
        time.sleep(0.05)
    return int(file.read_text().split()[0])


async def _connect(port: int) -> WebSocketClientConnection:
    """The socket of the only tab."""
    answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list")
    tab = next(tab for tab in json.loads(answer.body) if tab["type"] == "page")
    return await websocket_connect(tab["webSocketDebuggerUrl"], max_message_size=2**28)
