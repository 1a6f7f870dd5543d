"""Programs end with all their helpers, whatever signal comes, whenever, and however often."""

import os
import random
import re
import signal
import time
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.faults.programs import HELPERS
from tests.faults.warm import Life, Server
from tests.processes import is_alive, wait_until

# One row for each way to have helpers, and for each method of `multiprocessing` that it can use
PROGRAMS = [
    pytest.param(name, method, seeds, id=f"{name}-{method}-{kind}", marks=marks)
    for name, methods in {
        "pool": ("spawn",),
        "reading": ("fork", "spawn", "forkserver"),
        "dask": ("fork", "spawn", "forkserver"),
        "commands": ("spawn",),
    }.items()
    for method in methods
    for kind, seeds, marks in (
        ("few", range(1), () if name == "pool" else pytest.mark.slow),
        ("many", range(1, 13), pytest.mark.soak),
    )
]
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

    def bring(self, life: Life, most: int, seconds: float, rng: random.Random) -> None:
        """most: helpers; seconds: until they work."""
        is_there = lambda: life.is_over or (self.is_ready and len(helpers(life)) == most)  # noqa: E731
        wait_until(is_there, 60 if self.is_ready else rng.uniform(0, seconds))
        if self.is_stopped:
            os.kill(rng.choice(helpers(life)), signal.SIGSTOP)
        for kind in self.kinds:
            with suppress(ProcessLookupError):
                (os.killpg if self.to_group else os.kill)(life.pid, kind)
            time.sleep(rng.uniform(0, 0.3))


def helpers(life: Life) -> list[int]:
    return [int(number) for number in re.findall(r"working (\d+)", life.said)]


@pytest.mark.parametrize(("name", "method", "seeds"), PROGRAMS)
def test_nobody_is_left(server: Server, name, method, seeds, count_faults):
    most = 1 if name == "commands" else HELPERS
    seconds = 3.0
    for seed in seeds:
        rng = random.Random(f"{name} {method} {seed}")
        end = End.draw(rng, seed)
        life = server.start("tests.faults.programs", name, method, method=method)
        end.bring(life, most, seconds, rng)
        try:
            status = life.end()
            allowed = {STATUS[kind] for kind in end.kinds} | {-kind for kind in end.kinds}
            assert status in allowed, f"status {status}: {life.said}"
            is_gone = wait_until(lambda: not any(map(is_alive, helpers(life))), 30)  # noqa: B023
            assert is_gone, f"helpers live on: {life.said}"
        except AssertionError as error:
            count_faults(f"{name} by {method}: {end.kinds[0].name}", 1, 0)
            error.add_note(f"{name}, {method}, seed {seed}: {end}")
            raise
        count_faults(f"{name} by {method}: {end.kinds[0].name}", 1, 1)
