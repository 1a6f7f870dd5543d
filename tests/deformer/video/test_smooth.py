"""Smoothing leaves steady motion and takes jitter away."""

import numpy as np
import pytest

from deformer.hand.mano import HandLayer, load_hands
from deformer.video.hands_file import HandRows
from deformer.video.predictor import _no_rows
from deformer.video.smooth import fit_lines, smooth

LAYER = HandLayer(load_hands("standin"), vertex_stride=10_000)
FPS = 30


def moving_hands(num: int, noise: float, track: int = 0) -> HandRows:
    """A hand that turns and moves steadily, with noise."""
    rng = np.random.default_rng(track)
    t = np.arange(num) / FPS
    pose = np.zeros((num, 48))
    pose[:, 2] = 0.5 * t
    pose += noise * rng.normal(0, 1, (num, 48))
    wrist = np.stack([0.1 * t, 0 * t, 0.5 + 0.05 * t], 1) + noise * rng.normal(0, 0.1, (num, 3))
    joints = np.zeros((num, 21, 3)) + wrist[:, None]
    rows = HandRows(
        np.arange(num), t, np.full(num, track), np.full(num, bool(track)), np.ones(num, bool),
        np.ones(num), np.zeros((num, 4)), np.zeros((num, 21, 2)) + 10 * t[:, None, None], joints,
        pose, noise * rng.normal(0, 1, (num, 10)), np.ones(num), np.ones((num, 1)), np.zeros(num),
    )  # fmt: skip
    dtypes = [value.dtype for value in _no_rows(1)]
    return HandRows(*map(np.asarray, rows, dtypes))


def jitter(rows: HandRows) -> float:
    return np.linalg.norm(np.diff(rows.joints_cam_m, 2, axis=0), axis=-1).mean()


def test_lines_stay_and_noise_falls():
    times = np.sort(np.random.default_rng(0).uniform(0, 1, 40))
    line = np.stack([3 - 2 * times, times], 1)
    np.testing.assert_allclose(fit_lines(times, line, 0.1), line, atol=1e-9)
    noise = np.random.default_rng(1).normal(size=40)
    even = np.arange(40) / FPS
    ratio = (
        np.abs(np.diff(fit_lines(even, noise, 0.05), 2)).mean() / np.abs(np.diff(noise, 2)).mean()
    )
    assert ratio < 0.15


@pytest.mark.parametrize("times", [[0.0], [0.0, 5.0, 10.0]])
def test_a_frame_without_neighbours_stays(times):
    values = np.arange(len(times)) * 7.0
    assert fit_lines(np.array(times), values, 0.05) == pytest.approx(values)


def test_a_hand_in_steady_motion_stays():
    rows = moving_hands(20, 0)
    found = smooth(rows, LAYER, "dexycb")
    np.testing.assert_allclose(found.pose_rotvec, rows.pose_rotvec, atol=1e-4)
    np.testing.assert_allclose(found.wrist_cam_m, rows.wrist_cam_m, atol=1e-6)
    np.testing.assert_allclose(found.joints_px, rows.joints_px, atol=1e-4)
    assert [value.dtype for value in found] == [value.dtype for value in rows]


def test_jitter_is_less_than_half_and_tracks_are_apart():
    one, other = moving_hands(30, 0.1), moving_hands(30, 0.1, 1)
    both = HandRows(*map(np.concatenate, zip(one, other, strict=True)))
    both = both.at(np.lexsort([both.track, both.frame]))
    raw = smooth(one, LAYER, "dexycb", 1e-6)  # posed, and not smoothed
    found = smooth(both, LAYER, "dexycb")
    assert jitter(found.at(found.track == 0)) < 0.4 * jitter(raw)
    alone = smooth(one, LAYER, "dexycb")
    for value, expected in zip(found.at(found.track == 0), alone, strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-6)
    assert (alone.betas == alone.betas[0]).all()
    np.testing.assert_array_equal(found.track, both.track)


def test_no_hands_stay_no_hands():
    assert len(smooth(_no_rows(3), LAYER, "dexycb").frame) == 0
