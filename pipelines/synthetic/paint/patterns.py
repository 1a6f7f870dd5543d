"""Cheap textures of many kinds: a bank of grey patterns, cut, turned and coloured anew each time.

Values here are 8-bit sRGB in OpenCV's channel order (BGR), not linear light.
"""

from functools import cache

import cv2
import numpy as np

_SIDE = 512
"""Side of the bank's patterns, which repeat without a seam."""

_NAMED = {
    "wood": ("b98c5a", "8a5e38", "d2b184", "5e4330", "a3754a", "c79c6d", "7a4a2c", "e0c59c"),
    "skin": ("f4d9c9", "ecc3b0", "d9a688", "c08d6d", "a37456", "7d5540", "5a3b2d", "3d2820"),
    "wall": ("f2efe8", "d9d4c8", "b9b2a6", "e2dccb", "cfd6d8", "8d8f92", "c8a98c", "4d5560"),
    "leaf": ("4d6b35", "7f9a4d", "2f4727", "9aa860", "5d6f3f", "b3b072"),
}


Kinds = str | tuple[str, ...]
"""Colours: a name in the table, "any", or several "rrggbb" to choose from."""


def colour(rng: np.random.Generator, kinds: Kinds = "any") -> np.ndarray:
    """A colour (3,) float BGR; "any": greys, muted, some strong."""
    if kinds == "any":
        kinds = str(
            rng.choice(["grey", "hue", "wood", "skin", "wall"], p=[0.3, 0.4, 0.1, 0.06, 0.14])
        )
    if kinds in _NAMED or isinstance(kinds, tuple):
        text = str(rng.choice(_NAMED.get(kinds, kinds)))
        rgb = np.array([int(text[i : i + 2], 16) for i in (0, 2, 4)], float)
        return np.clip(rgb[::-1] * rng.uniform(0.85, 1.12) + rng.normal(0, 6, 3), 0, 255)
    value = 255 * rng.beta(1.2, 1.2)
    if kinds == "grey":
        return np.clip(value + rng.normal(0, 5, 3), 0, 255)
    saturation, hue = rng.beta(1.4, 2.2), rng.uniform(0, 6)
    wheel = np.clip(np.abs((hue + np.array([4.0, 2.0, 0.0])) % 6 - 3) - 1, 0, 1)
    return value * (1 - saturation * (1 - wheel))


@cache
def _pattern(k: int) -> np.ndarray:
    """Pattern k (_SIDE, _SIDE) uint8, middle 128, spread about 48."""
    rng = np.random.default_rng([77, k])
    kind = _KINDS[k % len(_KINDS)]
    field = kind(rng).astype(np.float32)
    field = (field - field.mean()) / max(float(field.std()), 1e-6)
    return np.clip(field * 48 + 128, 0, 255).astype(np.uint8)


def _spectrum(rng, power: float, stretch: float = 1.0) -> np.ndarray:
    fy, fx = np.meshgrid(np.fft.fftfreq(_SIDE), np.fft.rfftfreq(_SIDE), indexing="ij")
    radius = np.hypot(fy, fx * stretch)
    radius[0, 0] = np.inf
    noise = np.fft.rfft2(rng.standard_normal((_SIDE, _SIDE)))
    return np.fft.irfft2(noise * radius**-power, (_SIDE, _SIDE))


def _cloud(rng) -> np.ndarray:
    return _spectrum(rng, rng.uniform(0.8, 1.9))


def _grain(rng) -> np.ndarray:
    field = _spectrum(rng, rng.uniform(0.9, 1.4), rng.uniform(6, 20))
    field /= field.std()
    return np.sin(field * rng.uniform(1, 4)) + 0.3 * field


def _weave(rng) -> np.ndarray:
    y, x = np.mgrid[:_SIDE, :_SIDE] * (2 * np.pi / _SIDE)
    n = int(rng.integers(20, 90))
    return np.sin(n * x) * np.sin(n * y) + 0.6 * _unit(_spectrum(rng, 0.7))


def _stripes(rng) -> np.ndarray:
    x = np.mgrid[:_SIDE, :_SIDE][1] * (2 * np.pi / _SIDE)
    wave = sum(np.sin(int(rng.integers(2, 30)) * x + rng.uniform(0, 6)) for _ in range(3))
    return np.round(wave * rng.uniform(0.7, 2)) + 0.2 * _unit(_spectrum(rng, 1.0))


def _tiles(rng) -> np.ndarray:
    rows, columns = rng.integers(3, 16, 2)
    cells = rng.normal(0, 0.5, (rows, columns))
    y, x = np.mgrid[:_SIDE, :_SIDE] / _SIDE
    shift = (np.floor(y * rows) % 2) * 0.5 * (rng.random() < 0.5)
    u, v = (x * columns + shift) % columns, y * rows
    field = cells[v.astype(int) % rows, u.astype(int) % columns]
    joint = (np.minimum(u % 1, v % 1) < rng.uniform(0.03, 0.1)).astype(float)
    return field + rng.choice([-2.0, 2.0]) * joint + 0.3 * _unit(_spectrum(rng, 1.0))


def _stones(rng) -> np.ndarray:
    points = rng.random((int(rng.integers(30, 200)), 2)) * _SIDE
    seeds = np.full((_SIDE, _SIDE), 255, np.uint8)
    for x, y in points.astype(int):
        seeds[y, x] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    return rng.normal(0, 1, labels.max() + 1)[labels] + 0.02 * distance


def _letters(rng) -> np.ndarray:
    field = np.full((_SIDE, _SIDE), 1.0, np.float32)
    y = 4
    while y < _SIDE - 8:
        size, x = int(rng.integers(5, 26)), int(rng.integers(2, 60))
        while x < _SIDE - 6:
            wide = max(2, int(size * rng.uniform(0.2, 0.7)))
            if rng.random() < 0.82:
                cv2.rectangle(field, (x, y), (x + wide, y + size), 0.0, int(rng.choice([1, 2, -1])))
            x += wide + max(2, size // 5)
        y += int(size * rng.uniform(1.4, 2.6))
    return field


def _strokes(rng) -> np.ndarray:
    """Grass, fur, leaves: short lines over each other."""
    field, lean = np.zeros((_SIDE, _SIDE), np.float32), rng.uniform(0, np.pi)
    for x, y in rng.random((2500, 2)) * _SIDE:
        angle, length = lean + rng.normal(0, 0.5), rng.uniform(6, 40)
        end = (int(x + length * np.cos(angle)), int(y + length * np.sin(angle)))
        cv2.line(field, (int(x), int(y)), end, float(rng.normal()), int(rng.integers(1, 4)))
    return field


def _boxes(rng) -> np.ndarray:
    field = np.zeros((_SIDE, _SIDE), np.float32)
    for size in np.sort(rng.pareto(1.2, 120) * 12 + 6)[::-1]:
        x, y = rng.integers(-60, _SIDE, 2)
        w, h = size * rng.uniform(0.4, 1.6, 2)
        corner = (int(x + min(w, 400)), int(y + min(h, 400)))
        cv2.rectangle(field, (int(x), int(y)), corner, float(rng.normal()), -1)
    return field + 0.15 * _unit(_spectrum(rng, 1.2))


def _unit(field: np.ndarray) -> np.ndarray:
    return field / field.std()


_KINDS = (_cloud, _grain, _cloud, _weave, _stripes, _tiles, _cloud, _stones, _letters, _strokes,
          _cloud, _boxes)  # fmt: skip
_NUM_PATTERNS = 3 * len(_KINDS)


def texture(
    rng: np.random.Generator, height: int, width: int, kinds: Kinds = "any", contrast: float = 1.0
) -> np.ndarray:
    """A textured surface (height, width, 3) uint8; kinds: of its colours."""
    field = _cut(rng, height, width)
    if rng.random() < 0.6:
        share = float(rng.uniform(0.2, 0.6))
        field = cv2.addWeighted(field, 1 - share, _cut(rng, height, width), share, 0)
    first, second = colour(rng, kinds), colour(rng, kinds)
    strength = contrast * rng.choice([rng.uniform(0.05, 0.3), rng.uniform(0.3, 1.0)])
    middle = (first + second) / 2 if strength > 0.3 else first
    knots = np.clip([middle + (end - middle) * strength for end in (first, second)], 0, 255)
    if strength <= 0.3:
        knots = np.clip([first * (1 - strength), first * (1 + 0.7 * strength)], 0, 255)
    steps = np.array([0, 48, 208, 255])
    ends = np.array([knots[0] * 0.8, knots[0], knots[1], np.minimum(knots[1] * 1.15, 255)])
    table = np.stack([np.interp(np.arange(256), steps, ends[:, c]) for c in range(3)], 1)
    return cv2.LUT(cv2.merge([field] * 3), table.astype(np.uint8)[:, None])


def _cut(rng, height: int, width: int) -> np.ndarray:
    """A piece of a pattern at any scale and turn, (height, width) uint8."""
    pattern = _pattern(int(rng.integers(_NUM_PATTERNS)))
    scale = np.exp(rng.uniform(np.log(0.35), np.log(1.6)))
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    x, y = rng.uniform(0, _SIDE, 2)
    matrix = np.array([[c, -s, x], [s, c, y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(pattern, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_WRAP)
