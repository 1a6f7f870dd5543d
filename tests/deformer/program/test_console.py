"""What programs say, on any terminal, and how they end."""

import errno
import os
import signal
import subprocess
import sys

import pytest
from rich.console import Console

from deformer.program.console import PlainConsole, print_error, run_command
from tests.processes import start_python

PATH = "/data/run[v2]/[bold]x[/bold]:smile:/s"


def said(capsys) -> str:
    return capsys.readouterr().err


def program(*work: str) -> str:
    """A command that does this, line by line."""
    body = "\n    ".join(work)
    return (
        "import logging, sys\nfrom pathlib import Path\nfrom deformer.program.console import *\n"
        f"def work():\n    {body}\nsys.exit(run_command(work))\n"
    )


DONE = "Path(sys.argv[1]).write_text('done')"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError(f"{PATH} is no dataset"), f"error: {PATH} is no dataset"),
        (ValueError("two\nlines"), "error: two lines"),
        (FileNotFoundError(errno.ENOENT, "No such file", PATH), f"No such file: '{PATH}'"),
        (ImportError("no module s3fs"), "error: no module s3fs"),
        (MemoryError("3 GiB"), "error: out of memory (3 GiB): give fewer --workers"),
        (OSError(errno.EMFILE, "Too many open files"), "open files: allow more open files (ulimit"),
        (OSError(errno.ENOSPC, "No space left"), "No space left; what is finished is kept: make"),
    ],
)
def test_an_error_is_one_line(capsys, error, line):
    def work() -> None:
        raise error

    assert run_command(work) == 1
    (message,) = said(capsys).splitlines()
    assert line in message


def test_a_mistake_of_ours_keeps_its_traceback():
    with pytest.raises(KeyError):
        run_command(lambda: {}["missing"])


def test_statuses(capsys):
    assert run_command(lambda: None) == 0
    assert run_command(lambda: 3) == 3
    ended = []

    def work(kind: signal.Signals) -> None:
        try:
            os.kill(os.getpid(), kind)
            signal.pause()
        finally:
            ended.append(kind)

    before = signal.getsignal(signal.SIGTERM)
    assert run_command(lambda: work(signal.SIGINT), "stopped [v2]") == 130
    assert run_command(lambda: work(signal.SIGTERM), "stopped [v2]") == 143
    assert ended == [signal.SIGINT, signal.SIGTERM]
    assert said(capsys) == "stopped [v2]\n" * 2
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("error", [None, ValueError("shape"), KeyError("shape")])
def test_it_was_the_signal_whatever_native_code_makes_of_it(capsys, error):
    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException:
            if error:
                raise error from None

    assert run_command(work, "run it again") == 143
    assert said(capsys) == "run it again\n"


def test_a_warning_is_one_labelled_line():
    process = start_python(program(f"logging.getLogger('x').warning('%s is cut off', {PATH!r})"))
    assert process.communicate(timeout=60) == ("", f"warning: {PATH} is cut off\n")


@pytest.mark.parametrize("console", [PlainConsole(), Console(stderr=True)])
def test_no_word_is_taken_for_markup(capsys, console):
    print_error(f"{PATH} {'long ' * 50}", console)
    assert said(capsys) == f"error: {PATH} {'long ' * 50}\n"


TALK = """
import sys
from rich.progress import track
from rich.table import Table
from deformer.program.console import PlainConsole, run_command
def work():
    table = Table("25–50", title="× †")
    table.add_row("→ ü")
    for stderr in (False, True):
        console = PlainConsole(stderr)
        console.print(table)
        list(track(range(3), "drawing ·", console=console))
    print("–", sys.argv[1], "end")
sys.exit(run_command(work))
"""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_output_of_any_encoding(encoding):
    process = start_python(
        TALK, os.fsdecode(b"name-\xff"), env={"PYTHONIOENCODING": encoding}, text=False
    )
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert b"Traceback" not in errors
    assert b" end\n" in out
    assert "25–50".encode(encoding, "replace") in out
    if encoding == "ascii":
        assert "| → ü".encode(encoding, "replace") in out  # lines that it can show


@pytest.mark.parametrize("where", ["stdout", "stderr"])
def test_a_reader_who_leaves_costs_no_work(tmp_path, where):
    """As `| head -1`, and `2>&1 | head -1`."""
    talk = f"for _ in range(100000): print('a line', file=sys.{where})"
    code = program(talk, "PlainConsole().print('the end')", DONE)
    both = {"stderr": subprocess.STDOUT} if where == "stderr" else {}
    process = start_python(code, str(tmp_path / "file"), **both)
    assert process.stdout.readline() == "a line\n"
    process.stdout.close()
    assert process.wait(60) == 0
    assert (tmp_path / "file").read_text() == "done"
    if where == "stdout":
        assert process.stderr.read() == "the end\n"


def test_a_terminal_that_closes_costs_no_work(tmp_path):
    talk = "for _ in range(3): print('a line'); PlainConsole().print('a line')"
    code = program("print('begun'); sys.stdin.read()", talk, DONE)
    ours, its = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "file")],
        stdin=subprocess.PIPE, stdout=its, stderr=its,
    )  # fmt: skip
    os.close(its)
    assert os.read(ours, 5) == b"begun"
    os.close(ours)
    process.stdin.close()
    assert process.wait(60) == 0
    assert (tmp_path / "file").read_text() == "done"


def test_output_that_is_closed():
    command = [sys.executable, "-c", program("print('x')")]
    assert subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command]).returncode == 0
