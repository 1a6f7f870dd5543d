"""Which pixels a surface may cover, from points on it: only there are rays worth casting."""

import cv2
import numpy as np

from deformer.data.official import IMAGE_SIZE
from pipelines.synthetic.scene.cameras import Camera

SPACING_M = 0.007
"""How far apart points on a surface are to be for `may_cover`."""

_GAP_M = 0.0052  # no point of a surface is then further than this from one of the points
_WIDTH, _HEIGHT = IMAGE_SIZE
_CORNERS = np.array([[0, 0], [_WIDTH, 0], [0, _HEIGHT], [_WIDTH, _HEIGHT]])


def may_cover(
    camera: Camera, points_m: np.ndarray, margin_px: int = 0
) -> tuple[tuple[slice, slice], np.ndarray]:
    """A box of the picture, (rows, columns), and in it the mask (h, w) uint8 of the pixels.

    points_m (N, 3): on the surface, in the world, `SPACING_M` apart; margin_px: how far the box
    reaches beyond the mask, within the picture. Both are empty for a surface out of the picture.
    """
    points = camera.to_camera(points_m)
    slant = np.linalg.norm(camera.ray_directions(_CORNERS), axis=1).max()
    if np.linalg.norm(points, axis=1).min(initial=np.inf) < (2 * slant + 1) * _GAP_M:
        # At the lens, what is seen may belong to a point that itself lies behind the camera
        return (slice(0, _HEIGHT), slice(0, _WIDTH)), np.ones((_HEIGHT, _WIDTH), np.uint8)
    points = points[points[:, 2] > _GAP_M]
    x, y, z = camera.K @ points.T
    x, y, reach = x / z, y / z, slant * camera.K[0, 0] * _GAP_M / z
    near = (x > -reach) & (x < _WIDTH + reach) & (y > -reach) & (y < _HEIGHT + reach)
    if not near.any():
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.uint8)
    spread = int(np.ceil(reach[near].max())) + 1
    x, y = (np.round(a[near]).astype(int) for a in (x, y))
    beyond = spread + margin_px
    x0, x1 = max(x.min() - beyond, 0), min(x.max() + beyond + 1, _WIDTH)
    y0, y1 = max(y.min() - beyond, 0), min(y.max() + beyond + 1, _HEIGHT)
    away = np.ones((y1 - y0, x1 - x0), np.uint8)
    away[np.clip(y, y0, y1 - 1) - y0, np.clip(x, x0, x1 - 1) - x0] = 0
    distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return (slice(y0, y1), slice(x0, x1)), (distance <= spread).astype(np.uint8)
