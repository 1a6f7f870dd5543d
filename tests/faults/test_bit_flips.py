"""A flipped bit in any kept file is found when the file is read or verified, and `--repair` gives a
built dataset its bytes back."""

import random
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from deformer.data.dataset import read_info
from deformer.files.sealed import SEAL
from pipelines.verify import Options, run
from tests.faults import kept_files
from tests.faults.kept_files import Kept, dataset, is_same

SHARDS = ("000000.tar", "000001.tar")
T = TypeVar("T")
# Kind, how its files are made, share of the places
IN_DATASET = {
    "a tar shard": (SHARDS, 20),
    "frames.parquet": (("frames.parquet",), 20),
    "annotations.parquet": (("annotations.parquet",), 16),
    "dataset.json": (("dataset.json",), 10),
}
ALONE: dict[str, tuple[Callable[[Path], Kept], int]] = {
    "a checkpoint": (kept_files.checkpoint, 12),
    "a file of weights": (kept_files.weights, 6),
    "weights that ship": (kept_files.shipped_weights, 2),
    "the hands of a video": (kept_files.hands_of_a_video, 8),
    "an evaluation": (kept_files.evaluation, 6),
    "features": (kept_files.features, 6),
}
PREDICTIONS = 8
SOAK = [pytest.param(seed, 1, marks=pytest.mark.soak) for seed in range(1, 11)]
SEEDS = pytest.mark.parametrize(("seed", "part"), [(0, 0.1), *SOAK])


@pytest.fixture(scope="module")
def raw_and_built(tmp_path_factory, hands, layer) -> tuple[Path, Path]:
    return kept_files.small_dataset(tmp_path_factory.mktemp("kept"), hands, layer)


@pytest.fixture
def raw(raw_and_built) -> Path:
    return raw_and_built[0]


@pytest.fixture
def built(raw_and_built) -> Path:
    """Every flip is taken back."""
    return raw_and_built[1]


def places(path: Path, rng: random.Random, number: int) -> list[int]:
    """Random bytes of a file; in a tar, of each of its regions in turn."""
    size = path.stat().st_size
    if path.suffix != ".tar":
        return [rng.randrange(size) for _ in range(number)]
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    headers = [(m.offset, m.offset_data) for m in members]
    contents = [(m.offset_data, m.offset_data + m.size) for m in members]
    ends = [after.offset for after in members[1:]] + [members[-1].offset_data + members[-1].size]
    paddings = [(m.offset_data + m.size, end) for m, end in zip(members, ends, strict=True)]
    paddings = [(begin, end) for begin, end in paddings if begin < end]
    regions = (contents, headers, paddings, [(ends[-1], size)])
    return [rng.randrange(*rng.choice(regions[i % 4])) for i in range(number)]


def what_happens(kept: Kept, path: Path, place: int, bit: int, whole: object) -> str:
    """ "found" where the file is named, "nameless" where it is not, "harmless" where all that is
    read is as before, or "other data"; the bit is flipped for the time of this call."""
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[place] ^= 1 << bit
    path.write_bytes(flipped)
    try:
        found, said = _tried(kept.problems)
        read, error = _tried(kept.read)
        told = [*(found or []), *said, *error]
        if read is not None and not is_same(read, whole):
            return "other data"
        if told:
            return "found" if any(path.name in text for text in told) else f"nameless: {told}"
        return "harmless"
    finally:
        path.write_bytes(data)


def _tried(read: Callable[[], T]) -> tuple[T | None, list[str]]:
    """What is read, and what a program would tell in one line."""
    try:
        return read(), []
    except (ValueError, OSError) as error:
        return None, [str(error)]


def name_of_sum(path: Path) -> range:
    """Where a table's sum has its name; empty in other files. A table without a sum is one that
    another program wrote, which is read as ever."""
    if path.suffix != ".parquet":
        return range(0)
    begin = path.read_bytes().rindex(f"{SEAL}:".encode())
    return range(begin, begin + len(SEAL) + 1)


def flip(kept: Kept, seed: int, number: int) -> tuple[int, int, list[str]]:
    """Flip single bits at random places: how many were found, how many changed only the name of a
    sum, and what went wrong with others."""
    rng, whole = random.Random(seed), kept.read()
    found, harmless, wrong = 0, 0, []
    for i in range(number):
        path = kept.files[i % len(kept.files)]
        (place,), bit = places(path, rng, 1 + i // len(kept.files) % 4)[-1:], rng.randrange(8)
        what = what_happens(kept, path, place, bit, whole)
        if what == "found":
            found += 1
        elif what == "harmless" and place in name_of_sum(path):
            harmless += 1
        else:
            wrong.append(f"seed {seed}: bit {bit} of byte {place} of {path.name}: {what}")
    return found, harmless, wrong


@SEEDS
@pytest.mark.parametrize("kind", IN_DATASET)
def test_verify_finds_every_flip_and_nobody_reads_other_data(built, count_faults, kind, seed, part):
    names, share = IN_DATASET[kind]
    found, harmless, wrong = flip(dataset(built, *names), seed, max(4, round(part * share)))
    count_faults(f"bit flipped: {kind}", found + harmless + len(wrong), found)
    assert not wrong and not harmless


@SEEDS
@pytest.mark.parametrize("kind", ALONE)
def test_reading_finds_every_flip(tmp_path, count_faults, kind, seed, part):
    make, share = ALONE[kind]
    _check(count_faults, kind, flip(make(tmp_path / "kept"), seed, max(1, round(part * share))))


@SEEDS
def test_reading_finds_every_flip_in_predictions(tmp_path, built, count_faults, seed, part):
    kept = kept_files.predictions(tmp_path, built)
    _check(count_faults, "predictions", flip(kept, seed, max(1, round(part * PREDICTIONS))))


def _check(count_faults: Callable, kind: str, flipped: tuple[int, int, list[str]]) -> None:
    found, harmless, wrong = flipped
    count_faults(f"bit flipped: {kind}", found + len(wrong), found)
    if harmless:
        count_faults("bit flipped, nothing read changes: name of a sum", harmless, harmless)
    assert not wrong


@pytest.mark.parametrize("make", [kept_files.hands_of_a_video, kept_files.predictions])
def test_all_that_may_change_unseen_is_the_name_of_a_sum(tmp_path, built, count_faults, make):
    make = partial(make, built=built) if make is kept_files.predictions else make
    kept = make(tmp_path)
    (path,) = kept.files
    name, whole = name_of_sum(path), kept.read()
    others = (name.start - 1, name.stop, name.stop + 63, name.stop + 64)
    happened = {i: what_happens(kept, path, i, i % 8, whole) for i in (*name, *others)}
    survived = sum(happened[i] == "harmless" for i in name)
    count_faults("bit flipped, nothing read changes: name of a sum", len(name), survived)
    assert happened == dict.fromkeys(name, "harmless") | dict.fromkeys(others, "found")


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.soak)])
def test_every_byte_of_dataset_json_is_guarded(built, count_faults, step):
    path = built / "dataset.json"
    alone = Kept((path,), partial(read_info, built))
    happened = [
        what_happens(alone, path, i, i % 8, None) for i in range(0, path.stat().st_size, step)
    ]
    count_faults("bit flipped: dataset.json", len(happened), happened.count("found"))
    assert set(happened) == {"found"}


@SEEDS
def test_repair_gives_the_bytes_back(raw, built, count_faults, seed, part):
    rng = random.Random(seed)
    before = {path: path.read_bytes() for path in sorted(built.iterdir())}
    failed, number = [], max(3, round(part * 10))
    for i in range(number):
        name = ("dataset.json", SHARDS[i % 2], "frames.parquet", "annotations.parquet")[i % 4]
        place, bit = places(built / name, rng, 4)[i % 4], rng.randrange(8)
        data = bytearray(before[built / name])
        data[place] ^= 1 << bit
        try:
            (built / name).write_bytes(data)
            status = run(Options(built, repair=True, root=raw, workers=0))
            after = {path: path.read_bytes() for path in sorted(built.iterdir())}
        finally:
            for path, whole in before.items():
                path.write_bytes(whole)
        if status or after != before:
            failed.append(f"seed {seed}: bit {bit} of byte {place} of {name}")
    count_faults("bit flipped: --repair gives the bytes back", number, number - len(failed))
    assert not failed
