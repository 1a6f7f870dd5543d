"""One measured speed, beside what bounds it; and how to measure on a machine that others use.

Time is that of the processor, of all processes together: what else runs meanwhile changes it less
than wall time. So "per core" is per second of processor time.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from deformer.files.whole import write_whole
from deformer.program.pool import ending_with_this

Clock = Callable[[], float]


@dataclass(frozen=True)
class Figure:
    """A row of the table."""

    part: str
    what: str
    value: float
    unit: str
    """If it ends in "/s" or is "×", more is better; else less is."""
    aim: float | None = None
    floor: float | None = None
    """In the same unit: what no program on this machine goes beyond, or what it is measured by."""
    floor_is: str = ""

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.unit.endswith("/s") or self.unit == "×"

    @property
    def share_of_floor(self) -> float | None:
        """1 at the floor, 0.5 where it takes twice as long."""
        if not self.floor:
            return None
        return self.value / self.floor if self.is_rate else self.floor / self.value


def processor_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Median processor time of a call in this process, after one call to warm up."""
    work()
    return statistics.median(_seconds(work) for _ in range(repeats))


def least_seconds(
    *works: Callable[[], object], repeats: int = 3, clock: Clock = time.process_time
) -> list[float]:
    """Time of each call, to compare them: they take turns, and the least counts, because other
    programs only ever make it longer."""
    spent = [[_seconds(work, clock) for work in works] for _ in range(1 + repeats)]
    return [min(seconds) for seconds in zip(*spent[1:], strict=True)]  # the first round warms up


def _seconds(work: Callable[[], object], clock: Clock = time.process_time) -> float:
    start = clock()
    work()
    return clock() - start


@dataclass(frozen=True)
class Spent:
    """What a command took."""

    seconds: float
    processor_seconds: float

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.seconds - other.seconds, self.processor_seconds - other.processor_seconds)


def run_module(*arguments: str) -> Spent:
    """Run `python -m` in a process of its own. Raises `ValueError` with its last line, if it
    fails."""
    start, before = time.monotonic(), _of_children()
    command = ending_with_this([sys.executable, "-m", *arguments])
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        *_, last = ended.stderr.strip().splitlines() or ["it says nothing"]
        raise ValueError(f"python -m {' '.join(arguments)} failed: {last}")
    return Spent(time.monotonic() - start, _of_children() - before)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@cache
def products_per_second() -> float:
    """Multiply-adds per second of processor time: of large float32 matrices. Measured once, so that
    all floors of a run have the same."""
    size = 1024
    a, b = torch.rand(2, size, size)
    return size**3 / processor_seconds(lambda: a @ b)


def write_measured(path: Path, measured: dict) -> str:
    """Write what was measured, as JSON; returns the text."""
    text = json.dumps(measured, indent=1) + "\n"
    write_whole(path, text)
    return text
