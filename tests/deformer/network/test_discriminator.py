import torch

from deformer.hand.rotations import mirror_rot6d, rot6d_to_rotmat, rotmat_to_rot6d, rotvec_to_rotmat
from deformer.network.discriminator import (
    DiscriminatorConfig,
    MotionDiscriminator,
    motion_features,
    saturation,
)
from deformer.network.losses import adversarial_loss, discriminator_loss

SMALL = DiscriminatorConfig(hidden=32)
RIGHT, LEFT = torch.zeros(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)


def _rotmats(B: int, T: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return rotvec_to_rotmat(torch.randn(B, T, 16, 3, generator=generator))


def test_global_orientation_is_not_seen_and_the_fingers_are():
    rotmats = _rotmats(3, 4)
    turned = rotmats.clone()
    turned[:, :, 0] = _rotmats(3, 4, seed=1)[:, :, 0]
    assert torch.equal(motion_features(turned, RIGHT), motion_features(rotmats, RIGHT))
    turned[:, 2, 7] = _rotmats(3, 4, seed=1)[:, 2, 7]
    assert not torch.equal(motion_features(turned, RIGHT), motion_features(rotmats, RIGHT))


def test_a_mirrored_left_hand_differs_in_the_side_alone():
    rotmats = _rotmats(3, 4)
    mirrored = rot6d_to_rotmat(mirror_rot6d(rotmat_to_rot6d(rotmats)))
    right, left = motion_features(rotmats, RIGHT), motion_features(mirrored, LEFT)
    assert torch.allclose(right[..., :-1], left[..., :-1], atol=1e-6)
    assert (right[..., -1] == 0).all() and (left[..., -1] == 1).all()


def test_one_equals_batched_and_order_in_time_matters():
    discriminator = MotionDiscriminator(SMALL).eval()
    features = motion_features(_rotmats(3, 5), RIGHT)
    scores = discriminator(features)
    assert torch.allclose(discriminator(features[1:2]), scores[1:2], atol=1e-6)
    assert not torch.allclose(discriminator(features.flip(1)), scores, atol=1e-4)


def test_gradients_reach_every_parameter_and_the_generator():
    discriminator = MotionDiscriminator(SMALL)
    rotmats = _rotmats(3, 5).requires_grad_()
    adversarial_loss(discriminator(motion_features(rotmats, RIGHT))).backward()
    assert (rotmats.grad[:, :, 0] == 0).all() and (rotmats.grad[:, :, 1:] != 0).any()
    for name, parameter in discriminator.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_saturation_from_chance_to_certainty():
    half, zero, one = torch.full((4,), 0.5), torch.zeros(4), torch.ones(4)
    assert saturation(discriminator_loss(half, half).item()) == 0
    assert saturation(discriminator_loss(zero, one).item()) == 1
    assert saturation(discriminator_loss(one, zero).item()) == 0  # wrong throughout
