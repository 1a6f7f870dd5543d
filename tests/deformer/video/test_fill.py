"""Hands in gaps come from both sides, and join them."""

import numpy as np
import pytest
import torch

from deformer.hand.camera import project
from deformer.hand.rotations import rotmat_to_rot6d, rotvec_to_rotmat
from deformer.video.fill import fill_hands
from deformer.video.stream import StreamHands
from tests.deformer.video.networks import K, random_model

MODEL = random_model()
GAP = 10


def pose(turn: float) -> np.ndarray:
    """(48,): the index finger bent by an angle."""
    values = np.zeros((16, 3))
    values[1, 2] = turn
    return values.ravel()


def rot6d(turn: float) -> np.ndarray:
    rotvec = torch.from_numpy(pose(turn).reshape(16, 3))
    return rotmat_to_rot6d(rotvec_to_rotmat(rotvec)).numpy()


def track(frames, turns, ahead=0.0, back=0.0) -> StreamHands:
    """Hands whose index finger is bent by turns, and moves by so much in a step of the window."""
    n = len(frames)
    own = np.stack([rot6d(turn) for turn in turns])
    return StreamHands(
        np.array(frames), np.zeros((n, 21, 2)), np.zeros((n, 21, 3)),
        np.stack([np.linspace(0, 0.1, n), np.zeros(n), np.full(n, 0.5)], 1),
        np.stack([pose(turn) for turn in turns]), np.tile(np.arange(n)[:, None] * 1.0, (1, 10)),
        np.ones((n, 3), np.float32) / 3, np.zeros(n), own,
        np.stack([rot6d(turn + ahead) for turn in turns]) - own,
        np.stack([rot6d(turn + back) for turn in turns]) - own,
    )  # fmt: skip


def bent(hands: StreamHands) -> np.ndarray:
    turns = hands.pose_rotvec.reshape(-1, 16, 3)
    assert np.abs(np.delete(turns, 1, 1)).max() < 1e-6
    return turns[:, 1, 2]


def test_without_motion_the_pose_turns_evenly():
    filled = fill_hands(MODEL, track([4, 8], [0, 1.0]), np.array([5, 6, 7]), False, K, GAP)
    assert bent(filled) == pytest.approx([0.25, 0.5, 0.75])
    assert filled.frame.tolist() == [5, 6, 7]
    assert filled.betas[:, 0] == pytest.approx([0.25, 0.5, 0.75])
    assert filled.wrist_cam_m[1] == pytest.approx([0.05, 0, 0.5])
    joints = filled.joints_m + filled.wrist_cam_m[:, None]
    np.testing.assert_allclose(filled.joints_px, project(joints, K))
    assert not filled.weights.any()
    assert filled.spread_mm[1] > 1


def test_the_networks_motion_deforms_both_ends_into_the_gap():
    """A finger that bends by 0.1 in a step: both ends agree within the gap."""
    hands = track([0, 10], [0.2, 0.3], ahead=0.1, back=-0.1)
    filled = fill_hands(MODEL, hands, np.arange(1, 10), False, K, GAP)
    assert bent(filled) == pytest.approx(0.2 + np.arange(1, 10) * 0.01, abs=1e-4)
    assert filled.spread_mm.max() < 0.05
    slow_then_fast = track([0, 10], [0.2, 0.3], back=-0.1)
    turns = bent(fill_hands(MODEL, slow_then_fast, np.arange(1, 10), False, K, GAP))
    assert turns[[0, -1]] == pytest.approx([0.201, 0.281], abs=1e-4)


def test_motion_goes_one_step_at_most():
    filled = fill_hands(
        MODEL, track([0, 40], [0, 0], ahead=0.4, back=0.4), np.array([20]), False, K, GAP
    )
    assert bent(filled) == pytest.approx([0.4])


def test_before_the_first_hand_and_after_the_last_the_pose_is_held():
    hands = track([4, 6], [0.3, 0.5], ahead=1, back=1)
    filled = fill_hands(MODEL, hands, np.array([2, 9]), False, K, GAP)
    assert bent(filled) == pytest.approx([0.3, 0.5])
    assert filled.spread_mm.max() < 1e-3


def test_no_gap_gives_no_hand():
    filled = fill_hands(MODEL, track([0], [0]), np.array([], int), True, K, GAP)
    assert all(len(value) == 0 for value in filled)
    assert filled.joints_px.shape == (0, 21, 2) and filled.weights.shape == (0, 3)
