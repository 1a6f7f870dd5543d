"""Crops: which rectangle of an image to keep, and cutting it out without touching its pixels.

JPEG sources are cropped in the compressed domain, on the borders of their coding blocks (MCUs):
the pixels of the crop are those of the source, bit for bit, except where chroma is interpolated
across the crop's own edge; so the rectangle keeps two pixels more than anyone can ask for.
"""

import struct

import numpy as np

from deformer.files.image_headers import PNG_SIGNATURE, read_jpeg_header
from deformer.files.images import (
    UnsupportedJpegError,
    crop_jpeg,
    decode_depth,
    decode_image,
    encode_jpeg,
    encode_png,
    is_cut_off,
)
from deformer.hand.box import AugmentationRange, hand_box, reach_px
from pipelines.datasets.source import BadFrameError

_EDGE_PX = 2
"""One pixel for the interpolation of the warp, one for that of chroma."""

USUAL_MCU = (16, 16)
"""MCU (width, height) of 4:2:0 JPEGs, and a multiple of that of almost all others."""


def mcu_size(image: bytes) -> tuple[int, int]:
    """(width, height) in px on whose multiples an image file can be cropped without loss."""
    if image.startswith(PNG_SIGNATURE):
        return USUAL_MCU
    try:
        return read_jpeg_header(image).mcu
    except ValueError:  # damaged, which `crop_image` will say
        return USUAL_MCU


def crop_rectangle(
    tight_box_px: np.ndarray,
    image_size: tuple[int, int],
    limits: AugmentationRange,
    mcu: tuple[int, int] = USUAL_MCU,
) -> tuple[int, int, int, int]:
    """The rectangle (x, y, width, height) to keep of an image for a hand.

    tight_box_px (4,): tight box of the 2D joints, px of the source. It contains, as far as the
    image does, every window that `limits` allow. Aligned to `mcu`, the image's `mcu_size`; width
    0 where the image has no part in it.
    """
    centre, side = hand_box(np.asarray(tight_box_px, float))
    reach = reach_px(side, limits) + _EDGE_PX
    size, mcu = np.asarray(image_size), np.asarray(mcu)
    first = np.clip(np.floor((centre - reach) / mcu) * mcu, 0, size).astype(int)
    last = np.clip(np.ceil((centre + reach + 1) / mcu) * mcu, 0, size).astype(int)
    width, height = last - first
    if width <= 0 or height <= 0:
        return 0, 0, 0, 0
    return int(first[0]), int(first[1]), int(width), int(height)


def crop_image(
    image: bytes, rectangle: tuple[int, int, int, int], image_size: tuple[int, int]
) -> bytes:
    """The rectangle (x, y, width, height) of a JPEG or PNG file, as a JPEG file.

    JPEG is cropped losslessly; PNG is compressed once, at quality 95. Raises `BadFrameError` with
    the reason "image_corrupt", "image_size", or "image_format".
    """
    if image.startswith(PNG_SIGNATURE):
        return _crop_png(image, rectangle, image_size)
    try:
        if read_jpeg_header(image).size != tuple(image_size):
            raise BadFrameError("image_size")
        return crop_jpeg(image, rectangle)
    except UnsupportedJpegError:
        raise BadFrameError("image_format") from None
    except ValueError:
        raise BadFrameError("image_corrupt") from None


def _crop_png(image: bytes, rectangle, image_size: tuple[int, int]) -> bytes:
    if is_cut_off(image):
        raise BadFrameError("image_corrupt")
    if struct.unpack(">II", image[16:24]) != tuple(image_size):
        raise BadFrameError("image_size")
    try:
        pixels = decode_image(image)
    except ValueError:
        raise BadFrameError("image_corrupt") from None
    x, y, width, height = rectangle
    return encode_jpeg(np.ascontiguousarray(pixels[y : y + height, x : x + width]))


def crop_depth(
    depth: bytes, rectangle: tuple[int, int, int, int], image_size: tuple[int, int]
) -> bytes:
    """The rectangle (x, y, width, height) of a grey PNG of 16 bits, likewise and without loss.
    Raises `BadFrameError` with the reason "depth_corrupt"."""
    try:
        pixels = decode_depth(depth)
    except ValueError:
        raise BadFrameError("depth_corrupt") from None
    if pixels.shape != tuple(image_size)[::-1]:
        raise BadFrameError("depth_corrupt")
    x, y, width, height = rectangle
    return encode_png(pixels[y : y + height, x : x + width])
