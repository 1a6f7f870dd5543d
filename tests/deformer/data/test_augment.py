import cv2
import numpy as np
import pytest
import torch

from deformer.data.augment import (
    NUM_PHOTOMETRIC,
    AugmentConfig,
    Draw,
    adjust_colours,
    crop_to_input,
    draw,
    rotation_about_z,
    turn_intrinsics,
    turn_pose,
)
from deformer.hand.camera import project
from deformer.hand.rotations import rotvec_to_rotmat

NEUTRAL = Draw().photometric
BRIGHTNESS, CONTRAST, SATURATION, HUE, BLUR = range(NUM_PHOTOMETRIC)


def draws(config: AugmentConfig, num: int = 2000) -> list[Draw]:
    return [draw(config, np.random.default_rng(seed)) for seed in range(num)]


def test_draws_fill_the_ranges_of_the_configuration_and_no_more():
    config = AugmentConfig(
        rotation_deg=90, scale=0.3, shift=0.2, brightness=0.1, contrast=0.2, saturation=0.4,
        hue=0.05, blur=1.2,
    )  # fmt: skip
    drawn = draws(config)
    photometric = np.array([d.photometric for d in drawn])
    for values, low, high in [
        (np.degrees([d.angle for d in drawn]), -90, 90),
        ([d.scale for d in drawn], 0.7, 1.3),
        ([d.shift[0] for d in drawn], -0.2, 0.2),
        ([d.shift[1] for d in drawn], -0.2, 0.2),
        (photometric[:, BRIGHTNESS], 0.9, 1.1),
        (photometric[:, CONTRAST], 0.8, 1.2),
        (photometric[:, SATURATION], 0.6, 1.4),
        (photometric[:, HUE], -0.05, 0.05),
    ]:
        width = high - low
        assert low <= np.min(values) < low + 0.01 * width
        assert high - 0.01 * width < np.max(values) <= high
        assert np.mean(values) == pytest.approx((low + high) / 2, abs=0.03 * width)
    blur = photometric[:, BLUR]
    assert blur.min() == 0 and 1.19 < blur.max() <= 1.2
    assert 0.45 < (blur == 0).mean() < 0.55


def test_a_range_changes_only_what_it_is_of():
    rngs = [np.random.default_rng(5) for _ in range(2)]
    first, second = draw(AugmentConfig(), rngs[0]), draw(AugmentConfig(hue=0.0), rngs[1])
    assert first.photometric[HUE] != 0 == second.photometric[HUE]
    assert first.angle == second.angle and first.shift == second.shift
    assert first.photometric[BLUR] == second.photometric[BLUR]
    assert rngs[0].random() == rngs[1].random()


def random_boxes(rng, num: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(0, 300, (num, 2)), rng.uniform(20, 200, num)


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ affine[:, :2, :2].swapaxes(1, 2) + affine[:, None, :2, 2]


def test_the_centre_moves_by_a_share_of_the_side_and_stands_in_the_middle():
    centre, side = random_boxes(np.random.default_rng(1), 10)
    affine = crop_to_input(centre, side, Draw(0.7, 1.1, (0.1, -0.05)), 64)
    moved = centre + side[:, None] * [0.1, -0.05]
    np.testing.assert_allclose(apply(affine, moved[:, None]), 31.5, atol=1e-9)


def test_a_quarter_turn_is_clockwise_and_scale_enlarges_the_window():
    affine = crop_to_input(np.array([[50.0, 50]]), np.array([40.0]), Draw(np.pi / 2, 2.0), 80)
    right_of_centre = np.array([[[60.0, 50]]])
    # 80 px show a side of 80 px: the point stays 10 px off, now below the middle
    np.testing.assert_allclose(apply(affine, right_of_centre), [[[39.5, 49.5]]], atol=1e-9)


def test_turned_points_are_projected_by_turned_intrinsics_to_where_the_image_shows_them():
    rng = np.random.default_rng(2)
    for drawn in draws(AugmentConfig(), 100):
        centre, side = random_boxes(rng, 3)
        K = np.tile(np.eye(3), (3, 1, 1))
        K[:, 0, 0], K[:, 1, 1] = rng.uniform(300, 900, (2, 3))  # fx and fy are not alike
        K[:, :2, 2] = rng.uniform(0, 300, (3, 2))
        points = rng.uniform([-0.2, -0.2, 0.4], [0.2, 0.2, 1.5], (3, 21, 3))
        affine = crop_to_input(centre, side, drawn, 256)
        turned = points @ rotation_about_z(drawn.angle).T
        K_input = turn_intrinsics(K, affine, rotation_about_z(drawn.angle))
        np.testing.assert_allclose(
            project(turned, K_input), apply(affine, project(points, K)), atol=1e-8
        )
        np.testing.assert_allclose(K_input[:, 2], [[0, 0, 1]] * 3, atol=1e-12)


def to_rotmats(rotvec: np.ndarray) -> np.ndarray:
    return rotvec_to_rotmat(torch.from_numpy(rotvec)).numpy()


def rotvecs_of_all_lengths() -> np.ndarray:
    rng = np.random.default_rng(3)
    axes = rng.normal(size=(90, 3))
    axes[-3:] = np.eye(3)
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    small, near_pi = np.geomspace(1e-14, 1e-2, 28), np.pi - np.geomspace(1e-12, 1e-2, 28)
    lengths = [0, *small, *near_pi, np.pi, *np.linspace(0.1, 6.5, 29), np.pi, np.pi, np.pi]
    return axes * np.array(lengths)[:, None]


@pytest.mark.parametrize("degrees", [-180, -179.99, -90, -1e-9, 1e-6, 30, 179.9999, 180])
def test_the_turned_pose_is_the_rotation_about_z_times_the_pose(degrees):
    rotvec = rotvecs_of_all_lengths()
    pose = np.concatenate([rotvec, np.ones((90, 45))], 1)
    turned = turn_pose(pose[None], [np.radians(degrees)])[0]
    expected = rotation_about_z(np.radians(degrees)) @ to_rotmats(rotvec)
    assert np.abs(to_rotmats(turned[:, :3]) - expected).max() < 1e-8
    assert np.linalg.norm(turned[:, :3], axis=-1).max() <= np.pi + 1e-9
    assert (turned[:, 3:] == 1).all()
    assert (pose[:, :3] == rotvec).all()  # what came in is as it was


@pytest.fixture
def images() -> torch.Tensor:
    """(B, T, 3, H, W) of three windows of two frames, smooth and of middle brightness."""
    rng = np.random.default_rng(4)
    coarse = rng.uniform(0.3, 0.6, (6, 8, 8, 3))
    fine = [cv2.resize(frame, (32, 32), interpolation=cv2.INTER_CUBIC) for frame in coarse]
    return torch.tensor(np.array(fine).reshape(3, 2, 32, 32, 3)).permute(0, 1, 4, 2, 3).float()


def changed(**values: float) -> torch.Tensor:
    """A draw for each of three windows: neutral but for what is named."""
    drawn = dict(zip(("brightness", "contrast", "saturation", "hue", "blur"), NEUTRAL, strict=True))
    return torch.tensor([list((drawn | values).values())] * 3)


def luma(images: torch.Tensor) -> torch.Tensor:
    r, g, b = images.unbind(2)
    return 0.299 * r + 0.587 * g + 0.114 * b


def test_each_window_is_changed_by_its_own_draw(images):
    photometric = torch.tensor([d.photometric for d in draws(AugmentConfig(), 3)])
    together = adjust_colours(images, photometric)
    for k in range(3):
        alone = adjust_colours(images[k : k + 1], photometric[k : k + 1])
        assert torch.allclose(together[k : k + 1], alone, atol=1e-6)
    assert (adjust_colours(images[:1], photometric[1:2]) - together[:1]).abs().max() > 0.01


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
def test_brightness_contrast_and_saturation_by_their_formulas(images, factor):
    out = adjust_colours(images, changed(brightness=factor))
    assert torch.allclose(out, factor * images, atol=1e-6)
    grey = luma(images)[:, :, None]
    out = adjust_colours(images, changed(saturation=factor))
    assert torch.allclose(out, grey + factor * (images - grey), atol=1e-5)
    mean = grey.mean((3, 4), keepdim=True)  # of a frame
    out = luma(adjust_colours(images, changed(contrast=factor)))[:, :, None]
    assert torch.allclose(out - mean, factor * (grey - mean), atol=1e-5)


def test_a_third_of_a_hue_turn_takes_red_to_green_to_blue(images):
    out = adjust_colours(images, changed(hue=1 / 3))
    assert torch.allclose(out, images.roll(1, dims=2), atol=1e-5)
    assert torch.allclose(adjust_colours(images, changed(hue=-1.0)), images, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.0])
def test_blur_is_gaussian(images, sigma):
    out = adjust_colours(images, changed(blur=sigma))
    frame = images[1, 1].permute(1, 2, 0).numpy()
    expected = cv2.GaussianBlur(frame, (7, 7), sigma, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(out[1, 1].permute(1, 2, 0).numpy(), expected, atol=1e-4)


def test_the_result_lies_between_0_and_1():
    noise = torch.rand(50, 1, 3, 16, 16, generator=torch.manual_seed(1))
    photometric = torch.tensor([d.photometric for d in draws(AugmentConfig(), 50)])
    out = adjust_colours(noise, photometric)
    assert out.min() == 0 and out.max() == 1
    assert out.shape == noise.shape and out.isfinite().all()
