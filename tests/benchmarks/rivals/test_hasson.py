"""What is particular to Hasson et al.: priors in the place of supervised parameters."""

import torch

from benchmarks.rivals.hasson import Hasson, prior_losses
from deformer.hand.mano import HandLayer
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.network.losses import LossWeights, Targets, mse, weighted_sum
from deformer.network.output import FrameFeatures
from deformer.network.posed_hands import HandMotion
from tests.deformer.small_runs import VERY_SMALL


def _hand(rotvec, betas):
    joints = torch.zeros(*rotvec.shape[:2], 21, 3)
    return HandMotion(rotvec_to_rotmat(rotvec), betas, None, joints)


def test_priors_draw_to_the_flat_hand_of_mean_shape_however_it_is_turned():
    flat = torch.zeros(2, 1, 16, 3)
    flat[:, :, 0] = torch.randn(2, 1, 3)
    priors = prior_losses(_hand(flat, torch.zeros(2, 1, 10)))
    assert max(value.item() for value in priors.values()) < 1e-12
    for finger in range(1, 16):
        bent = flat.clone()
        bent[:, :, finger, 1] = 0.3
        assert prior_losses(_hand(bent, torch.zeros(2, 1, 10)))["pose_prior"] > 1e-3


def test_for_small_angles_the_pose_prior_is_that_of_30_coefficients():
    """30 coefficients of an orthonormal basis: their squares add up to those of the angles."""
    rotvec = torch.zeros(1, 1, 16, 3)
    rotvec[:, :, 1:] = 0.05 * torch.randn(1, 1, 15, 3)
    weighted = (
        Hasson.own_weights["pose_prior"]
        * prior_losses(_hand(rotvec, torch.zeros(1, 1, 10)))["pose_prior"]
    )
    original = Hasson.own_weights["shape_prior"] * rotvec.square().sum() / 30  # one weight for both
    torch.testing.assert_close(weighted, original, rtol=0.01, atol=0)


def test_parameters_are_not_supervised(hands):
    """Pose and shape of the labels are not read, only their points."""
    torch.manual_seed(0)
    model = Hasson(VERY_SMALL.model, HandLayer(hands))
    frames = FrameFeatures(torch.randn(2, 1, VERY_SMALL.model.width), torch.rand(2, 1, 21, 2))
    output = model.decode_windows(frames, torch.tensor([False, True]))
    in_image = torch.ones(2, 1, 21, dtype=torch.bool)
    losses = []
    for turn in (0.0, 1.0):
        label = output.hands._replace(
            rotmats=rotvec_to_rotmat(torch.full((2, 1, 16, 3), turn)),
            betas=torch.full((2, 1, 10), turn),
            vertices_m=output.hands.vertices_m + 0.01,
        )
        targets = Targets(label, frames.joints_2d, in_image, None, None, None)
        terms = model.losses(output, targets, mse)
        losses.append(weighted_sum(terms, LossWeights(), model.own_weights))
    assert losses[0] == losses[1] > 0
