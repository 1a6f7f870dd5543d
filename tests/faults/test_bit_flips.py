"""A flipped bit in any kept file is found when the file is read or verified, and `--repair` gives a
built dataset its bytes back."""

import random
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from deformer.data.dataset import read_info
from deformer.files.sealed import SEAL
from pipelines.verify import Options, run
from tests.faults import kept_files
from tests.faults.kept_files import Kept, dataset, is_same

SHARDS = ("000000.tar", "000001.tar")
# Kind, how its files are made, share of the places
IN_DATASET = {
    "a tar shard": (SHARDS, 30),
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
    """ "found", "harmless" where all that is read is as before, or "other data"; the bit is flipped
    for the time of this call."""
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[place] ^= 1 << bit
    path.write_bytes(flipped)
    try:
        is_found = _raises(kept.problems) or bool(kept.problems())
        if _raises(kept.read):
            return "found"
        if not is_same(kept.read(), whole):
            return "other data"
        return "found" if is_found else "harmless"
    finally:
        path.write_bytes(data)


def _raises(read: Callable[[], object]) -> bool:
    try:
        read()
    except (ValueError, OSError):  # what programs tell in one line
        return True
    return False


def flip(kept: Kept, seed: int, number: int) -> dict[str, list[str]]:
    """Flip single bits at random places; each by what happened."""
    rng, whole = random.Random(seed), kept.read()
    happened: dict[str, list[str]] = {"found": [], "harmless": [], "other data": []}
    for i in range(number):
        path = kept.files[i % len(kept.files)]
        (place,), bit = places(path, rng, 1 + i // len(kept.files) % 4)[-1:], rng.randrange(8)
        what = what_happens(kept, path, place, bit, whole)
        happened[what].append(f"seed {seed}: bit {bit} of byte {place} of {path.name}")
    return happened


@SEEDS
@pytest.mark.parametrize("kind", IN_DATASET)
def test_verify_finds_every_flip_and_nobody_reads_other_data(built, count_faults, kind, seed, part):
    names, share = IN_DATASET[kind]
    happened = flip(dataset(built, *names), seed, max(4, round(part * share)))
    count_faults(f"bit flipped: {kind}", sum(map(len, happened.values())), len(happened["found"]))
    assert not happened["harmless"] + happened["other data"]


@SEEDS
@pytest.mark.parametrize("kind", ALONE)
def test_reading_finds_every_flip(tmp_path, count_faults, kind, seed, part):
    make, share = ALONE[kind]
    happened = flip(make(tmp_path / "kept"), seed, max(1, round(part * share)))
    _count(count_faults, kind, happened)
    assert kind == "the hands of a video" or not happened["harmless"]


@SEEDS
def test_reading_finds_every_flip_in_predictions(tmp_path, built, count_faults, seed, part):
    kept = kept_files.predictions(tmp_path, built)
    _count(count_faults, "predictions", flip(kept, seed, max(1, round(part * PREDICTIONS))))


def _count(count_faults: Callable, kind: str, happened: dict[str, list[str]]) -> None:
    found, harmless = len(happened["found"]), len(happened["harmless"])
    count_faults(f"bit flipped: {kind}", found + len(happened["other data"]), found)
    if harmless:
        count_faults(f"bit flipped, nothing read changes: {kind}", harmless, harmless)
    assert not happened["other data"]


@pytest.mark.parametrize("make", [kept_files.hands_of_a_video, kept_files.predictions])
def test_all_that_may_change_unseen_is_the_name_of_a_sum(tmp_path, built, count_faults, make):
    """A table without a sum is one that another program wrote, which is read as ever."""
    make = partial(make, built=built) if make is kept_files.predictions else make
    kept = make(tmp_path)
    (path,) = kept.files
    begin, whole = path.read_bytes().rindex(f"{SEAL}:".encode()), kept.read()
    name = range(begin, begin + len(SEAL) + 1)
    for place in (*name, begin - 1, name.stop, name.stop + 63, name.stop + 64):
        happened = what_happens(kept, path, place, place % 8, whole)
        assert happened == ("harmless" if place in name else "found"), place
    count_faults("bit flipped, nothing read changes: name of a sum", len(name), len(name))


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
        (built / name).write_bytes(data)
        status = run(Options(built, repair=True, root=raw, workers=0))
        after = {path: path.read_bytes() for path in sorted(built.iterdir())}
        if status or after != before:
            failed.append(f"seed {seed}: bit {bit} of byte {place} of {name}")
        for path, whole in before.items():
            path.write_bytes(whole)
    count_faults("bit flipped: --repair gives the bytes back", number, number - len(failed))
    assert not failed
