"""Run as a program: trains in processes that are killed before a random write, and resumes them.

    python -m tests.faults.killed_training DATASET FOLDER SEED…

Prints a JSON list: for each seed the writes before which it was killed, and what was wrong in the
end, or null.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.deformer.small_runs import assert_same_run, run
from tests.faults.write_moments import before_each_write, in_a_child


def _train(dataset: Path, out: Path, kill_at: int | None = None) -> None:
    num_writes = 0

    def write(_) -> None:
        nonlocal num_writes
        if num_writes == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        num_writes += 1

    before_each_write(write, lambda _: None)
    run(dataset, out, resume=True)
    if kill_at is None:
        out.with_name(f"{out.name}-writes").write_text(str(num_writes))


def _killed(dataset: Path, out: Path, kills: list[int]) -> Iterator[int]:
    """Those that happened: what is left of a run may have fewer writes."""
    for at in kills:
        status = in_a_child(lambda at=at: _train(dataset, out, at))
        if status == -signal.SIGKILL:
            yield at
        assert status in (0, -signal.SIGKILL), f"before write {at}: status {status}"


def _wrong(dataset: Path, whole: Path, out: Path) -> str | None:
    if in_a_child(lambda: _train(dataset, out)) != 0:
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
    assert in_a_child(lambda: _train(dataset, whole)) == 0
    num_writes = int((folder / "whole-writes").read_text())
    for seed in seeds:
        random, out = Random(seed), folder / str(seed)
        kills = [random.randrange(num_writes), random.randrange(num_writes // 2)]
        happened = [*_killed(dataset, out, kills)]
        found.append([seed, happened, _wrong(dataset, whole, out)])
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
