import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from deformer.hand.mano import HandLayer
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.network.discriminator import NUM_FEATURES, motion_features
from deformer.network.registry import network_class
from deformer.training import learner as learning
from deformer.training.distributed import Place
from deformer.training.learner import NonFiniteError, _compile_training
from deformer.training.motion import RealMotion
from tests.deformer.small_runs import (
    VERY_SMALL,
    assert_same_tensors,
    changed,
    make_learner,
    make_stream,
    snapshot,
)


@pytest.fixture(scope="module")
def batches(stream):
    return list(stream.batches(0, 3))


@pytest.fixture(scope="module")
def motion(stream):
    return RealMotion(stream.index, stream.windows, seed=0)


def test_both_networks_learn_by_turns(hands, stream, batches):
    learner = make_learner(hands, stream)
    before = snapshot(learner)
    terms = learner.step(batches[0], 0, 1.0)
    after = snapshot(learner)
    for part in ("model", "discriminator"):
        same = [
            name for name, value in before[part].items() if torch.equal(value, after[part][name])
        ]
        assert not same, (part, same)
    assert not before["optimizer"] and after["optimizer"]
    assert all(value.ndim == 0 and value.isfinite() for value in terms.values())
    parameters = [*learner.model.parameters(), *learner.discriminator.parameters()]
    assert all(p.grad is None and p.requires_grad for p in parameters)


def test_the_model_learns_from_the_discriminator_which_its_turn_leaves_alone(
    hands, stream, batches, monkeypatch
):
    only = dict.fromkeys(vars(VERY_SMALL.losses), 0.0) | {"adversarial": 10.0}
    learner = make_learner(hands, stream, changed("losses", **only))
    before = snapshot(learner)
    gradients = []

    def note_gradients(*_):
        gradients.extend(p.grad for p in learner.discriminator.parameters())

    monkeypatch.setattr(learner, "_step_discriminator", note_gradients)  # instead of its turn
    learner.step(batches[0], 0, 1.0)
    assert gradients and all(gradient is None for gradient in gradients)
    after = snapshot(learner)
    assert torch.equal(
        before["discriminator"]["score.weight"], after["discriminator"]["score.weight"]
    )
    moments = {k: v for k, v in after["optimizer"].items() if k.endswith("exp_avg")}
    assert moments["model/regressor.4.weight/exp_avg"].any()  # the fused pose,
    assert not moments["model/shape_head.0.weight/exp_avg"].any()  # but not the shape


def test_the_discriminator_learns_to_tell_them_apart(hands, stream, batches):
    """The predicted hands hardly move at the start, the real ones here leap."""
    experiment = changed("discriminator", hidden=32)
    experiment = changed("optim", experiment, lr=1e-30, lr_discriminator=1e-2, warmup_steps=0)
    learner = make_learner(hands, stream, experiment)
    history = [learner.step(batches[step % 3], step, 1.0) for step in range(12)]
    assert history[0]["discriminator"] > 0.4
    assert history[-1]["discriminator"] < 0.1 and history[-1]["adversarial"] > 0.8


@pytest.mark.parametrize("size", [1, 3])
def test_micro_batches_give_the_result_of_the_whole(hands, stream, batches, size):
    """Weights after Adam would hide the size of gradients, so the gradients themselves."""

    def gradients(micro_batch):
        learner = make_learner(hands, stream, changed("optim", micro_batch=micro_batch))
        seen = []
        for optimizer in (learner.optimizer, learner.optimizer_d):
            optimizer.register_step_pre_hook(
                lambda optimizer, *_: seen.extend(
                    p.grad.clone() for p in optimizer.param_groups[0]["params"]
                )
            )
        terms = learner.step(batches[0], 7, 1.0)
        return terms, seen

    terms, whole = gradients(None)
    terms_of_pieces, pieces = gradients(size)
    assert terms.keys() == terms_of_pieces.keys()
    for name, value in terms.items():
        assert torch.allclose(terms_of_pieces[name], value, rtol=1e-4, atol=1e-7), name
    assert len(whole) == len(pieces) > 50
    for a, b in zip(whole, pieces, strict=True):  # some are 0 but for rounding
        assert (a - b).norm() < 1e-3 * a.norm() + 1e-5


def test_bf16_takes_nearly_the_same_step_with_weights_in_float32(hands, stream, batches):
    """On a CPU too."""
    terms = []
    for bf16 in (False, True):
        learner = make_learner(hands, stream, bf16=bf16)
        terms.append(learner.step(batches[0], 0, 1.0))
        assert {p.dtype for p in learner.model.parameters()} == {torch.float32}
        assert {p.dtype for p in learner.discriminator.parameters()} == {torch.float32}
    exact, rounded = terms
    assert exact["total"] != rounded["total"]
    for name, value in exact.items():
        assert rounded[name].item() == pytest.approx(value.item(), rel=0.03, abs=2e-3), name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_nonfinite_loss_stops_before_anything_changes(hands, stream, batches, value):
    learner = make_learner(hands, stream)
    learner.step(batches[0], 0, 1.0)
    before = snapshot(learner)
    poisoned = batches[1]._replace(joints_px=batches[1].joints_px.clone())
    poisoned.joints_px[2, 1, 4, 0] = value
    with pytest.raises(NonFiniteError, match=r"step 1: the gradient is not finite; loss terms: .*"):
        learner.step(poisoned, 1, 1.0)
    assert_same_tensors(before, snapshot(learner))


def test_gradients_are_clipped_and_their_norm_is_told(hands, stream, batches):
    learner = make_learner(hands, stream, changed("optim", clip_norm=0.5))
    norms = []
    learner.optimizer.register_step_pre_hook(
        lambda optimizer, *_: norms.append(
            torch.stack([p.grad.norm() for p in optimizer.param_groups[0]["params"]]).norm().item()
        )
    )
    terms = learner.step(batches[0], 0, 1.0)
    assert terms["grad_norm"] > 1
    assert norms == [pytest.approx(0.5, rel=1e-3)]


def test_rates_follow_the_schedule_and_the_warm_up(hands, stream, batches):
    learner = make_learner(hands, stream, changed("optim", lr=4e-3, warmup_steps=4))
    rates = []
    learner.optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    for step, rate in ((0, 1.0), (2, 1.0), (3, 1.0), (9, 0.7)):
        learner.step(batches[0], step, rate)
        assert learner.optimizer_d.param_groups[0]["lr"] == pytest.approx(1e-2 * rate)
    assert rates == [pytest.approx(lr) for lr in (1e-3, 3e-3, 4e-3, 2.8e-3)]


def test_the_papers_schedule_and_one_that_falls_to_zero_at_the_end():
    optim = changed("optim", decay=0.7, decay_epochs=10).optim
    rates = [optim.rate(step, 100, 6000) for step in (0, 999, 1000, 1999, 2000, 5999)]
    assert rates == [pytest.approx(0.7**k) for k in (0, 0, 1, 1, 2, 5)]
    optim = changed("optim", decay=1.0, cooldown=0.5).optim
    rates = [optim.rate(step, 1000, 100) for step in (0, 49, 50, 51, 75, 99)]
    assert rates == pytest.approx([1, 1, 1, 0.98, 0.5, 0.02])


def test_real_motion_is_of_the_training_set(stream, motion):
    poses, is_left, noise = motion.draw(step=3, num=40)
    assert poses.shape == (40, 3, 48) and poses.dtype == torch.float32
    assert noise.shape == (2, 40, 3, NUM_FEATURES)
    labels = _poses_of(stream)
    windows = {labels[rows].tobytes(): rows for rows in stream.windows.rows}
    drawn = [windows[window.numpy().tobytes()] for window in poses]  # each is one of them
    assert len({tuple(rows) for rows in drawn}) > 5
    centre = [rows[1] for rows in drawn]
    assert is_left.tolist() == stream.index.is_left[centre].tolist()
    assert 0 < is_left.float().mean() < 1


def _poses_of(stream) -> np.ndarray:
    column = pq.read_table(stream.index.folder / "annotations.parquet")["pose_rotvec"]
    return np.array([pose or [0.0] * 48 for pose in column.to_pylist()], np.float32)


def test_real_motion_depends_on_seed_and_step_alone(stream, motion):
    again = RealMotion(stream.index, stream.windows, seed=0)
    for a, b in zip(motion.draw(7, 8), again.draw(7, 8), strict=True):
        assert torch.equal(a, b)
    another = RealMotion(stream.index, stream.windows, seed=1)
    for other in (motion.draw(8, 8), another.draw(7, 8)):
        assert not torch.equal(motion.draw(7, 8)[0], other[0])
        assert not torch.equal(motion.draw(7, 8)[2], other[2])


def test_two_ranks_share_what_one_process_draws(hands, dataset, stream, batches, motion):
    learner = make_learner(hands, stream, changed("discriminator", noise=0.5))
    (whole,) = learner._pieces(batches[1], 1)
    poses, is_left, noise = motion.draw(1, 4)
    rotmats = rotvec_to_rotmat(poses.view(4, 3, 16, 3))
    assert torch.equal(whole.real, motion_features(rotmats, is_left))
    assert torch.equal(whole.noise, 0.5 * noise)
    parts = []
    for rank in range(2):
        learner.place = Place(torch.device("cpu"), rank, 2)
        part = make_stream(dataset, rank=rank, num_ranks=2)
        parts += learner._pieces(next(part.batches(1, 2)), 1)
    assert torch.equal(torch.cat([p.batch.images for p in parts]), whole.batch.images)
    assert torch.equal(torch.cat([p.real for p in parts]), whole.real)
    assert torch.equal(torch.cat([p.noise for p in parts], 1), whole.noise)


@pytest.mark.slow
def test_one_batch_is_learned_to_three_millimetres(hands, dataset):
    experiment = changed("stream", size=64, limit=8)
    experiment = changed("model", experiment, width=32, ffn=64, regressor=(128, 64))
    experiment = changed("optim", experiment, lr=3e-3, lr_discriminator=1e-3, warmup_steps=20)
    stream = make_stream(dataset, experiment)
    learner = make_learner(hands, stream, experiment)
    batch = next(stream.batches())
    errors = []
    for step in range(500):
        learner.step(batch, step, 0.5 ** (step // 200))
        if step % 100 == 99:
            with torch.no_grad():
                output, targets = learner.predict(learning.move_batch(batch, torch.device("cpu")))
            offset = output.fused.vertices_m - targets.hand.vertices_m
            errors.append(offset.norm(dim=-1).mean().item() * 1000)
            print(f"step {step + 1}: mesh error {errors[-1]:.2f} mm")
    assert errors[-1] < 3


@pytest.mark.slow
def test_compiled_once_for_any_number_of_distinct_frames(hands, monkeypatch):
    """Of 17 frames or more: for fewer, and for one, PyTorch chooses other convolutions."""
    counter, real = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda call: real(call, backend=counter))
    model = network_class("deformer")(VERY_SMALL.model, HandLayer(hands)).train()
    _compile_training(model)
    for num in (17, 21, 18):
        boxes = torch.tensor([[0.0, 0, 31, 31]]).repeat(num, 1)
        model.encode_frames(torch.rand(num, 3, 32, 32), boxes, torch.arange(num) % 2 == 1)
    assert counter.frame_count == 1
