"""Hands drawn on images: triangles from back to front, shaded by their slope. Numpy and OpenCV.

A mesh of 1538 faces takes some milliseconds without a GPU, which is fast enough for a page of
pictures. Images are RGB, uint8; vertices are in the camera's frame, metres.
"""

import cv2
import numpy as np
from matplotlib import colormaps

from benchmarks.figures.style import ERROR_MAP
from deformer.hand.camera import project

HAND_RGB, TRUTH_RGB = (86, 156, 214), (190, 193, 199)
_OVERSAMPLE = 3
_NEAREST_M = 0.02
_LIGHT = np.array([-0.35, -0.55, -0.75]) / np.linalg.norm([-0.35, -0.55, -0.75])
"""The direction towards the light: behind the camera, above and to the left."""


def is_in_front(vertices_m: np.ndarray) -> bool:
    """Whether the whole hand can be projected."""
    return bool(np.isfinite(vertices_m).all() and vertices_m[:, 2].min() > _NEAREST_M)


def draw_mesh(
    image: np.ndarray,
    vertices_m: np.ndarray,
    faces: np.ndarray,
    K: np.ndarray,
    rgb: np.ndarray | tuple[int, int, int] = HAND_RGB,
    opacity: float = 1.0,
) -> np.ndarray:
    """The image (H, W, 3) with a hand drawn over it; near faces hide far ones.

    vertices_m (V, 3), faces (F, 3), K (3, 3) for the pixels of the image, centres at integers.
    rgb: one colour, or one per vertex (V, 3). Raises `ValueError` for a hand behind the camera.
    """
    if not is_in_front(vertices_m):
        raise ValueError("the hand is not in front of the camera, so it has no image")
    height, width = image.shape[:2]
    s = _OVERSAMPLE
    # oversampling keeps a pixel's corner in place, not its centre
    points = (project(vertices_m, K) + 0.5) * s - 0.5
    triangles = np.rint(np.clip(points, -1e4, 1e4)).astype(np.int32)[faces]
    corners = vertices_m[faces]
    colours = _shaded(corners, np.broadcast_to(np.asarray(rgb, float), vertices_m.shape)[faces])
    canvas = np.zeros((height * s, width * s, 3), np.uint8)
    mask = np.zeros((height * s, width * s), np.uint8)
    for f in np.argsort(-corners[..., 2].mean(1), kind="stable"):
        cv2.fillConvexPoly(canvas, triangles[f], colours[f].tolist())
        cv2.fillConvexPoly(mask, triangles[f], 255)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(float)
    share = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)[..., None] / 255
    # the canvas is black around the hand, so the average is already multiplied by the share
    drawn = image * (1 - opacity * share) + opacity * small
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)


def _shaded(corners: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Colours (F, 3) of triangles (F, 3, 3), darker the more they turn away from the light."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    # the side that faces the camera counts, whatever the orientation of the triangle
    towards = np.where((normals * corners.mean(1)).sum(1, keepdims=True) > 0, -1.0, 1.0)
    light = np.clip((normals * towards) @ _LIGHT, 0, 1)[:, None]
    return rgb.mean(1) * (0.55 + 0.45 * light)


def error_colours(errors_mm: np.ndarray, largest_mm: float) -> np.ndarray:
    """RGB 0-255 (..., 3) of errors, from 0 to `largest_mm` and above."""
    return 255 * colormaps[ERROR_MAP](np.clip(errors_mm / largest_mm, 0, 1))[..., :3]
