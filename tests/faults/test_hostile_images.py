"""Hostile images to every reader of images: nothing but the documented errors, in little memory."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from deformer.files import images
from deformer.files.foreign import UnreadableFileError
from deformer.files.image_headers import TooLargeError, image_size, read_jpeg_header
from deformer.files.images import (
    check_jpeg,
    crop_jpeg,
    decode_depth,
    decode_image,
    decode_jpeg,
    decode_upright,
)
from deformer.hand.box import AugmentationRange
from deformer.video.frames import Video, find_videos
from pipelines.building.crops import crop_depth, crop_image, crop_rectangle, mcu_size
from pipelines.datasets.ho3d_files import read_segmentation
from pipelines.datasets.source import BadFrameError
from tests.faults import images as made
from tests.faults.damage import damaged, rebuilt
from tests.faults.hostile import SEEDS, Reader, assert_harmless, from_path, fuzz
from tests.faults.videos import read_video

FEW, MANY = 70, 1500
SIZE = made.WIDTH, made.HEIGHT
_BOX = np.array([8.0, 8.0, 24.0, 24.0])


def crop(image: bytes) -> bytes:
    """As the build does."""
    rectangle = crop_rectangle(_BOX, SIZE, AugmentationRange(), mcu_size(image))
    return crop_image(image, rectangle, SIZE)


def crop_with_jpeglib(image: bytes) -> bytes:
    """As `crop_jpeg` where turbojpeg is not installed."""
    images.jpeg_size(image)
    header = read_jpeg_header(image)
    images._check_kind(header)
    rectangle = 0, 0, *(min(size, mcu) for size, mcu in zip(header.size, header.mcu, strict=True))
    return images._cut_with_jpeglib(image, rectangle, header)


def read_videos(path: Path) -> list[str | None]:
    """The faults of the videos that a path names."""
    return [read_video(name) for name in find_videos(str(path))]


def in_folder(folder: Path):
    """Between two whole pictures, of which one video is made."""
    folder.mkdir()
    for name in ("a.png", "c.png"):
        (folder / name).write_bytes(made.pngs()["RGB"])
    return from_path(folder / "b.png", lambda path: read_videos(path.parent))


def readers(folder: Path) -> list[Reader]:
    jpegs, pngs, depths, others = made.jpegs(), made.pngs(), made.depths(), made.others()
    jpeg_bombs, png_bombs, other_bombs = made.jpeg_bombs(), made.png_bombs(), made.other_bombs()
    all_bombs = jpeg_bombs | png_bombs | other_bombs
    jpeg, png = damaged(jpegs), damaged(pngs)
    chunks = rebuilt(made.png_parts(pngs["moving"]), made.png_of)
    depth_chunks = rebuilt(made.png_parts(depths["depth"]), made.png_of)
    segmentation = from_path(folder / "s.png", lambda path: read_segmentation(path, 0, 1, SIZE))
    cutters = {"crop of a frame": crop, "lossless crop": lambda x: crop_jpeg(x, (0, 0, 16, 16))}
    if importlib.util.find_spec("jpeglib"):
        cutters["crop by jpeglib"] = crop_with_jpeglib
    for cut in cutters.values():
        cut(jpegs["4:2:0"])  # the libraries are loaded at their first use
    errors = ValueError, BadFrameError
    return [
        Reader("JPEG", jpeg, decode_jpeg, jpeg_bombs),
        Reader("JPEG, strictly", jpeg, check_jpeg, jpeg_bombs),
        *(Reader(name, jpeg, f, jpeg_bombs, errors) for name, f in cutters.items()),
        Reader("crop of a PNG frame", png, crop, png_bombs, errors),
        Reader("PNG", png, decode_image, png_bombs),
        Reader("chunks of a PNG", chunks, decode_image),
        Reader("depth", damaged(depths | pngs), decode_depth, png_bombs),
        Reader("chunks of a depth", depth_chunks, lambda x: crop_depth(x, (0, 0, 16, 16), SIZE),
               documented=errors),
        Reader("segmentation", damaged(jpegs | pngs), segmentation, all_bombs, errors),
        Reader("picture", damaged(others), decode_upright, all_bombs),
        Reader("picture as a video", damaged(jpegs | pngs | others),
               from_path(folder / "x.png", read_videos), all_bombs, says="x.png"),
        Reader("folder of pictures", damaged(jpegs | pngs | others), in_folder(folder / "f"),
               all_bombs, says="b.png"),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hostile_image_is_refused_or_read(seed, tmp_path, count_faults):
    outcome = fuzz(readers(tmp_path), MANY if seed else FEW, seed, tmp_path)
    assert_harmless(count_faults, "images", outcome)


def test_an_image_that_is_too_large_is_named(tmp_path):
    large = made.resized(made.jpegs()["4:2:0"], 8193)
    says = "it has 8193 × 8193 px, and images of up to 67,108,864 px are read: scale it down"
    for read in (decode_jpeg, check_jpeg, decode_image, decode_upright):
        with pytest.raises(TooLargeError, match=says):
            read(large)
    (tmp_path / "a.jpg").write_bytes(large)
    with pytest.raises(UnreadableFileError, match=f"a.jpg is not read: {says}"):
        Video(tmp_path / "a.jpg")


def test_sizes_are_those_that_decoding_gives():
    for name, image in (made.jpegs() | made.pngs() | made.depths() | made.others()).items():
        assert image_size(image) == (made.WIDTH, made.HEIGHT), name
        assert decode_upright(image).shape[1::-1] in {SIZE, SIZE[::-1]}, name
