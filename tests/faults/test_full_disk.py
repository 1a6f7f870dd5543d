"""Disks that are full at any write: a command says so in one line and leaves what is whole, and the
same command finishes once there is room, with the same bytes."""

import math
import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import call
from tests.faults import kept_files, writers
from tests.faults.little_room import can_mount, refused, small_disk
from tests.faults.writers import Writer, contents
from tests.full_disk import little_room

SHARES = {
    "build": 14, "repair": 14, "synthesize dexycb": 2, "synthesize ho3d": 2, "synthesize hands": 3,
    "evaluate": 8, "predict": 8, "train": 6, "tables": 8,
}  # fmt: skip
"""Faults in a tenth of the soak."""
FAST = ("build", "repair", "predict", "tables")
_CALLS = ("fsync", "replace", "rename", "mkdir")
OF_DISK = ("no page left", "no file left")
SOAK = [pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 11)]
_TOLD = (
    "error: .*(no space left on|No space left on|File too large).*; what is finished is kept: make "
    "room and run the same command"
)


@dataclass(frozen=True)
class Whole:
    """What an undisturbed run makes, and how much of everything it takes."""

    writer: Writer
    contents: dict
    largest: int
    pages: int
    files: int
    calls: dict[str, int]

    @property
    def kinds(self) -> list[str]:
        """Of faults that can happen to it here."""
        refusals = [f"{name} refused" for name, number in self.calls.items() if number]
        return ["a file too large", *(OF_DISK if can_mount() else ()), *refusals]


@pytest.fixture(scope="module")
def make_writer(tmp_path_factory, hands, layer) -> Callable[[str], Writer]:
    folder = tmp_path_factory.mktemp("writers")
    raw, built = kept_files.small_dataset(folder, hands, layer)
    makers = {
        "build": lambda: writers.build(raw),
        "repair": lambda: writers.repair(raw, built),
        "synthesize dexycb": lambda: writers.synthesizing("dexycb"),
        "synthesize ho3d": lambda: writers.synthesizing("ho3d-v3"),
        "synthesize hands": lambda: writers.synthesizing("hands"),
        "evaluate": lambda: writers.evaluating(built, folder / "run"),
        "predict": lambda: writers.predicting(folder),
        "train": lambda: writers.training(built),
        "tables": writers.tabling,
    }
    return lambda name: makers[name]()


@pytest.fixture(scope="module")
def whole(make_writer, tmp_path_factory) -> Callable[[str], Whole]:
    known: dict[str, Whole] = {}

    def measured(name: str) -> Whole:
        if name not in known:
            known[name] = _measure(make_writer(name), tmp_path_factory.mktemp("whole") / "out")
        return known[name]

    return measured


def _measure(writer: Writer, out: Path) -> Whole:
    out.mkdir()
    writer.prepare(out)
    with ExitStack() as stack:
        calls = {name: stack.enter_context(refused(name, -2)) for name in _CALLS}
        assert call(writer.main, *writer.arguments(out)) == 0
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    pages = sum(math.ceil(size / 4096) for size in sizes)
    counted = {name: number[0] for name, number in calls.items()}
    return Whole(writer, contents(out), max(sizes), pages, len(sizes), counted)


def disturbed(
    whole: Whole, kind: str, rng: random.Random, disk: Path, capsys, status: list[int]
) -> Iterator[str]:
    """Run a command on a full disk, then with room; gives all that is not as it should be. What
    the first run returned is appended to `status`."""
    writer, out = whole.writer, disk / "out"
    with ExitStack() as held, ExitStack() as full:
        leave = held.enter_context(small_disk(disk)) if kind in OF_DISK else None
        out.mkdir()
        writer.prepare(out)
        if leave is not None:
            few = rng.randrange(whole.pages + 1), rng.randrange(whole.files + 1)
            leave(*((few[0], 9999) if kind == "no page left" else (9999, few[1])))
        elif kind == "a file too large":
            full.enter_context(little_room(round(whole.largest ** rng.uniform(0.2, 1.0))))
        else:
            name = kind.split()[0]
            full.enter_context(refused(name, rng.randrange(whole.calls[name])))
        with full:
            status.append(call(writer.main, *writer.arguments(out)))
        said = capsys.readouterr().err
        if status[-1]:
            yield from _told(status[-1], said)
        writer.check(out)
        if leave is not None:
            leave(9999, 9999)
        if again := call(writer.main, *writer.arguments(out), *writer.again):
            yield f"the second run: {again}, {capsys.readouterr().err}"
        made = contents(out)
        differ = sorted(
            n for n in made.keys() | whole.contents if made.get(n) != whole.contents.get(n)
        )
        if differ:
            yield f"not as without the fault: {differ}"


def _told(status: int, said: str) -> Iterator[str]:
    told = [line for line in said.splitlines() if line.startswith("error:")]
    if status != 1 or "Traceback" in said or len(told) != 1:
        yield f"status {status}, {said!r}"
    elif not re.match(_TOLD, told[0]):
        yield f"it says {told[0]!r}"


@pytest.mark.parametrize("seed", SOAK)
@pytest.mark.parametrize("name", SHARES)
def test_commands_on_full_disks(whole, count_faults, tmp_path, capsys, name, seed):
    _disturb(whole, count_faults, tmp_path, capsys, name, seed, SHARES[name])


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in SHARES]
)
def test_a_command_on_a_full_disk(whole, count_faults, tmp_path, capsys, name):
    _disturb(whole, count_faults, tmp_path, capsys, name, 0, 1)


def _disturb(
    whole: Callable[[str], Whole], count_faults: Callable, tmp_path: Path, capsys, name: str,
    seed: int, number: int,
) -> None:  # fmt: skip
    rng, found, kinds = random.Random(f"{name} {seed}"), [], whole(name).kinds
    for i in range(number):
        kind = kinds[(i + seed + list(SHARES).index(name)) % len(kinds)]
        disk, status = tmp_path / str(i), []
        disk.mkdir()
        try:
            faults = list(disturbed(whole(name), kind, rng, disk, capsys, status))
        except Exception as error:  # what a check of the files raises
            faults = [repr(error)]
        found += [f"{name}, seed {seed}, number {i}, {kind}: {fault}" for fault in faults]
        if status != [0]:
            count_faults(f"disk full: {name}", 1, int(not faults))
    assert not found, os.linesep.join(found)
