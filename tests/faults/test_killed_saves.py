"""A checkpoint torn in the middle of a write never replaces a good one, and a training killed at a
write goes on to the same end."""

import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from random import Random

import pytest

from tests.deformer.small_runs import build_dataset
from tests.faults.killed_saves import SAVES, Fault, all_faults, inject
from tests.processes import start_python


def _cut_off_saves(run: Path, faults: Iterable[Fault], count_faults) -> None:
    found = [(fault, inject(run, fault)) for fault in faults]
    for fault, wrong in found:
        count_faults(f"checkpoint: {fault.kind}", 1, int(wrong is None))
    assert not any(wrong for _, wrong in found), [*filter(lambda one: one[1], found)]


def test_a_save_that_is_cut_off_leaves_a_whole_checkpoint(tmp_path, count_faults):
    run = tmp_path / "faults" / "run"
    for faults in all_faults(run, "a better one").values():
        _cut_off_saves(run, Random(0).sample(faults, 2), count_faults)


@pytest.mark.soak
@pytest.mark.parametrize("save", SAVES)
def test_a_save_cut_off_at_any_write_leaves_a_whole_checkpoint(tmp_path, count_faults, save):
    run = tmp_path / "faults" / "run"
    _cut_off_saves(run, chain.from_iterable(all_faults(run, save).values()), count_faults)


def _killed_trainings(raw_root: Path, folder: Path, seeds: range, count_faults) -> None:
    code = "import runpy; runpy.run_module('tests.faults.killed_training', run_name='__main__')"
    process = start_python(
        code, str(build_dataset(raw_root)), str(folder), *map(str, seeds),
        env={"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    found = json.loads(said)
    for _, kills, wrong in found:
        count_faults("training: killed before a write", len(kills), 0 if wrong else len(kills))
    assert len(found) == len(seeds)
    assert not any(wrong for *_, wrong in found), found


@pytest.mark.slow
def test_a_training_killed_at_a_write_goes_on_to_the_same_end(raw_root, tmp_path, count_faults):
    _killed_trainings(raw_root, tmp_path, range(3), count_faults)


@pytest.mark.soak
@pytest.mark.parametrize("chunk", range(5))
def test_a_training_killed_at_writes_often(raw_root, tmp_path, count_faults, chunk):
    seeds = range(100 + 10 * chunk, 110 + 10 * chunk)
    _killed_trainings(raw_root, tmp_path, seeds, count_faults)
