"""A contact sheet: crops of a dataset with their labels drawn on them, in one image.

Pure: images and labels in, an image array out. Colours are RGB.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deformer.hand.conventions import FINGERS, JOINT_PARENTS

HAND_RGB, OBJECT_RGB, AMODAL_RGB = (124, 252, 0), (255, 140, 0), (255, 255, 255)
FINGERS_RGB = ((255, 82, 82), (255, 221, 51), (64, 224, 208), (74, 144, 255), (232, 80, 255))
SIDES_RGB = {"right": (30, 96, 220), "left": (200, 40, 90)}
_INK_RGB, _GREY_RGB, _LINE_RGB = (28, 30, 34), (106, 110, 118), (222, 224, 228)
_SEEN_RGB = (96, 190, 24)  # the hand's colour, dark enough for paper
_PAPER_RGB, _DARK_RGB = (255, 255, 255), (46, 49, 54)

_MARGIN_PX, _GAP_PX, _CAPTION_PX = 28, 16, 62
_SHIFT = 4
"""OpenCV draws at fractions of a pixel: coordinates are integers in units of 2⁻⁴ px."""


@dataclass(frozen=True, eq=False)
class Tile:
    """One frame to draw. Pixels are those of the crop; None or NaN: not known."""

    image: np.ndarray  # (height, width, 3) uint8
    side: str
    object: str
    frame: int
    occlusion: float
    visibility: float
    joints_px: np.ndarray | None = None  # (21, 2) in dataset order
    box_px: np.ndarray | None = None
    """(4,) x0, y0, x1, y1; drawn where the joints are not known."""
    mask_hand: np.ndarray | None = None  # (height, width) bool, as the two others
    mask_object: np.ndarray | None = None
    mask_amodal: np.ndarray | None = None


def draw_sheet(tiles: list[Tile], columns: int, title: str, tile_px: int = 320) -> np.ndarray:
    """The tiles row by row under a title and a legend → (height, width, 3) uint8, RGB."""
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    width = max(columns * (tile_px + _GAP_PX) - _GAP_PX, 600) + 2 * _MARGIN_PX
    legend, legend_height = _legend(width)
    top = _MARGIN_PX + 48 + legend_height
    step = tile_px + _CAPTION_PX + _GAP_PX
    sheet = np.full((top + rows * step + _MARGIN_PX - _GAP_PX, width, 3), _PAPER_RGB, np.uint8)
    corners = [
        (_MARGIN_PX + (i % columns) * (tile_px + _GAP_PX), top + (i // columns) * step)
        for i in range(len(tiles))
    ]
    for tile, (x, y) in zip(tiles, corners, strict=True):
        sheet[y : y + tile_px, x : x + tile_px] = draw_tile(tile, tile_px)
    image = Image.fromarray(sheet)
    pen = ImageDraw.Draw(image)
    pen.text((_MARGIN_PX, _MARGIN_PX - 6), title, _INK_RGB, ImageFont.load_default(26))
    for rgb, text, (x, y) in legend:
        _draw_legend_item(pen, rgb, text, x, _MARGIN_PX + 42 + y)
    for tile, (x, y) in zip(tiles, corners, strict=True):
        _draw_badge(pen, tile.side, x + 8, y + 8)
        _draw_caption(pen, tile, x, y + tile_px, tile_px)
    return np.asarray(image)


# ---------------------------------------------------------------------------------------- one tile


def draw_tile(tile: Tile, tile_px: int) -> np.ndarray:
    """The crop, scaled to fit a square, with its masks and joints → (tile_px, tile_px, 3) uint8."""
    height, width = tile.image.shape[:2]
    scale = tile_px / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = cv2.resize(tile.image, size, interpolation=how)
    # a pixel's centre is at integers, so its corner, which scaling keeps, is half a pixel off
    factor = np.array(size) / (width, height)

    def to_canvas(points_px: np.ndarray) -> np.ndarray:
        return (np.asarray(points_px, float) + 0.5) * factor - 0.5

    if tile.mask_object is not None:
        _draw_mask(canvas, tile.mask_object, OBJECT_RGB, fill=0.22)
    if tile.mask_amodal is not None:
        _draw_mask(canvas, tile.mask_amodal, AMODAL_RGB, is_dashed=True)
    if tile.mask_hand is not None:
        _draw_mask(canvas, tile.mask_hand, HAND_RGB)
    if tile.joints_px is not None:
        _draw_skeleton(canvas, to_canvas(tile.joints_px))
    elif tile.box_px is not None:
        corners = to_canvas(tile.box_px.reshape(2, 2))
        cv2.rectangle(canvas, *_fixed(corners).tolist(), AMODAL_RGB, 1, cv2.LINE_AA, _SHIFT)
    square = np.full((tile_px, tile_px, 3), _DARK_RGB, np.uint8)
    x, y = (tile_px - size[0]) // 2, (tile_px - size[1]) // 2
    square[y : y + size[1], x : x + size[0]] = canvas
    return square


def _fixed(points: np.ndarray) -> np.ndarray:
    """Points as OpenCV's fixed-point integers; far outside the image they need not be exact."""
    return np.rint(np.clip(points, -1e4, 1e4) * 2**_SHIFT).astype(int)


def _draw_mask(canvas, mask, rgb, fill: float = 0.0, is_dashed: bool = False) -> None:
    size = canvas.shape[1::-1]
    inside = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
    if fill:
        canvas[inside] = canvas[inside] * (1 - fill) + np.array(rgb) * fill
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        if not is_dashed:
            cv2.polylines(canvas, [contour], True, rgb, 2, cv2.LINE_AA)
            continue
        for start in range(0, len(contour), 12):
            cv2.polylines(canvas, [contour[start : start + 7]], False, rgb, 2, cv2.LINE_AA)


def _draw_skeleton(canvas: np.ndarray, joints: np.ndarray) -> None:
    """Bones and joints (21, 2), in pixels of the canvas; black below, to stand out anywhere."""
    colours = [AMODAL_RGB, *(rgb for rgb in FINGERS_RGB for _ in range(4))]
    points = _fixed(joints).tolist()
    bones = [(points[JOINT_PARENTS[j]], points[j], colours[j]) for j in range(1, len(points))]
    for below in (True, False):
        for start, end, rgb in bones:
            colour, thickness = ((0, 0, 0), 4) if below else (rgb, 2)
            cv2.line(canvas, start, end, colour, thickness, cv2.LINE_AA, _SHIFT)
    for point, rgb in zip(points, colours, strict=True):
        cv2.circle(canvas, point, 56, (0, 0, 0), -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, point, 40, rgb, -1, cv2.LINE_AA, _SHIFT)


# -------------------------------------------------------------------------------- text around tiles


def _draw_badge(pen: ImageDraw.ImageDraw, side: str, x: int, y: int) -> None:
    """The side on its colour."""
    font = ImageFont.load_default(14)
    width = round(pen.textlength(side, font)) + 16
    pen.rounded_rectangle((x, y, x + width, y + 22), 11, SIDES_RGB[side])
    pen.text((x + width / 2, y + 11), side, (255, 255, 255), font, anchor="mm")


def _draw_caption(pen: ImageDraw.ImageDraw, tile: Tile, x: int, y: int, width: int) -> None:
    """Two lines of text under a tile, and a bar: what is seen, what is hidden by objects."""
    large, small = ImageFont.load_default(16), ImageFont.load_default(15)
    pen.rectangle((x, y, x + width - 1, y + 5), _LINE_RGB)
    hidden, seen = np.nan_to_num([tile.occlusion, tile.visibility]) * width
    if hidden >= 1:
        pen.rectangle((x, y, x + int(hidden) - 1, y + 5), OBJECT_RGB)
    if seen >= 1:
        pen.rectangle((x + width - int(seen), y, x + width - 1, y + 5), _SEEN_RGB)
    frame = f"frame {tile.frame}"
    room = width - pen.textlength(frame, small) - 12
    pen.text((x, y + 11), _shortened(pen, tile.object, large, room), _INK_RGB, large)
    pen.text((x + width, y + 12), frame, _GREY_RGB, small, anchor="ra")
    if np.isnan(tile.occlusion):
        pen.text((x, y + 33), "occlusion not known", _GREY_RGB, small)
        return
    pen.text((x, y + 33), f"occluded {tile.occlusion:.0%}", _GREY_RGB, small)
    seen = f"visible {tile.visibility:.0%}"
    pen.text((x + width, y + 33), seen, _GREY_RGB, small, anchor="ra")


def _shortened(pen: ImageDraw.ImageDraw, text: str, font, room: float) -> str:
    if pen.textlength(text, font) <= room:
        return text
    while text and pen.textlength(text + "…", font) > room:
        text = text[:-1]
    return text + "…"


def _legend(width: int) -> tuple[list, int]:
    """The legend's items (colour, text, (x, y)) in lines that fit the width, and their height."""
    items = [
        (HAND_RGB, "hand, as segmented"),
        (OBJECT_RGB, "objects, as segmented; left part of the bar: share of the hand they hide"),
        (AMODAL_RGB, "whole hand, rendered (dashed)"),
        (_SEEN_RGB, "right part of the bar: share of the hand that is seen"),
        *zip(FINGERS_RGB, FINGERS, strict=True),
    ]
    pen, font = ImageDraw.Draw(Image.new("RGB", (1, 1))), ImageFont.load_default(15)
    placed, x, y = [], _MARGIN_PX, 0
    for rgb, text in items:
        length = 42 + round(pen.textlength(text, font))
        if x + length > width - _MARGIN_PX and x > _MARGIN_PX:
            x, y = _MARGIN_PX, y + 30
        placed.append((rgb, text, (x, y)))
        x += length + 22
    return placed, y + 40


def _draw_legend_item(pen: ImageDraw.ImageDraw, rgb, text: str, x: int, y: int) -> None:
    """A line on dark, as on a photograph, and what it stands for."""
    pen.rounded_rectangle((x, y, x + 33, y + 19), 4, _DARK_RGB)
    pen.line((x + 5, y + 10, x + 28, y + 10), rgb, 3)
    pen.text((x + 42, y + 10), text, _INK_RGB, ImageFont.load_default(15), anchor="lm")
