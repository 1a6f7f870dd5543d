import numpy as np
import pytest

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


# ------------------------------------------------------------------------ placed by box and pixels


def hands_in_boxes(places):
    """Points (N, 21, 3) of the size of a hand, their translations, pixels and hand boxes, under a K
    with a skew."""
    rng = np.random.default_rng(0)
    K = np.tile([[500.0, 3, 320], [0, 480, 240], [0, 0, 1]], (len(places), 1, 1))
    translation = np.array(places, float)
    points = rng.uniform(-0.09, 0.09, (len(places), 21, 3))
    pixels = project(points + translation[:, None], K)
    centre, side = hand_box(tight_box(pixels))
    half = side[:, None] / 2
    return points, translation, pixels, K, np.concatenate([centre - half, centre + half], 1)


PLACES = (
    [0, 0, 0.9], [0.2, -0.1, 0.6],
    [0, 0.05, 0.25],  # near: the ends of the hand differ much in depth
    [0.62, -0.45, 0.95],  # half outside an image of 640 × 480
)  # fmt: skip


@pytest.mark.parametrize("noise_px", [0, 3])
def test_the_box_agrees_with_exact_pixels_and_hands_do_not_depend_on_each_other(noise_px):
    points, translation, pixels, K, boxes = hands_in_boxes(PLACES)
    assert boxes[3, 2] > 640 and boxes[3, 1] < 0
    pixels = pixels + np.random.default_rng(1).normal(0, 1, pixels.shape) * noise_px
    found = fit_translation(points, pixels, K, boxes)
    if not noise_px:
        np.testing.assert_allclose(found, translation, rtol=1e-6, atol=1e-9)
    for k in range(len(PLACES)):
        one = (values[k : k + 1] for values in (points, pixels, K, boxes))
        np.testing.assert_allclose(fit_translation(*one)[0], found[k], rtol=1e-9)


def test_where_pixels_say_nothing_the_box_says_the_depth():
    points, translation, _, K, boxes = hands_in_boxes(PLACES)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    found = fit_translation(points, np.tile(centre[:, None], (1, 21, 1)), K, boxes)
    np.testing.assert_allclose(found[:, 2], translation[:, 2], rtol=1e-6)
    assert np.abs(found - translation)[:, :2].max() < 0.03


def test_pixels_that_are_guesses_do_not_pull_the_hand_near():
    points, translation, pixels, K, boxes = hands_in_boxes(PLACES[:2] * 20)
    centre, side = pixels.mean(1, keepdims=True), boxes[:, 2] - boxes[:, 0]
    guess = np.random.default_rng(1).normal(0, 0.06, pixels.shape) * side[:, None, None]
    pixels = centre + 0.3 * (pixels - centre) + guess
    by_pixels, found = fit_translation(points, pixels, K), fit_translation(points, pixels, K, boxes)
    away, before = (np.abs(t[:, 2] / translation[:, 2] - 1) for t in (found, by_pixels))
    assert np.median(away) < 0.1 and away.max() < 0.25
    assert np.median(before) > 0.3


def test_a_mirrored_hand_is_placed_as_its_mirror_image():
    points, _, pixels, K, boxes = hands_in_boxes(PLACES)
    pixels = pixels + np.random.default_rng(1).normal(0, 3, pixels.shape)
    K[:, 0, 1] = 0
    width = 640
    K_mirrored, mirror = K.copy(), np.array([-1, 1, 1])
    K_mirrored[:, 0, 2] = width - 1 - K[:, 0, 2]
    boxes_mirrored = boxes[:, [2, 1, 0, 3]]
    boxes_mirrored[:, [0, 2]] = width - 1 - boxes_mirrored[:, [0, 2]]
    found = fit_translation(points, pixels, K, boxes)
    pixels_mirrored = np.stack([width - 1 - pixels[..., 0], pixels[..., 1]], -1)
    mirrored = fit_translation(points * mirror, pixels_mirrored, K_mirrored, boxes_mirrored)
    np.testing.assert_allclose(mirrored, found * mirror, rtol=1e-9, atol=1e-12)


def test_no_box_puts_a_hand_nearer_than_nearest():
    points, _, pixels, K, _ = hands_in_boxes(PLACES)
    huge = np.tile([-1e4, -1e4, 1e4, 1e4], (len(PLACES), 1))
    mirrored = 2 * pixels[:, :1] - pixels
    found = fit_translation(points, mirrored, K, huge)
    np.testing.assert_allclose((points + found[:, None])[..., 2].min(1), NEAREST_M)
