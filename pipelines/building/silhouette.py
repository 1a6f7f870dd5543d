"""The silhouette of a mesh: the pixels whose ray meets it, with few rays.

How many triangles lie over a pixel changes only across outlines: edges where a triangle that faces
the camera meets one that does not, and the mesh's borders. So their crossings with the rows of
pixels count the triangles everywhere. Rays decide the few pixels on an outline, against the
triangles there. The result is exactly what rays alone would find, except that no ray slips through
between two triangles.
"""

from functools import lru_cache

import cv2
import numpy as np

from deformer.hand.camera import project
from pipelines.building.occlusion import cast_depth, pixel_box, pixel_rays
from pipelines.datasets.source import Mesh
from pipelines.rays import RayScene

_SLACK = 4e-7
"""Rays decide pixels this near to an outline, as a share of the focal length; single precision
rounds to 6e-8."""
_LEVEL = 1e-9  # px that every edge rises or falls, so that its crossings with rows are numbers


def silhouette(mesh: Mesh, K: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Where the ray through a pixel's centre meets a mesh seen by K, (height, width) bool.

    size: (width, height). The same pixels as those where `cast_depth` is finite.
    """
    if not (mesh.vertices_cam_m[:, 2] > 0).all():
        return np.isfinite(cast_depth(mesh, K, size))
    width, height = size
    met = np.zeros((height, width), bool)
    points = project(mesh.vertices_cam_m, K)
    x0, y0, x1, y1 = pixel_box(points, size)
    if x0 >= x1 or y0 >= y1:
        return met
    points -= [x0, y0]
    slack_px = _SLACK * max(K[0, 0], K[1, 1])
    corners = points.T.take(mesh.faces.T, 1)  # (2, 3, F)
    inside = met[y0:y1, x0:x1]
    outlines = _outlines(mesh.faces, corners)
    inside[:], unsure = _filled(points, *outlines, inside.shape, slack_px)
    rows, columns = np.nonzero(unsure)
    if len(rows):
        faces = mesh.faces[_triangles_at(unsure, corners, slack_px)]
        corners_m = mesh.vertices_cam_m[faces].reshape(-1, 3)
        scene = RayScene([(corners_m, np.arange(len(corners_m)).reshape(-1, 3))])
        rays = pixel_rays(columns + x0, rows + y0, K)
        inside[rows, columns] = scene.is_blocked(np.zeros(3), rays)
    return met


def _outlines(faces: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The edges across which the number of triangles changes: vertices (E, 2), and by how much it
    rises (E,) to the right of one that runs upwards in the picture. corners (2, 3, F), px."""
    (ax, bx, cx), (ay, by, cy) = corners
    turn = np.sign((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    ends, edge, direction = _edges(faces.tobytes(), faces.dtype)
    rise = np.bincount(edge, (direction * turn).ravel(), len(ends))
    chosen = np.flatnonzero(rise)
    return ends[chosen], rise[chosen]


@lru_cache(4)
def _edges(faces: bytes, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges of triangles: their vertices (E, 2); and the edge of every side (3F,), and whether the
    side runs along it (1) or against it (−1), (3, F). Kept for the two hands, and two more; as
    bytes, because arrays cannot be looked up."""
    first = np.frombuffer(faces, dtype).reshape(-1, 3).T
    second = np.roll(first, -1, 0)
    sides = np.stack([first, second], -1).reshape(-1, 2)
    ends, edge = np.unique(np.sort(sides, 1), axis=0, return_inverse=True)
    return ends, edge.ravel(), np.where(first < second, 1.0, -1.0)


def _filled(
    points: np.ndarray, ends: np.ndarray, rise: np.ndarray, shape: tuple[int, int], slack_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels under a triangle, and pixels too near to an outline to know, (height, width) bool."""
    height, width = shape
    start, end = points[ends].transpose(1, 0, 2)  # (E, 2)
    low, high = np.minimum(start, end), np.maximum(start, end)
    first, last = _from_to(low[:, 1] - slack_px, high[:, 1] + slack_px, height)
    edge = np.repeat(np.arange(len(ends)), last - first)
    row = np.arange(len(edge)) + np.repeat(last - np.cumsum(last - first), last - first)
    way = end - start
    down = np.copysign(np.maximum(np.abs(way[:, 1]), _LEVEL), way[:, 1])
    column = (start[:, 0] - start[:, 1] * way[:, 0] / down)[edge] + row * (way[:, 0] / down)[edge]
    crosses = np.flatnonzero((low[edge, 1] <= row) & (row < high[edge, 1]))
    at = row[crosses] * (width + 1) + _from_to(column[crosses], 0, width)[0]
    change = np.bincount(at, -(np.sign(down) * rise)[edge[crosses]], height * (width + 1))
    count = change.reshape(height, width + 1).cumsum(1)[:, :width]
    slack = (slack_px * np.hypot(*way.T) / np.abs(down))[edge]
    left = np.maximum(column - slack, low[edge, 0] - slack_px)
    right = np.minimum(column + slack, high[edge, 0] + slack_px)
    left, right = _from_to(left, right, width)
    unsure = np.zeros(shape, bool)
    for k in np.flatnonzero(left < right):
        unsure[row[k], left[k] : right[k]] = True
    return count > 0, unsure


def _from_to(low: np.ndarray, high: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first of the numbers 0 … count - 1 between low and high, and that after the last."""
    first, after = np.ceil(low), np.floor(high) + 1
    return first.clip(0, count).astype(int), np.clip(after, 0, count).astype(int)


def _triangles_at(pixels: np.ndarray, corners: np.ndarray, slack_px: float) -> np.ndarray:
    """Numbers of the triangles, corners (2, 3, F), in whose boxes any of the pixels lies."""
    height, width = pixels.shape
    total = cv2.integral(pixels.view(np.uint8))  # (height + 1, width + 1)
    low, high = corners.min(1) - slack_px, corners.max(1) + slack_px
    (x0, x1), (y0, y1) = (_from_to(low[k], high[k], n) for k, n in enumerate((width, height)))
    return np.flatnonzero(total[y1, x1] - total[y0, x1] > total[y1, x0] - total[y0, x0])
