"""Backgrounds with the statistics of photographs: rooms, walls, outdoors, clutter, people.

Values are sRGB, 8 bit, BGR, as in `patterns.py`.
"""

import cv2
import numpy as np

from pipelines.synthetic.render.patterns import Kinds, colour, texture


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Something to stand behind a hand, (height, width, 3) uint8."""
    kinds = (_room, _outdoors, _plain, _pile)
    kind = kinds[rng.choice(len(kinds), p=[0.5, 0.16, 0.14, 0.2])]
    image = kind(rng, height, width)
    if rng.random() < 0.45:
        _add_person(rng, image)
    if rng.random() < 0.25:
        _add_limbs(rng, image)
    image = _shaded(rng, image)
    sigma = rng.choice([0.0, rng.uniform(0.6, 2.0), rng.uniform(2.0, 9.0)], p=[0.34, 0.33, 0.33])
    return _blurred(image, sigma * width / 400)


def plain_room(rng: np.random.Generator, height: int, width: int, colours: Kinds) -> np.ndarray:
    """A room out of focus that has no other colours than these, (height, width, 3) uint8."""
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
    """Light falls off across the picture."""
    height, width = image.shape[:2]
    corners = rng.uniform(0.55, 1.15, (2, 2)).astype(np.float32)
    light = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(image, cv2.merge([light] * 3), dtype=cv2.CV_8U)


def _sheets(rng, height: int, width: int) -> list[np.ndarray]:
    return [texture(rng, height, width) for _ in range(4)]


def _room(rng, height: int, width: int) -> np.ndarray:
    image = texture(rng, height, width, str(rng.choice(["wall", "any"])), 0.5)
    horizon = int(height * rng.uniform(0.4, 1.1))
    if horizon < height:
        image[horizon:] = texture(rng, height - horizon, width, str(rng.choice(["wood", "any"])))
    sheets = _sheets(rng, height, width)
    _add_shapes(rng, image, sheets, int(rng.integers(3, 16)), 0.45, 0.5)
    if rng.random() < 0.3:
        _add_shelf(rng, image)
    if rng.random() < 0.3:
        _add_window(rng, image)
    _add_shapes(rng, image, sheets, int(rng.integers(2, 30)), 0.12, 0.35)
    return image


def _plain(rng, height: int, width: int) -> np.ndarray:
    image = texture(rng, height, width, str(rng.choice(["wall", "any", "wood"])), 0.6)
    _add_shapes(rng, image, _sheets(rng, height, width), int(rng.integers(0, 4)), 0.4, 0.5)
    return image


def _pile(rng, height: int, width: int) -> np.ndarray:
    """Clutter from edge to edge."""
    image, sheets = texture(rng, height, width), _sheets(rng, height, width)
    for count, size in ((20, 0.35), (40, 0.15), (60, 0.06)):
        _add_shapes(rng, image, sheets, int(rng.integers(count // 4, count)), size, 0.25)
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


def _add_shelf(rng, image) -> None:
    height, width = image.shape[:2]
    left, right = np.sort(rng.uniform(-0.2, 1.2, 2)) * width
    board, step = colour(rng, "wood").tolist(), height * rng.uniform(0.12, 0.3)
    for y in np.arange(rng.uniform(-0.1, 0.3) * height, height * rng.uniform(0.4, 1), step):
        x = left
        while x < right:
            wide, tall = width * rng.uniform(0.008, 0.05), step * rng.uniform(0.5, 0.9)
            if rng.random() < 0.85:
                corners = (int(x), int(y - tall)), (int(x + wide), int(y))
                cv2.rectangle(image, *corners, colour(rng).tolist(), -1)
            x += wide + 1
        thick = int(height * rng.uniform(0.01, 0.03))
        cv2.rectangle(image, (int(left), int(y)), (int(right), int(y) + thick), board, -1)


def _add_window(rng, image) -> None:
    height, width = image.shape[:2]
    x, y = int(rng.uniform(-0.1, 0.8) * width), int(rng.uniform(-0.1, 0.4) * height)
    w, h = int(rng.uniform(0.12, 0.4) * width), int(rng.uniform(0.2, 0.6) * height)
    pane = np.clip(np.array([250, 245, 238]) * rng.uniform(0.75, 1.05), 0, 255).tolist()
    cv2.rectangle(image, (x, y), (x + w, y + h), pane, -1)
    frame, thick = colour(rng, "wall").tolist(), max(1, int(width * rng.uniform(0.005, 0.02)))
    cv2.rectangle(image, (x, y), (x + w, y + h), frame, thick)
    for k in range(1, int(rng.integers(1, 4))):
        cv2.line(image, (x + w * k // 3, y), (x + w * k // 3, y + h), frame, thick)


def _add_person(rng, image) -> None:
    """Shoulders in cloth, maybe neck and head: a body as it stands behind hands."""
    height, width = image.shape[:2]
    scale, x = width * np.exp(rng.uniform(np.log(0.1), np.log(0.55))), rng.uniform(0, 1) * width
    top = rng.uniform(-0.6, 0.9) * height  # of the shoulders; the head may be out of the picture
    skin = colour(rng, "skin")
    torso = np.array([[-0.95, 0.25], [-0.6, 0.05], [-0.25, 0], [0.25, 0], [0.6, 0.05],
                      [0.95, 0.25], [1.0, 3.5], [-1.0, 3.5]]) * scale + (x, top)  # fmt: skip
    cloth = texture(rng, height, width, "any", 0.6)
    neck = np.array([[-0.2, -0.4], [0.2, -0.4], [0.24, 0.08], [-0.24, 0.08]]) * scale + (x, top)
    cv2.fillPoly(image, [neck.astype(np.int32)], (skin * 0.85).tolist(), cv2.LINE_AA)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [torso.astype(np.int32)], 255)
    image[:] = cv2.copyTo(cloth, mask, image)
    middle, axes = (int(x), int(top - 0.75 * scale)), (int(0.34 * scale), int(0.45 * scale))
    hair = colour(rng, str(rng.choice(["grey", "wood"]))) * rng.uniform(0.1, 0.8)
    crown = (middle[0], middle[1] - int(0.1 * scale))
    cv2.ellipse(image, crown, (int(0.4 * scale), int(0.48 * scale)), 0, 0, 360, hair.tolist(), -1)
    face = (middle[0], middle[1] + int(0.06 * scale))
    cv2.ellipse(image, face, axes, 0, 0, 360, skin.tolist(), -1, cv2.LINE_AA)
    dark, eye = (skin * 0.35).tolist(), max(1, int(0.05 * scale))
    for side in (-1, 1):
        spot = (face[0] + int(side * 0.14 * scale), face[1] - int(0.05 * scale))
        cv2.ellipse(image, spot, (eye, max(1, eye // 2)), 0, 0, 360, dark, -1, cv2.LINE_AA)
    mouth = (face[0], face[1] + int(0.22 * scale))
    lips = (skin * [0.6, 0.6, 0.85]).tolist()
    cv2.ellipse(image, mouth, (int(0.11 * scale), eye // 2 + 1), 0, 0, 360, lips, -1, cv2.LINE_AA)


def _add_limbs(rng, image) -> None:
    """Rods in skin's colours, round by their shading: arms, fingers, what is no hand after all."""
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
