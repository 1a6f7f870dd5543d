"""What image files say of themselves, read before any pixel is decoded.

A hundred bytes may claim gigabytes of pixels. So `check_size` judges every image before a decoder
sees it, by the same bytes that the decoder goes by.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

MOST_PIXELS = 1 << 26
"""Of an image, 8192 × 8192: decoding one takes less than a GiB, whatever its kind."""
MOST_SCANS = 100
"""Of a JPEG of `MOST_PIXELS`, and more of smaller ones; programs write up to 12. Each goes over the
whole image."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
_MOST_CHUNK = 1 << 28
"""Bytes; OpenCV takes the memory for what a chunk says before it looks whether it is there."""
_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_SCAN, _SCAN_BYTES = b"\xff\xda", 10
"""How a scan begins, and the least that it takes."""
_TIFF_SIZE, _TIFF_TILE = (256, 257), (322, 323)
"""Tags of width and height."""
_TIFF_NUMBERS = {3: "H", 4: "I"}
"""Of 16 and 32 bits, by their kind."""


class TooLargeError(ValueError):
    """An image of more pixels than are read."""


def check_size(size: tuple[int, int]) -> None:
    """Raises `TooLargeError` if (width, height) are more than `MOST_PIXELS`, and `ValueError` for
    none."""
    width, height = size
    if width * height > MOST_PIXELS:
        raise TooLargeError(
            f"it has {width} × {height} px, and images of up to {MOST_PIXELS:,} px are read: "
            "scale it down"
        )
    if min(size) < 1:
        raise ValueError("it says that it has no pixels")


def image_size(image: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG, PNG, BMP, WebP or TIFF file, as stored, by its beginning; of TIFF
    the whole file may be needed. Raises `ValueError` for other and for damaged files,
    `TooLargeError` as `check_size` does."""
    size_of = next((of for sign, of in _SIZES.items() if image.startswith(sign)), None)
    if size_of is None:
        raise ValueError(
            f"JPEG, PNG, BMP, WebP and TIFF images are read, and these {len(image)} bytes begin "
            f"with {image[:4]!r}: convert the image to PNG"
        )
    try:
        size = size_of(image)
    except struct.error:
        raise ValueError("it ends before its pixels") from None
    check_size(size)
    return size


def _png_size(image: bytes) -> tuple[int, int]:
    if image[12:16] != b"IHDR":
        raise ValueError("the PNG's header is damaged")
    at = len(PNG_SIGNATURE)
    while at + 4 <= len(image):
        (length,) = struct.unpack_from(">I", image, at)
        if length > _MOST_CHUNK:
            raise ValueError(f"one of the PNG's chunks says that it has {length:,} bytes")
        at += 12 + length
    width, height = struct.unpack_from(">II", image, 16)
    return width, height


def _tiff_size(image: bytes) -> tuple[int, int]:
    """Of the first image, whose tiles may be larger than itself. A tag that is there twice counts
    with its largest value, because readers differ in which they take."""
    order = "<" if image.startswith(b"II") else ">"
    found = dict.fromkeys(_TIFF_SIZE + _TIFF_TILE, 0)
    (first,) = struct.unpack_from(f"{order}I", image, 4)
    (num,) = struct.unpack_from(f"{order}H", image, first)
    for at in range(first + 2, first + 2 + 12 * num, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", image, at)
        if tag in found:
            if kind not in _TIFF_NUMBERS or count != 1:
                raise ValueError("the TIFF's header is damaged")
            (value,) = struct.unpack_from(order + _TIFF_NUMBERS[kind], image, at + 8)
            found[tag] = max(found[tag], value)
    width, height, *tile = found.values()
    check_size((max(width, tile[0]), max(height, tile[1])))
    return width, height


def _bmp_size(image: bytes) -> tuple[int, int]:
    is_old = image[14:18] == b"\x0c\0\0\0"
    width, height = struct.unpack_from("<HH" if is_old else "<ii", image, 18)
    return abs(width), abs(height)  # a negative height: the first row is on top


def _webp_size(image: bytes) -> tuple[int, int]:
    kind = image[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(image[k : k + 3], "little") + 1 for k in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(image[21:25], "little")
        width, height = ((bits >> k & 0x3FFF) + 1 for k in (0, 14))
    elif kind == b"VP8 ":
        width, height = (int.from_bytes(image[k : k + 2], "little") & 0x3FFF for k in (26, 28))
    else:
        raise ValueError("the WebP's header is damaged")
    return width, height


# --------------------------------------------------------------------------------------------- JPEG


@dataclass(frozen=True)
class JpegHeader:
    """The header of a JPEG file."""

    size: tuple[int, int]
    """(width, height), px."""
    coding: int
    """Number of the frame marker: 0 baseline, 1 extended, 2 progressive, 9 and 10 arithmetic."""
    bits: int
    sampling: tuple[tuple[int, int], ...]
    """(horizontal, vertical) sampling factor of each component."""
    is_rgb: bool
    """Whether the three components are red, green, blue instead of YCbCr."""

    @property
    def mcu(self) -> tuple[int, int]:
        """(width, height) in px of the coding blocks (MCUs); 8 is rounded up to 16."""
        factors = (max(factor) for factor in zip(*self.sampling, strict=True))
        width, height = (8 * factor if factor > 2 else 16 for factor in factors)
        return width, height


def read_jpeg_header(image: bytes) -> JpegHeader:
    """The header of a JPEG file. Raises `ValueError` for a damaged or other file."""
    frame, ids, has_jfif, adobe = None, b"", False, None
    for marker, content in segments(image):
        if marker == 0xE0 and len(content) >= 14 and content.startswith(b"JFIF\0"):
            has_jfif = True
        elif marker == 0xEE and len(content) >= 12 and content.startswith(b"Adobe"):
            adobe = content[11]
        elif _is_frame(marker):
            if frame or len(content) < 6 or len(content) != 6 + 3 * content[5]:
                raise ValueError("the JPEG's frame header is damaged")
            frame, ids = (marker - 0xC0, content), content[6::3]
    if frame is None:
        raise ValueError("the file ends before a JPEG's frame header")
    coding, content = frame
    height, width = (int.from_bytes(content[i : i + 2], "big") for i in (1, 3))
    sampling = tuple(divmod(factor, 16) for factor in content[7::3])
    if not (width and height and sampling and all(1 <= f <= 4 for pair in sampling for f in pair)):
        raise ValueError("the JPEG's frame header is damaged")
    # as libjpeg decides
    is_rgb = len(ids) == 3 and not has_jfif and (ids == b"RGB" if adobe is None else adobe == 0)
    return JpegHeader((width, height), coding, content[0], sampling, is_rgb)


def jpeg_size(image: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG file, in a third of `read_jpeg_header`'s time. Raises `ValueError`
    for a damaged or other file, and for one that would take too much memory (`check_size`) or time
    (`MOST_SCANS`) to decode."""
    frame = next((content for marker, content in segments(image) if _is_frame(marker)), b"")
    if len(frame) < 6:
        raise ValueError("the file ends before a JPEG's frame header")
    height, width = struct.unpack_from(">HH", frame, 1)
    check_size((width, height))
    may_be_slow = len(image) // _SCAN_BYTES * width * height > MOST_SCANS * MOST_PIXELS
    # A phone's photo may have a video behind it, whose bytes look like scans
    if may_be_slow and image.count(_SCAN) > MOST_SCANS and (scans := _scans(image)) > MOST_SCANS:
        raise ValueError(f"it has {scans} scans, and up to {MOST_SCANS} are read: save it again")
    return width, height


def _scans(image: bytes) -> int:
    return sum(marker == 0xDA for marker, _ in segments(image, to_end=True))


def _is_frame(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)  # tables, reserved


def segments(image: bytes, to_end: bool = False) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of every segment before the first scan, or to the image's end, found as
    libjpeg finds them."""
    if image[:2] != b"\xff\xd8":
        raise ValueError(f"a JPEG file begins with ff d8, this one with {image[:2]!r}")
    at = 2
    while found := _MARKER.search(image, at):
        marker, at = found[1][0], found.end()
        if marker == 0xD9 or (marker == 0xDA and not to_end):  # the end, a scan
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # without content
            continue
        size = int.from_bytes(image[at : at + 2], "big")
        yield marker, image[at + 2 : at + size]
        at += max(size, 2)


_SIZES = {
    JPEG_SIGNATURE: jpeg_size,
    PNG_SIGNATURE: _png_size,
    b"BM": _bmp_size,
    b"RIFF": _webp_size,
    b"II*\0": _tiff_size,
    b"MM\0*": _tiff_size,
}
"""By how the file begins."""
