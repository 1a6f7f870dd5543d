import json
import os
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from deformer.experiments import EXPERIMENTS
from deformer.files.sealed import write_json
from deformer.files.whole import NoRoomError
from deformer.training.checkpoint import (
    Content,
    DamagedCheckpointError,
    load_checkpoint,
    load_experiment,
    save_checkpoint,
)
from deformer.training.experiment import Experiment, differences, from_dict
from tests.deformer.small_runs import VERY_SMALL, assert_same_tensors, checkpoint_steps
from tests.full_disk import little_room, names

HAND = {"name": "standin", "sha256": "0" * 64}
STREAM = {"step": 1, "windows": 10, "fingerprint": "f"}


def _tensors(seed: int) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 3, 2, 2, generator=generator)
    return {
        "model": {
            "conv.weight": weight.to(memory_format=torch.channels_last),
            "view": torch.randn(6, 5, generator=generator).T,
        },
        "optimizer": {"model/conv.weight/step": torch.tensor(float(seed))},
    }


def _save(run: Path, step: int, error: float | None = None, keep: int = 2, **change) -> Path:
    metrics = {} if error is None else {"loss": 1.5, "pa_mpjpe_mm": error}
    content = Content(step=step, experiment=VERY_SMALL, hand=HAND, stream=STREAM,
                      tensors=_tensors(step), metrics=metrics)  # fmt: skip
    return save_checkpoint(run, replace(content, **change), keep)


def _damage(folder: Path, name: str = "model.safetensors") -> None:
    os.truncate(folder / name, (folder / name).stat().st_size - 10)


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"step": null}'])
def test_a_damaged_note_of_the_best_is_told_in_a_line(tmp_path, damage):
    (tmp_path / "best.json").write_bytes(damage)
    with pytest.raises(DamagedCheckpointError, match=r"best\.json.*delete it and choose") as caught:
        load_checkpoint(tmp_path, "best")
    assert "\n" not in str(caught.value)


def test_what_is_read_is_what_was_written(tmp_path):
    folder = _save(tmp_path, 7, 12.5)
    assert folder == tmp_path / "checkpoints" / "step-00000007"
    for path in (tmp_path, str(tmp_path), folder):
        read = load_checkpoint(path)
        assert (read.folder, read.step, read.experiment) == (folder, 7, VERY_SMALL)
        assert (read.hand, read.stream) == (HAND, STREAM)
        assert read.metrics == {"loss": 1.5, "pa_mpjpe_mm": 12.5}
        assert_same_tensors(read.tensors, _tensors(7))


def test_every_experiment_comes_back_from_json():
    for experiment in EXPERIMENTS.values():
        restored = from_dict(json.loads(json.dumps(asdict(experiment))), Experiment, "here")
        assert restored == experiment and not differences(restored, experiment)


def test_only_the_files_that_are_asked_for_are_read(tmp_path):
    folder = _save(tmp_path, 1)
    _damage(folder, "optimizer.safetensors")
    assert load_checkpoint(tmp_path, only=("model",)).tensors.keys() == {"model"}
    _damage(folder)
    read = load_experiment(tmp_path)
    assert (read.step, read.experiment, read.tensors) == (1, VERY_SMALL, {})


def test_no_room_for_a_checkpoint(tmp_path):
    _save(tmp_path, 1)
    message = f"no space left on the disk of {tmp_path} .*run the same command with --resume$"
    with little_room(500), pytest.raises(NoRoomError, match=message):
        _save(tmp_path, 2)
    assert names(tmp_path / "checkpoints") == ["step-00000001"]
    assert load_checkpoint(tmp_path).step == 1


def test_what_a_killed_save_left_goes_with_the_next(tmp_path):
    _save(tmp_path, 1)
    (tmp_path / "checkpoints" / ".step-00000002.part").mkdir()
    _save(tmp_path, 3)
    assert names(tmp_path / "checkpoints") == ["step-00000001", "step-00000003"]


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    kept = []
    for step, error in ((1, 9.0), (2, 5.0), (3, None), (4, 7.0), (5, 5.0), (6, 4.0), (7, None)):
        _save(tmp_path, step, error)
        kept.append(checkpoint_steps(tmp_path))
    assert kept == [[1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5], [5, 6], [6, 7]]
    assert load_checkpoint(tmp_path, "best").step == 6
    assert load_checkpoint(tmp_path, "last").step == 7
    assert load_checkpoint(tmp_path, "6").step == 6


def test_without_validation_none_is_the_best(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no checkpoint 'last': it has none at all"):
        load_checkpoint(tmp_path)
    for step in (1, 2, 3):
        _save(tmp_path, step)
    assert checkpoint_steps(tmp_path) == [2, 3]
    with pytest.raises(FileNotFoundError, match="no best checkpoint .* choose 'last'"):
        load_checkpoint(tmp_path, "best")
    with pytest.raises(FileNotFoundError, match="no checkpoint '1': it has the steps 2, 3"):
        load_checkpoint(tmp_path, "1")


def test_a_damaged_later_checkpoint_takes_no_place_of_a_whole_one(tmp_path):
    """A run that went on from step 2, since step 3 was damaged, saves at a step before it."""
    _save(tmp_path, 2, keep=1)
    folder = _save(tmp_path, 8, keep=1)
    _damage(folder)
    _save(tmp_path, 6, keep=1)
    assert load_checkpoint(tmp_path).step == 6


def _change_a_byte(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


DAMAGES = {
    "the model cut off": _damage,
    "state.json cut off": lambda folder: _damage(folder, "state.json"),
    "a byte changed": _change_a_byte,
    "a file gone": lambda folder: (folder / "optimizer.safetensors").unlink(),
    "state.json gone": lambda folder: (folder / "state.json").unlink(),
    "state.json without files": lambda folder: (folder / "state.json").write_text('{"format": 1}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path, caplog, damage):
    _save(tmp_path, 1)
    folder = _save(tmp_path, 2)
    DAMAGES[damage](folder)
    assert load_checkpoint(tmp_path).step == 1
    assert f"{folder}" in caplog.text and "damaged" in caplog.text
    assert "the checkpoint before it is used" in caplog.text
    with pytest.raises((DamagedCheckpointError, FileNotFoundError), match=re.escape(str(folder))):
        load_checkpoint(folder)


def test_when_all_are_damaged_it_is_an_error(tmp_path):
    for step in (1, 2):
        _damage(_save(tmp_path, step))
    with pytest.raises(DamagedCheckpointError, match="is whole: .* or begin anew in another --out"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_files_that_were_not_fetched_are_named_with_what_to_do(tmp_path, caplog, name):
    for step in (1, 2):
        path = _save(tmp_path, step) / name
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DamagedCheckpointError) as caught:
        load_checkpoint(tmp_path)
    assert str(caught.value) == (
        f"no checkpoint of {tmp_path} is whole: {path} is damaged: it is a Git LFS pointer: fetch "
        "the file itself by `git lfs pull`; bring its files back, or begin anew in another --out"
    )
    assert "is used" not in caplog.text  # there is none before them


def _edit_state(folder: Path, **change) -> None:
    state = json.loads((folder / "state.json").read_text())
    write_json(folder / "state.json", state | change)


def test_another_format_is_named(tmp_path):
    _save(tmp_path, 1)
    _edit_state(_save(tmp_path, 2), format=99)
    with pytest.raises(ValueError, match="step-00000002 has format 99, this program reads 1"):
        load_checkpoint(tmp_path)


def test_fields_of_another_version_are_named(tmp_path):
    folder = _save(tmp_path, 1)
    experiment = json.loads((folder / "state.json").read_text())["experiment"]
    experiment["optim"]["momentum"] = 0.9
    _edit_state(folder, experiment=experiment)
    with pytest.raises(ValueError, match=r"OptimConfig is of another .*: momentum"):
        load_checkpoint(tmp_path)
    del experiment["optim"]["momentum"], experiment["name"]
    _edit_state(folder, experiment=experiment)
    with pytest.raises(ValueError, match=r"Experiment is of another .*: name"):
        load_checkpoint(tmp_path)
    experiment |= {"name": "x", "optim": experiment["optim"] | {"lr": -1.0}}
    with pytest.raises(ValueError, match=r"optim.lr is -1.0"):
        from_dict(experiment, Experiment, "here")


def test_an_experiment_of_before_there_was_depth_reads_as_one_of_colour(tmp_path):
    folder = _save(tmp_path, 1)
    experiment = json.loads((folder / "state.json").read_text())["experiment"]
    del experiment["stream"]["input"]
    _edit_state(folder, experiment=experiment)
    assert load_checkpoint(tmp_path).experiment.stream.input == "rgb"


def test_torch_unpickles_nothing_but_weights():
    calls = []
    for package in ("deformer", "pipelines", "benchmarks"):
        for path in (Path(__file__).parents[3] / package).rglob("*.py"):
            text = path.read_text()
            calls += [
                (path.name, call)
                for call in re.findall(r"torch\.load\([^()]*(?:\([^()]*\))?.*", text)
            ]
            assert not re.search(r"from torch import .*\bload\b", text), path
            assert not re.search(r"torch\.serialization|torch\.hub", text), path
    assert calls  # the backbone's weights
    for name, call in calls:
        assert "weights_only=True" in call, name
