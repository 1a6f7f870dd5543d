"""A scene as one camera sees it.

Layers, from back to front: background, ground, still objects, moving parts (blurred along their
motion, behind still objects that are nearer). The picture is composed in 8-bit sRGB, BGR, together
with maps of parts and of depth. Still layers are drawn again only when the camera has moved.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.rays import RayScene
from pipelines.synthetic.paint.lighting import Light
from pipelines.synthetic.render.layer import (
    Canvas,
    Layer,
    LayerCaster,
    Part,
    lay_over,
    line_kernel,
)
from pipelines.synthetic.render.lens import Lens, expose
from pipelines.synthetic.render.scene_layers import SceneLayers, share_open
from pipelines.synthetic.render.surroundings import MARGIN, Surroundings
from pipelines.synthetic.scene.cameras import Camera

_STEP = 7  # px between points of the ground at which shadows are cast
_SPREAD = 4  # of these points from one in shadow, its blurred edge ends, interpolation included
_FAR_M = 6.0  # no shadows beyond
_SKIES = (
    np.array([[0.3, 0.1, 0.95], [-0.5, 0.5, 0.7], [0.1, -0.75, 0.65], [0.85, 0.3, 0.4],
              [-0.85, -0.2, 0.5], [0.3, 0.85, 0.4]]) * 0.1
).astype(np.float32)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Picture:
    """image (H, W, 3) uint8 BGR; depth_m (H, W). moving, still (H, W) int8: index of the visible
    part in moving_parts or still_parts, −1 for none."""

    image: np.ndarray
    depth_m: np.ndarray
    moving_parts: list[Part]
    moving: np.ndarray
    still_parts: list[Part]
    still: np.ndarray

    def coded(self, code: Callable[[Part], int]) -> np.ndarray:
        """The code of each pixel's visible part, 0 for none, (H, W) uint8."""
        moving, still = (
            cv2.LUT(seen.view(np.uint8), _by_index([code(part) for part in parts]))
            for seen, parts in ((self.moving, self.moving_parts), (self.still, self.still_parts))
        )
        return moving | still


def _by_index(codes: list[int]) -> np.ndarray:
    """A table of codes, 0 at 255, which is −1 in int8, (256,) uint8."""
    return np.array(codes + [0] * (256 - len(codes)), np.uint8)


@dataclass(frozen=True, eq=False)
class _StillView:
    """The still layers from one camera. part (H, W): as `Picture.still`; on_ground (H, W) bool:
    where the ground is visible; chosen (N,): indices of the shadow grid's points that lie on the
    ground, points_m (N, 3): their places."""

    canvas: Canvas
    layer: Layer
    part: np.ndarray
    on_ground: np.ndarray
    chosen: np.ndarray
    points_m: np.ndarray


class CameraView:
    """A scene as one camera sees it.

    cameras: its pose at every moment; the backdrop is the view of `cameras[0]`; extra: still parts
    that only this camera sees.
    """

    def __init__(
        self,
        layers: SceneLayers,
        cameras: list[Camera],
        around: Surroundings,
        size: tuple[int, int],
        extra: list[Part],
        lens: Lens,
        rng: np.random.Generator,
    ) -> None:
        self.layers, self.cameras, self.around, self.size = layers, cameras, around, size
        self.extra, self.lens, self._rng = extra, lens, rng
        self._still_layers: dict[tuple[int, ...], Layer] = {}
        self._seen, self._base = None, None  # the last still view

    def picture(self, moving: Layer, moment: int, motion_px: np.ndarray) -> Picture:
        """Draw one moment; motion_px (2,): the hand's motion in 1/30 s."""
        base = self._still_view(moment)
        below = base.canvas
        image, depth_m = below.image.copy(), below.depth_m.copy()
        canvas = Canvas(below.camera, image, depth_m, below.directions)
        part = np.full(base.part.shape, -1, np.int8)
        if moving.parts:
            self._cast_shadow(canvas.image, base, moving)
            blur = line_kernel(motion_px * self.lens.shutter)
            part = lay(canvas, moving, self.layers.colours(moving, base.layer), blur)
        still = np.where(part >= 0, np.int8(-1), base.part)
        image = expose(self.lens, canvas.image, moment, self._rng)
        parts = moving.parts, part, base.layer.parts, still
        return Picture(image, canvas.depth_m, *parts)

    def _still_view(self, moment: int) -> _StillView:
        camera, resting = self.cameras[moment], self.layers.resting(moment)
        seen = camera.rotation.tobytes(), camera.translation_m.tobytes(), resting
        if seen != self._seen:
            self._seen, self._base = seen, self._draw_still(camera, resting)
        return self._base

    def _draw_still(self, camera: Camera, resting: tuple[int, ...]) -> _StillView:
        width, height = self.size
        if resting not in self._still_layers:
            self._still_layers[resting] = Layer(self.layers.still(resting).parts + self.extra)
        layer = self._still_layers[resting]
        image = _warp_backdrop(self.around.backdrop, camera, self.cameras[0], self.size)
        directions = camera.ray_grid(width, height)
        depth = np.full((height, width), np.float32(self.around.backdrop_m))
        canvas = Canvas(camera, image, depth, directions)
        where, (chosen, points) = np.zeros(depth.shape, bool), (np.zeros(0, int), np.zeros((0, 3)))
        if self.around.ground is not None:
            where, chosen, points = self._lay_ground(canvas, layer)
        part = np.full(depth.shape, -1, np.int8)
        if layer.parts:
            part = lay(canvas, layer, self.layers.colours(layer), line_kernel(np.zeros(2)))
        return _StillView(canvas, layer, part, where & (part < 0), chosen, points)

    def _lay_ground(self, canvas: Canvas, still: Layer):
        """Lay the ground over the canvas, lit and in the shadow of still objects. Returns where
        it is visible (H, W) bool, and the shadow grid's points on it: indices (N,) and places
        (N, 3)."""
        width, height = self.size
        camera, ground_m, light = (
            canvas.camera,
            self.layers.scene.ground_m,
            self.layers.scene.light,
        )
        plane = camera.rotation @ np.array([[1, 0, 0], [0, 1, 0], [0, 0, ground_m]])
        plane[:, 2] += camera.translation_m
        to_image = camera.K @ plane @ self.around.ground_to_world
        seen = cv2.warpPerspective(self.around.ground, to_image, self.size)
        where = (canvas.directions[..., 2] < -1e-4) & (seen[..., 3] > 127)
        drop = np.float32(ground_m - camera.center_m[2])
        np.divide(drop, canvas.directions[..., 2], out=canvas.depth_m, where=where)
        rays = camera.ray_grid(width + _STEP, height + _STEP, _STEP).reshape(-1, 3)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = drop / rays[:, 2]
        chosen = np.flatnonzero((reach > 0) & (reach < _FAR_M))
        points = (camera.center_m + rays[chosen] * reach[chosen, None] + [0, 0, 1e-3]).astype(
            np.float32
        )
        share = _ground_light([still.scene] if still.parts else [], points, light)
        tint = (light.key * _steepness(light) + light.sky)[::-1]
        tint = (tint / max(tint.max(), 0.3)) ** (1 / 2.2)
        shadow = self._light_factors(chosen, share)
        lit = cv2.multiply(
            np.ascontiguousarray(seen[..., :3]),
            cv2.merge([shadow * np.float32(t) for t in tint]),
            dtype=cv2.CV_8U,
        )
        cover = cv2.GaussianBlur(where.astype(np.float32), (3, 3), 0.7) * where  # a soft edge
        canvas.image[:] = cv2.blendLinear(lit, canvas.image, cover, 1 - cover)
        return where, chosen, points

    def _light_factors(self, chosen: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Shares of light at some points of the grid → factors of sRGB values, (H, W) float32."""
        width, height = self.size
        rows, columns = (len(range(0, n + _STEP, _STEP)) for n in (height, width))
        grid = np.ones(rows * columns, np.float32)
        grid[chosen] = share
        small = cv2.GaussianBlur(grid.reshape(rows, columns) ** np.float32(1 / 2.2), (0, 0), 0.8)
        full = cv2.resize(small, (columns * _STEP, rows * _STEP))
        half = _STEP // 2
        return full[half : half + height, half : half + width]

    def _cast_shadow(self, image: np.ndarray, base: _StillView, moving: Layer) -> None:
        """Darken the ground in the shadow of moving parts."""
        near = _may_be_shaded(base.points_m, moving, self.layers.scene.light)
        if not len(near):
            return
        points, light = base.points_m[near], self.layers.scene.light
        share = _ground_light([moving.scene], points, light)
        dark = np.flatnonzero(share < 1)
        if not len(dark):
            return
        box = self._reached(base.chosen[near[dark]])
        factor = self._light_factors(base.chosen[near], share)[box]
        factor = np.where(base.on_ground[box], factor, np.float32(1))
        image[box] = cv2.multiply(image[box], cv2.merge([factor] * 3), dtype=cv2.CV_8U)

    def _reached(self, chosen: np.ndarray) -> tuple[slice, slice]:
        """The box of the picture in which some of the grid's points change `_light_factors`."""
        columns = len(range(0, self.size[0] + _STEP, _STEP))
        return tuple(
            slice(max(cells.min() - _SPREAD, 0) * _STEP, (cells.max() + _SPREAD) * _STEP)
            for cells in np.divmod(chosen, columns)
        )


@dataclass(frozen=True, eq=False)
class SceneViews:
    """A scene from all its cameras. motion_px (views, T, 2): the first hand's motion in 1/30 s."""

    layers: SceneLayers
    views: list[CameraView]
    motion_px: np.ndarray

    def pictures(self, moments: Iterable[int]) -> Iterator[tuple[int, int, Picture]]:
        """Yield (moment, number of the view, picture), moments outermost."""
        for moment in moments:
            moving = self.layers.moving(moment)
            for number, view in enumerate(self.views):
                yield moment, number, view.picture(moving, moment, self.motion_px[number][moment])


def lay(canvas: Canvas, layer: Layer, colours, blur: np.ndarray) -> np.ndarray:
    """Lay a layer over the canvas; returns the index of the visible part, (H, W), −1 for none."""
    part = np.full(canvas.depth_m.shape, -1, np.int8)
    cast = LayerCaster(canvas, layer, colours).cast(len(blur) // 2)
    if cast is not None:
        part[cast.box] = lay_over(canvas, cast, blur)
    return part


def _warp_backdrop(backdrop, camera: Camera, start: Camera, size) -> np.ndarray:
    """The backdrop is far away, so it only turns with the camera."""
    margins = [round(n * MARGIN) for n in size]
    shift = np.array([[1, 0, -margins[0]], [0, 1, -margins[1]], [0, 0, 1.0]])
    if (camera.rotation == start.rotation).all():
        (x, y), (width, height) = margins, size
        return backdrop[y : y + height, x : x + width].copy()
    turn = camera.K @ camera.rotation @ start.rotation.T @ np.linalg.inv(start.K)
    return cv2.warpPerspective(backdrop, turn @ shift, size, borderMode=cv2.BORDER_REFLECT)


def _steepness(light: Light) -> float:
    """Share of the lamp's light that reaches the ground at its angle."""
    return max(light.key_m[2] / np.linalg.norm(light.key_m), 0.1)


def _ground_light(blockers: list[RayScene], points: np.ndarray, light: Light) -> np.ndarray:
    """Share of its light that the blockers leave to each point of the ground, (N,)."""
    lamps = light.key_samples_m(3)[:, None].astype(np.float32) - points
    skies = np.broadcast_to(_SKIES[:, None], (len(_SKIES), *points.shape))
    key, sky = (share_open(blockers, points, ways) for ways in (lamps, skies))
    strength, ambient = light.key.mean() * _steepness(light), light.sky.mean() + 1e-3
    return ((strength * key + ambient * sky) / (strength + ambient)).astype(np.float32)


def _may_be_shaded(points: np.ndarray, moving: Layer, light: Light) -> np.ndarray:
    """Indices of the ground's points (N, 3) near moving parts or near their shadow."""
    if not len(points):
        return np.zeros(0, int)
    above = np.concatenate([part.outline_m[::4] for part in moving.parts])
    height = np.maximum(above[:, 2:] - points[0, 2], 0)
    slope = (above[:, :2] - light.key_m[:2]) / np.maximum(light.key_m[2] - above[:, 2:], 0.05)
    spots = np.concatenate([above[:, :2], above[:, :2] + slope * height])
    low, high = spots.min(0) - 0.1, spots.max(0) + 0.1
    return np.flatnonzero(((points[:, :2] > low) & (points[:, :2] < high)).all(1))
