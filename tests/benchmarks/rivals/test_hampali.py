import pytest
import torch
from torch.autograd.functional import jacobian

from benchmarks.rivals import hampali
from benchmarks.rivals.hampali import Hampali
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.network.output import FrameFeatures
from deformer.network.sides import mirror_points
from tests.benchmarks.rivals.photographed import photograph
from tests.deformer.small_runs import VERY_SMALL


@pytest.fixture(scope="module")
def model(layer):
    torch.manual_seed(0)
    return Hampali(VERY_SMALL.model, layer)


def _features(seen) -> FrameFeatures:
    """What a perfect encoder would see."""
    directions = torch.nn.functional.normalize(mirror_points(seen.joints_m, seen.is_left), dim=-1)
    stages = seen.joints_2d.repeat(1, 1, 3, 1)
    return FrameFeatures(torch.cat([stages.flatten(2), directions.flatten(2)], -1), seen.joints_2d)


def test_hands_of_either_side_are_found_from_2d_joints_and_directions(model, layer):
    seen = photograph(layer, 16)
    with torch.no_grad():
        output = model.eval().decode_windows(_features(seen), seen.is_left, view=seen.view)
    off = (output.hands.joints_m - seen.joints_m).norm(dim=-1)
    assert off.mean() < 0.002 and off.mean(-1).max() < 0.01
    assert output.hands.vertices_m is not None


def test_training_needs_no_fit(model, layer):
    seen = photograph(layer, 4)
    frames = FrameFeatures(*(value.requires_grad_() for value in _features(seen)))
    output = model.train().decode_windows(frames, seen.is_left, view=seen.view)
    assert not output.hands.joints_m.requires_grad and output.directions.requires_grad
    fingers = output.hands.rotmats[:, :, 1:]
    torch.testing.assert_close(fingers, torch.eye(3).expand_as(fingers))
    turned = output.hands.joints_m[:, :, 9], seen.joints_m[:, :, 9]  # the palm is turned already
    assert torch.cosine_similarity(*turned, dim=-1).min() > 0.99


def test_derivatives_are_those_of_the_skeleton(model):
    torch.manual_seed(0)
    rotmats = rotvec_to_rotmat(torch.randn(1, 16, 3))
    turns, points = hampali._posed(rotmats, model.rest_m)

    def moved(turn):  # as a step of the fit turns joints
        change = turns.mT @ turn[..., None]
        return hampali._posed(rotmats @ rotvec_to_rotmat(change[..., 0]), model.rest_m)[1]

    expected = jacobian(moved, torch.zeros(1, 16, 3)).reshape(63, 48)
    derivatives = hampali._derivatives(points, hampali._moves())[0]
    torch.testing.assert_close(derivatives, expected, rtol=1e-4, atol=1e-5)


def test_the_skeleton_is_the_hand_models(model, layer):
    seen = photograph(layer, 8, seed=1)
    rotmats = hampali.fit(model.rest_m, _rays(seen), seen.joints_m[:, 0], 0)[:4]
    is_left = torch.zeros(4, dtype=torch.bool)
    joints = layer(rotmats, torch.zeros(4, 10), is_left)[1]
    _, points = hampali._posed(rotmats, model.rest_m)
    expected = (joints - joints[:, :1])[:, hampali.DATASET_TO_MANO]
    torch.testing.assert_close(points, expected, rtol=0, atol=1e-5)


def _rays(seen) -> torch.Tensor:
    return (seen.joints_cam_m / seen.joints_cam_m[..., 2:])[:, 0]


def test_nonsense_gives_a_finite_hand(model):
    for rays in (torch.zeros(2, 21, 3), 100 * torch.randn(2, 21, 3)):
        rays[..., 2] = 1
        rotmats = hampali.fit(model.rest_m, rays, torch.zeros(2, 21, 3), 8)
        assert rotmats.isfinite().all()


def test_without_a_camera_nothing_can_be_fitted(model, layer):
    seen = photograph(layer, 2)
    with pytest.raises(ValueError, match="give K"):
        model.decode_windows(_features(seen), seen.is_left)
