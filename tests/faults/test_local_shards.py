"""Shards of a folder that are cut off, changed, deleted or replaced while an epoch reads them."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deformer.data import store as stores
from deformer.data.augment import NO_AUGMENTATION
from deformer.data.batch import Batch
from deformer.data.clip import image_member, labels_member
from deformer.data.index import FrameIndex
from deformer.data.store import open_store
from deformer.data.stream import Stream
from tests.faults.test_remote import CONFIG, TARS, build

PLAIN = replace(CONFIG, augment=NO_AUGMENTATION)
"""A window is the same at any place of the order."""


def cut(folder: Path, other: Path, rng: np.random.Generator) -> None:
    path = folder / rng.choice(TARS[:2])
    os.truncate(path, int(rng.integers(path.stat().st_size)))


def cut_and_grow(folder: Path, other: Path, rng: np.random.Generator) -> None:
    """As a copy onto it that is under way."""
    path = folder / rng.choice(TARS[:2])
    size = path.stat().st_size
    os.truncate(path, int(rng.integers(size)))
    os.truncate(path, size)


def overwrite(folder: Path, other: Path, rng: np.random.Generator) -> None:
    path = folder / rng.choice(TARS[:2])
    with path.open("r+b") as file:
        file.seek(int(rng.integers(path.stat().st_size)))
        file.write(rng.bytes(4096))


def delete(folder: Path, other: Path, rng: np.random.Generator) -> None:
    (folder / rng.choice(TARS[:2])).unlink()


def replace_shard(folder: Path, other: Path, rng: np.random.Generator) -> None:
    name = rng.choice(TARS[:2])
    shutil.copy(other / name, folder / "new")
    (folder / "new").replace(folder / name)


def rebuild(folder: Path, other: Path, rng: np.random.Generator) -> None:
    """Another folder takes the place of this one."""
    new, old = folder.with_name("new"), folder.with_name("old")
    shutil.copytree(other, new)
    folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old)


KINDS = (cut, cut_and_grow, overwrite, delete, replace_shard, rebuild)

SURVIVED = ("skipped", "named")


@pytest.fixture(autouse=True)
def files_kept_open(monkeypatch) -> None:
    """`what_happens` chooses how many."""
    monkeypatch.setattr(stores, "_MAX_OPEN", stores._MAX_OPEN)


@pytest.fixture(scope="module")
def builds(tmp_path_factory) -> tuple[Path, Path]:
    """Two datasets of the same frames, with other images and labels."""
    folder = tmp_path_factory.mktemp("local")
    return build(folder / "dataset", 0, 40), build(folder / "other", 50, 40)


def by_window(batches: list[Batch]) -> dict[int, bytes]:
    """All bytes of windows but padding, by their centre row, each once."""
    found = {}
    for batch in batches:
        for k in np.flatnonzero(~batch.is_padding.numpy()):
            row = int(batch.rows[k, CONFIG.window.num_frames // 2])
            assert row not in found
            found[row] = b"".join(field[k].numpy().tobytes() for field in batch[:-1])
    return found


def members(index: FrameIndex, row: int) -> set[str]:
    clip = index.clips[index.clip[row]]
    return {labels_member(clip), image_member(clip, int(index.numbers["clip_index"][row]))}


def what_happens(builds: tuple[Path, Path], folder: Path, damage: Callable, seed: int) -> str:
    """Read an epoch under which the damage is done: "right" where it was not met, "skipped" or
    "named" where it was survived, or else what was wrong."""
    rng = np.random.default_rng(seed)
    shutil.copytree(builds[0], folder)
    stores._MAX_OPEN = int(rng.integers(1, 3))  # with 1 a shard is opened again and again
    stream = Stream(PLAIN, *open_store(folder), workers=int(rng.integers(2)))
    before, read = int(rng.integers(stream.steps_per_epoch - 4)), []
    expected = by_window(Stream(PLAIN, *open_store(builds[0])).batches())
    batches = stream.batches()
    try:
        read.extend(next(batches) for _ in range(before))
        damage(folder, builds[1], rng)
        read.extend(batches)
    except (ValueError, OSError) as error:
        says = "built anew" if damage is rebuild else r"lacks 00000\d.tar: |are corrupt, "
        is_named = re.search(says, str(error))
        return "named" if is_named and str(folder) in str(error) else f"{error!r} does not name it"
    finally:
        batches.close()
    found = by_window(read)
    if any(content != expected[row] for row, content in found.items()):
        return "wrong windows"
    skipped = {name.split(":")[0] for name in stream.skipped}
    for rows in stream.windows.rows:
        is_skipped = any(skipped & members(stream.index, row) for row in rows)
        if int(rows[stream.windows.centre]) not in found and not is_skipped:
            return f"rows {rows} are lost without a word; skipped: {skipped}"
    return "skipped" if skipped else "right"


def check(builds, tmp_path, count_faults, damage: Callable, seeds: range) -> dict[int, str]:
    """What happened, by seed."""
    happened = {}
    for seed in seeds:
        folder = tmp_path / str(seed) / "dataset"
        happened[seed] = what_happens(builds, folder, damage, seed)
        shutil.rmtree(folder.parent)
    kind = damage.__name__.replace("_", " ")
    met = {seed: what for seed, what in happened.items() if what != "right"}
    wrong = {seed: what for seed, what in met.items() if what not in SURVIVED}
    count_faults(f"local shard under an epoch: {kind}", len(met), len(met) - len(wrong))
    assert not wrong
    return met


@pytest.mark.parametrize("damage", KINDS)
def test_damage_under_a_running_epoch(builds, tmp_path, count_faults, damage):
    check(builds, tmp_path, count_faults, damage, range(3))


@pytest.mark.soak
@pytest.mark.parametrize("damage", KINDS)
def test_much_damage_under_a_running_epoch(builds, tmp_path, count_faults, damage):
    assert check(builds, tmp_path, count_faults, damage, range(100, 125))
