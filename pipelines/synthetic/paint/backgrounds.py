"""Backgrounds with the statistics of photographs: rooms, walls, outdoors, clutter.

Values are sRGB, 8 bit, BGR, as in `patterns.py`.
"""

import cv2
import numpy as np

from pipelines.synthetic.paint.patterns import Kinds, colour, texture

# Per kind: its share, names of colours, their contrast, and rounds of shapes: range of the number,
# size as a share of the width, share of upright ones
_INDOORS = (
    (0.58, ("wall", "any"), 0.5, (((3, 16), 0.45, 0.5), ((2, 30), 0.12, 0.35))),  # a room
    (0.18, ("wall", "any", "wood"), 0.6, (((0, 4), 0.4, 0.5),)),  # a wall
    (0.24, ("any",), 1.0, (((5, 20), 0.35, 0.25), ((10, 40), 0.15, 0.25), ((15, 60), 0.06, 0.25))),
)
_OUTDOORS = 0.16


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a background of any kind, (height, width, 3) uint8."""
    draw = _outdoors if rng.random() < _OUTDOORS else _indoors
    image = draw(rng, height, width)
    if rng.random() < 0.4:
        _add_limbs(rng, image)
    image = _shaded(rng, image)
    sigma = rng.choice([0.0, rng.uniform(0.6, 2.0), rng.uniform(2.0, 9.0)], p=[0.34, 0.33, 0.33])
    return _blurred(image, sigma * width / 400)


def plain_room(rng: np.random.Generator, height: int, width: int, colours: Kinds) -> np.ndarray:
    """A room out of focus in these colours only, (height, width, 3) uint8."""
    half = height // 2, width // 2
    sheets = [texture(rng, *half, colours) for _ in range(4)]
    image = texture(rng, *half, colours, 0.4)
    _add_shapes(rng, image, sheets, int(rng.integers(3, 9)), 0.4, 0.7, colours)
    _add_shapes(rng, image, sheets, int(rng.integers(2, 16)), 0.12, 0.5, colours)
    image = _blurred(_shaded(rng, image), rng.uniform(2.0, 6.0) * half[1] / 400)
    return cv2.resize(image, (width, height))


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    if sigma <= 0.3:
        return image
    if sigma < 3:
        return cv2.GaussianBlur(image, (0, 0), sigma)
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 3, height // 3), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 3), (width, height))


def _shaded(rng, image: np.ndarray) -> np.ndarray:
    """The image under light that changes across it."""
    height, width = image.shape[:2]
    corners = rng.uniform(0.55, 1.15, (2, 2)).astype(np.float32)
    light = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(image, cv2.merge([light] * 3), dtype=cv2.CV_8U)


def _indoors(rng, height: int, width: int) -> np.ndarray:
    """A room, a wall, or clutter from edge to edge."""
    shares = [kind[0] for kind in _INDOORS]
    _, names, contrast, rounds = _INDOORS[rng.choice(len(_INDOORS), p=shares)]
    image = texture(rng, height, width, str(rng.choice(names)), contrast)
    horizon = int(height * rng.uniform(0.4, 1.4))
    if horizon < height:
        image[horizon:] = texture(rng, height - horizon, width, str(rng.choice(["wood", "any"])))
    sheets = [texture(rng, height, width) for _ in range(4)]
    for counts, size, upright in rounds:
        _add_shapes(rng, image, sheets, int(rng.integers(*counts)), size, upright)
    return image


def _outdoors(rng, height: int, width: int) -> np.ndarray:
    sky = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    top = np.array([235, 190, 140]) * rng.uniform(0.5, 1.05) + rng.normal(0, 12, 3)
    low = np.array([240, 228, 215]) * rng.uniform(0.6, 1.05)
    image = np.clip(top + (low - top) * sky + np.zeros((height, width, 1)), 0, 255).astype(np.uint8)
    horizon = int(height * rng.uniform(0.15, 0.75))
    sheets = [texture(rng, height, width, "leaf") for _ in range(2)]
    sheets += [texture(rng, height, width) for _ in range(2)]
    ground = texture(rng, height - horizon, width, str(rng.choice(["leaf", "leaf", "wall"])))
    image[horizon:] = ground
    for _ in range(int(rng.integers(2, 14))):  # trees, bushes, houses
        x, size = rng.uniform(0, width), width * rng.uniform(0.05, 0.3)
        outline = _blob(
            rng, (x, horizon - size * rng.uniform(-0.2, 0.6)), size, rng.uniform(0.2, 1)
        )
        _paint(rng, image, outline, sheets)
    _add_shapes(rng, image, sheets, int(rng.integers(0, 10)), 0.15, 0.4)
    return image


def _blob(rng, centre, size: float, roughness: float) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    radii = size * (1 + roughness * rng.uniform(-0.5, 0.5, 14))
    return np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None] + centre


def _paint(
    rng, image: np.ndarray, outline: np.ndarray, sheets: list[np.ndarray], kinds: Kinds = "any"
) -> None:
    """Fill an outline (N, 2) with a colour or a piece of a sheet, now and then with a rim."""
    height, width = image.shape[:2]
    points = np.round(np.clip(outline, -4 * width, 5 * width)).astype(np.int32)
    low, high = np.maximum(points.min(0), 0), np.minimum(points.max(0) + 1, (width, height))
    if (high - low < 2).any():
        return
    if rng.random() < 0.45:
        cv2.fillPoly(image, [points], colour(rng, kinds).tolist(), cv2.LINE_AA)
    else:
        box = (slice(low[1], high[1]), slice(low[0], high[0]))
        mask = np.zeros(high[::-1] - low[::-1], np.uint8)
        cv2.fillPoly(mask, [points - low.astype(np.int32)], 255)
        sheet = sheets[rng.integers(len(sheets))][box]
        if rng.random() < 0.6:
            tint = rng.uniform(0.4, 1.2, 3) if kinds == "any" else [rng.uniform(0.4, 1.2)] * 3
            sheet = cv2.multiply(sheet, (*tint, 1.0))
        image[box] = cv2.copyTo(np.ascontiguousarray(sheet), mask, np.ascontiguousarray(image[box]))
    if rng.random() < 0.3:
        rim, thick = colour(rng, kinds).tolist(), int(rng.integers(1, 4))
        cv2.polylines(image, [points], True, rim, thick, cv2.LINE_AA)


def _add_shapes(
    rng, image, sheets, count: int, size: float, upright: float, kinds: Kinds = "any"
) -> None:
    """Rectangles, boxes, discs, polygons and bars of about `size` times the picture's width."""
    height, width = image.shape[:2]
    for _ in range(count):
        centre = rng.uniform(-0.05, 1.05, 2) * (width, height)
        extent = width * size * np.exp(rng.normal(0, 0.5)) * rng.uniform(0.3, 1.0, 2) / 2
        angle = 0.0 if rng.random() < upright else rng.uniform(0, np.pi)
        kind = rng.choice(["box", "disc", "polygon", "bar"], p=[0.5, 0.18, 0.17, 0.15])
        if kind == "disc":
            t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
            shape = np.stack([np.cos(t), np.sin(t)], 1)
        elif kind == "polygon":
            shape = _blob(rng, (0, 0), 1.0, 1.4)[:: int(rng.integers(2, 4))]
        else:
            shape = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
            shape = shape + rng.normal(0, 0.1, (4, 2)) * (rng.random() < 0.5)
        if kind == "bar":
            extent = np.array([extent.max() * 2.5, width * rng.uniform(0.004, 0.03)])
        c, s = np.cos(angle), np.sin(angle)
        turned = (shape * extent) @ np.array([[c, s], [-s, c]])
        _paint(rng, image, turned + centre, sheets, kinds)


def _add_limbs(rng, image) -> None:
    """Draw shaded rods in skin colours, like arms and fingers but no labelled hand."""
    height, width = image.shape[:2]
    skin, start = colour(rng, "skin"), rng.uniform(0, 1, 2) * (width, height)
    angle, thick = rng.uniform(0, 2 * np.pi), width * rng.uniform(0.01, 0.08)
    for _ in range(int(rng.integers(1, 6))):
        along = np.array([np.cos(angle), np.sin(angle)]) * thick * rng.uniform(2, 9)
        for share in (1.0, 0.75, 0.5, 0.25):
            tone = np.clip(skin * (1.08 - 0.35 * share), 0, 255).tolist()
            shift = np.array([-along[1], along[0]]) / np.hypot(*along) * thick * 0.2 * (1 - share)
            ends = [tuple(np.round(p + shift).astype(int).tolist()) for p in (start, start + along)]
            cv2.line(image, *ends, tone, max(1, int(thick * share)), cv2.LINE_AA)
        start = start + rng.normal(0, 1.3 * thick, 2)
        angle += rng.normal(0, 0.3)
