"""The disk of a training is full, or read-only."""

import subprocess
from pathlib import Path
from random import Random

import pytest

from deformer.files.whole import NoRoomError
from deformer.training.checkpoint import load_checkpoint
from tests.deformer.small_runs import assert_same_run, checkpoint_steps, run
from tests.full_disk import can_mount, small_disk

_ADVICE = "make room and run the same command"
_MANY = 99_999
pytestmark = pytest.mark.skipif(not can_mount(), reason="no tmpfs may be mounted here")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, dataset):
    out = tmp_path_factory.mktemp("room") / "whole"
    run(dataset, out)
    return out


def _used(run: Path) -> int:
    return sum(path.stat().st_size for path in run.rglob("*") if path.is_file())


def _fill(dataset: Path, whole: Path, folder: Path, seeds: range, count_faults) -> None:
    wrong = {}
    folder.mkdir()
    for seed in seeds:
        size = Random(seed).randrange(4096, _used(whole))
        with small_disk(folder) as leave:
            leave(size // 4096, _MANY)
            try:
                run(dataset, folder / "run")
                wrong[seed] = "it had room"
            except NoRoomError as error:
                line = str(error)
                if "\n" in line or _ADVICE not in line or str(folder) not in line:
                    wrong[seed] = line
            steps = checkpoint_steps(folder / "run")
            if steps and load_checkpoint(folder / "run").step != steps[-1]:
                wrong[seed] = "the last checkpoint is not whole"
            leave(_MANY, _MANY)
            run(dataset, folder / "run", resume=True)
            try:
                assert_same_run(folder / "run", whole)
            except AssertionError as error:
                wrong[seed] = repr(error)
    count_faults("training: the disk full", len(seeds), len(seeds) - len(wrong))
    assert not wrong, wrong


@pytest.mark.slow
def test_a_full_disk_is_told_and_with_room_it_goes_on(dataset, whole, tmp_path, count_faults):
    _fill(dataset, whole, tmp_path / "disk", range(3), count_faults)


@pytest.mark.soak
@pytest.mark.parametrize("chunk", range(4))
def test_full_disks_often(dataset, whole, tmp_path, count_faults, chunk):
    _fill(
        dataset, whole, tmp_path / "disk", range(100 + 10 * chunk, 110 + 10 * chunk), count_faults
    )


@pytest.mark.slow
def test_a_read_only_folder_of_checkpoints_is_told(dataset, whole, tmp_path, count_faults):
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    with small_disk(out / "checkpoints"):
        run(dataset, out, steps=4)
        subprocess.run(["mount", "-o", "remount,ro", out / "checkpoints"], check=True)
        with pytest.raises(OSError, match="step-00000006 cannot be written .*--resume$"):
            run(dataset, out, resume=True)
        assert load_checkpoint(out).step == 4
        subprocess.run(["mount", "-o", "remount,rw", out / "checkpoints"], check=True)
        run(dataset, out, resume=True)
        assert_same_run(out, whole)
    count_faults("training: a read-only folder", 1, 1)
