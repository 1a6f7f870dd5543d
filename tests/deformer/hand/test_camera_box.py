import numpy as np

from deformer.hand.box import AugmentationRange, hand_box, reach_px, tight_box
from deformer.hand.camera import (
    NEAREST_M,
    crop_intrinsics,
    fit_translation,
    is_at_nearest,
    project,
)

K = np.array([[600.0, 0, 320], [0, 610, 240], [0, 0, 1]])


def test_project_by_hand():
    assert project(np.array([[0.1, -0.2, 0.5]]), K).tolist() == [[440.0, -4.0]]


def test_points_behind_the_camera_have_no_image():
    assert np.isnan(project(np.array([[0.0, 0, -1], [0, 0, 0]]), K)).all()


def test_crop_intrinsics_move_pixels_by_the_origin():
    points = np.random.default_rng(0).uniform([-1, -1, 1], [1, 1, 2], (5, 21, 3))
    origins = np.array([[16, 32]] * 5)
    moved = project(points, crop_intrinsics(K, origins))
    assert np.allclose(moved, project(points, K) - origins[:, None])


def test_hand_box_is_square_and_enlarged():
    centre, side = hand_box(tight_box(np.array([[10.0, 20], [50, 40], [30, 30]])))
    assert centre.tolist() == [30, 30]
    assert side == 60


def test_reach_contains_every_augmented_window():
    limits = AugmentationRange()
    rng = np.random.default_rng(0)
    side = 100.0
    angle = rng.uniform(-np.pi, np.pi, 5000)
    scale = 1 + rng.uniform(-limits.scale, limits.scale, 5000)
    shift = rng.uniform(-limits.shift, limits.shift, (5000, 1, 2)) * side
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * side / 2
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1)
    windows = np.einsum("nij,kj->nki", turn.reshape(-1, 2, 2), corners) * scale[:, None, None]
    furthest = np.abs(windows + shift).max()
    assert 0.95 * reach_px(side, limits) < furthest <= reach_px(side, limits)


def test_points_are_put_where_their_pixels_say():
    rng = np.random.default_rng(0)
    K = np.array([[500.0, 3, 320], [0, 480, 240], [0, 0, 1]])
    points = rng.uniform(-0.1, 0.1, (5, 21, 3))
    translation = rng.uniform([-0.2, -0.2, 0.5], [0.2, 0.2, 1.0], (5, 3))
    pixels = project(points + translation[:, None], K)
    found = fit_translation(points, pixels, np.broadcast_to(K, (5, 3, 3)))
    assert np.abs(found - translation).max() < 1e-9
    noisy = fit_translation(points, pixels + rng.normal(0, 1, pixels.shape), np.tile(K, (5, 1, 1)))
    assert np.abs(noisy - translation)[:, :2].max() < 0.01
    assert np.abs(noisy - translation)[:, 2].max() < 0.1


def test_no_hand_is_put_behind_the_camera():
    """Pixels mirrored about the image of the wrist ask for a hand behind the camera: it stands as
    near as a hand may, where nothing near by fits better. Others stay as they were."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.1, 0.1, (6, 21, 3))
    translation = rng.uniform([-0.2, -0.2, 0.5], [0.2, 0.2, 1.0], (6, 3))
    pixels = project(points + translation[:, None], K)
    right = fit_translation(points[:3], pixels[:3], np.tile(K, (3, 1, 1)))
    pixels[3:] = 2 * pixels[3:, :1] - pixels[3:]
    found = fit_translation(points, pixels, np.tile(K, (6, 1, 1)))
    assert np.array_equal(found[:3], right)
    nearest = (points + found[:, None])[..., 2].min(1)
    assert nearest[:3].min() > 2 * NEAREST_M
    np.testing.assert_allclose(nearest[3:], NEAREST_M)
    placed_m = (points + found[:, None]).astype(np.float32)
    assert is_at_nearest(placed_m).tolist() == [False] * 3 + [True] * 3

    def error(t):
        rays = (pixels[3:] - K[:2, 2]) / K[[0, 1], [0, 1]]
        placed = points[3:] + t[:, None]
        return ((placed[..., :2] - rays * placed[..., 2:]) ** 2).sum((1, 2))

    for step in ([0.01, 0, 0], [-0.01, 0, 0], [0, 0.01, 0], [0, -0.01, 0], [0, 0, 0.01]):
        assert (error(found[3:] + step) > error(found[3:])).all()
