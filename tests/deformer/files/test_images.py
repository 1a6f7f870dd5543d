"""Images are decoded as stored; crops of JPEGs are lossless, with either library the same bytes."""

import importlib.util
import io
import re
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deformer.files import images
from deformer.files.image_headers import read_jpeg_header, segments
from deformer.files.images import (
    UnsupportedJpegError,
    check_jpeg,
    crop_jpeg,
    decode_image,
    decode_jpeg,
    encode_jpeg,
)
from tests.jpegs import SAMPLINGS, every_kind, orientation, png, sampled_jpeg, saved_jpeg

WIDTH, HEIGHT = 213, 157  # no multiple of any MCU
CUTTERS = {"jpeglib": images._cut_with_jpeglib, "turbojpeg": images._cut_with_turbojpeg}


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (16, 22, 3), np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def kinds(picture) -> dict[str, bytes]:
    return every_kind(picture)


@pytest.fixture(params=CUTTERS)
def cutter(request, monkeypatch) -> str:
    """Both libraries, each where it is installed."""
    if not importlib.util.find_spec(request.param):
        pytest.skip(f"{request.param} is not installed: it has no wheel for this Python")
    monkeypatch.setattr(images, "_cutter", lambda: CUTTERS[request.param])
    return request.param


def rectangles(image: bytes) -> list[tuple[int, int, int, int]]:
    """Inside, up to the image's right and lower border, and the whole."""
    w, h = read_jpeg_header(image).mcu
    x, y = WIDTH // w * w - w, HEIGHT // h * h - h
    return [(w, h, 2 * w, 2 * h), (x, y, WIDTH - x, HEIGHT - y), (0, 0, WIDTH, HEIGHT)]


def test_crops_of_every_kind_are_lossless_baseline_without_exif(kinds, cutter):
    """Lossless but for the outermost pixels: their chroma is interpolated with what is cut off."""
    for name, image in kinds.items():
        whole = decode_jpeg(image, is_strict=True)
        for x, y, width, height in rectangles(image):
            data = crop_jpeg(image, (x, y, width, height))
            cropped = decode_jpeg(data, is_strict=True)
            assert cropped.shape == (height, width, 3), name
            inner = np.s_[1:-1, 1:-1]
            expected = whole[y : y + height, x : x + width]
            np.testing.assert_array_equal(cropped[inner], expected[inner], name)
            assert read_jpeg_header(data).coding == 0, name
            markers = {marker for marker, _ in segments(data)}
            assert markers <= {0xE0, 0xEE, 0xDB, 0xC0, 0xC4}, name  # JFIF, Adobe, tables, frame
        assert whole.std() > 10, name


def test_both_libraries_cut_the_same_bytes(kinds):
    pytest.importorskip("turbojpeg", reason="turbojpeg has no wheel for this Python")
    for name, image in kinds.items():
        header = read_jpeg_header(image)
        for rectangle in rectangles(image):
            one, other = (cut(image, rectangle, header) for cut in CUTTERS.values())
            assert one == other, (name, rectangle)


def damaged(image: bytes, rng: np.random.Generator) -> bytes:
    """Cut, overwritten, shortened or lengthened somewhere."""
    data, at = bytearray(image), int(rng.integers(2, len(image)))
    match rng.integers(4):
        case 0:
            del data[at:]
        case 1:
            data[at : at + 8] = rng.bytes(len(data[at : at + 8]))
        case 2:
            del data[at : at + 50]
        case 3:
            data[at:at] = data[:50]
    return bytes(data)


def test_both_libraries_refuse_the_same_damaged_files(kinds):
    pytest.importorskip("turbojpeg", reason="turbojpeg has no wheel for this Python")
    rng, refused = np.random.default_rng(0), []
    for name, image in kinds.items():
        for _ in range(10):
            file, results = damaged(image, rng), []
            try:
                header = read_jpeg_header(file)
                images._check_kind(header)
            except ValueError:
                continue
            if header.size != (WIDTH, HEIGHT):
                continue
            for cut in CUTTERS.values():
                try:
                    results.append(cut(file, rectangles(image)[0], header))
                except ValueError:
                    results.append(None)
            assert results[0] == results[1], name
            refused.append(results[0] is None)
    assert 0.5 < np.mean(refused) < 1


def test_kinds_that_cannot_be_cropped_are_named(picture, cutter):
    for image, words in (
        (saved_jpeg(picture, "CMYK"), "4 components, such as CMYK"),
        (relabelled(sampled_jpeg(picture), precision=12), "of coding 0 with 12 bits"),
        (relabelled(sampled_jpeg(picture), marker=0xC3), "of coding 3 with 8 bits"),  # lossless
        (relabelled(sampled_jpeg(picture), luma=0x42), r"sampling factors \(\(4, 2\), \(1, 1\)"),
    ):
        with pytest.raises(UnsupportedJpegError, match=words):
            crop_jpeg(image, (0, 0, 64, 64))


def relabelled(image: bytes, marker: int = 0xC0, precision: int = 8, luma: int = 0x22) -> bytes:
    """Another kind of JPEG, as its header has it."""
    data, frame = bytearray(image), image.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4], data[frame + 11] = marker, precision, luma
    return bytes(data)


def test_headers(picture):
    header = read_jpeg_header(sampled_jpeg(picture))
    assert header.size == (WIDTH, HEIGHT) and header.sampling == SAMPLINGS["4:2:0"]
    assert (header.coding, header.bits, header.is_rgb) == (0, 8, False)
    assert read_jpeg_header(saved_jpeg(picture, keep_rgb=True)).is_rgb
    assert read_jpeg_header(saved_jpeg(picture, progressive=True)).coding == 2
    for name, mcu in (("4:1:1", (32, 16)), ("4:4:1", (16, 32)), ("4:4:4 in threes", (24, 16))):
        assert read_jpeg_header(sampled_jpeg(picture, name)).mcu == mcu


def test_what_is_no_jpeg_has_no_header(picture):
    image = sampled_jpeg(picture)
    for data, words in (
        (b"", "begins with ff d8"),
        (b"<html>", "begins with ff d8, this one with b'<h'"),
        (image[:100], "ends before a JPEG's frame header"),
        (relabelled(image, luma=0x02), "frame header is damaged"),
        (relabelled(image, luma=0x2F), "frame header is damaged"),
    ):
        with pytest.raises(ValueError, match=words):
            read_jpeg_header(data)


def test_decoding_ignores_the_orientation_that_exif_asks_for(picture):
    for value in range(1, 9):
        exif = orientation(value)
        np.testing.assert_array_equal(decode_image(png(picture, exif=exif)), picture)
        expected = decode_jpeg(saved_jpeg(picture), "BGR")
        image = saved_jpeg(picture, exif=exif)
        np.testing.assert_array_equal(decode_jpeg(image, "BGR"), expected)
        np.testing.assert_array_equal(decode_image(image), expected)


@pytest.mark.parametrize("kind", ["TIFF", "WebP"])
def test_formats_whose_orientation_would_be_obeyed_are_refused(picture, kind):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, exif=orientation(6))
    with pytest.raises(ValueError, match="PNG and JPEG images are read, .* begin with b'.*PNG$"):
        decode_image(file.getvalue())


def test_decoding_damaged_files(picture):
    image = sampled_jpeg(picture)
    cut = image[: len(image) // 2]
    with pytest.raises(ValueError):
        decode_jpeg(cut, is_strict=True)
    assert decode_jpeg(cut).shape == (HEIGHT, WIDTH, 3)
    for data in (b"", b"\xff\xd8\xff\xe0 this is no JPEG", b"<html>"):
        for decode in (decode_jpeg, decode_image, check_jpeg):
            with pytest.raises(ValueError):
                decode(data)


def test_checking_finds_the_damage_that_decoding_finds(picture):
    image, rng = sampled_jpeg(picture), np.random.default_rng(0)
    assert check_jpeg(image) == (WIDTH, HEIGHT)
    damaged = [image[:k] for k in rng.integers(1, len(image) - 2, 30)]
    for k in rng.integers(2, len(image), 120):
        damaged.append(image[:k] + bytes([image[k] ^ 1 << int(rng.integers(8))]) + image[k + 1 :])

    def is_refused(check, data: bytes) -> bool:
        try:
            check(data)
        except ValueError:
            return True
        return False

    by_decoding = [is_refused(partial(decode_jpeg, is_strict=True), data) for data in damaged]
    assert [is_refused(check_jpeg, data) for data in damaged] == by_decoding
    assert 30 <= sum(by_decoding) < len(damaged)


def test_a_phones_photo_with_a_video_behind_it(picture):
    photo = encode_jpeg(picture)
    video = np.random.default_rng(0).bytes(8 << 20)
    assert video.count(b"\xff\xda") > 100  # as scans begin
    np.testing.assert_array_equal(decode_image(photo + video), decode_image(photo))


def test_encoding(picture):
    image = encode_jpeg(picture)
    assert read_jpeg_header(image).sampling == SAMPLINGS["4:2:0"]
    assert np.abs(decode_jpeg(image, "BGR").astype(int) - picture).mean() < 3
    np.testing.assert_array_equal(decode_jpeg(image, "RGBX")[..., 2::-1], decode_jpeg(image, "BGR"))


def test_no_other_module_decodes_images():
    """So that what is said of them here holds everywhere."""
    decoders = re.compile(r"\bimport (turbojpeg|simplejpeg|jpeglib)\b|\b(imdecode|imread)\b")
    root = Path(__file__).parents[3]
    found = {
        str(path.relative_to(root))
        for package in ("deformer", "pipelines", "benchmarks")
        for path in (root / package).rglob("*.py")
        if decoders.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"deformer/files/images.py"}
