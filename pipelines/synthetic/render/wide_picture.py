"""A wide scene before one camera: layer by layer from the background to what is nearest.

Layers, from back to front: background, ground, still objects, what moves (blurred along its way;
behind still objects that are nearer), something close to the lens. The picture is composed in 8-bit
sRGB, BGR, and what is where comes along as two maps of parts.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.synthetic.render.film import MIN_BLUR_PX, line_kernel
from pipelines.synthetic.render.textures import linear_to_srgb
from pipelines.synthetic.scene.cameras import Camera
from pipelines.synthetic.scene.wide_stage import Layer, Stage
from pipelines.synthetic.scene.wide_surroundings import MARGIN, Surroundings

_NOTHING_M = np.float32(99)
_MAX_BLUR_PX = 26.0
_EDGE_SAMPLES = np.array([[-0.3, -0.2], [0.3, 0.2]])
_EDGE_M = 0.012
_SQUARE = np.ones((3, 3), np.uint8)
_PIECE = 56  # triangles of a mesh whose outline is taken together
_NEAR_M = 0.01  # what is nearer to the camera is not looked for
_SHADOW_STEP = 7  # px between points of the ground at which shadows are cast


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
        self._still: tuple | None = None  # the last view of what stays, and from where

    def picture(self, moving: Layer, camera: Camera, motion_px: np.ndarray) -> Picture:
        """One moment; motion_px (2,): the hand's way while the shutter is open."""
        image = _warp_backdrop(self.around.backdrop, camera, self.start, self.size)
        shape = image.shape[:2]
        floor = np.zeros(shape, np.uint8)
        if self.around.ground is not None:
            floor = _lay_ground(image, self.stage, camera, self.around)
        still_depth, still_part = np.full(shape, _NOTHING_M), np.full(shape, -1, np.int16)
        if self.stage.still.parts:
            colour, still_depth, still_part = self._view_of_still(camera, floor)
            _paste(image, colour, still_depth <= _NOTHING_M)
        colour, depth, part = _cast(self.stage, moving, camera, floor)
        _blend(image, colour, depth, still_depth, motion_px)
        part[depth >= still_depth] = -1
        still_part[part >= 0] = -1
        veiled = np.zeros(shape, bool)
        if self.around.veil is not None:
            alpha = self.around.veil[..., 3:]
            image = (image * (1 - alpha) + self.around.veil[..., :3]).astype(np.uint8)
            veiled = alpha[..., 0] > 0.5
        return Picture(image, part, still_part, veiled)

    def _view_of_still(self, camera: Camera, floor: np.ndarray):
        """What stays, cast anew when the camera has moved: shadows on it stay, too."""
        pose = camera.rotation.tobytes() + camera.translation_m.tobytes()
        if self._still is None or self._still[0] != pose:
            self._still = pose, _cast(self.stage, self.stage.still, camera, floor)
        colour, depth, part = self._still[1]
        return colour, depth, part.copy()


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
    """The ground's texture, lit and in shadow, over the backdrop; returns where, (H, W) uint8."""
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
        return where.view(np.uint8)
    rows, columns = (
        np.arange(0, height + _SHADOW_STEP, _SHADOW_STEP),
        np.arange(0, width + _SHADOW_STEP, _SHADOW_STEP),
    )
    u, v = np.meshgrid(columns, rows)
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
    return where.view(np.uint8)


def _ground_light(stage: Stage, points: np.ndarray) -> np.ndarray:
    """Share of its light that each point of the ground gets, (N,)."""
    light = stage.scene.light
    key = stage.share_m(points, light.key_samples_m(3)[:, None].astype(np.float32) - points)
    reaches = np.broadcast_to(_SKIES[:, None], (len(_SKIES), *points.shape))
    sky = stage.share_m(points, np.ascontiguousarray(reaches))
    strength = light.key.mean() * max(light.key_m[2] / np.linalg.norm(light.key_m), 0.1)
    ambient = light.sky.mean() + 1e-3
    total = strength * key + ambient * sky
    return (total / (strength + ambient)).astype(np.float32)


_SKIES = (
    np.array([[0.3, 0.1, 0.95], [-0.5, 0.5, 0.7], [0.1, -0.75, 0.65], [0.85, 0.3, 0.4],
              [-0.85, -0.2, 0.5], [0.3, 0.85, 0.4]]) * 0.1
).astype(np.float32)  # fmt: skip


def _cast(stage: Stage, layer: Layer, camera: Camera, floor: np.ndarray):
    """Colour (H, W, 4) uint8 BGR and cover, the former times the latter; depth (H, W) and part
    (H, W) at the pixels' centres.

    floor (H, W) uint8: where the ground is seen; what is below it there is not.
    """
    height, width = shape = floor.shape
    colour = np.zeros((height, width, 4), np.uint8)
    depth, part = np.full(shape, _NOTHING_M), np.full(shape, -1, np.int16)
    chosen = np.flatnonzero(_may_cover(layer, camera, shape))
    centres = np.stack([chosen % width, chosen // width], 1)
    shades, hits, met = _shades(stage, layer, camera, centres, floor.take(chosen))
    at = chosen[met]
    depth.reshape(-1)[at], part.reshape(-1)[at] = hits.depth, hits.mesh
    flat = colour.reshape(-1, 4)
    flat[chosen] = shades + np.float32(0.5)
    # at edges more rays share in colour and cover
    jump = cv2.dilate(depth, _SQUARE) - cv2.erode(depth, _SQUARE) > _EDGE_M
    edge = np.flatnonzero(jump | (cv2.dilate(part, _SQUARE) != cv2.erode(part, _SQUARE)))
    if len(edge):
        around = np.stack([edge % width, edge // width], 1)[:, None] + _EDGE_SAMPLES
        below = np.repeat(floor.take(edge), len(_EDGE_SAMPLES))
        more, _, _ = _shades(stage, layer, camera, around.reshape(-1, 2), below)
        total = more.reshape(len(edge), len(_EDGE_SAMPLES), 4).sum(1) + flat.take(edge, 0)
        flat[edge] = total / (len(_EDGE_SAMPLES) + 1) + np.float32(0.5)
    return colour, depth, part


def _shades(stage, layer: Layer, camera: Camera, pixels, floor: np.ndarray):
    """Colour and cover (N, 4) float32 at pixels (N, 2); the hits that count, and which they are."""
    rays = camera.ray_directions(pixels)
    hits = layer.scene.cast(camera.center_m, rays)
    seen = (hits.mesh >= 0) & (hits.depth < _NOTHING_M)
    if stage.scene.ground_m is not None:
        below = (
            np.float32(camera.center_m[2]) + rays[:, 2] * hits.depth < stage.scene.ground_m - 0.004
        )
        seen &= ~(below & (floor > 0))
    met = np.flatnonzero(seen)
    hits, shades = hits.take(met), np.zeros((len(pixels), 4), np.float32)
    if len(met):
        linear = stage.colour(layer, hits, camera.center_m, rays.take(met, 0))
        shades[met, :3] = linear_to_srgb(linear)[:, ::-1] * np.float32(255)
        shades[met, 3] = 255
    return shades, hits, met


def _may_cover(layer: Layer, camera: Camera, shape) -> np.ndarray:
    """Where rays are worth casting, (H, W) uint8: in the outlines of small pieces of the parts."""
    mask = np.zeros(shape, np.uint8)
    for part in layer.parts:
        points = camera.to_camera(part.vertices_m)
        pieces = [part.faces[k : k + _PIECE] for k in range(0, len(part.faces), _PIECE)]
        if points[:, 2].min() > _NEAR_M:
            px = _whole_px(camera, points)
            outlines = [px.take(piece.ravel(), 0) for piece in pieces]
        else:
            outlines = [_whole_px(camera, _in_front(points.take(piece, 0))) for piece in pieces]
        for outline in outlines:
            if len(outline):
                cv2.fillConvexPoly(mask, cv2.convexHull(outline), 1)
    return cv2.dilate(mask, _SQUARE)


def _whole_px(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Points (N, 3) in the camera's frame → the pixels they are in, (N, 2) int32."""
    px = points @ camera.K.T
    return np.round(px[:, :2] / px[:, 2:]).astype(np.int32)


def _in_front(corners: np.ndarray) -> np.ndarray:
    """Corners (N, 3) of what triangles (F, 3, 3) are in front of the camera."""
    depth = corners[..., 2] - _NEAR_M
    after, depth_after = np.roll(corners, 1, 1), np.roll(depth, 1, 1)
    cut = depth * depth_after < 0
    share = (depth[cut] / (depth[cut] - depth_after[cut]))[:, None]
    return np.concatenate([corners[depth > 0], corners[cut] + share * (after[cut] - corners[cut])])


def _blend(image, colour, depth, behind: np.ndarray, motion_px: np.ndarray) -> None:
    """What moves over the picture, blurred along its way; what is nearer (`behind`: its depth)
    stays in front."""
    length, reach = np.hypot(*motion_px), 1
    if length > MIN_BLUR_PX:
        kernel = line_kernel(motion_px * min(1, _MAX_BLUR_PX / length))
        colour = cv2.filter2D(colour, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        reach = len(kernel) // 2
    nearest = cv2.erode(depth, np.ones((2 * reach + 1,) * 2, np.uint8))
    _paste(image, colour, nearest < behind)


def _paste(image: np.ndarray, colour: np.ndarray, where: np.ndarray) -> None:
    """Lay colour (H, W, 4), times its cover, over the picture where it says so (H, W) bool."""
    cover = colour[..., 3]
    whole = where & (cover == 255)
    cv2.copyTo(np.ascontiguousarray(colour[..., :3]), whole.view(np.uint8), image)
    chosen = np.flatnonzero(where & (cover > 0) & ~whole)
    over = colour.reshape(-1, 4).take(chosen, 0).astype(np.float32)
    flat = image.reshape(-1, 3)
    mixed = flat.take(chosen, 0) * (1 - over[:, 3:] / 255) + over[:, :3]
    flat[chosen] = np.minimum(mixed + np.float32(0.5), 255).astype(np.uint8)
