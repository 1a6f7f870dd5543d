"""Text, labels and skeletons on images: RGB, uint8, drawn in place."""

import functools

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deformer.hand.conventions import JOINT_PARENTS

RGB = tuple[int, int, int]
TRACKS_RGB: tuple[RGB, ...] = (
    *((64, 156, 255), (255, 86, 148), (70, 205, 120), (255, 176, 32), (170, 116, 255)),
    (34, 200, 205),
)
"""Colours of tracks wherever hands of a video are shown; the seventh has the first one again."""
DARK: RGB = (18, 21, 27)
PALE: RGB = (232, 236, 242)
GREY: RGB = (134, 142, 156)
_SHIFT = 4
"""OpenCV takes line ends in units of 2⁻⁴ px, so that lines can end between pixels."""


def track_rgb(track: int) -> RGB:
    return TRACKS_RGB[track % len(TRACKS_RGB)]


@functools.lru_cache(maxsize=1024)
def text_mask(text: str, size: int) -> np.ndarray:
    """How much of each pixel the text covers: (height, width) uint8."""
    font = ImageFont.load_default(size)
    image = Image.new("L", (int(font.getlength(text)) + 2, round(1.3 * size)))
    ImageDraw.Draw(image).text((1, 0), text, 255, font)
    return np.asarray(image)


def draw_text(
    image: np.ndarray, text: str, place: tuple[int, int], size: int, rgb: RGB, anchor: str = "left"
) -> None:
    """place: the upper corner of the text, the left or the right one."""
    mask = text_mask(text, size)
    x, y = place
    cover(image, mask, (x - mask.shape[1] if anchor == "right" else x, y), rgb)


def cover(image: np.ndarray, mask: np.ndarray, corner: tuple[int, int], rgb: RGB) -> None:
    """Blend a colour into the image where the mask (h, w) uint8 says; parts outside are cut off."""
    (x, y), (h, w) = corner, mask.shape
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, image.shape[1]), min(y + h, image.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    target = image[y0:y1, x0:x1]
    share = mask[y0 - y : y1 - y, x0 - x : x1 - x, None] / np.float32(255)
    target[:] = target + share * (np.float32(rgb) - target) + 0.5


@functools.lru_cache(maxsize=64)
def _pill(width: int, height: int) -> np.ndarray:
    """A mask (height, width) with round ends, four times oversampled."""
    mask, radius = np.zeros((4 * height, 4 * width), np.uint8), 2 * height
    ends = (radius, radius), (4 * width - radius - 1, radius)
    cv2.line(mask, *ends, 255, 4 * height - 2)
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)


def draw_label(image: np.ndarray, text: str, rgb: RGB, above: np.ndarray, size: int) -> None:
    """A label with a dot of this colour above a place (2,), within the image."""
    mask = text_mask(text, size)
    height = round(1.75 * size)
    width = mask.shape[1] + round(2.3 * size)
    largest = np.array(image.shape[1::-1]) - [width, height] - 4
    x, y = np.clip(np.rint(above - [width / 2, height]), 4, np.maximum(largest, 4)).astype(int)
    cover(image, _pill(width, height) // 4 * 3, (x, y), DARK)
    dot = round(0.62 * size)
    cover(image, _pill(dot, dot), (x + round(0.75 * size), y + (height - dot) // 2), rgb)
    cover(image, mask, (x + round(1.6 * size), y + (height - mask.shape[0]) // 2), PALE)


def draw_skeleton(
    image: np.ndarray, joints_px: np.ndarray, rgb: RGB, width: float, opacity: float
) -> None:
    """Bones and joints (21, 2) as thin smooth lines over a dark seam.

    width: of the lines, px; less than two are drawn fainter.
    """
    joints = np.clip(joints_px, -1e4, 1e4)
    margin = round(4 * width) + 2
    size = np.array(image.shape[1::-1])
    low = np.clip(np.floor(joints.min(0)) - margin, 0, size).astype(int)
    high = np.clip(np.ceil(joints.max(0)) + margin, 0, size).astype(int)
    if (high <= low).any():
        return
    target = image[low[1] : high[1], low[0] : high[0]]
    # Drawn on twice the pixels: OpenCV's lines have whole widths
    fixed = np.rint(((joints - low + 0.5) * 2 - 0.5) * 2**_SHIFT).astype(int).tolist()
    for more, colour, share in ((1.6 * width, DARK, 0.45), (0.0, rgb, 1.0)):
        mask = np.zeros((2 * target.shape[0], 2 * target.shape[1]), np.uint8)
        thickness = max(round(2 * width + more), 1)
        for j, parent in enumerate(JOINT_PARENTS[1:], 1):
            cv2.line(mask, fixed[parent], fixed[j], 255, thickness, cv2.LINE_AA, _SHIFT)
        radius = round((3.2 * width + more / 2) * 2**_SHIFT)
        for place in fixed:
            cv2.circle(mask, place, radius, 255, -1, cv2.LINE_AA, _SHIFT)
        mask = cv2.resize(mask, target.shape[1::-1], interpolation=cv2.INTER_AREA)
        cover(target, cv2.convertScaleAbs(mask, None, share * opacity), (0, 0), colour)
