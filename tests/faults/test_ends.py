"""Programs end with all their helpers, whatever signal comes, whenever, and however often."""

import os
import random
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pytest

from tests.faults.fork_server import Life, Server
from tests.faults.helper_programs import HELPERS
from tests.processes import is_alive, wait_until

# One row for each way to have helpers, and for each method of `multiprocessing` that it can use
PROGRAMS = [
    pytest.param(name, method, seeds, id=f"{name}-{method}-{kind}", marks=marks)
    for name, methods in {
        "pool": ("spawn",),
        "reading": ("fork", "spawn", "forkserver"),
        "dask": ("fork", "spawn", "forkserver"),
        "commands": ("spawn",),
        "synthesis": ("spawn",),
    }.items()
    for method in methods
    for kind, seeds, marks in (
        ("few", range(1), () if name == "pool" else pytest.mark.slow),
        ("many", range(1, 13), pytest.mark.soak),
    )
]
HELPER_PROGRAMS = "tests.faults.helper_programs"
_STARTING_S = 3.0
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 143, signal.SIGKILL: -9}


@dataclass(frozen=True)
class End:
    """How a program's end is brought about."""

    kinds: tuple[signal.Signals, ...]
    """One after the other, soon."""
    to_group: bool
    """As from a terminal."""
    is_ready: bool
    """Whether the helpers work, or are being started."""
    is_stopped: bool
    """Whether one of them does not answer."""

    @staticmethod
    def draw(rng: random.Random, seed: int) -> "End":
        kinds = ((*STATUS,)[seed % len(STATUS)], *rng.choices((*STATUS,), k=rng.randint(0, 1)))
        is_ready, to_group = rng.random() < 0.5, rng.random() < 0.5
        is_stopped = is_ready and signal.SIGKILL not in kinds and rng.random() < 0.3
        return End(kinds, to_group and signal.SIGKILL not in kinds, is_ready, is_stopped)

    def __str__(self) -> str:
        when = "at work" if self.is_ready else "starting"
        more = " with a helper that hangs" if self.is_stopped else ""
        return f"{self.kinds[0].name} {when}{more}"

    def bring(
        self, life: Life, find: Callable[[], list[int]], most: int, rng: random.Random
    ) -> None:
        """find: the helpers at work; most: so many there are."""
        is_there = lambda: life.is_over or (self.is_ready and len(find()) >= most)  # noqa: E731
        wait_until(is_there, 60 if self.is_ready else rng.uniform(0, _STARTING_S))
        if self.is_stopped:
            os.kill(rng.choice(find()), signal.SIGSTOP)
        for kind in self.kinds:
            with suppress(ProcessLookupError):
                (os.killpg if self.to_group else os.kill)(life.pid, kind)
            time.sleep(rng.uniform(0, 0.3))


def helpers(life: Life, name: str) -> list[int]:
    if name == "synthesis":
        return life.workers
    return [int(number) for number in re.findall(r"working (\d+)", life.said)]


@pytest.mark.parametrize(("name", "method", "seeds"), PROGRAMS)
def test_nobody_is_left(server: Server, name, method, seeds, tmp_path, count_faults):
    most = 1 if name == "commands" else HELPERS
    for seed in seeds:
        rng = random.Random(f"{name} {method} {seed}")
        end = End.draw(rng, seed)
        life = server.start(HELPER_PROGRAMS, name, method, tmp_path / "out", method=method)
        find = partial(helpers, life, name)
        end.bring(life, find, most, rng)
        try:
            status = life.end()
            allowed = {STATUS[kind] for kind in end.kinds} | {-kind for kind in end.kinds}
            if not end.is_ready and signal.SIGINT in end.kinds:
                allowed.add(1)  # some modules, interrupted in their import, raise another error
            assert status in allowed, f"status {status}: {life.said}"
            is_gone = wait_until(lambda: not any(map(is_alive, find())), 30)  # noqa: B023
            assert is_gone, f"helpers live on: {life.said}"
        except AssertionError as error:
            count_faults(f"{name} by {method}: {end.kinds[0].name}", 1, 0)
            error.add_note(f"{name}, {method}, seed {seed}: {end}")
            raise
        count_faults(f"{name} by {method}: {end.kinds[0].name}", 1, 1)


_HOLDER = """
import asyncio, multiprocessing, os, threading, time
from dask.distributed import Worker

async def wait(worker):
    await asyncio.sleep(600)

def hold():
    while len(multiprocessing.active_children()) < 2:
        time.sleep(0.01)
    if not os.fork():
        os.setsid()
        print("holding", os.getpid(), flush=True)
        time.sleep(600)

Worker._register_with_scheduler = wait
threading.Thread(target=hold, daemon=True).start()
"""
"""The workers get no further than asking for the scheduler, and a process that is forked later
holds their pipes to the program, as they do one another's when they start together."""


def test_forked_workers_that_start_end_with_the_program(server: Server, count_faults):
    life = server.start(HELPER_PROGRAMS, "dask", "fork", method="fork", before=_HOLDER)
    assert wait_until(lambda: "holding" in life.said, 60), life.said
    os.kill(life.pid, signal.SIGKILL)
    try:
        is_gone = wait_until(lambda: not life.workers, 30)
        count_faults("dask by fork: SIGKILL", 1, int(is_gone))
        assert is_gone, f"{life.workers} outlive it"
    finally:
        os.kill(int(life.said.split()[-1]), signal.SIGKILL)
    life.end()
