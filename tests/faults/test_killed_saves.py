"""A checkpoint torn in the middle of a write never replaces a good one."""

import json
from collections import Counter

import pytest

from tests.faults.killed_saves import ENDS, SAVES
from tests.processes import start_python

_FAST = 24


def _inject(folder, every: int, first: int, count_faults) -> None:
    code = "import runpy; runpy.run_module('tests.faults.killed_saves', run_name='__main__')"
    process = start_python(code, str(folder), str(every), str(first), env={"OMP_NUM_THREADS": "1"})
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    found = json.loads(said)
    injected = Counter(end for _, end, _, _ in found)
    wrong = Counter(end for _, end, _, wrong in found if wrong)
    for end in ENDS:
        count_faults(
            f"checkpoint: {end} in the middle of a save", injected[end], injected[end] - wrong[end]
        )
    assert {save for save, *_ in found} == SAVES.keys()
    assert not wrong, [fault for fault in found if fault[3]]


def test_a_save_that_is_cut_off_leaves_a_whole_checkpoint(tmp_path, count_faults):
    _inject(tmp_path, _FAST, 5, count_faults)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(4))
def test_a_save_cut_off_at_any_write_leaves_a_whole_checkpoint(tmp_path, count_faults, first):
    _inject(tmp_path, 4, first, count_faults)
