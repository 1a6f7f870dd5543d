"""Kills at random moments of a program's life."""

import os
import random
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.dask_cluster import Cluster
from tests.faults.fork_server import Life
from tests.processes import wait_until

_WITHIN_S = 60
_MOST_UNHURT = 10
_SAID = {
    "worker": ("error: no worker could be started", "error: a worker was killed"),
    "scheduler": ("error: --scheduler tcp://",),
}
"""What a program may say before it ends: Dask replaces workers only once they run, the pool none,
and nobody replaces a scheduler."""


@dataclass(frozen=True)
class Kill:
    """Who is killed, by what, and when."""

    victim: str
    """program, worker, all (the program's group), scheduler, or machine (all far workers)."""
    kind: signal.Signals
    after_s: float

    def __str__(self) -> str:
        return f"{self.victim} killed by {self.kind.name}"

    def inject(self, life: Life, cluster: Cluster | None, rng: random.Random) -> bool:
        """Kill at the moment, or as soon as the victim lives; False if the life was over."""
        wait_until(lambda: life.is_over, self.after_s)
        victims: list[int] = []

        def find() -> bool:
            victims[:] = self._victims(life, cluster)
            return bool(victims) or life.is_over

        wait_until(find, _WITHIN_S)
        if life.is_over or not victims:
            return False
        send = os.killpg if self.victim in ("all", "machine") else os.kill
        with suppress(ProcessLookupError):
            send(rng.choice(victims), self.kind)
            return True
        return False

    def _victims(self, life: Life, cluster: Cluster | None) -> list[int]:
        if self.victim in ("program", "all"):
            return [life.pid]
        if self.victim == "worker":
            return (cluster.workers if cluster else life).workers
        return [(cluster.scheduler if self.victim == "scheduler" else cluster.workers).pid]

    def allows(self, status: int, said: str) -> bool:
        """May the program have ended so?"""
        if self.victim in ("program", "all"):
            # SIGTERM is met with care once the program runs; the last moments are not cared for
            return status in ((-9,) if self.kind == signal.SIGKILL else (143, -self.kind))
        is_said = any(words in said for words in _SAID.get(self.victim, ()))
        return status == 0 or (status == 1 and is_said)


def kill_until_done(
    rng: random.Random,
    out: Path,
    start: Callable[[], Life],
    seconds: float,
    cluster: Cluster | None,
    check: Callable[[], None],
    kills: list[Kill],
) -> None:
    """Start a program until it is done, and kill it up to three times on the way; `check` its files
    after every life. out: its folder; seconds: an uninterrupted life; cluster: whose scheduler it
    uses; kills: gets each that happened."""
    victims = ("program", "worker", "scheduler", "machine") if cluster else (
        "program", "worker", "all")  # fmt: skip
    most, unhurt = rng.randint(1, 3), 0
    while True:
        life = start()
        kill = Kill(
            rng.choice(victims),
            rng.choice((signal.SIGKILL, signal.SIGTERM)),
            rng.uniform(0, seconds),
        )
        if is_hit := len(kills) < most and kill.inject(life, cluster, rng):
            kills.append(kill)
        if is_hit and kill.victim in ("machine", "scheduler"):
            far = cluster.workers if kill.victim == "machine" else cluster.scheduler
            assert wait_until(lambda: far.is_over, _WITHIN_S), far.said  # noqa: B023
        if is_hit and kill.victim == "machine":
            cluster.have_workers()
        status = life.end()
        if is_hit and kill.victim in ("program", "all") and status == 0:
            kills.pop()  # it had just ended
            is_hit = False
        check()
        is_allowed = kill.allows(status, life.said) if is_hit else status == 0
        assert is_allowed, f"{[*map(str, kills)]}: status {status}: {life.said}"
        if not status and kills:
            return
        if not status:  # all kills came too late: from the beginning, and sooner
            unhurt += 1
            assert unhurt < _MOST_UNHURT, f"no kill came in {unhurt} lives"
            shutil.rmtree(out)
            seconds /= 2
