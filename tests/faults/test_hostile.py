"""The watch itself: each wrong that a reader may do is noticed."""

import os
import pickle
import signal
import socket
from pathlib import Path

import numpy as np
import pytest

from tests.faults.damage import damaged
from tests.faults.hostile import Reader, fuzz


def _eval(data: bytes) -> object:
    return eval("1 + 1")


def _allocate(data: bytes) -> object:
    """So much that what the system takes away meanwhile does not matter."""
    return np.ones(int(data or 424) << 20, np.uint8).sum()


def _hide(data: bytes) -> object:
    try:
        return np.empty(1 << 40)
    except MemoryError:
        raise ValueError("not a whole file") from None


def _warn(data: bytes) -> object:
    return np.float32(1) / np.zeros(1)


def _hang(data: bytes) -> object:
    signal.setitimer(signal.ITIMER_PROF, 0.1)  # in place of seconds
    while True:
        pass


WRONGS = {
    "another error": (lambda data: {}[data], "raises KeyError"),
    "no name in its error": (lambda data: int("x"), "does not name the file"),
    "a command": (lambda data: os.system("true"), "os.system"),
    "a pickle": (lambda data: pickle.loads(pickle.dumps(signal.Signals(1))), "pickle.find_class"),
    "source": (_eval, "exec of"),
    "a connection": (lambda data: socket.socket(), "socket"),
    "a file outside": (lambda data: Path("/no-such-folder/x").write_bytes(b""), "open to write"),
    "a file read outside": (lambda data: Path("/etc/hostname").read_bytes(), "open /etc/hostname"),
    "a folder outside": (lambda data: Path("/tmp").mkdir(), "os.mkdir"),
    "much memory": (_allocate, "MiB"),
    "much memory that is not there": (_hide, "runs out of memory"),
    "a warning": (_warn, "raises RuntimeWarning"),
    "a crash": (lambda data: os.kill(os.getpid(), signal.SIGSEGV), "signal 11"),
    "no end": (_hang, "s of CPU"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONGS)
def test_what_no_reader_may_do_is_noticed(wrong, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.faults.hostile.MOST_BYTES", 256 << 20)  # in place of a GiB
    read, says = WRONGS[wrong]
    reader = Reader(wrong, damaged({"x": b"abc"}), read, {"one": b""}, says="x.npz")
    outcome = fuzz([reader], 0, 0, tmp_path)
    assert outcome.faults, "nothing noticed"
    assert all(says in fault for fault in outcome.faults), outcome.faults


def test_each_input_is_held_to_the_same_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.faults.hostile.MOST_BYTES", 256 << 20)
    sizes = {f"{mib} MiB": f"{mib}".encode() for mib in (200, 424, 472)}
    reader = Reader("x", damaged({"x": b"abc"}), _allocate, sizes | {"last": b"200"})
    outcome = fuzz([reader], 0, 0, tmp_path)
    blamed = [how for inputs in outcome.faults.values() for how in inputs]
    assert blamed == ["seed 0, handmade '424 MiB'", "seed 0, handmade '472 MiB'"]


def test_an_error_of_the_inputs_is_none_of_the_reader(tmp_path):
    outcome = fuzz([Reader("x", lambda rng: 1 / 0, bytes)], 1, 0, tmp_path)
    assert list(outcome.faults) == [
        "the process ended by an error of the fuzzing itself, which it printed"
    ]


def test_what_a_reader_may_do_is_no_fault(tmp_path):
    def read(data: bytes) -> None:
        (tmp_path / "x").write_bytes(data)
        raise ValueError(f"{tmp_path / 'x'} is damaged")

    outcome = fuzz([Reader("x", damaged({"x": b"abc"}), read, says="/x")], 20, 0, tmp_path)
    assert (outcome.injected, outcome.faults) == (20, {})


def test_the_same_seed_gives_the_same_inputs(tmp_path):
    def seen(seed: int) -> bytes:
        log = tmp_path / "log"
        log.write_bytes(b"")

        def read(data: bytes) -> None:
            with log.open("ab") as file:
                file.write(data)

        fuzz([Reader("x", damaged({"x": bytes(1000)}), read)], 20, seed, tmp_path)
        return log.read_bytes()

    assert seen(1) == seen(1) != seen(2)
