"""A checkpoint torn in the middle of a write never replaces a good one, and a training killed at a
write goes on to the same end."""

import json
from pathlib import Path

import pytest

from tests.deformer.small_runs import build_dataset
from tests.faults.killed_saves import ENDS, all_faults, inject
from tests.processes import start_python


def _cut_off_saves(folder: Path, every: int, first: int, count_faults) -> None:
    run = folder / "faults" / "run"
    within, after = all_faults(run)
    found = {fault: inject(run, fault) for fault in within[first::every] + after}
    wrong = {fault: what for fault, what in found.items() if what}
    for end in ENDS:
        num, bad = (sum(fault.end == end for fault in some) for some in (found, wrong))
        count_faults(f"checkpoint: {end} in the middle of a save", num, num - bad)
    assert not wrong, wrong


def test_a_save_that_is_cut_off_leaves_a_whole_checkpoint(tmp_path, count_faults):
    _cut_off_saves(tmp_path, 48, 5, count_faults)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(4))
def test_a_save_cut_off_at_any_write_leaves_a_whole_checkpoint(tmp_path, count_faults, first):
    _cut_off_saves(tmp_path, 4, first, count_faults)


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
