"""Light on the table: baked once for what stands still, and per frame for what moves."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from pipelines.synthetic.render.appearance import num_blocked
from pipelines.synthetic.render.layer import Layer
from pipelines.synthetic.render.lighting import Light
from pipelines.synthetic.render.rays import RayScene
from pipelines.synthetic.scene.world import TABLE_X_M, TABLE_Y_M

CELL_M = 0.008
"""Grid of the light on the table."""

_LAMP_SAMPLES, _SKY_SAMPLES, _SKY_REACH_M = 12, 12, 0.16
_MOVING_LAMP_SAMPLES, _MOVING_SKY_SAMPLES = 5, 8


@dataclass(frozen=True, eq=False)
class TableLight:
    """Light that reaches the table, on a grid of CELL_M, rows from −y, columns from −x.

    key, sky (rows, columns): shares of the direct light and of the surroundings that arrive;
    key_level: brightness of the direct light per cell; sky_level: brightness of the rest.
    """

    key: np.ndarray
    sky: np.ndarray
    key_level: np.ndarray
    sky_level: float

    def irradiance(self, light: Light) -> np.ndarray:
        """Linear RGB per cell, (rows, columns, 3)."""
        direct = (self.key * self.key_level)[..., None] * (light.key / light.key.mean())
        around = self.sky[..., None] * (light.sky + light.fill * light.fill_direction[2])
        return (direct + around).astype(np.float32)

    def shadow_factor(self, key: np.ndarray, sky: np.ndarray, rows: slice, columns: slice):
        """How much of the baked brightness is left when something takes shares of key and sky."""
        direct = self.key[rows, columns] * self.key_level[rows, columns]
        around = self.sky[rows, columns] * self.sky_level
        return (direct * key + around * sky) / np.maximum(direct + around, 1e-4)


@cache
def _grid_points_m() -> np.ndarray:
    """Middles of the cells in the world, just above the table, (rows, columns, 3)."""
    x = np.arange(TABLE_X_M[0] + CELL_M / 2, TABLE_X_M[1], CELL_M)
    y = np.arange(TABLE_Y_M[0] + CELL_M / 2, TABLE_Y_M[1], CELL_M)
    grid = np.stack([*np.meshgrid(x, y), np.full((len(y), len(x)), 1e-4)], -1)
    return grid.astype(np.float32)


def bake(scene: RayScene | None, light: Light) -> TableLight:
    """The table's light under everything that stands still."""
    points = _grid_points_m()
    gap = light.key_m - points
    distance = np.linalg.norm(gap, axis=-1)
    falloff = (np.linalg.norm(light.key_m) / distance) ** 2
    key_level = falloff * gap[..., 2] / distance * light.key.mean()
    key = sky = np.ones(points.shape[:2], np.float32)
    if scene is not None:
        key, sky = _shares(scene, points, light, _LAMP_SAMPLES, _SKY_SAMPLES)
        key, sky = (cv2.GaussianBlur(share, (0, 0), 0.9) for share in (key, sky))
    sky_level = float((light.sky + light.fill * light.fill_direction[2]).mean())
    return TableLight(key, sky, key_level.astype(np.float32), sky_level)


def moving_shadow(layer: Layer, light: Light, baked: TableLight) -> tuple[np.ndarray, int, int]:
    """The shadow of what moves: factor (h, w) on the grid, and its first row and column.

    Only cells that it can darken are looked at.
    """
    points = _grid_points_m()
    above = np.concatenate([p.outline_m for p in layer.parts], dtype=np.float32)
    above = above[above[:, 2] > 0]
    if not len(above):
        return np.ones((1, 1), np.float32), 0, 0
    slope = (above[:, :2] - light.key_m[:2]) / np.maximum(light.key_m[2] - above[:, 2:], 0.2)
    cast = above[:, :2] + slope * above[:, 2:]
    spots = np.concatenate([cast, above[above[:, 2] < _SKY_REACH_M, :2]])
    lows, highs = spots.min(0) - 0.06, spots.max(0) + 0.06
    origin = np.array([TABLE_X_M[0], TABLE_Y_M[0]])
    num_rows, num_columns = points.shape[:2]
    c0, r0 = np.maximum(np.floor((lows - origin) / CELL_M).astype(int), 0)
    c1, r1 = np.ceil((highs - origin) / CELL_M).astype(int)
    r1, c1 = min(r1, num_rows), min(c1, num_columns)
    if r0 >= r1 or c0 >= c1:
        return np.ones((1, 1), np.float32), 0, 0
    key, sky = _shares(
        layer.scene, points[r0:r1, c0:c1], light, _MOVING_LAMP_SAMPLES, _MOVING_SKY_SAMPLES
    )
    factor = baked.shadow_factor(key, sky, slice(r0, r1), slice(c0, c1))
    return factor.astype(np.float32), r0, c0


def _shares(
    scene: RayScene, points: np.ndarray, light: Light, num_lamp: int, num_sky: int
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of lamp and surroundings that points (h, w, 3) see, both (h, w)."""
    shape, flat = points.shape[:2], np.ascontiguousarray(points.reshape(-1, 3))
    lamps = light.key_samples_m(num_lamp).astype(np.float32)[:, None] - flat
    skies = np.broadcast_to(_sky_directions(num_sky)[:, None], (num_sky, *flat.shape))
    key = 1 - num_blocked([scene], flat, lamps, 0.999) / num_lamp
    sky = 1 - num_blocked([scene], flat, skies, 1.0) / num_sky
    return key.astype(np.float32).reshape(shape), sky.astype(np.float32).reshape(shape)


def _sky_directions(count: int) -> np.ndarray:
    """Upward directions, weighted like a matt surface sees them, of length _SKY_REACH_M."""
    k = np.arange(count)
    radius, angle = np.sqrt((k + 0.5) / count), k * 2.399963
    flat = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    up = np.sqrt(np.maximum(1 - radius**2, 0))[:, None]
    return (np.concatenate([flat, up], 1) * _SKY_REACH_M).astype(np.float32)
