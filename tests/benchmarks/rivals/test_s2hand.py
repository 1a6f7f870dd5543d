"""S2HAND(V): its camera, the limits of fingers, and that it sees no label in 3D."""

from math import pi

import pytest
import torch

from benchmarks.rivals import RIVALS
from benchmarks.rivals.s2hand import FingerLimits, S2HandOutput, project, turns_loss
from deformer.hand.rotations import rotvec_to_rotmat
from tests.deformer.small_runs import VERY_SMALL, make_learner, make_stream

TWIST, BEND, SPREAD = range(3)


@pytest.fixture(scope="module")
def predicted(hands, data):
    """Learner, output and targets of a batch of both sides."""
    experiment = RIVALS["s2hand"].applied_to(VERY_SMALL)
    stream = make_stream(data, experiment)
    learner = make_learner(hands, stream, experiment)
    batch = next(iter(stream.batches(0, 1)))
    assert 0 < batch.is_left.sum() < len(batch.is_left)
    return learner, *learner.predict(batch)


def test_the_true_hand_is_projected_to_the_true_joints(predicted):
    _, _, targets = predicted
    boxes_px, K = targets.view
    side_px = boxes_px[..., 2] - boxes_px[..., 0]
    output = S2HandOutput(
        targets.hand, targets.joints_2d, targets.joints_2d[:, :, :1],
        K[..., 0, 0] / (side_px * targets.joints_cam_m[..., 0, 2]), torch.zeros(()),
    )  # fmt: skip
    off = project(output, targets.view) - targets.joints_2d
    assert off.abs().max() < 1e-3


def test_no_label_in_3d_is_used(predicted):
    learner, output, targets = predicted
    hidden = targets._replace(hand=None, joints_cam_m=None)
    assert learner.losses(output, hidden) == learner.losses(output, targets)


def test_fingers_bend_to_the_palm_only(layer):
    limits = FingerLimits(layer)

    def excess(axis: int, degrees: float, finger: int, joint: int = 1) -> float:
        rotvec = torch.zeros(15, 3)
        rotvec[3 * finger + joint] = limits.axes[finger, joint, axis] * degrees * pi / 180
        return limits(rotvec_to_rotmat(rotvec)).item()

    for finger in range(4):
        assert excess(BEND, 60, finger) == excess(BEND, -9, finger) == 0
        assert excess(BEND, -30, finger) > 0 and excess(BEND, 130, finger) > 0
        assert excess(TWIST, 4, finger) == 0 and excess(TWIST, -30, finger) > 0
        assert excess(SPREAD, -8, finger, 0) == 0 and excess(SPREAD, 30, finger, 0) > 0
        assert excess(SPREAD, -8, finger, 1) > 0


def test_bending_brings_fingertips_to_the_thumb(layer):
    """Bending back would take them away from it."""
    axes = FingerLimits(layer).axes[:, :, BEND].flatten(0, 1)

    def tips_to_thumb_m(degrees: float) -> torch.Tensor:
        rotvec = torch.zeros(1, 16, 3)
        rotvec[0, 1:13] = axes * degrees * pi / 180
        right = torch.zeros(1, dtype=torch.bool)
        _, joints = layer(rotvec_to_rotmat(rotvec), torch.zeros(1, 10), right)
        return (joints[0, [8, 12, 16, 20]] - joints[0, 4]).norm(dim=-1)

    assert (tips_to_thumb_m(40) < tips_to_thumb_m(-40)).all()


def test_turning_evenly_is_steadier_than_turning_back():
    angles = torch.zeros(1, 3, 16, 3)
    angles[0, :, 0, 2] = torch.tensor([0.0, 0.2, 0.4])
    none = torch.zeros(angles.shape[0], angles.shape[1] - 1, dtype=torch.bool)
    even = turns_loss(rotvec_to_rotmat(angles), none)
    angles[0, 2, 0, 2] = 0.0
    assert even < 0.1 * turns_loss(rotvec_to_rotmat(angles), none)
    assert turns_loss(rotvec_to_rotmat(angles[:, :2]), none[:, :1]) == 0
    still = torch.tensor([[False, True]])  # the last frame is the one before it
    assert turns_loss(rotvec_to_rotmat(angles), still) == 0
