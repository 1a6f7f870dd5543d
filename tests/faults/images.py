"""Small images of every kind that is read, and images that claim more than they hold."""

import io
import struct
import zlib
from functools import cache

import cv2
import numpy as np
from PIL import Image

from deformer.files.image_headers import MOST_SCANS, PNG_SIGNATURE
from tests.jpegs import every_kind, saved_jpeg

WIDTH, HEIGHT = 45, 34  # no multiple of any coding block


@cache
def _bomb() -> bytes:
    return zlib.compress(bytes(100 << 20), 1)


def picture_bgr(seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def jpegs() -> dict[str, bytes]:
    picture = picture_bgr()
    return every_kind(picture) | {"CMYK": saved_jpeg(picture, "CMYK")}


def pngs() -> dict[str, bytes]:
    other = Image.fromarray(picture_bgr(1))
    return {mode: _saved("PNG", mode) for mode in ("L", "RGB", "RGBA", "P", "1", "LA", "I;16")} | {
        "moving": _saved("PNG", "RGBA", save_all=True, append_images=[other.convert("RGBA")])
    }


def depths() -> dict[str, bytes]:
    return {"depth": _saved("PNG", "I;16")}


def others() -> dict[str, bytes]:
    """The other formats of pictures."""
    other = Image.fromarray(picture_bgr(1))
    tiffs = {f"TIFF {c}": _saved("TIFF", "RGB", compression=c) for c in
             ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")}  # fmt: skip
    return tiffs | {
        "TIFF of 16 bits": _saved("TIFF", "I;16"),
        "TIFF, black and white": _saved("TIFF", "1", compression="group4"),
        "BMP": _saved("BMP", "RGB"),
        "BMP, palette": _saved("BMP", "P"),
        "WebP": _saved("WEBP", "RGB"),
        "WebP, lossless": _saved("WEBP", "RGBA", lossless=True),
        "WebP, moving": _saved("WEBP", "RGBA", save_all=True, append_images=[other]),
    }


def _saved(kind: str, mode: str, **options) -> bytes:
    if mode == "I;16":
        image = Image.fromarray(picture_bgr()[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(picture_bgr()).convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# ------------------------------------------------------------------------------------------ chunks


def png_parts(png: bytes) -> dict[str, bytes]:
    """The chunks of a PNG file, by number and type."""
    parts, at = {}, len(PNG_SIGNATURE)
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        parts[f"{len(parts)} {png[at + 4 : at + 8].decode()}"] = png[at + 8 : at + 8 + size]
        at += 12 + size
    return parts


def png_of(parts: dict[str, bytes]) -> bytes:
    """A PNG file of chunks, with right checksums."""
    return PNG_SIGNATURE + b"".join(_chunk(k.split()[1].encode(), c) for k, c in parts.items())


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


# ------------------------------------------------------------------------------------------- bombs


def _with_chunks(*chunks: tuple[str, bytes], size=(WIDTH, HEIGHT)) -> bytes:
    parts = png_parts(pngs()["RGB"])
    parts["0 IHDR"] = struct.pack(">II", *size) + parts["0 IHDR"][8:]
    first = {"0 IHDR": parts.pop("0 IHDR")}
    return png_of(first | {f"{k}+ {kind}": c for k, (kind, c) in enumerate(chunks)} | parts)


def png_bombs() -> dict[str, bytes]:
    """PNG files that claim, or unpack to, gigabytes."""
    frame = struct.pack(">IIIIIHHBB", 0, 60_000, 60_000, 0, 0, 1, 1, 0, 0)
    many = [(f"tEX{chr(65 + k % 26)}", b"") for k in range(50_000)]
    return {
        "100,000 × 100,000 px": _bomb_of_pixels(100_000),
        "30,000 × 30,000 px": _bomb_of_pixels(30_000),
        "2³¹ − 1 px square": _with_chunks(size=(2**31 - 1, 2**31 - 1)),
        "no pixels": _with_chunks(size=(0, 0)),
        "a chunk of 2 GiB": _with_length(pngs()["I;16"], 2**31 - 1),
        "text that unpacks": _with_chunks(("zTXt", b"a\0\0" + _bomb())),
        "more text": _with_chunks(("iTXt", b"a\0\1\0\0\0" + _bomb())),
        "a profile that unpacks": _with_chunks(("iCCP", b"a\0\0" + _bomb())),
        "many chunks": _with_chunks(*many),
        "a large frame": _with_chunks(("acTL", struct.pack(">II", 1, 0)), ("fcTL", frame)),
        "2³² − 1 frames": _with_chunks(("acTL", struct.pack(">II", 2**32 - 1, 0))),
    }


def _bomb_of_pixels(size: int) -> bytes:
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return png_of({"0 IHDR": header, "1 IDAT": _bomb(), "2 IEND": b""})


def _with_length(png: bytes, length: int) -> bytes:
    """With another length of its first chunk of pixels."""
    at = png.index(b"IDAT")
    return png[: at - 4] + struct.pack(">I", length) + png[at:]


def jpeg_bombs() -> dict[str, bytes]:
    """JPEG files that claim gigabytes, or take minutes."""
    whole, progressive = jpegs()["4:2:0"], jpegs()["progressive"]
    hidden = b"\xff\x00\x00\x10" + _frame(60_000) + b"\xff\xfe" + struct.pack(">H", 21)
    return {
        "65,500 px square": resized(whole, 65_500),
        "65,500 px square, progressive": resized(progressive, 65_500),
        "20,000 px square": resized(whole, 20_000),
        "no pixels": resized(whole, 0),
        "30,000 scans": scans(progressive, 30_000),
        "30,000 scans of 2,000 px square": resized(scans(progressive, 30_000), 2000),
        "as many scans as are read": resized(scans(progressive, MOST_SCANS - 12), 2500),
        "a header that only libjpeg sees": whole.replace(b"\xff\xc0", hidden + b"\xff\xc0"),
        "a long segment": whole[:2] + (b"\xff\xfe\xff\xff" + bytes(65_533)) * 100 + whole[2:],
        "padding": whole[:2] + b"\xff" * (3 << 20) + whole[2:],
        "no end of restarts": whole[:-2] + b"\xff\xd0" * (1 << 20),
    }


def _frame(size: int) -> bytes:
    return b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", size, size) + bytes.fromhex(
        "03012200021101031101"
    )  # fmt: skip


def resized(jpeg: bytes, size: int) -> bytes:
    """With another size in its header."""
    data, at = bytearray(jpeg), max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2"))
    struct.pack_into(">HH", data, at + 5, size, size)
    return bytes(data)


def scans(progressive: bytes, number: int) -> bytes:
    """The last scan that many times more."""
    last = progressive[progressive.rindex(b"\xff\xda") : -2]
    return progressive[:-2] + last * number + progressive[-2:]


def other_bombs() -> dict[str, bytes]:
    """Of the other formats, and what is no picture under a picture's name."""
    whole = others()
    bmp, webp, tiff = whole["BMP"], whole["WebP, moving"], whole["TIFF raw"]
    large = (16_382).to_bytes(3, "little")
    return {
        "BMP of 60,000 px square": bmp[:18] + struct.pack("<ii", 60_000, -60_000) + bmp[26:],
        "BMP of the least size": bmp[:18] + struct.pack("<ii", -(2**31), -(2**31)) + bmp[26:],
        "WebP of 16,383 px square": webp[:24] + large + large + webp[30:],
        "TIFF of 60,000 px square": _tiff({256: 60_000, 257: 60_000}),
        "TIFF with a tile of 60,000 px square": _tiff({322: 60_000, 323: 60_000}),
        "TIFF with its width twice": _tiff({256: 100_000, 257: 100_000}, again=True),
        "TIFF whose list is itself": tiff[:4] + struct.pack("<I", 4) + tiff[8:],
        "nothing": b"",
        "GIF": b"GIF89a\xff\xff\xff\xff\x00\x00\x00",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "MVG": b"push graphic-context\nfill 'url(file:///etc/passwd)'\npop graphic-context\n",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
        "OpenEXR": b"v/1\x01\x02\x00\x00\x00",
        "PPM": b"P6 60000 60000 255\n",
        "HDR": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n",
    }


def _tiff(tags: dict[int, int], again: bool = False) -> bytes:
    """A grey TIFF of 8 × 8 px in which tags have other values, or both."""
    known = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: 64}
    entries = [*(known | tags).items()] + ([*known.items()] if again else [])
    body = b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in sorted(entries))
    listed = struct.pack("<H", len(entries)) + body + bytes(4)
    return b"II*\0" + struct.pack("<I", 72) + bytes(64) + listed
