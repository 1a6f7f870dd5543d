"""The hand that never looks: its shape, its side, and its score on a built dataset."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from benchmarks.constant_hand import Options, constant_hand, evaluate
from deformer.hand.align import align_procrustes, point_errors_mm
from deformer.hand.rotations import rotvec_to_rotmat

MIRROR = np.array([-1.0, 1.0, 1.0])


def _turned(hand_m, num=400, spread_rad=0.4, seed=0):
    """One hand, turned about its wrist and carried about."""
    rng = np.random.default_rng(seed)
    turns = Rotation.from_rotvec(spread_rad * rng.standard_normal((num, 3))).as_matrix()
    wrists = [0.1, 0, 0.8] + 0.1 * rng.standard_normal((num, 1, 3))
    return (hand_m - hand_m[0]) @ turns + wrists


@pytest.fixture
def hand_m(layer):
    pose = 0.4 * torch.ones(1, 16, 3)
    pose[:, 0] = 0
    _, joints = layer(rotvec_to_rotmat(pose), torch.zeros(1, 10), torch.zeros(1, dtype=bool))
    return joints[0].double().numpy()


def test_the_mean_of_one_hand_turned_about_is_that_hand_in_its_size(hand_m):
    hands = _turned(hand_m)
    found = constant_hand(hands, np.zeros(len(hands), bool))
    assert point_errors_mm(align_procrustes(found[None], hand_m[None]), hand_m).max() < 0.1
    spread = [np.linalg.norm(h - h.mean(0)) for h in (found, hand_m)]
    assert spread[0] == pytest.approx(spread[1], rel=1e-3)
    # turned evenly to all sides, so the mean orientation is that of the hand itself
    assert point_errors_mm(found - found[0], hand_m - hand_m[0]).mean() < 10
    assert found[0] == pytest.approx([0.1, 0, 0.8], abs=0.02)


def test_left_hands_count_as_mirrored_right_ones(hand_m):
    hands = _turned(hand_m)
    is_left = np.arange(len(hands)) % 3 == 0
    mixed = np.where(is_left[:, None, None], hands * MIRROR, hands)
    right = constant_hand(hands, np.zeros(len(hands), bool))
    assert np.allclose(constant_hand(mixed, is_left), right)


def test_it_is_scored_as_any_prediction(data, tmp_path):
    evaluation = evaluate(Options(data, "s0_train", "s0_test", tmp_path))
    scores = evaluation.metrics["all"]
    assert evaluation.run.method == "constant hand"
    assert evaluation.data.frames == scores["num_frames"] > 0
    assert 0 < scores["pa_mpjpe_mm"]["mean"] < scores["ra_mpjpe_mm"]["mean"]
    with pytest.raises(ValueError, match="s9_train"):
        evaluate(Options(data, "s9_train", "s0_test", tmp_path))
