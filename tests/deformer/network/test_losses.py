from dataclasses import fields

import pytest
import torch

from deformer.hand.rotations import rotvec_to_rotmat
from deformer.network.losses import (
    LossWeights,
    Targets,
    adversarial_loss,
    deformer_losses,
    discriminator_loss,
    huber,
    joints_2d_loss,
    make_targets,
    masked_mean,
    max_mse,
    motion_losses,
    mse,
    shape_loss,
    smooth_loss,
    weighted_sum,
)
from deformer.network.output import DeformerOutput, View
from deformer.network.posed_hands import HandMotion, pose_hands

IS_LEFT = torch.tensor([False, True])


def _hand(layer, T: int, seed: int) -> HandMotion:
    generator = torch.Generator().manual_seed(seed)
    rotmats = rotvec_to_rotmat(0.4 * torch.randn(2, T, 16, 3, generator=generator))
    betas = torch.randn(2, 1, 10, generator=generator).expand(2, T, 10)
    return pose_hands(layer, rotmats, betas, IS_LEFT, "dexycb")


def _between(hand: HandMotion, first: int, last: int | None) -> HandMotion:
    return HandMotion(*(value[:, first:last] for value in hand))


def _perfect(layer, T: int) -> tuple[DeformerOutput, Targets]:
    """A prediction that is right in everything, motion included."""
    truth = _hand(layer, T, seed=1)
    joints_2d = torch.rand(2, T, 21, 2)
    output = DeformerOutput(
        fused=truth,
        monocular=truth,
        forward=_between(truth, 1, None),
        backward=_between(truth, 0, T - 1),
        joints_2d=joints_2d,
        confidence=torch.zeros(2, T),
        deformed=torch.zeros(2, T, T, 16, 6),
        weights=torch.full((2, T, T), 1 / T),
    )
    visible, repeat = torch.ones(2, T, 21, dtype=torch.bool), torch.zeros(2, T - 1)
    view = View(torch.zeros(2, T, 4), torch.eye(3).expand(2, T, 3, 3))
    nowhere = torch.zeros(2, T, 21, 3)
    return output, Targets(truth, joints_2d, visible, repeat.bool(), nowhere, view)


def test_max_mse_by_hand():
    target = torch.zeros(3, 3)
    points = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 0]])
    assert max_mse(points, target) == pytest.approx((1 + 16) / (1 + 4))
    assert mse(points, target) == pytest.approx(5 / 3)


def test_gradcheck_of_max_mse():
    torch.manual_seed(0)
    points, target = torch.randn(2, 3, 5, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(max_mse, (points.requires_grad_(), target))


def test_huber_is_a_square_up_to_a_centimetre_and_a_line_beyond():
    points = torch.tensor([[0.004, 0, 0], [0, 0.03, 0]], dtype=torch.float64, requires_grad=True)
    loss = huber(points, torch.zeros_like(points))
    assert loss.item() == pytest.approx((0.004**2 + 2 * 0.01 * 0.03 - 0.01**2) / 2)
    loss.backward()
    assert points.grad[0, 0].item() == pytest.approx(0.004)  # 2e / 2
    assert points.grad[1, 1].item() == pytest.approx(0.01)
    at_target = torch.zeros(2, 3, requires_grad=True)
    huber(at_target, torch.zeros(2, 3)).backward()
    assert (at_target.grad == 0).all()


def test_max_mse_is_zero_with_zero_gradient_at_a_perfect_prediction():
    target = torch.randn(2, 5, 3, dtype=torch.float64)
    points = target.clone().requires_grad_()
    loss = max_mse(points, target)
    loss.sum().backward()
    assert (loss == 0).all() and (points.grad == 0).all()
    assert torch.autograd.gradcheck(max_mse, (points, target))


@pytest.mark.parametrize("error", [1e-20, 1e-12, 1e-8, 1e-3, 1e3])
def test_max_mse_in_float32_is_finite_at_any_size_of_error(error):
    points = (error * torch.randn(4, 778, 3)).requires_grad_()
    loss = max_mse(points, torch.zeros(4, 778, 3))
    loss.sum().backward()
    assert loss.isfinite().all() and points.grad.isfinite().all()
    assert points.grad.abs().max() <= 100 * error


def test_masked_mean_is_by_window_so_that_ranks_agree_with_one_process():
    values, mask = torch.rand(4, 3, 5), torch.rand(4, 3, 5) < 0.4
    mask[2] = False
    halves = [masked_mean(values[part], mask[part]) for part in (slice(0, 2), slice(2, 4))]
    assert torch.allclose(masked_mean(values, mask), sum(halves) / 2)
    expected = [values[b][mask[b]].mean() if b != 2 else torch.tensor(0.0) for b in range(4)]
    assert torch.allclose(masked_mean(values, mask), torch.stack(expected).mean())


@pytest.mark.parametrize("T", [1, 2, 7])
def test_a_perfect_prediction_costs_only_smoothness(layer, T):
    output, targets = _perfect(layer, T)
    losses = deformer_losses(output, targets)
    smooth = losses.pop("smooth")
    assert all(value == 0 for value in losses.values()), losses
    assert (smooth > 0) == (T > 1)


@pytest.mark.parametrize("point_loss", [max_mse, mse])
@pytest.mark.parametrize("T", [1, 2, 7])
def test_every_term_is_a_scalar_that_has_a_weight(layer, T, point_loss):
    output, targets = _perfect(layer, T)
    targets = targets._replace(hand=_hand(layer, T, seed=2), joints_2d=torch.rand(2, T, 21, 2))
    losses = deformer_losses(output, targets, point_loss)
    assert set(losses) == {
        *("vertices", "joints", "pose", "shape"),
        *("monocular_vertices", "monocular_joints", "monocular_pose", "monocular_shape"),
        *("motion_vertices", "motion_joints", "motion_pose", "joints_2d", "smooth"),
    }
    for name, value in losses.items():
        assert value.shape == () and value.isfinite(), name
        assert value > 0 or (T == 1 and name.startswith(("motion", "smooth"))), name
    total = weighted_sum(losses, LossWeights())
    by_hand = sum(LossWeights().weight_of(name) * float(value) for name, value in losses.items())
    assert float(total) == pytest.approx(by_hand, rel=1e-5)


def test_terms_by_hand(layer):
    output, targets = _perfect(layer, 3)
    moved = output.fused._replace(joints_m=output.fused.joints_m + torch.tensor([0.01, 0, 0]))
    losses = deformer_losses(output._replace(fused=moved), targets)
    assert losses["joints"] == pytest.approx(1e-4, rel=1e-3)  # 1 cm, in metres²
    assert losses["monocular_joints"] == losses["vertices"] == losses["motion_joints"] == 0
    wider = output.fused._replace(betas=output.fused.betas + 2)
    assert torch.allclose(shape_loss(wider, targets.hand, mse), torch.full((2, 3), 4.0))


def test_repeated_frames_are_left_out_of_the_motion_loss(layer):
    T = 4
    output, targets = _perfect(layer, T)
    wrong = output.forward.joints_m.clone()
    wrong[0, 1] += 1.0  # window 0, the step 1 → 2
    output = output._replace(forward=output.forward._replace(joints_m=wrong))
    is_repeat = torch.zeros(2, T - 1, dtype=torch.bool)
    losses = motion_losses(output, targets.hand, is_repeat, mse)
    assert losses["joints"] == pytest.approx(3.0 / 6 / 2)  # one of six steps, one of two windows
    is_repeat[0, 1] = True
    assert motion_losses(output, targets.hand, is_repeat, mse)["joints"] == 0
    is_repeat[:] = True
    assert motion_losses(output, targets.hand, is_repeat, mse)["joints"] == 0


def test_motion_is_compared_with_the_neighbour_and_not_with_the_frame_itself(layer):
    output, targets = _perfect(layer, 4)
    standing = output._replace(forward=_between(output.fused, 0, 3))
    losses = motion_losses(standing, targets.hand, targets.is_repeat, mse)
    assert losses["vertices"] > 0 and losses["pose"] > 0


def test_only_joints_inside_the_image_count():
    predicted, target = torch.zeros(2, 3, 21, 2), torch.zeros(2, 3, 21, 2)
    target[0, 1, 5] = torch.tensor([0.3, 0.4])
    inside = torch.ones(2, 3, 21, dtype=torch.bool)
    assert joints_2d_loss(predicted, target, inside) == pytest.approx(0.25 / 63 / 2)
    inside[0, 1, 5] = False
    assert joints_2d_loss(predicted, target, inside) == 0
    assert joints_2d_loss(predicted, target, torch.zeros_like(inside)) == 0


def test_smoothness_by_hand():
    joints = torch.zeros(1, 3, 21, 3)
    joints[0, :, :, 0] = torch.tensor([0.0, 1, 3])[:, None]
    assert smooth_loss(joints) == pytest.approx((1 + 4) / 2 + 1)
    assert smooth_loss(joints[:, :2]) == pytest.approx(1)
    assert smooth_loss(joints[:, :1]) == 0


def test_adversarial_terms_by_hand():
    predicted, real = torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5])
    assert adversarial_loss(predicted) == pytest.approx(0.5)
    assert discriminator_loss(predicted, real) == pytest.approx(0.5 + 0.25)


def test_targets_are_what_the_labels_say(layer):
    torch.manual_seed(0)
    T, pose = 3, 0.3 * torch.randn(2, 3, 48)
    boxes = torch.tensor([10.0, 20, 50, 60]).expand(2, T, 4)
    joints_px = torch.tensor([20.0, 50]).expand(2, T, 21, 2)
    targets = make_targets(
        layer,
        pose_rotvec=pose,
        betas=torch.randn(2, 10),
        is_left=IS_LEFT,
        joints_px=joints_px,
        boxes_px=boxes,
        joints_in_image=torch.ones(2, T, 21, dtype=torch.bool),
        is_repeat=torch.zeros(2, T - 1, dtype=torch.bool),
        joints_cam_m=torch.zeros(2, T, 21, 3),
        K=torch.eye(3).expand(2, T, 3, 3),
        tips="ho3d",
    )
    assert torch.allclose(targets.joints_2d, torch.tensor([0.25, 0.75]))
    assert torch.allclose(
        targets.hand.rotmats[1, 2, 4], rotvec_to_rotmat(pose[1, 2].reshape(16, 3)[4])
    )
    assert (targets.hand.betas[:, 0] == targets.hand.betas[:, 2]).all()
    assert (targets.hand.joints_m[:, :, 0] == 0).all()


def test_every_weight_is_read_and_checked():
    for field in fields(LossWeights):
        with pytest.raises(ValueError, match=f"weight {field.name} is -1"):
            LossWeights(**{field.name: -1})
    weights = LossWeights(joints=3, monocular=2, motion=0)
    assert weights.weight_of("joints") == 3 and weights.weight_of("monocular_joints") == 6
    assert weights.weight_of("motion_joints") == 0 and weights.weight_of("joints_2d") == 1e2
    with pytest.raises(AttributeError):
        weighted_sum({"unknown": torch.tensor(1.0)}, weights)
