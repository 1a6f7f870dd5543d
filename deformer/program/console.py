"""Console output of programs: plain text, one-line errors, exit statuses."""

import errno
import io
import logging
import os
import shlex
import stat
import sys
from collections.abc import Callable
from typing import TypeVar

import tyro
from rich.console import Console
from rich.text import Text

from deformer.files.whole import NO_ROOM, NoRoomError
from deformer.program.pool import allow_many_files
from deformer.program.stopping import STOPPED, Terminated, sigterm_raises

_INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it."""
Options = TypeVar("Options")


class PlainConsole(Console):
    """Prints text without interpreting brackets or :names: as markup. Tables and bars use
    characters that the terminal can show."""

    def __init__(self, stderr: bool = True) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    @property
    def encoding(self) -> str:  # rich assumes UTF-8 when no file is given
        return (getattr(self.file, "encoding", None) or "utf-8").lower()


def print_error(error: BaseException | str, console: Console) -> None:
    """Print an error as one line, without line breaks of our own."""
    print_labelled("error:", " ".join(_message(error).split("\n")), console)


def print_labelled(label: str, message: str, console: Console, style: str = "red") -> None:
    """Print a line that begins with a coloured label, without interpreting markup."""
    console.print(Text.assemble((label, style), " ", message), soft_wrap=True)


def _message(error: BaseException | str) -> str:
    if isinstance(error, MemoryError):
        return f"out of memory ({error}): give fewer --workers, or a smaller --batch"
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EMFILE, errno.ENFILE):
        return f"{error}: allow more open files (ulimit -n 4096), or give fewer --workers"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error}: give this user the right to it (chmod, chown), or name another path"
    if number in NO_ROOM and not isinstance(error, NoRoomError):
        return f"{error}; what is finished is kept: make room and run the same command again"
    return str(error)


def this_command(module: str) -> str:
    """The command line that repeats this process, which runs `python -m module`."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun
    launch = f"torchrun --nproc-per-node {processes}" if processes > 1 else "python"
    return f"{launch} -m {module} {shlex.join(sys.argv[1:])}"


def called_as(module: str) -> str:
    """How this process was started: `python -m module`, or `deformer NAME`."""
    name = module.partition(".")[2].replace("_", "-")
    return sys.argv[0] if sys.argv[0] == f"deformer {name}" else f"python -m {module}"


def run_command(work: Callable[[], int | None], interrupted: str = "interrupted") -> int:
    """Run a program's work and return the exit status: the work's result, 0 for None, or 1 after an
    error of input or machine, which is printed in one line.

    interrupted: message after Ctrl-C (status 130), and after SIGTERM or a closed terminal (143).
    Standard output may be a terminal without UTF-8, and its reader may leave early.
    """
    _prepare_output()
    allow_many_files()
    logging.basicConfig(handlers=[_Warnings()], level=logging.WARNING)
    console = PlainConsole()
    try:
        with sigterm_raises():
            return work() or 0
    except (KeyboardInterrupt, Terminated) as stopped:
        console.print(interrupted, soft_wrap=True)
        return STOPPED if isinstance(stopped, Terminated) else _INTERRUPTED
    except (ValueError, OSError, ImportError, MemoryError) as error:
        print_error(error, console)
        return 1


def run_program(
    work: Callable[[Options], int | None],
    kind: type[Options],
    module: str,
    description: str | None,
    interrupted: str = "interrupted",
) -> int:
    """`run_command` for `python -m module`, or `deformer NAME`, with options from the command line.

    kind: a dataclass with a field per option; description: text of --help.
    """

    def read_and_work() -> int | None:
        return work(tyro.cli(kind, prog=called_as(module), description=description))

    return run_command(read_and_work, interrupted)


class _Warnings(logging.Handler):
    """Prints records of `logging` like all other output."""

    def emit(self, record: logging.LogRecord) -> None:
        print_labelled(
            f"{record.levelname.lower()}:", record.getMessage(), PlainConsole(), "yellow"
        )


# ------------------------------------------------------------------------------- standard output


class _Outlet(io.FileIO):
    """Drops output after its reader has left: `| head`, or a closed terminal."""

    def write(self, data) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            is_terminal = stat.S_ISCHR(os.fstat(self.fileno()).st_mode)
            if error.errno != errno.EPIPE and not (error.errno == errno.EIO and is_terminal):
                raise
            return memoryview(data).nbytes


def _prepare_output() -> None:
    """Replace characters that standard output cannot encode; tolerate readers that leave."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream is not getattr(sys, f"__{name}__"):
            continue  # closed, or a test's
        stream.flush()
        errors = "replace" if stream.errors in ("strict", "surrogateescape") else stream.errors
        outlet = io.BufferedWriter(_Outlet(os.dup(stream.fileno()), "wb"))
        prepared = io.TextIOWrapper(
            outlet, stream.encoding, errors, line_buffering=True, write_through=stream.write_through
        )
        setattr(sys, name, prepared)
