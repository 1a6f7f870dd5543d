"""Image files: stored pixels, lossless crops of JPEGs.

No other module decodes images or uses a JPEG library. EXIF orientation of datasets' images is
ignored, because labels belong to the stored pixels. Two libraries can cut crops; both give the same
bytes. What an image's header says is checked before it is decoded (`image_headers`).
"""

import ctypes
import functools
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import cv2
import numpy as np
import simplejpeg

from deformer.files.image_headers import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    JpegHeader,
    image_size,
    jpeg_size,
    read_jpeg_header,
)

ENCODED_QUALITY = 95
"""Quality of JPEGs that are encoded from pixels: rendered images, or images of other formats."""


_PNG_END = b"IEND\xaeB`\x82"
_PNG_HEADER_BYTES = 24
# Fast, and rows stored as differences to the row above: twice as fast again for depth images
_PNG = cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP


class UnsupportedJpegError(ValueError):
    """A JPEG of an unsupported kind, which the message names."""


def decode_jpeg(image: bytes, colours: str = "RGB", *, is_strict: bool = False) -> np.ndarray:
    """The pixels of a JPEG file, (height, width, channels) uint8.

    colours: "RGB", "BGR", or "RGBX", whose fourth channel is unused. Raises `ValueError` for a
    damaged file; is_strict: also where libjpeg would fill in missing data.
    """
    jpeg_size(image)
    return simplejpeg.decode_jpeg(image, colours, strict=is_strict)


def check_jpeg(image: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG file whose data are all read, in half the time of decoding it.
    Raises `ValueError` for a damaged file, also where libjpeg would fill in missing data."""
    size = jpeg_size(image)
    simplejpeg.decode_jpeg(image, "GRAY", min_height=1, min_width=1, min_factor=8)
    return size


def decode_image(image: bytes) -> np.ndarray:
    """The pixels of a PNG or JPEG file, (height, width, 3) uint8 BGR; transparency is dropped.

    Raises `ValueError` for other files; OpenCV fills in missing data of a truncated one. Other
    formats are refused, because OpenCV applies their orientation (TIFF).
    """
    if not image.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)):
        raise ValueError(
            f"PNG and JPEG images are read, and these {len(image)} bytes begin with {image[:4]!r}: "
            "convert the image to PNG"
        )
    return _decoded(image, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def decode_upright(image: bytes) -> np.ndarray:
    """The pixels of a picture as people see it, turned by its EXIF orientation: (height, width, 3)
    uint8 RGB, from JPEG, PNG, BMP, WebP or TIFF. Raises `ValueError` for other files; OpenCV fills
    in missing data of a truncated one."""
    return _decoded(image, cv2.IMREAD_COLOR_RGB)


def _decoded(image: bytes, flags: int) -> np.ndarray:
    image_size(image)
    try:
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), flags)
    except cv2.error:  # an assertion of OpenCV about the file
        pixels = None
    if pixels is None:
        raise ValueError(f"{len(image)} bytes are no image that OpenCV decodes")
    return pixels


def encode_jpeg(image_bgr: np.ndarray, quality: int = ENCODED_QUALITY) -> bytes:
    """(H, W, 3) uint8 BGR → JPEG, 4:2:0."""
    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420),
    ]
    return cv2.imencode(".jpg", image_bgr, options)[1].tobytes()


def encode_png(image: np.ndarray) -> bytes:
    """(H, W) uint16 or (H, W, 3) uint8 BGR → PNG; the same bytes at every call."""
    return cv2.imencode(".png", image, _PNG)[1].tobytes()


def is_cut_off(png: bytes) -> bool:
    """Whether a PNG file ends before its last chunk. OpenCV fills in missing data."""
    return len(png) < _PNG_HEADER_BYTES or not png.rstrip(b"\0").endswith(_PNG_END)


def decode_depth(png: bytes) -> np.ndarray:
    """The pixels of a depth image, a grey PNG of 16 bits, (height, width) uint16. Raises
    `ValueError` for other and for damaged files."""
    is_whole = png.startswith(PNG_SIGNATURE) and not is_cut_off(png)
    pixels = _decoded(png, cv2.IMREAD_UNCHANGED) if is_whole else np.empty(0)
    if pixels.dtype != np.uint16 or pixels.ndim != 2:
        raise ValueError(f"{len(png)} bytes are no whole grey PNG of 16 bits")
    return pixels


# -------------------------------------------------------------------------------------------- crops

_CODINGS = (0, 1, 2, 9, 10)
_GREY_OR_COLOURS = (1, 3)
_LUMA_AND_CHROMA = {
    *(((h, v), (1, 1)) for h, v in ((1, 1), (2, 1), (2, 2), (1, 2), (4, 1), (1, 4))),
    *(
        ((2, 2), chroma) for chroma in ((1, 2), (2, 1))
    ),  # 4:2:2 and 4:4:0 as some cameras write them
    *((factor, factor) for factor in ((2, 1), (1, 2), (3, 1), (1, 3))),  # 4:4:4, likewise
}


def crop_jpeg(image: bytes, rectangle: tuple[int, int, int, int]) -> bytes:
    """Cut the rectangle (x, y, width, height) out of a JPEG file, keeping its coefficients.

    The rectangle must begin at a multiple of the header's `mcu`, and end at one or with the image.
    The crop is baseline-coded and has no EXIF. Raises `UnsupportedJpegError`, and `ValueError` for
    damage in any part of the file.
    """
    jpeg_size(image)
    header = read_jpeg_header(image)
    _check_kind(header)
    return _cutter()(image, rectangle, header)


def _check_kind(header: JpegHeader) -> None:
    if header.coding not in _CODINGS or header.bits != 8:
        kind = f"of coding {header.coding} with {header.bits} bits"
    elif len(header.sampling) not in _GREY_OR_COLOURS:
        kind = f"of {len(header.sampling)} components, such as CMYK"
    elif len(header.sampling) == 3 and (
        header.sampling[1] != header.sampling[2] or header.sampling[:2] not in _LUMA_AND_CHROMA
    ):
        kind = f"with sampling factors {header.sampling}"
    else:
        return
    raise UnsupportedJpegError(f"a JPEG {kind}; 8 bits, grey, YCbCr or RGB are read")


@functools.cache
def _cutter():
    """turbojpeg is three times as fast, but has no wheel for Python 3.14."""
    return _cut_with_turbojpeg if importlib.util.find_spec("turbojpeg") else _cut_with_jpeglib


def _cut_with_turbojpeg(image: bytes, rectangle, header: JpegHeader) -> bytes:
    import turbojpeg

    x, y, width, height = rectangle
    try:  # it decodes the whole file to coefficients, so damage anywhere raises
        return turbojpeg.transform(image, x=x, y=y, w=width, h=height, crop=True, copynone=True)
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def _cut_with_jpeglib(image: bytes, rectangle, header: JpegHeader) -> bytes:
    # jpeglib ends the process for files that libjpeg refuses, and silently fills in missing data
    check_jpeg(image)
    pieces = _slices(rectangle, header)
    with _memory_file() as (source, source_path), _memory_file() as (target, target_path):
        source.write(image)
        source.seek(0)
        blocks = [np.empty((*shape, 64), np.int16) for shape in _shapes(header.size, header)]
        tables, table_numbers = np.zeros((4, 64), np.uint16), np.zeros(4, np.int16)
        _jpeglib().read_jpeg_dct(
            source_path, *_pointers(blocks, 4), *_pointers([tables, table_numbers])
        )
        kept = [
            np.ascontiguousarray(all_[piece]) for all_, piece in zip(blocks, pieces, strict=True)
        ]
        shapes = np.array([part.shape[:2] for part in kept], np.int32)
        size = np.array(rectangle[:1:-1], np.int32)
        colours = 1 if len(kept) == 1 else 2 if header.is_rgb else 3
        source.seek(0)
        # All but size and coefficients is copied from the source
        is_written = _jpeglib().write_jpeg_dct(
            source_path, target_path, *_pointers(kept, 4), *_pointers([size, shapes]), None,
            colours, len(kept), None, ctypes.c_short(-1), None, 0, None, None, None,
            ctypes.c_uint(0), ctypes.c_uint(0xFFFFFFFF),
        )  # fmt: skip
        if not is_written:
            raise ValueError("jpeglib cannot write the crop")
        target.seek(0)
        return target.read()


def _factors(header: JpegHeader) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """The sampling factors of the components, and their maxima."""
    factors = [(1, 1)] if len(header.sampling) == 1 else list(header.sampling)
    return factors, (max(h for h, _ in factors), max(v for _, v in factors))


def _shapes(size: tuple[int, int], header: JpegHeader) -> list[tuple[int, int]]:
    """(rows, columns) of 8 × 8 blocks in each component of an image of (width, height)."""
    factors, (most_h, most_v) = _factors(header)
    width, height = size
    return [(-(-height * v // (8 * most_v)), -(-width * h // (8 * most_h))) for h, v in factors]


def _slices(rectangle, header: JpegHeader) -> list[tuple[slice, slice]]:
    """The rectangle's rows and columns of blocks in each component."""
    x, y, width, height = rectangle
    factors, (most_h, most_v) = _factors(header)
    shapes = _shapes((width, height), header)
    starts = [(y * v // (8 * most_v), x * h // (8 * most_h)) for h, v in factors]
    return [
        (slice(row, row + rows), slice(column, column + columns))
        for (row, column), (rows, columns) in zip(starts, shapes, strict=True)
    ]


@functools.cache
def _jpeglib() -> ctypes.CDLL:
    """jpeglib's binding of libjpeg-turbo; its Python layer would read each file four times."""
    import jpeglib

    jpeglib.version.set("turbo210")  # libjpeg-turbo 2.1
    return jpeglib._bind.CJpegLib.get()


def _pointers(arrays: list[np.ndarray], count: int = 2) -> list:
    """Addresses of arrays, padded with None to `count`."""
    addresses = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
    return addresses + [None] * (count - len(addresses))


@contextmanager
def _memory_file() -> Iterator[tuple[BinaryIO, bytes]]:
    """An anonymous file in memory, and a path by which C opens it."""
    in_memory = hasattr(os, "memfd_create")  # Linux
    with (
        os.fdopen(os.memfd_create("jpeg"), "w+b") if in_memory else tempfile.TemporaryFile()
    ) as file:
        yield file, f"/dev/fd/{file.fileno()}".encode()
