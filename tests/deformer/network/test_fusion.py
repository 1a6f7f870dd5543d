from typing import get_args

import pytest
import torch

from deformer.network.fusion import (
    FusionVariant,
    deform_poses,
    fuse_poses,
    fusion_weights,
    step_poses,
)


@pytest.mark.parametrize("T", [1, 2, 6])
def test_prefix_sums_agree_with_sums_written_out(T):
    torch.manual_seed(0)
    poses, forward, backward = torch.randn(3, 2, T, 16, 6, dtype=torch.float64).unbind()
    deformed = deform_poses(poses, forward, backward)
    for i in range(T):
        for j in range(T):
            motion = forward[:, i:j].sum(1) if j > i else backward[:, j + 1 : i + 1].sum(1)
            assert torch.allclose(deformed[:, i, j], poses[:, i] + motion), (i, j)


@pytest.mark.parametrize("T", [1, 2, 7])
def test_steps_are_the_neighbours_of_the_diagonal(T):
    poses, forward, backward = torch.randn(3, 2, T, 16, 6).unbind()
    deformed = deform_poses(poses, forward, backward)
    ahead, back = step_poses(poses, forward, backward)
    assert ahead.shape == back.shape == (2, T - 1, 16, 6)
    for t in range(T - 1):
        assert torch.allclose(ahead[:, t], deformed[:, t, t + 1], atol=1e-5)
        assert torch.allclose(back[:, t], deformed[:, t + 1, t], atol=1e-5)


@pytest.mark.parametrize("variant", get_args(FusionVariant))
@pytest.mark.parametrize("T", [1, 2, 7])
def test_weights_of_every_variant_sum_to_one(variant, T):
    confidence, occlusion, affinity = torch.randn(3, T), torch.rand(3, T), torch.randn(3, T, T)
    weights = fusion_weights(variant, confidence, occlusion, affinity=affinity)
    assert weights.shape == (3, T, T)
    assert torch.allclose(weights.sum(1), torch.ones(3, T))


def test_what_each_variant_weighs():
    confidence = torch.tensor([[0.0, 1.0, 3.0]])
    occlusion = torch.tensor([[0.0, 0.5, 1.0]])
    assert torch.equal(fusion_weights("center", confidence)[0], torch.eye(3))
    assert torch.allclose(fusion_weights("average", confidence)[0], torch.full((3, 3), 1 / 3))
    by_occlusion = fusion_weights("occlusion", confidence, occlusion)[0, :, 1]
    assert torch.allclose(by_occlusion, torch.tensor([2 / 3, 1 / 3, 0]), atol=1e-5)
    expected = confidence.exp() / confidence.exp().sum()
    assert torch.allclose(fusion_weights("dynamic", confidence)[0, :, 0], expected[0])


def test_nearer_frames_count_more_where_confidence_is_alike():
    for reach in (1.0, 2.5):
        weights = fusion_weights("nearby", torch.zeros(1, 5), reach=reach)[0]
        for j in range(5):
            steps = (torch.arange(5) - j).abs()
            assert torch.allclose(weights[:, j] / weights[j, j], torch.exp(-steps / reach))
    sure = torch.tensor([[0.0, 0.0, 0.0, 0.0, 9.0]])
    assert fusion_weights("nearby", sure)[0, 4, 0] > 0.9  # what sees the hand outweighs distance


def test_pairwise_is_nearby_where_no_frame_has_more_for_one_than_for_another():
    confidence = torch.randn(2, 5)
    nearby = fusion_weights("nearby", confidence, reach=2.0)
    flat = fusion_weights("pairwise", confidence, reach=2.0, affinity=torch.zeros(2, 5, 5))
    assert torch.equal(flat, nearby)
    # Frame 4 adopts the pose of frame 0, and frame 2 keeps its own
    affinity = torch.zeros(1, 5, 5)
    affinity[0, 0, 4] = affinity[0, 2, 2] = 30.0
    weights = fusion_weights("pairwise", torch.zeros(1, 5), affinity=affinity)[0]
    assert weights[0, 4] > 0.999 and weights[2, 2] > 0.999 and weights[0, 0] < 0.7


def test_a_window_hidden_throughout_is_averaged():
    weights = fusion_weights("occlusion", torch.zeros(1, 4), torch.ones(1, 4))
    assert torch.allclose(weights, torch.full((1, 4, 4), 0.25))


def test_fusion_is_the_weighted_mean_over_the_frames_deformed_from():
    torch.manual_seed(0)
    poses, forward, backward = torch.randn(3, 2, 5, 16, 6).unbind()
    deformed = deform_poses(poses, forward, backward)
    assert torch.equal(fuse_poses(deformed, fusion_weights("center", torch.zeros(2, 5))), poses)
    weights = fusion_weights("dynamic", torch.randn(2, 5))
    expected = sum(weights[:, i, 3, None, None] * deformed[:, i, 3] for i in range(5))
    assert torch.allclose(fuse_poses(deformed, weights)[:, 3], expected, atol=1e-5)


def test_errors_name_the_variant():
    with pytest.raises(ValueError, match="'occlusion' needs"):
        fusion_weights("occlusion", torch.zeros(1, 3))
    with pytest.raises(ValueError, match="fusion is 'median'"):
        fusion_weights("median", torch.zeros(1, 3))
