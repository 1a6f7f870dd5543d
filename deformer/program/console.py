"""How programs speak: words as they are, on any terminal, and one line where they cannot go on."""

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
    """Shows words as they are: neither brackets nor :names: between colons are taken for markup.
    Lines of tables and bars are of characters that the terminal has."""

    def __init__(self, stderr: bool = True) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    @property
    def encoding(self) -> str:  # rich takes UTF-8 for granted where no file is given
        return (getattr(self.file, "encoding", None) or "utf-8").lower()


def print_error(error: BaseException | str, console: Console) -> None:
    """One line, whatever is in it; the terminal breaks it."""
    print_labelled("error:", " ".join(_words(error).split("\n")), console)


def print_labelled(label: str, words: str, console: Console, style: str = "red") -> None:
    """A line that begins with a coloured label; no word of it is taken for markup."""
    console.print(Text.assemble((label, style), " ", words), soft_wrap=True)


def _words(error: BaseException | str) -> str:
    if isinstance(error, MemoryError):
        return f"out of memory ({error}): give fewer --workers, or a smaller --batch"
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EMFILE, errno.ENFILE):
        return f"{error}: allow more open files (ulimit -n 4096), or give fewer --workers"
    if number in NO_ROOM and not isinstance(error, NoRoomError):
        return f"{error}; what is finished is kept: make room and run the same command again"
    return str(error)


def this_command(module: str) -> str:
    """The command line of this process, which is `python -m module`, to be run again."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # as torchrun says
    launch = f"torchrun --nproc-per-node {processes}" if processes > 1 else "python"
    return f"{launch} -m {module} {shlex.join(sys.argv[1:])}"


def run_command(work: Callable[[], int | None], interrupted: str = "interrupted") -> int:
    """Run what a program does; returns its exit status: what the work returns, 0 for None, 1 after
    an error of the input or the machine, which is printed in one line.

    interrupted: what is said after Ctrl-C (status 130), and after SIGTERM or when the terminal
    closes (143). Standard output may be a terminal without UTF-8, and its reader may leave early.
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
    """`run_command` for `python -m module`: the work gets its options from the command line.

    kind: a dataclass, a field for each option; description: what --help says of the program.
    """

    def read_and_work() -> int | None:
        return work(tyro.cli(kind, prog=f"python -m {module}", description=description))

    return run_command(read_and_work, interrupted)


class _Warnings(logging.Handler):
    """Shows what `logging` is given as programs show everything else."""

    def emit(self, record: logging.LogRecord) -> None:
        print_labelled(
            f"{record.levelname.lower()}:", record.getMessage(), PlainConsole(), "yellow"
        )


# ------------------------------------------------------------------------------- standard output


class _Outlet(io.FileIO):
    """Drops what is still said when its reader has left: `| head`, or a terminal that closed."""

    def write(self, data) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            is_terminal = stat.S_ISCHR(os.fstat(self.fileno()).st_mode)
            if error.errno != errno.EPIPE and not (error.errno == errno.EIO and is_terminal):
                raise
            return memoryview(data).nbytes


def _prepare_output() -> None:
    """What the encoding of standard output lacks is replaced; a reader who leaves is no error."""
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
