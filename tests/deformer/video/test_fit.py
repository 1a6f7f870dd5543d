"""Hands moved onto landmarks: they lie on them, and stay what they were where nothing is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deformer.hand.align import align_procrustes
from deformer.hand.box import hand_box, tight_box
from deformer.hand.camera import project
from deformer.hand.mano import HandLayer, load_hands
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.video.fit import fit_to_landmarks
from deformer.video.hands_file import HandRows
from deformer.video.track import Track

N = 12
K = np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]])


@pytest.fixture(scope="module")
def layer():
    return HandLayer(load_hands("standin"), vertex_stride=100)


def rows_of(layer, pose, wrist_cam_m, is_left=False, scale=1.0) -> HandRows:
    """Rows of one track, seen in every second frame."""
    betas, sides = np.full((N, 10), 0.3, np.float32), np.full(N, is_left)
    rotmats = rotvec_to_rotmat(torch.from_numpy(pose).unflatten(-1, (16, 3))).float()
    _, joints = layer(rotmats, torch.from_numpy(betas), torch.from_numpy(sides), "dexycb")
    joints = (joints - joints[:, :1]).numpy() * scale + wrist_cam_m[:, None]
    joints_px = project(joints.astype(np.float64), K)
    centre, side = hand_box(tight_box(joints_px))
    half = side[:, None] / 2
    return HandRows(
        frame=np.arange(0, 2 * N, 2), time_s=np.arange(N) / 15, track=np.full(N, 4), is_left=sides,
        is_observed=np.ones(N, bool), detection=np.ones(N, np.float32),
        box_px=np.concatenate([centre - half, centre + half], 1).astype(np.float32),
        joints_px=joints_px.astype(np.float32), joints_cam_m=joints.astype(np.float32),
        pose_rotvec=pose.astype(np.float32), betas=betas, scale=np.full(N, scale, np.float32),
        weights=np.ones((N, 1), np.float32), spread_mm=np.zeros(N, np.float32),
    )  # fmt: skip


def poses(rng) -> np.ndarray:
    """Bent fingers that move a little, (N, 48)."""
    first, last = (np.concatenate([rng.normal(0, 0.6, 3), rng.normal(0, 0.25, 45)]) for _ in "ab")
    return first + np.linspace(0, 0.3, N)[:, None] * (last - first)


def track_of(rows: HandRows, landmarks_px) -> Track:
    boxes = tight_box(np.nan_to_num(landmarks_px)) if landmarks_px is not None else np.zeros((N, 4))
    return Track(
        4, bool(rows.is_left[0]), rows.frame, boxes, rows.is_observed, rows.detection, landmarks_px
    )


def distance_px(rows: HandRows, landmarks_px: np.ndarray) -> np.ndarray:
    side = rows.box_px[:, 2] - rows.box_px[:, 0]
    projected = project(rows.joints_cam_m.astype(np.float64), K)
    return np.linalg.norm(projected - landmarks_px, axis=-1).mean(1) / side


def aligned_mm(rows: HandRows, truth: HandRows) -> float:
    joints, true = (r.joints_cam_m.astype(np.float64) for r in (rows, truth))
    return 1000 * np.linalg.norm(align_procrustes(joints, true) - true, axis=-1).mean()


@pytest.mark.parametrize(("is_left", "scale"), [(False, 1.0), (True, 1.2)])
def test_hands_lie_on_the_landmarks_and_nearer_the_truth(layer, is_left, scale):
    rng = np.random.default_rng(3)
    pose, wrist = poses(rng), np.array([0.03, -0.02, 0.6]) + np.linspace(0, 0.05, N)[:, None]
    truth = rows_of(layer, pose, wrist, is_left, scale)
    error = np.concatenate([rng.normal(0, 0.15, 3), rng.normal(0, 0.12, 45)])
    begun = rows_of(layer, pose + error, wrist + [0.03, 0.02, 0.1], is_left, scale)
    begun = begun._replace(box_px=truth.box_px)
    landmarks = truth.joints_px.astype(np.float64)
    fitted = fit_to_landmarks(begun, [track_of(begun, landmarks)], K, layer, "dexycb")
    assert distance_px(begun, landmarks).mean() > 0.08
    assert distance_px(fitted, landmarks).max() < 0.015
    assert aligned_mm(fitted, truth) < 0.7 * aligned_mm(begun, truth)
    np.testing.assert_allclose(
        fitted.joints_px, project(fitted.joints_cam_m.astype(np.float64), K), atol=0.01
    )
    again = rows_of(
        layer, fitted.pose_rotvec.astype(np.float64), fitted.wrist_cam_m, is_left, scale
    )
    np.testing.assert_allclose(again.joints_cam_m, fitted.joints_cam_m, atol=1e-4)
    for name in ("betas", "scale", "weights", "frame", "box_px"):
        assert np.array_equal(getattr(fitted, name), getattr(begun, name))


def test_hands_without_landmarks_move_with_their_neighbours(layer):
    pose, wrist = poses(np.random.default_rng(5)), np.tile([0.0, 0.0, 0.5], (N, 1))
    truth, begun = rows_of(layer, pose, wrist), rows_of(layer, pose, wrist + [0.04, 0, 0])
    landmarks = truth.joints_px.astype(np.float64)
    landmarks[4:7] = np.nan
    fitted = fit_to_landmarks(begun, [track_of(begun, landmarks)], K, layer, "dexycb")
    assert distance_px(begun, truth.joints_px)[4:7].min() > 0.1
    assert distance_px(fitted, truth.joints_px)[4:7].max() < 0.03


def test_noise_of_landmarks_does_not_become_jitter(layer):
    rng = np.random.default_rng(7)
    pose, wrist = poses(rng), np.tile([0.0, 0.0, 0.5], (N, 1))
    truth = rows_of(layer, pose, wrist)
    side = (truth.box_px[:, 2] - truth.box_px[:, 0])[:, None, None]
    landmarks = truth.joints_px + rng.normal(0, 0.02, (N, 21, 2)) * side
    fitted = fit_to_landmarks(truth, [track_of(truth, landmarks)], K, layer, "dexycb")
    assert distance_px(fitted, truth.joints_px).mean() < 0.5 * distance_px(truth, landmarks).mean()


def test_noise_of_landmarks_does_not_become_a_trembling_depth(layer):
    rng = np.random.default_rng(11)
    away = np.array([[0.0, 0.0, 0.5]]) + np.linspace(0, 0.06, N)[:, None] * [0, 0, 1]
    truth = rows_of(layer, poses(rng), away)
    side = (truth.box_px[:, 2] - truth.box_px[:, 0])[:, None, None]
    landmarks = truth.joints_px + rng.normal(0, 0.01, (N, 21, 2)) * side
    fitted = fit_to_landmarks(truth, [track_of(truth, landmarks)], K, layer, "dexycb")
    depth = fitted.wrist_cam_m[:, 2]
    assert np.abs(np.diff(depth, 2)).max() < 0.002  # a single frame's own fit: 0.01
    assert np.polyfit(np.arange(N), depth, 1)[0] == pytest.approx(0.06 / (N - 1), rel=0.3)


def test_boxes_without_landmarks_change_nothing(layer):
    rows = rows_of(layer, poses(np.random.default_rng(9)), np.tile([0.0, 0.0, 0.5], (N, 1)))
    nothing = np.full((N, 21, 2), np.nan)
    for landmarks in (None, nothing):
        fitted = fit_to_landmarks(rows, [track_of(rows, landmarks)], K, layer, "dexycb")
        assert all(map(np.array_equal, fitted, rows))
    other = replace(track_of(rows, rows.joints_px.astype(np.float64)), track=3)
    assert all(map(np.array_equal, fit_to_landmarks(rows, [other], K, layer, "dexycb"), rows))
