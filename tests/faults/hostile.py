"""Feeding hostile bytes to readers, in a process that watches what they do.

    readers = [Reader("npz", damaged({"whole": data}), read_npz)]
    assert_harmless(count_faults, "npz", fuzz(readers, number=100, seed=0, folder=tmp_path))

A reader may return, or raise an error that it documents. It is a fault when it raises another one,
runs code (of a pickle, say), opens a network connection, opens a file outside its folder and the
installation, takes more than a GiB, or more than `MOST_CPU_S`, or crashes the process. Warnings are
errors.

Not watched: files and connections that native code opens by itself (FFmpeg, OpenCV, Pillow's
codecs, Arrow, safetensors, libjpeg). Python hands all of these bytes or an open file, but for
FFmpeg's and OpenCV's readers of paths; for them `test_hostile_videos` looks at what a server beside
them is asked.
"""

import faulthandler
import gc
import mmap
import os
import pickle
import resource
import signal
import struct
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
import torch

from tests.faults.damage import Draw, Hostile

MOST_BYTES = 1 << 30
MOST_CPU_S = 5
_MOST_WALL_S = 300
"""For a wait without an end: a busy machine makes anything slow."""
SEEDS = (0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 11)))
"""For `parametrize`: 0 in the fast tests, ten more in the soak."""
_ROOT = Path(__file__).parents[2]
_GUARD_BYTES = 4 << 30
"""A reader that wants more fails to get it, and that too is a fault: the machine stays usable."""
_RUN = {
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
    "subprocess.Popen", "os.kill", "os.startfile", "pickle.find_class", "webbrowser.open",
    "function.__new__", "builtins.breakpoint", "sys.addaudithook",
}  # fmt: skip
_CHANGE = {
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.utime", "os.mkfifo", "os.mknod", "os.setxattr", "shutil.rmtree",
    "shutil.move", "shutil.copyfile", "shutil.copytree", "shutil.unpack_archive",
}  # fmt: skip
_LAZY = {"pandas"}
"""What libraries of the readers import late."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Reader:
    """A reader and the inputs to give it."""

    name: str
    inputs: Draw
    read: Callable[[bytes], object]
    """Gets the bytes; a reader of paths writes them to a file in the folder first."""
    handmade: dict[str, bytes] = field(default_factory=dict)
    """Inputs by name that are given with the seed 0, before those of `inputs`."""
    documented: tuple[type[Exception], ...] = (ValueError, OSError)
    says: str = ""
    """What every error's message must contain, such as the file's name."""
    cost: int = 1
    """It gets fewer inputs than others by this factor, because it takes longer."""


def from_path(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A reader of paths as a reader of bytes, by a file in the folder."""

    def write_and_read(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return write_and_read


@dataclass
class Outcome:
    injected: int = 0
    faults: dict[str, list[str]] = field(default_factory=dict)
    """By what went wrong: the inputs that did it, as texts."""

    def add(self, fault: str, how: str) -> None:
        self.faults.setdefault(fault, []).append(how)

    @property
    def num_faults(self) -> int:
        return sum(map(len, self.faults.values()))


def assert_harmless(count_faults: Callable[..., None], what: str, outcome: Outcome) -> None:
    """Count the inputs, then fail if any was a fault."""
    survived = outcome.injected - outcome.num_faults
    count_faults(f"hostile input: {what}", outcome.injected, survived)
    listed = [f"{len(h)} × {fault}\n    by {h[0][:600]}" for fault, h in outcome.faults.items()]
    if listed:
        pytest.fail("\n".join(listed), pytrace=False)


# ------------------------------------------------------------------------------------- watching


class Watch:
    """Notes what this process does, while it is on, that no reader may do.

    An audit hook cannot be removed: only a process that ends with the fuzzing makes one.
    """

    def __init__(self, folder: Path) -> None:
        installed = (sys.prefix, sys.base_prefix, "/usr", "/proc", "/sys", "/dev/null", _ROOT)
        self.folder = str(folder.resolve())
        self.bytes_at_first = _peak_bytes()
        self.readable = tuple(os.path.realpath(path) for path in (folder, *installed))
        self.is_on = False
        self.found: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple) -> None:
        if not self.is_on:
            return
        if event == "open":
            self._opened(*args)
        elif event in _CHANGE:
            for path in args:
                if isinstance(path, str | bytes | os.PathLike):
                    self._check(event, path, (self.folder,))
        elif event in _RUN or event.startswith(("socket.", "urllib.", "ftplib.", "ctypes.")):
            self.found.append(f"{event} {args!r:.100}")
        elif event == "exec" and not os.path.isfile(args[0].co_filename):  # noqa: PTH113
            self.found.append(f"exec of {args[0]!r:.100}")
        elif event == "import" and args[0].partition(".")[0] not in {*_LAZY, *sys.modules}:
            self.found.append(f"import of {args[0]}")

    def _opened(self, path: object, mode: object, flags: int) -> None:
        if isinstance(path, int):
            return
        writes = flags & _WRITING
        self._check("open to write" if writes else "open", path,
                    (self.folder,) if writes else self.readable)  # fmt: skip

    def _check(self, event: str, path, folders: tuple[str, ...]) -> None:
        real = os.path.realpath(os.fsdecode(path))
        if not any(real == folder or real.startswith(f"{folder}/") for folder in folders):
            self.found.append(f"{event} {real}")


def check(reader: Reader, data: bytes, watch: Watch) -> str | None:
    """What a reader did wrong with these bytes; None where it did nothing wrong."""
    signal.setitimer(signal.ITIMER_PROF, MOST_CPU_S)
    signal.alarm(_MOST_WALL_S)
    error = None
    watch.found.clear()
    _forget_peak()
    watch.is_on = True
    try:
        reader.read(data)
    except Exception as raised:
        error = raised
    finally:
        watch.is_on = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    if watch.found:
        return f"it does what no reader may: {watch.found[0]}"
    if (taken := _peak_bytes() - watch.bytes_at_first) > MOST_BYTES:
        return f"it takes {taken >> 20} MiB, with what inputs before it left"
    return None if error is None else _wrong_error(reader, error)


def _wrong_error(reader: Reader, error: Exception) -> str | None:
    cause: BaseException | None = error
    while cause is not None:  # a reader may catch it: it wanted too much all the same
        if isinstance(cause, MemoryError):
            return f"it runs out of memory: {_where(cause)}"
        cause = cause.__cause__ or cause.__context__
    if not isinstance(error, reader.documented) or isinstance(error, UnicodeError):
        return f"it raises {type(error).__name__}: {error!s:.120} ({_where(error)})"
    if reader.says not in str(error):
        return f"its message does not name the file: {error!r:.160} ({_where(error)})"
    return None


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/tests/" not in f.filename and "site-packages" not in f.filename]
    return ", ".join(f"{Path(f.filename).name}:{f.lineno}" for f in (*ours[-2:], frames[-1]))


def _peak_bytes() -> int:
    """The most memory that this process had since `_forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


# -------------------------------------------------------------------------------------- fuzzing

_NOTE_BYTES = 1 << 16


class _Note:
    """What the watched process does now, for the case that it ends before it can say."""

    def __init__(self) -> None:
        self.shared = mmap.mmap(-1, _NOTE_BYTES)

    def write(self, injected: int, text: str) -> None:
        data = text.encode("utf-8", "replace")[: _NOTE_BYTES - 16]
        self.shared[: 16 + len(data)] = struct.pack("<QQ", injected, len(data)) + data

    def read(self) -> tuple[int, str]:
        injected, size = struct.unpack("<QQ", self.shared[:16])
        return injected, self.shared[16 : 16 + size].decode()


def fuzz(readers: list[Reader], number: int, seed: int, folder: Path) -> Outcome:
    """Give `number` inputs, drawn by a seed, to the readers, a share each, in another process."""
    note = _Note()
    receive, send = os.pipe()
    sys.stdout.flush()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        child = os.fork()  # threads of this process are not needed there
    if not child:
        os.close(receive)
        _watched(readers, number, seed, folder, note, send)
    os.close(send)
    with os.fdopen(receive, "rb") as file:
        answer = file.read()
    _, status = os.waitpid(child, 0)
    if answer:
        return pickle.loads(answer)
    injected, how = note.read()
    code = os.waitstatus_to_exitcode(status)
    known = {
        -signal.SIGPROF: f"more than {MOST_CPU_S} s of CPU",
        -signal.SIGALRM: f"a wait of {_MOST_WALL_S} s",
        1: "an error of the fuzzing itself, which it printed",
    }
    ended = known.get(code, f"signal {-code}")
    return Outcome(injected, {f"the process ended by {ended}": [f"seed {seed}, {how}"]})


def _watched(readers, number, seed, folder, note, send) -> None:
    """Fuzz, send the outcome, and leave without what the parent would do at its end."""
    status = 1
    try:
        gc.freeze()  # what has threads cannot be freed here, where they are not
        faulthandler.disable()
        tempfile.tempdir = str(folder)
        torch.set_num_threads(1)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
        resource.setrlimit(resource.RLIMIT_AS, (size + _GUARD_BYTES, resource.RLIM_INFINITY))
        for kind in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(kind, signal.SIG_DFL)
        outcome, watch = Outcome(), Watch(folder)
        share = number / sum(1 / reader.cost for reader in readers)
        for reader in readers:
            _fuzz_one(reader, round(share / reader.cost), seed, watch, outcome, note)
        with os.fdopen(send, "wb") as file:
            pickle.dump(outcome, file)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _fuzz_one(reader, number, seed, watch, outcome, note) -> None:
    def give(hostile: Hostile) -> None:
        how = f"{reader.name}, {hostile.how}"
        outcome.injected += 1
        note.write(outcome.injected, how)
        with warnings.catch_warnings(action="error"):
            warnings.simplefilter("ignore", ResourceWarning)  # files that a dropped reader held
            fault = check(reader, hostile.data, watch)
        if fault:
            if fault not in outcome.faults:
                (Path(watch.folder) / f"fault-{len(outcome.faults)}").write_bytes(hostile.data)
            outcome.add(f"{reader.name}: {fault}", f"seed {seed}, {hostile.how}")

    for name, data in reader.handmade.items() if seed == 0 else ():
        give(Hostile(data, f"handmade {name!r}"))
    for place in range(number):
        give(reader.inputs(Random(f"{seed}, {place}")))
