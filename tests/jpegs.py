"""JPEG files of every kind that a camera or a program may write."""

import io
import tempfile
from pathlib import Path

import cv2
import jpeglib
import numpy as np
from PIL import Image

SAMPLINGS = {
    "4:2:0": ((2, 2), (1, 1), (1, 1)),
    "4:2:2": ((2, 1), (1, 1), (1, 1)),
    "4:4:4": ((1, 1), (1, 1), (1, 1)),
    "4:4:0": ((1, 2), (1, 1), (1, 1)),
    "4:1:1": ((4, 1), (1, 1), (1, 1)),
    "4:4:1": ((1, 4), (1, 1), (1, 1)),
    "4:2:2 as some cameras say it": ((2, 2), (1, 2), (1, 2)),
    "4:4:0 as some cameras say it": ((2, 2), (2, 1), (2, 1)),
    "4:4:4 as some cameras say it": ((2, 1), (2, 1), (2, 1)),
    "4:4:4 in threes": ((3, 1), (3, 1), (3, 1)),
}
"""(horizontal, vertical) factors of the components."""


def sampled_jpeg(picture_bgr: np.ndarray, sampling: str = "4:2:0", flags: tuple = ()) -> bytes:
    """flags: of jpeglib, such as "+ARITH_CODE" and "+PROGRESSIVE_MODE"."""
    with jpeglib.version("turbo210"), tempfile.TemporaryDirectory() as folder:
        jpeg = jpeglib.from_spatial(np.ascontiguousarray(picture_bgr[..., ::-1]))
        jpeg.samp_factor = tuple((v, h) for h, v in SAMPLINGS[sampling])
        path = Path(folder) / "made.jpg"
        jpeg.write_spatial(str(path), qt=92, flags=list(flags))
        return path.read_bytes()


def saved_jpeg(picture_bgr: np.ndarray, mode: str = "RGB", **options) -> bytes:
    """As Pillow saves it: mode "L", "CMYK"; progressive, restart_marker_rows, dpi, exif, …"""
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture_bgr[..., ::-1])).convert(mode)
    image.save(buffer, "JPEG", **{"quality": 92, **options})
    return buffer.getvalue()


def png(picture_bgr: np.ndarray, **options) -> bytes:
    """As Pillow saves it; exif is an option."""
    buffer = io.BytesIO()
    Image.fromarray(cv2.cvtColor(picture_bgr, cv2.COLOR_BGR2RGB)).save(buffer, "PNG", **options)
    return buffer.getvalue()


def orientation(value: int) -> Image.Exif:
    """EXIF that asks for a turn or a mirroring: 1 is none, 3 upside down, 6 and 8 a quarter."""
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def every_kind(picture_bgr: np.ndarray) -> dict[str, bytes]:
    """All kinds that can be cropped, by name."""
    sampled = {name: sampled_jpeg(picture_bgr, name) for name in SAMPLINGS}
    return sampled | {
        "grey": saved_jpeg(picture_bgr, "L"),
        "RGB": saved_jpeg(picture_bgr, keep_rgb=True),
        "progressive": saved_jpeg(picture_bgr, progressive=True),
        "grey, progressive": saved_jpeg(picture_bgr, "L", progressive=True),
        "restart markers": saved_jpeg(picture_bgr, restart_marker_rows=1),
        "arithmetic": sampled_jpeg(picture_bgr, flags=("+ARITH_CODE",)),
        "arithmetic, progressive": sampled_jpeg(
            picture_bgr, flags=("+ARITH_CODE", "+PROGRESSIVE_MODE")
        ),
        "own Huffman tables": saved_jpeg(picture_bgr, optimize=True),
        "EXIF": saved_jpeg(picture_bgr, exif=orientation(6)),
        "dots per inch": saved_jpeg(picture_bgr, dpi=(72, 72)),
        "worst quality": saved_jpeg(picture_bgr, quality=1),
    }
