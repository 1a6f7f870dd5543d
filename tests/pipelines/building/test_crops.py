"""Crops keep the source's pixels, for every crop that training may ask for."""

import cv2
import numpy as np
import pytest

from deformer.files.images import decode_jpeg, encode_jpeg
from deformer.hand.box import AugmentationRange, hand_box
from pipelines.building.crops import USUAL_MCU, crop_image, crop_rectangle, mcu_size
from pipelines.datasets.source import BadFrameError
from tests.jpegs import orientation, png, sampled_jpeg, saved_jpeg

SIZE = (640, 480)
LIMITS = AugmentationRange()


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (48, 64, 3), np.uint8)
    return cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC)


def decode(data: bytes) -> np.ndarray:
    return decode_jpeg(data, "BGR", is_strict=True)


@pytest.mark.parametrize(
    ("sampling", "mcu"),
    [*((s, USUAL_MCU) for s in ("4:2:0", "4:2:2", "4:4:4", "4:4:0")),
     ("4:1:1", (32, 16)), ("4:4:1", (16, 32))],
)  # fmt: skip
def test_jpeg_crops_are_lossless(picture, sampling, mcu):
    whole = sampled_jpeg(picture, sampling)
    assert mcu_size(whole) == mcu
    box = np.array([301.0, 203, 340, 250])
    x, y, width, height = rectangle = crop_rectangle(box, SIZE, LIMITS, mcu)
    assert x % mcu[0] == width % mcu[0] == y % mcu[1] == height % mcu[1] == 0
    usual = crop_rectangle(box, SIZE, LIMITS)
    assert x <= usual[0] and y <= usual[1]
    assert x + width >= usual[0] + usual[2] and y + height >= usual[1] + usual[3]
    crop = decode(crop_image(whole, rectangle, SIZE))
    expected = decode(whole)[y : y + height, x : x + width]
    assert np.array_equal(crop[1:-1, 1:-1], expected[1:-1, 1:-1])


@pytest.mark.parametrize(
    "box", [(300, 200, 400, 330), (0, 0, 60, 40), (600, 430, 700, 500), (-50, 100, 20, 260)]
)
@pytest.mark.parametrize("degrees", [180, 45, -100])
def test_a_training_crop_equals_the_one_from_the_raw_frame(picture, box, degrees):
    """Rotation, scale 1.2, centre off by 10 %: the widest that training draws."""
    whole = encode_jpeg(picture)
    rectangle = crop_rectangle(np.array(box), SIZE, LIMITS)
    crop = decode(crop_image(whole, rectangle, SIZE))
    centre, side = hand_box(np.array(box, float))
    centre = centre + [LIMITS.shift * side, -LIMITS.shift * side]
    zoom = 256 / (side * (1 + LIMITS.scale))
    warp = cv2.getRotationMatrix2D(tuple(centre), degrees, zoom)
    warp[:, 2] += 127.5 - centre
    from_raw = cv2.warpAffine(decode(whole), warp, (256, 256))
    warp[:, 2] += warp[:, :2] @ rectangle[:2]
    from_crop = cv2.warpAffine(crop, warp, (256, 256))
    difference = np.abs(from_raw.astype(int) - from_crop)
    assert from_raw.any()
    # the same pixels go in; the warp's own arithmetic rounds a coordinate here and there
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_rectangles_are_aligned_and_inside():
    rng = np.random.default_rng(0)
    for _ in range(500):
        corner = rng.uniform([-100, -100], [640, 480])
        box = np.concatenate([corner, corner + rng.uniform(5, 250, 2)])
        x, y, width, height = crop_rectangle(box, SIZE, LIMITS)
        assert x % 16 == y % 16 == width % 16 == height % 16 == 0
        assert 0 <= x <= x + width <= 640
        assert 0 <= y <= y + height <= 480


def test_no_rectangle_where_the_image_has_no_part():
    assert crop_rectangle(np.array([900.0, 100, 950, 150]), SIZE, LIMITS) == (0, 0, 0, 0)


@pytest.mark.parametrize("encode", [encode_jpeg, png])
@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.99, -2])
def test_truncated_images(picture, encode, keep):
    data = encode(picture)
    cut = data[: int(len(data) * keep) if isinstance(keep, float) else keep]
    with pytest.raises(BadFrameError, match="image_corrupt"):
        crop_image(cut, (0, 0, 64, 64), SIZE)


@pytest.mark.parametrize("encode", [encode_jpeg, png])
def test_images_of_another_size(picture, encode):
    with pytest.raises(BadFrameError, match="image_size"):
        crop_image(encode(picture[:240]), (0, 0, 64, 64), SIZE)


def test_a_png_is_compressed_once_and_cropped_as_stored_whatever_its_exif_asks_for(picture):
    x, y, width, height = rectangle = (64, 128, 320, 304)
    expected = crop_image(png(picture), rectangle, SIZE)
    difference = decode(expected).astype(int) - picture[y : y + height, x : x + width]
    assert np.abs(difference).mean() < 3
    for value in (2, 3, 6):
        assert crop_image(png(picture, exif=orientation(value)), rectangle, SIZE) == expected
    for image in (png(picture), b"no image", b""):
        assert mcu_size(image) == USUAL_MCU


def test_kinds_of_jpeg_that_are_not_read_are_another_reason_than_damage(picture):
    with pytest.raises(BadFrameError, match="image_format"):
        crop_image(saved_jpeg(picture, "CMYK"), (0, 0, 64, 64), SIZE)
    with pytest.raises(BadFrameError, match="image_corrupt"):
        crop_image(b"<html>no image</html>", (0, 0, 64, 64), SIZE)
