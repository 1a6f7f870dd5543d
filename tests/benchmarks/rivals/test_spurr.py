from dataclasses import replace

import pytest
import torch

from benchmarks.rivals import RIVALS
from benchmarks.rivals.spurr import Spurr
from deformer.experiments import get_experiment
from deformer.network.output import FrameFeatures
from tests.benchmarks.rivals.photographed import photograph
from tests.deformer.small_runs import VERY_SMALL


@pytest.fixture(scope="module")
def model(layer):
    torch.manual_seed(0)
    return Spurr(VERY_SMALL.model, layer)


def _features(seen) -> FrameFeatures:
    """What a perfect encoder would see."""
    reference_m = seen.joints_m[:, :, 9].norm(dim=-1, keepdim=True)  # the middle finger's first
    return FrameFeatures(
        torch.cat([seen.joints_m[..., 2] / reference_m, reference_m.log()], -1), seen.joints_2d
    )


def test_exact_depths_and_2d_joints_are_lifted_exactly(layer):
    seen, exact = photograph(layer, 16), Spurr(VERY_SMALL.model, layer)
    torch.nn.init.zeros_(exact.refinement[-1].weight)  # no correction
    with torch.no_grad():
        output = exact.decode_windows(_features(seen), seen.is_left, view=seen.view)
    off = (output.hands.joints_m - seen.joints_m).abs().amax((1, 2, 3))
    # Where the reference bone is so much along the ray that both depths fit, it may be the other
    ray = seen.joints_cam_m[:, 0, 9] / seen.joints_cam_m[:, 0, 9, 2:]
    is_unique = output.depths[:, 0, 9].abs() * ray.norm(dim=-1) < 0.99
    assert is_unique.sum() >= 10 and off[is_unique].max() < 1e-4


def test_without_a_camera_nothing_can_be_lifted(model, layer):
    seen = photograph(layer, 2)
    with pytest.raises(ValueError, match="give K"):
        model.decode_windows(_features(seen), seen.is_left)


def _losses(model, joints_m, is_left) -> dict[str, float]:
    losses = model.biomechanical_losses(joints_m, is_left)
    return {name: value.item() for name, value in losses.items()}


def test_hands_of_either_side_are_within_the_intervals(model, layer):
    seen = photograph(layer, 32)
    losses = _losses(model, seen.joints_m, seen.is_left)
    assert losses["bone_lengths"] < 1e-6 and losses["palm"] < 1e-3 and losses["joint_angles"] < 1e-3


@pytest.mark.parametrize("change", ["bone_lengths", "palm", "joint_angles"])
def test_what_no_hand_can_do_costs(model, layer, change):
    seen = photograph(layer, 8)
    joints = seen.joints_m.clone()
    if change == "bone_lengths":
        joints *= 1.5
    elif change == "palm":  # a palm folded between the middle and the ring finger
        joints[:, :, 13:] -= 0.6 * joints[:, :, 13:14]
    else:  # the index finger goes straight on, then back on itself
        joints[:, :, 8] = joints[:, :, 6]
    before, after = (_losses(model, j, seen.is_left) for j in (seen.joints_m, joints))
    assert after[change] > before[change] + 1e-3


def test_gradients_are_finite_where_all_joints_are_in_one_point(model):
    joints = torch.zeros(2, 1, 21, 3, requires_grad=True)
    is_left = torch.tensor([False, True])
    sum(model.biomechanical_losses(joints, is_left).values()).backward()
    assert joints.grad.isfinite().all()


def test_one_row_has_the_backbone_of_its_base_and_one_its_own():
    base = get_experiment("tiny")
    assert RIVALS["spurr"].applied_to(base).model == base.model
    own = RIVALS["spurr_hrnet"].applied_to(base).model
    assert own == replace(base.model, backbone="hrnet_w32")
