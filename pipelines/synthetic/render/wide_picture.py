"""A wide scene before one camera: layer by layer from the background to what is nearest.

Layers, from back to front: background, ground, still objects, what moves (blurred along its way;
behind still objects that are nearer), something close to the lens. The picture is composed in 8-bit
sRGB, BGR, and what is where comes along as two maps of parts.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.synthetic.render.layer import Canvas, Layer, LayerCaster, lay_over, line_kernel
from pipelines.synthetic.scene.cameras import Camera
from pipelines.synthetic.scene.wide_stage import Stage
from pipelines.synthetic.scene.wide_surroundings import MARGIN, Surroundings

_NOTHING_M = np.float32(99)
_SHADOW_STEP = 7  # px between points of the ground at which shadows are cast
_SKIES = (
    np.array([[0.3, 0.1, 0.95], [-0.5, 0.5, 0.7], [0.1, -0.75, 0.65], [0.85, 0.3, 0.4],
              [-0.85, -0.2, 0.5], [0.3, 0.85, 0.4]]) * 0.1
).astype(np.float32)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Picture:
    """image (H, W, 3) uint8 BGR. moving, still (H, W): number of the nearest part of the layer that
    is seen there, −1 for none; veiled (H, W) bool: behind something close to the lens."""

    image: np.ndarray
    moving: np.ndarray
    still: np.ndarray
    veiled: np.ndarray


class Shot:
    """A scene before one camera; start: its pose at first, whose view the backdrop is."""

    def __init__(
        self, stage: Stage, start: Camera, around: Surroundings, size: tuple[int, int]
    ) -> None:
        self.stage, self.start, self.around, self.size = stage, start, around, size
        x, y = np.meshgrid(*(np.arange(n) for n in size))
        self._pixels = np.stack([x, y], -1).reshape(-1, 2)
        self._pose = self._directions = self._still = None  # what was last seen from where

    def picture(self, moving: Layer, camera: Camera, motion_px: np.ndarray) -> Picture:
        """One moment; motion_px (2,): the hand's way while the shutter is open."""
        canvas = self._canvas(camera)
        blur = line_kernel(motion_px)
        still_part = _lay(canvas, self._cast_still(canvas), line_kernel(np.zeros(2)))
        caster = LayerCaster(canvas, moving, self.stage.colours(moving))
        part = _lay(canvas, caster.cast(len(blur) // 2), blur)
        still_part[part >= 0] = -1
        image, veiled = canvas.image, np.zeros(part.shape, bool)
        if self.around.veil is not None:
            alpha = self.around.veil[..., 3:]
            image = (image * (1 - alpha) + self.around.veil[..., :3]).astype(np.uint8)
            veiled = alpha[..., 0] > 0.5
        return Picture(image, part, still_part, veiled)

    def _cast_still(self, canvas: Canvas):
        """What stays, cast anew when the camera has moved: shadows on it stay, too."""
        still, _camera = self.stage.still, canvas.camera
        if not still.parts:
            return None
        if self._still is None:
            self._still = LayerCaster(canvas, still, self.stage.colours(still)).cast(1)
        return self._still

    def _canvas(self, camera: Camera) -> Canvas:
        """Backdrop and ground, nothing on it."""
        width, height = self.size
        image = _warp_backdrop(self.around.backdrop, camera, self.start, self.size)
        pose = camera.rotation.tobytes() + camera.translation_m.tobytes()
        if pose != self._pose:
            rays = camera.ray_directions(self._pixels).reshape(height, width, 3)
            self._pose, self._directions, self._still = pose, rays, None
        directions = self._directions
        depth = np.full((height, width), _NOTHING_M)
        if self.around.ground is not None:
            where = _lay_ground(image, self.stage, camera, self.around)
            drop = np.float32(self.stage.scene.ground_m - camera.center_m[2])
            depth[where] = drop / directions[where, 2]
        return Canvas(camera, image, depth, directions)


def _lay(canvas: Canvas, cast, blur: np.ndarray) -> np.ndarray:
    """Lay a layer over the canvas: number of the part that is seen, (H, W), −1 for none."""
    part = np.full(canvas.depth_m.shape, -1, np.int32)
    if cast is not None:
        part[cast.box] = lay_over(canvas, cast, blur)
    return part


def _warp_backdrop(backdrop, camera: Camera, start: Camera, size) -> np.ndarray:
    """Far away as it is, the backdrop only turns with the camera."""
    margins = [round(n * MARGIN) for n in size]
    shift = np.array([[1, 0, -margins[0]], [0, 1, -margins[1]], [0, 0, 1.0]])
    if (camera.rotation == start.rotation).all():
        (x, y), (width, height) = margins, size
        return backdrop[y : y + height, x : x + width].copy()
    turn = camera.K @ camera.rotation @ start.rotation.T @ np.linalg.inv(start.K)
    return cv2.warpPerspective(backdrop, turn @ shift, size, borderMode=cv2.BORDER_REFLECT)


def _lay_ground(image, stage, camera: Camera, around: Surroundings) -> np.ndarray:
    """The ground's texture, lit and in shadow, over the backdrop; returns where, (H, W) bool."""
    height, width = image.shape[:2]
    scene, light = stage.scene, stage.scene.light
    plane = camera.rotation @ np.array([[1, 0, 0], [0, 1, 0], [0, 0, scene.ground_m]])
    plane[:, 2] += camera.translation_m
    to_image = camera.K @ plane @ around.ground_to_world
    seen = cv2.warpPerspective(around.ground, to_image, (width, height))
    x, y = np.arange(width), np.arange(height)[:, None]
    a, b, c = (np.linalg.inv(camera.K).T @ camera.rotation)[:, 2]
    where = (a * x + b * y + c < -1e-4) & (seen[..., 3] > 127)
    if not where.any():
        return where
    u, v = np.meshgrid(*(np.arange(0, n + _SHADOW_STEP, _SHADOW_STEP) for n in (width, height)))
    rays = camera.ray_directions(np.stack([u, v], -1).reshape(-1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = (scene.ground_m - camera.center_m[2]) / rays[:, 2]
    hit = np.flatnonzero((reach > 0) & (reach < 6))
    factor = np.ones(len(rays), np.float32)
    points = (camera.center_m + rays[hit] * reach[hit, None] + [0, 0, 1e-3]).astype(np.float32)
    factor[hit] = _ground_light(stage, points)
    small = cv2.GaussianBlur(factor.reshape(u.shape) ** np.float32(1 / 2.2), (0, 0), 0.8)
    full = cv2.resize(small, (u.shape[1] * _SHADOW_STEP, u.shape[0] * _SHADOW_STEP))
    half = _SHADOW_STEP // 2
    full = np.pad(full, ((0, half), (0, half)), "edge")[half : half + height, half : half + width]
    tint = (light.key * max(light.key_m[2] / np.linalg.norm(light.key_m), 0.1) + light.sky)[::-1]
    tint = (tint / max(tint.max(), 0.3)) ** (1 / 2.2)
    shadow = cv2.merge([full * np.float32(t) for t in tint])
    lit = cv2.multiply(np.ascontiguousarray(seen[..., :3]), shadow, dtype=cv2.CV_8U)
    cv2.copyTo(lit, where.view(np.uint8), image)
    return where


def _ground_light(stage: Stage, points: np.ndarray) -> np.ndarray:
    """Share of its light that each point of the ground gets, (N,)."""
    light = stage.scene.light
    key = stage.share_open(points, light.key_samples_m(3)[:, None].astype(np.float32) - points)
    sky = stage.share_open(points, np.broadcast_to(_SKIES[:, None], (len(_SKIES), *points.shape)))
    strength = light.key.mean() * max(light.key_m[2] / np.linalg.norm(light.key_m), 0.1)
    ambient = light.sky.mean() + 1e-3
    return ((strength * key + ambient * sky) / (strength + ambient)).astype(np.float32)
