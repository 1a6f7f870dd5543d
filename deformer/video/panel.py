"""The panel beside an overlay: each hand from the side, and all hands from above.

Its framing is fixed for the whole video: hands from the side all have one scale and are centred on
their palms; the view from above shows the space in which the video's hands are.
"""

from typing import NamedTuple

import numpy as np

from deformer.hand.conventions import SIDES
from deformer.video.hands_file import HandRows
from deformer.video.ink import GREY, PALE, RGB, draw_skeleton, draw_text, track_rgb
from deformer.video.meshes import Look, shade

_SIDE = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0.0]])
"""Camera axes → axes of a viewer to the camera's right: the camera looks to the right."""
_ABOVE = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]])
"""Camera axes → axes of a viewer above: the camera looks up the page."""
_GRID_M = 0.1
_FAR_M = 10.0
"""The views are without perspective; their viewer is this far away."""
_MOST_CELLS = 4
_BACK: RGB = (24, 28, 35)
_CELL: RGB = (33, 38, 47)
_LINE: RGB = (48, 55, 67)
SOLID = Look(1.0, 1.0, 0.8)
FILLED = Look(0.2, 0.8, 0.3)
"""A hand that was not found in this frame but filled in: only its outline is clear."""


class Cell(NamedTuple):
    """A part of the panel."""

    x: int
    y: int
    width: int
    height: int


class Panel:
    """Draws the panel of each frame."""

    def __init__(
        self, hands: HandRows, faces: np.ndarray, size: tuple[int, int], unit: float
    ) -> None:
        """hands: all of the video, which fix the framing. faces (F, 3). size: (width, height).
        unit: the size of things, 1 in a frame 720 px high."""
        self._faces, self._unit = faces, unit
        width, height = size
        self._cell_of, num_cells = cells_of_tracks(hands)
        gap = round(8 * unit)
        map_height = min(round(0.6 * width), height // 3)
        self._map = Cell(gap, height - map_height - gap, width - 2 * gap, map_height)
        self._cells = _grid(max(num_cells, 1), width, self._map.y, gap)
        self._centre_m, self._px_per_m = _framing(hands.joints_cam_m, self._map)
        self._side_px_per_m = min(self._cells[0][2:]) / _hand_size(hands.joints_cam_m)
        self._empty = self._background(width, height)

    def _background(self, width: int, height: int) -> np.ndarray:
        panel = np.full((height, width, 3), _BACK, np.uint8)
        for cell in (*self._cells, self._map):
            _of(panel, cell)[:] = _CELL
        view, size = _of(panel, self._map), self._text_size
        for axis in (0, 1):  # lines of equal x, of equal z
            centre, half = self._centre_m[axis], (self._map.width, self._map.height)[axis] / 2
            first, last = (centre + np.array([-half, half]) / self._px_per_m) / _GRID_M
            for k in range(int(np.ceil(first)), int(np.floor(last)) + 1):
                at = round((k * _GRID_M - centre) * self._px_per_m + half)
                view[(slice(None), at) if axis == 0 else (at,)] = _LINE
        draw_text(
            view, f"from above, {_GRID_M * 100:.0f} cm grid", (size // 2, size // 3), size, GREY
        )
        return panel

    @property
    def _text_size(self) -> int:
        return max(round(13 * self._unit), 9)

    def draw(self, hands: HandRows, vertices_m: np.ndarray) -> np.ndarray:
        """The panel (height, width, 3) of a frame's hands, vertices (N, V, 3)."""
        panel = self._empty.copy()
        size = self._text_size
        empty = set(self._cells)
        above = _of(panel, self._map)
        # from the lowest to the highest hand
        for i in np.argsort(-hands.wrist_cam_m[:, 1]):
            track = int(hands.track[i])
            look = SOLID if hands.is_observed[i] else FILLED
            points = self._on_map(vertices_m[i])
            shade(
                above, points, _far(vertices_m[i] @ _ABOVE.T), self._faces, track_rgb(track), look
            )
            if track not in self._cell_of:
                continue
            cell = self._cells[self._cell_of[track]]
            empty.discard(cell)
            view = _of(panel, cell)
            self._draw_side(view, hands.joints_cam_m[i], vertices_m[i], track, look)
            label = f"{track} {SIDES[int(hands.is_left[i])]}, from the side"
            draw_text(view, label, (size // 2, size // 3), size, PALE)
            away = f"{np.linalg.norm(hands.wrist_cam_m[i]):.2f} m away"
            place = cell.width - size // 2, cell.height - round(1.6 * size)
            draw_text(view, away, place, size, GREY, "right")
        for cell in empty:
            draw_text(_of(panel, cell), "no hand here", (size // 2, size // 3), size, GREY)
        return panel

    def _on_map(self, points_m: np.ndarray) -> np.ndarray:
        flat = (points_m @ _ABOVE.T)[:, :2] - self._centre_m
        return flat * self._px_per_m + np.array([self._map.width, self._map.height]) / 2

    def _draw_side(
        self, view: np.ndarray, joints_m: np.ndarray, vertices_m: np.ndarray, track: int, look: Look
    ) -> None:
        height, width, _ = view.shape
        centre_m, scale = vertices_m.mean(0), self._side_px_per_m
        points, joints = (
            ((values - centre_m) @ _SIDE.T)[:, :2] * scale + [width / 2, height / 2]
            for values in (vertices_m, joints_m)
        )
        view_m = _far((vertices_m - centre_m) @ _SIDE.T)
        shade(view, points, view_m, self._faces, track_rgb(track), look)
        draw_skeleton(view, joints, PALE, 0.8 * self._unit, 0.8)


def cells_of_tracks(hands: HandRows) -> tuple[dict[int, int], int]:
    """{track: number of its cell}, and how many cells there are. A track takes the first cell that
    is free from its first to its last frame; tracks without one have no view of their own."""
    spans = {
        int(track): hands.frame[hands.track == track][[0, -1]] for track in np.unique(hands.track)
    }
    cells, last = {}, []
    for track, (begin, end) in sorted(spans.items(), key=lambda item: item[1][0]):
        free = [k for k, frame in enumerate(last) if frame < begin]
        if free:
            cells[track] = free[0]
            last[free[0]] = end
        elif len(last) < _MOST_CELLS:
            cells[track] = len(last)
            last.append(end)
    return cells, len(last)


def _grid(num: int, width: int, height: int, gap: int) -> list[Cell]:
    """Cells in one column, or in two columns for more than two."""
    columns = 1 if num <= 2 else 2
    rows = -(-num // columns)
    w, h = (width - gap) // columns - gap, (height - gap) // rows - gap
    return [
        Cell(gap + (k % columns) * (w + gap), gap + (k // columns) * (h + gap), w, h)
        for k in range(num)
    ]


def _hand_size(joints_m: np.ndarray) -> float:
    """Metres from edge to edge of a square in which hardly any hand (N, 21, 3) is cut off from the
    side, centred on the mean of its joints."""
    if not len(joints_m):
        return 0.2
    flat = ((joints_m - joints_m.mean(1, keepdims=True)) @ _SIDE.T)[..., :2]
    return 2 * float(np.percentile(np.abs(flat).max((1, 2)), 98)) + 0.06


def _framing(joints_m: np.ndarray, cell: Cell) -> tuple[np.ndarray, float]:
    """Centre (2,) on the axes of the view from above, and pixels per metre, so that few hands (N,
    21, 3) are outside: a hand's distance is sometimes far off."""
    if not len(joints_m):
        return np.zeros(2), 400.0
    flat = (joints_m @ _ABOVE.T)[..., :2].mean(1)
    low, high = np.percentile(flat, [8, 92], 0)
    size = high - low + 0.26
    return (low + high) / 2, float(min(np.array([cell.width, cell.height]) / size))


def _far(view_m: np.ndarray) -> np.ndarray:
    return view_m + [0, 0, _FAR_M]


def _of(image: np.ndarray, cell: Cell) -> np.ndarray:
    return image[cell.y : cell.y + cell.height, cell.x : cell.x + cell.width]
