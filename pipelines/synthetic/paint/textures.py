"""Colour on things: sRGB and linear light, noise, painted packages.

Colours are linear RGB in [0, 1], so that light adds up; only the camera's picture is sRGB.
"""

from functools import cache

import cv2
import numpy as np

from pipelines.synthetic.paint.patterns import texture

TILE = 192
"""Side of the square of texture that one part of an object gets, in texels."""


def srgb_to_linear(value: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] → linear light in [0, 1]."""
    value = np.asarray(value, np.float32)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


_SRGB_STEPS = 16384


@cache
def _srgb_table() -> np.ndarray:
    value = np.arange(_SRGB_STEPS + 1) / _SRGB_STEPS
    curve = np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)
    return curve.astype(np.float32)


def linear_to_srgb(value: np.ndarray) -> np.ndarray:
    """Linear light → sRGB, clipped to [0, 1], float32; by table, to a fifth of an 8-bit step."""
    steps = np.clip(value * np.float32(_SRGB_STEPS) + np.float32(0.5), 0, _SRGB_STEPS)
    return _srgb_table()[steps.astype(np.uint16)]


def hex_to_linear(text: str) -> np.ndarray:
    """ "#rrggbb" → linear RGB (3,)."""
    return srgb_to_linear(np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)]) / 255)


@cache
def _noise_volume() -> np.ndarray:
    """Periodic smooth noise (64, 64, 64, 3) in about [-1, 1], always the same: skin and cloth."""
    rng = np.random.default_rng(20231002)
    frequency = np.fft.fftfreq(64)
    square = sum(np.meshgrid(*[frequency**2] * 3, indexing="ij"))
    with np.errstate(divide="ignore"):
        weight = np.where(square > 0, square**-0.55, 0) * np.exp(-square * 12)
    spectrum = np.fft.fftn(rng.standard_normal((3, 64, 64, 64)), axes=(1, 2, 3)) * weight
    noise = np.fft.ifftn(spectrum, axes=(1, 2, 3)).real
    noise /= noise.std(axis=(1, 2, 3), keepdims=True) * 2
    return np.ascontiguousarray(np.moveaxis(noise, 0, -1).clip(-1.5, 1.5).astype(np.float32))


def sample_noise(points: np.ndarray, cells_per_unit: float) -> np.ndarray:
    """The volume's three channels at points (3, N), nearest cell, (3, N)."""
    # shifted, so that no coordinate is negative and cutting off is rounding down
    cells = points * np.float32(cells_per_unit) + np.float32(4096)
    x, y, z = cells.astype(np.intp) & 63
    found = _noise_volume().reshape(-1, 3).take((x * 64 + y) * 64 + z, 0)
    return np.ascontiguousarray(found.T)


def linear_rgb(image_bgr: np.ndarray) -> np.ndarray:
    """8-bit sRGB BGR → linear RGB float32."""
    table = srgb_to_linear(np.arange(256) / 255)
    return table[image_bgr[..., ::-1]]


def paint_object(paints: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """The texture of an object of n parts, linear RGB (TILE, n · TILE, 3), row 0 at v = 1."""
    tiles = []
    for paint in paints:
        kind, _, colours = paint.partition(":")
        if kind in _PRINTS:
            first, second = (_vary(hex_to_linear(c), rng) for c in colours.split(","))
            tiles.append(_PRINTS[kind](first, second, rng))
        else:
            first, second = colours.replace("#", "").split(",")
            tiles.append(linear_rgb(texture(rng, TILE, TILE, (first,) * 3 + (second,), 0.3)))
    return np.clip(np.concatenate(tiles, 1), 0.003, 0.95).astype(np.float32)


def _vary(colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(colour * rng.uniform(0.85, 1.15, 3), 0.004, 0.9)


def _fill(colour: np.ndarray) -> np.ndarray:
    return np.full((TILE, TILE, 3), colour, np.float32)


def _print(tile, colour, rng, box, num_lines) -> None:
    """Lines of blocks that look like lettering, inside box = (x0, y0, x1, y1) in [0, 1]."""
    height, width = tile.shape[:2]
    x0, y0, x1, y1 = box
    step = (y1 - y0) / num_lines
    for line in range(num_lines):
        x, top = x0, y0 + step * line
        size = step * rng.uniform(0.45, 0.75)
        while x < x1 - 0.02:
            letter = size * rng.uniform(0.3, 0.8)
            if rng.random() < 0.85:
                start = (round(x * width), round(top * height))
                end = (round(min(x + letter * 0.8, x1) * width), round((top + size) * height))
                cv2.rectangle(tile, start, end, colour.tolist(), -1)
            x += letter


def _label(first, second, rng):
    """A can or bottle: u around; the printed band between bright ends."""
    tile = _fill(first)
    top, bottom = rng.uniform(0.12, 0.2), rng.uniform(0.8, 0.88)
    tile[: round(top * TILE)] = tile[round(bottom * TILE) :] = second
    for shift in (0.0, 0.5):  # the same print on both sides
        middle, size = 0.25 + shift, rng.uniform(0.07, 0.1)
        axes = (round(size * TILE), round(rng.uniform(0.12, 0.17) * TILE))
        spot, colour = (round(middle * TILE), round(0.42 * TILE)), second.tolist()
        cv2.ellipse(tile, spot, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
        _print(tile, first * 0.4, rng, (middle - 0.06, 0.36, middle + 0.06, 0.48), 2)
        _print(tile, second, rng, (middle - 0.15, 0.62, middle + 0.15, 0.78), 4)
    return tile


def _carton(first, second, rng):
    """A box: three faces by two, each with its own print."""
    tile = _fill(first)
    for row in range(2):
        for column in range(3):
            face = np.full((TILE // 2, TILE // 3, 3), first, np.float32)
            h, w = face.shape[:2]
            band = sorted(rng.uniform(0.15, 0.9, 2))
            face[round(band[0] * h) : round(band[1] * h)] = second * rng.uniform(0.6, 1)
            centre = (round(w * rng.uniform(0.3, 0.7)), round(h * rng.uniform(0.4, 0.75)))
            blob = _vary(np.array([0.5, 0.25, 0.08]) * rng.uniform(0.4, 1.4), rng)
            radius = round(w * rng.uniform(0.15, 0.3))
            cv2.circle(face, centre, radius, blob.tolist(), -1, cv2.LINE_AA)
            ink = second if rng.random() < 0.5 else first * 0.3
            _print(face, ink, rng, (0.1, 0.06, 0.9, 0.3), rng.integers(1, 3))
            _print(face, first * 0.25, rng, (0.12, 0.7, 0.88, 0.95), rng.integers(3, 6))
            top, left = row * (TILE // 2), column * (TILE // 3)
            tile[top : top + h, left : left + w] = face
    return tile


_PRINTS = {"label": _label, "carton": _carton}
