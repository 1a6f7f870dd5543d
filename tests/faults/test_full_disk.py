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
from tests.faults import kept_files, writing_commands
from tests.faults.writing_commands import Writer, contents
from tests.full_disk import can_mount, little_room, refused, small_disk

SHARES = {
    "build": 14, "repair": 14, "synthesize dexycb": 1, "synthesize ho3d": 1, "synthesize hands": 1,
    "evaluate": 8, "predict": 8, "train": 6, "tables": 8, "weights": 8, "export": 8,
}  # fmt: skip
"""Faults by seed of the soak."""
_MANY = 9999
_CALLS = ("fsync", "replace", "rename", "mkdir")
TOO_LARGE = "a file too large"
OF_DISK = ("no page left", "no file left")
FAST = {"build": ("replace refused", 1), "tables": (TOO_LARGE, 100)}
"""Faults that are surely met."""
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
        return [TOO_LARGE, *(OF_DISK if can_mount() else ()), *refusals]

    def places(self, kind: str) -> int:
        """How many different moments a fault of a kind has."""
        known = {TOO_LARGE: self.largest, OF_DISK[0]: self.pages + 1, OF_DISK[1]: self.files + 1}
        return known.get(kind) or self.calls[kind.split()[0]]


@pytest.fixture(scope="module")
def make_writer(tmp_path_factory, hands, layer) -> Callable[[str], Writer]:
    folder = tmp_path_factory.mktemp("writers")
    raw, built = kept_files.small_dataset(folder, hands, layer)
    makers = {
        "build": lambda: writing_commands.build(raw),
        "repair": lambda: writing_commands.repair(raw, built),
        "synthesize dexycb": lambda: writing_commands.synthesizing("dexycb"),
        "synthesize ho3d": lambda: writing_commands.synthesizing("ho3d-v3"),
        "synthesize hands": lambda: writing_commands.synthesizing("hands"),
        "evaluate": lambda: writing_commands.evaluating(built, folder / "run"),
        "predict": lambda: writing_commands.predicting(folder),
        "train": lambda: writing_commands.training(built),
        "tables": writing_commands.tabling,
        "weights": lambda: writing_commands.weighing(folder),
        "export": lambda: writing_commands.exporting(folder),
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
    whole: Whole, kind: str, place: int, disk: Path, capsys, met: list[bool]
) -> Iterator[str]:
    """Run a command on a disk that is full at a place, then with room; gives all that is not as it
    should be. Whether the fault was met is appended to `met`."""
    writer, out, calls = whole.writer, disk / "out", None
    with ExitStack() as held, ExitStack() as full:
        leave = held.enter_context(small_disk(disk)) if kind in OF_DISK else None
        out.mkdir()
        writer.prepare(out)
        if leave is not None:
            leave(*((place, _MANY) if kind == OF_DISK[0] else (_MANY, place)))
        elif kind == TOO_LARGE:
            full.enter_context(little_room(place))
        else:
            calls = full.enter_context(refused(kind.split()[0], place))
        with full:
            status = call(writer.main, *writer.arguments(out))
        met.append(bool(status) or (calls is not None and calls[0] > place))
        if status:
            yield from _told(status, capsys.readouterr().err)
        writer.check(out)
        if leave is not None:
            leave(_MANY, _MANY)
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


def _check(whole: Whole, name: str, faults: list[tuple[str, int]], tmp_path, capsys, count) -> None:
    """Inject faults, each of a kind at a place, and say which were not survived."""
    failed, num_met = [], 0
    for i, (kind, place) in enumerate(faults):
        disk, met = tmp_path / str(i), []
        disk.mkdir()
        try:
            found = list(disturbed(whole, kind, place, disk, capsys, met))
        except Exception as error:  # what a check of the files raises
            found = [repr(error)]
        failed += [f"{name}, {kind}, at {place}: {fault}" for fault in found]
        if met != [False]:
            num_met += 1
            count(f"disk full: {name}", 1, int(not found))
    assert not failed, os.linesep.join(failed)
    assert num_met, f"{name}: none of {faults} was met"


def _drawn(whole: Whole, rng: random.Random, first: int, number: int) -> list[tuple[str, int]]:
    """Kinds in turn, at random places: of sizes as many small ones as large ones."""
    kinds = [whole.kinds[(first + i) % len(whole.kinds)] for i in range(number)]
    return [
        (kind, round(whole.largest ** rng.uniform(0.2, 1)))
        if kind == TOO_LARGE
        else (kind, rng.randrange(whole.places(kind)))
        for kind in kinds
    ]


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in SHARES]
)
def test_a_command_on_a_full_disk(whole, count_faults, tmp_path, capsys, name):
    faults = [FAST[name]] if name in FAST else _drawn(whole(name), random.Random(name), 0, 1)
    _check(whole(name), name, faults, tmp_path, capsys, count_faults)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", SHARES)
def test_commands_on_disks_full_at_random(whole, count_faults, tmp_path, capsys, name, seed):
    faults = _drawn(whole(name), random.Random(f"{name} {seed}"), seed, SHARES[name])
    _check(whole(name), name, faults, tmp_path, capsys, count_faults)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["build", "repair", "tables", "weights", "export"])
def test_every_write_in_turn(whole, count_faults, tmp_path, capsys, name):
    kinds = [kind for kind in whole(name).kinds if kind != TOO_LARGE]
    steps = {OF_DISK[0]: 8}  # most pages are the middle of a file
    faults = [
        (kind, place)
        for kind in kinds
        for place in range(0, whole(name).places(kind), steps.get(kind, 1))
    ]
    _check(whole(name), name, faults, tmp_path, capsys, count_faults)
