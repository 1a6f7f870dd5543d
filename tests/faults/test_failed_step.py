"""A batch that cannot be learned stops the training, saved so that its step can be repeated."""

import re
from pathlib import Path
from random import Random

import pytest

from deformer.data.stream import Stream
from deformer.training import failed_step
from deformer.training.checkpoint import Content
from deformer.training.failed_step import open_step
from deformer.training.learner import NonFiniteError
from tests.deformer.small_runs import (
    VERY_SMALL,
    assert_same_run,
    assert_same_tensors,
    changed,
    checkpoint_steps,
    make_learner,
    make_stream,
    run,
    snapshot,
)
from tests.faults.faulty_rank import poison
from tests.full_disk import little_room
from tests.processes import REPOSITORY


@pytest.fixture
def poisoned(monkeypatch):
    """The training batch of step 3 has an infinite label."""
    monkeypatch.setattr(Stream, "batches", Stream.batches)  # comes back afterwards
    poison(3)


def _stops(dataset: Path, out: Path, *experiment, **options) -> str:
    with pytest.raises(ValueError, match="step 3: the gradient is not finite") as caught:
        run(dataset, out, *experiment, **options)
    return str(caught.value)


@pytest.mark.parametrize("micro_batch", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_the_step_is_saved_and_can_be_repeated(
    dataset, tmp_path, monkeypatch, count_faults, micro_batch
):
    experiment = changed("optim", micro_batch=micro_batch)
    out, whole = tmp_path / "run", tmp_path / "whole"
    with monkeypatch.context() as patch:
        patch.setattr(Stream, "batches", Stream.batches)
        poison(3)
        said = _stops(dataset, out, experiment)
    folder = out / "failed" / "step-00000003-rank-0"
    count_faults("training: a poisoned batch", 1, int(folder.exists()))
    assert "\n" not in said and str(folder) in said
    assert "loss terms: not finite are joints_2d inf, total inf" in said
    stream = make_stream(dataset)
    windows = failed_step.name_windows(stream.index, next(iter(stream.batches(3, 4))).rows)
    assert f"Its windows: {' '.join(windows)}." in said and len(windows) == 4
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}  # no code
    page = (REPOSITORY / "docs" / "training.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(from deformer.training.failed_step .*?)```", page, re.S)
    with pytest.raises(NonFiniteError) as repeated:
        exec(re.sub(r'"runs/.*"', repr(str(folder)), block), {})
    assert said.startswith(f"{repeated.value}. ")
    assert checkpoint_steps(out) == [2]
    run(dataset, out, experiment, resume=True)
    run(dataset, whole, experiment)
    assert_same_run(out, whole)


def test_a_repeated_step_is_the_step(hands, dataset, tmp_path):
    """Of a batch that can be learned, too: the same weights come out."""
    stream = make_stream(dataset)
    learner = make_learner(hands, stream)
    one, two, *_ = stream.batches()
    learner.step(one, 0, 1.0)
    content = Content(
        step=1, experiment=VERY_SMALL, hand={"name": hands.name, "sha256": hands.sha256}, stream={},
        tensors=snapshot(learner),
    )  # fmt: skip
    error = NonFiniteError(1, {"total": float("nan")})
    folder = failed_step.save_step(tmp_path, content, learner, two, 0.5, [], error)
    again, *arguments = open_step(folder)
    learner.step(two, 1, 0.5), again.step(*arguments)
    assert_same_tensors(learner.tensors(), again.tensors())


def test_without_room_it_is_said(dataset, tmp_path, poisoned, monkeypatch):
    real = failed_step.write_folder

    def write(*arguments):
        with little_room(500):
            real(*arguments)

    monkeypatch.setattr(failed_step, "write_folder", write)
    said = _stops(dataset, tmp_path / "run")
    assert "Its windows: " in said and "The step could not be saved (no space left" in said
    assert not any((tmp_path / "run" / "failed").iterdir())
    assert checkpoint_steps(tmp_path / "run") == [2]


FLOATS = ("boxes_px", "occlusion", "pose_rotvec", "betas", "joints_cam_m", "joints_px", "K")
VALUES = (float("inf"), float("-inf"), float("nan"), 3e38, -1e20)


def _poison_labels(hands, dataset, random: Random, num: int, count_faults) -> None:
    """Unknown, huge or infinite: the step is refused, or all that comes out of it is finite."""
    stream, survived = make_stream(dataset), 0
    learner = make_learner(hands, stream)
    batches = list(stream.batches())
    for _ in range(num):
        batch, name = random.choice(batches), random.choice(FLOATS)
        labels = getattr(batch, name).clone()
        flat = labels.view(-1)
        flat[random.randrange(len(flat))] = random.choice(VALUES)
        before, terms = snapshot(learner), {}
        try:
            terms = learner.step(batch._replace(**{name: labels}), 1, 0.1)
        except NonFiniteError:
            assert_same_tensors(before, learner.tensors())
        weights = [learner.model.state_dict(), learner.discriminator.state_dict(), terms]
        survived += all(v.isfinite().all() for tensors in weights for v in tensors.values())
    count_faults("training: a poisoned label", num, survived)
    assert survived == num


def test_no_label_makes_weights_that_are_not_finite(hands, dataset, count_faults):
    _poison_labels(hands, dataset, Random(0), 10, count_faults)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_poisoned_labels(hands, dataset, count_faults, seed):
    _poison_labels(hands, dataset, Random(seed), 100, count_faults)
