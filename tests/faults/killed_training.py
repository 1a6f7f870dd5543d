"""Run as a program: trains in processes that are killed before a random write, and resumes them.

    python -m tests.faults.killed_training DATASET FOLDER SEED…

Prints a JSON list: for each seed the writes at which it was killed, and what was wrong in the end,
or null.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.deformer.small_runs import assert_same_run, run
from tests.faults.writes import before_each_write

_NUM_WRITES = 100
"""Of a whole run, about."""


def _in_a_child(work: Callable[[], None]) -> int:
    """Its status."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _train(dataset: Path, out: Path, kill_at: int | None = None) -> None:
    num_writes = 0

    def write() -> None:
        nonlocal num_writes
        if num_writes == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        num_writes += 1

    before_each_write(write, lambda _: None)
    run(dataset, out, resume=True)
    out.with_name(f"{out.name}-writes").write_text(str(num_writes))


def _fault(dataset: Path, whole: Path, out: Path, kills: list[int]) -> str | None:
    for at in kills:
        status = _in_a_child(lambda at=at: _train(dataset, out, at))
        if status not in (0, -signal.SIGKILL):
            return f"killed before write {at}, it did not go on"
    if _in_a_child(lambda: _train(dataset, out)) != 0:
        return "it did not go on"
    try:
        assert_same_run(out, whole)
        assert (out / "best.json").read_text() == (whole / "best.json").read_text()
        assert _names(out) == _names(whole)
    except Exception as error:
        return repr(error)
    return None


def _names(out: Path) -> list[str]:
    board = out / "tensorboard"  # has a file for each start
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.parent != board)


def main(dataset: Path, folder: Path, *seeds: int) -> None:
    whole, found = folder / "whole", []
    assert _in_a_child(lambda: _train(dataset, whole)) == 0
    for seed in seeds:
        random = Random(seed)
        kills = [random.randrange(_NUM_WRITES), random.randrange(_NUM_WRITES // 2)]
        found.append([seed, kills, _fault(dataset, whole, folder / str(seed), kills)])
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
