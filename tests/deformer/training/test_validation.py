from dataclasses import replace

import numpy as np
import pytest
import torch

from deformer.data.batch import to_input
from deformer.data.order import OrderConfig
from deformer.data.store import open_store
from deformer.data.stream import Stream
from deformer.hand.align import align_procrustes, point_errors_mm
from deformer.network.losses import deformer_losses, make_targets, max_mse, weighted_sum
from deformer.training import validation
from deformer.training.validation import validate
from tests.deformer.small_runs import VERY_SMALL, make_learner, make_stream, snapshot

HIDDEN = 0.1


@pytest.fixture(autouse=True, scope="module")
def some_are_occluded():
    """The hands of this dataset are hidden by little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "OCCLUDED", HIDDEN)
        yield


@pytest.fixture(scope="module")
def learner(hands, dataset):
    learner = make_learner(hands, make_stream(dataset))
    torch.manual_seed(1)
    with torch.no_grad():  # away from the start, where every hand is open
        for head in (learner.model.regressor, learner.model.shape_head):
            head[-1].weight.normal_(0, 0.2)
    return learner


def _stream(dataset, split="s0_train", global_batch=4, streams=4, limit=None, **place) -> Stream:
    config = VERY_SMALL.stream.for_evaluation(split, limit)
    config = replace(config, order=OrderConfig(global_batch, streams, shuffle=False))
    return Stream(config, *open_store(dataset), **place)


@pytest.fixture(scope="module")
def expected(learner, dataset):
    """The same numbers, window by window."""
    rows = []
    with torch.no_grad():
        for batch in _stream(dataset, global_batch=1, streams=1).batches():
            output = learner.model(to_input(batch), batch.boxes_px, batch.is_left)
            targets = make_targets(
                learner.model.hand_layer, batch.pose_rotvec, batch.betas, batch.is_left,
                batch.joints_px, batch.boxes_px, batch.joints_in_image, batch.is_repeat,
                batch.joints_cam_m, batch.K, "dexycb",
            )  # fmt: skip
            loss = weighted_sum(deformer_losses(output, targets, max_mse), VERY_SMALL.losses)
            points = output.fused.joints_m[0, 1].double().numpy()
            truth = batch.joints_cam_m[0, 1].double().numpy()
            rooted = np.linalg.norm(points - points[0] - truth + truth[0], axis=1).mean() * 1000
            turned = align_procrustes(points[None], truth[None])
            aligned = point_errors_mm(turned, truth[None]).mean()
            hidden = batch.occlusion[0, 1].item() >= HIDDEN
            rows.append((loss.item(), rooted, aligned, hidden))
    loss, rooted, aligned, hidden = (np.array(column) for column in zip(*rows, strict=True))
    assert len(rows) == 25 and 0 < hidden.sum() < 25
    return {
        "loss": loss.mean(), "mpjpe_mm": rooted.mean(), "pa_mpjpe_mm": aligned.mean(),
        "pa_mpjpe_occluded_mm": aligned[hidden].mean(),
    }  # fmt: skip


# 25 windows: in batches of 4 three places are padding, of 8 seven, of 32 too
@pytest.mark.parametrize(("global_batch", "streams"), [(4, 4), (32, 8)])
def test_every_window_counts_once_whatever_the_batch(
    learner, dataset, expected, global_batch, streams
):
    found = validate(learner, _stream(dataset, global_batch=global_batch, streams=streams))
    assert found == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}


def test_two_ranks_together_find_what_one_finds(learner, dataset, expected, monkeypatch):
    parts = []

    def note(values):
        parts.append(values.clone())
        return torch.ones_like(values)

    monkeypatch.setattr(validation, "sum_over_ranks", note)
    for rank in range(2):
        place = {"rank": rank, "num_ranks": 2}
        validate(learner, _stream(dataset, global_batch=16, streams=8, **place))
    total = sum(parts)
    assert total[0] == 25 and len(parts) == 2
    monkeypatch.setattr(validation, "sum_over_ranks", lambda _: total)
    found = validate(learner, _stream(dataset, global_batch=16, streams=8, **place))
    assert found == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}


def test_it_looks_at_the_images_as_they_are_and_changes_nothing(learner, dataset):
    before = snapshot(learner)
    learner.model.train()
    first = validate(learner, _stream(dataset))
    assert validate(learner, _stream(dataset)) == first
    assert learner.model.training
    for part, tensors in learner.tensors().items():
        assert all(torch.equal(value, before[part][name]) for name, value in tensors.items())
    assert all(p.grad is None for p in learner.model.parameters())


def test_without_occluded_hands_there_is_no_number_for_them(learner, dataset, monkeypatch):
    monkeypatch.setattr(validation, "OCCLUDED", 1.1)
    assert validate(learner, _stream(dataset, "s0_val")).keys() == {
        "loss", "mpjpe_mm", "pa_mpjpe_mm",
    }  # fmt: skip
