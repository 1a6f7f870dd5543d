"""A wide scene before one camera: layer by layer from the background to what is nearest.

Layers, from back to front: background, ground, still objects, what moves (blurred along its way;
behind still objects that are nearer), something close to the lens. The picture is composed in 8-bit
sRGB, BGR, and what is where comes along as two maps of parts.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from pipelines.synthetic.cameras import Camera
from pipelines.synthetic.clutter import Placed
from pipelines.synthetic.film import MIN_BLUR_PX, line_kernel
from pipelines.synthetic.hand_scene import Scene, linear_rgb
from pipelines.synthetic.hand_stage import ARM, Layer, Part, Stage, placed_part, thing_part
from pipelines.synthetic.patterns import colour, texture
from pipelines.synthetic.scenery import background
from pipelines.synthetic.shapes import Box, Lathe
from pipelines.synthetic.textures import linear_to_srgb
from pipelines.synthetic.ycb import YCB_OBJECTS

_MARGIN = 0.15  # of the background beyond the picture
_TEXELS = 512
_NOTHING_M = np.float32(99)
_MAX_BLUR_PX = 26.0
_SHADOW_STEP = 6  # px between points of the ground at which shadows are cast

BODY = -2
_CHEST = Lathe(
    ((0, -0.55), (0.17, -0.55), (0.165, -0.1), (0.19, 0.12), (0.19, 0.2), (0.13, 0.28),
     (0.06, 0.31), (0.05, 0.4), (0, 0.4)),
    aspect=0.62,
    crease_rad=1.2,
)  # fmt: skip
_ACROSS = np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]])  # its broad side across the facing
_HEAD = Lathe(
    tuple(
        (max(0.085 * np.cos(a), 0.0), 0.12 * np.sin(a)) for a in np.linspace(-1, 1, 9) * np.pi / 2
    )
)


@dataclass(frozen=True, eq=False)
class Picture:
    """image (H, W, 3) uint8 BGR. moving, still (H, W): number of the nearest part of the layer that
    is seen there, −1 for none; veiled (H, W) bool: behind something close to the lens."""

    image: np.ndarray
    moving: np.ndarray
    still: np.ndarray
    veiled: np.ndarray


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What one camera sees besides meshes. backdrop: a picture wider than the camera's; ground: a
    texture with alpha (_TEXELS, _TEXELS, 4), texels per metre and a turn, from its middle at
    spot_m (2,); veil (H, W, 4): or None."""

    backdrop: np.ndarray
    ground: np.ndarray | None
    ground_to_world: np.ndarray
    veil: np.ndarray | None


def draw_occluders(rng, scene: Scene, camera: Camera, solid_m: np.ndarray) -> list[Part]:
    """Things between camera and hand, which touch nothing; often none."""
    parts = []
    for _ in range(int(rng.choice([0, 1, 2], p=[0.6, 0.3, 0.1]))):
        target = scene.players[0].wrist_m.mean(0) - 0.08 * scene.players[0].elbow
        way = target - camera.center_m
        side = np.cross(way, rng.standard_normal(3))
        side *= abs(rng.normal(0.05, 0.04)) / max(np.linalg.norm(side), 1e-6)
        spot = camera.center_m + way * rng.uniform(0.45, 0.85) + side
        rotation = Rotation.from_quat(rng.standard_normal(4)).as_matrix()
        if rng.random() < 0.5:
            thing = YCB_OBJECTS[int(rng.choice(list(YCB_OBJECTS)))]
            part = placed_part(
                Placed(thing, rotation, spot, linear_rgb(texture(rng, 128, 192))), 0.1
            )
        else:
            size = np.exp(rng.uniform(np.log(0.012), np.log([0.03, 0.1, 0.5])))
            mesh = Box(tuple(size.tolist())).mesh()
            part = thing_part(mesh, rotation, spot, linear_rgb(texture(rng, 128, 192)), -1)
        nearest = np.linalg.norm(solid_m[::3, None] - part.vertices_m[None, ::5], axis=-1).min()
        from_camera = np.linalg.norm(part.vertices_m - camera.center_m, axis=1).min()
        if nearest > 0.02 and from_camera > 0.08:
            parts.append(part)
    return parts


def body_parts(scene: Scene, camera: Camera, rng) -> list[Part]:
    """The person's chest and head, unless the camera is where they are."""
    if scene.body is None:
        return []
    middle, facing = scene.body
    c, s = np.cos(facing), np.sin(facing)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    head_m = middle + turn @ [0.03, 0, 0.5]
    if (
        np.linalg.norm(camera.center_m[:2] - middle[:2]) < 0.38
        or np.linalg.norm(camera.center_m - head_m) < 0.25
    ):
        return []
    cloth = scene.looks.cloth
    if rng.random() < 0.4:
        cloth = linear_rgb(texture(rng, 128, 128))
    chest = thing_part(_CHEST.mesh(), turn @ _ACROSS, middle, cloth, BODY, 0.01)
    head = thing_part(_HEAD.mesh(), turn, head_m, _face(rng, scene.looks.skin), BODY, 0.03)
    return [chest, head]


def _face(rng, skin: np.ndarray) -> np.ndarray:
    """The head's texture, linear RGB: hair round a face in front."""
    size = 96
    face = np.full((size, size, 3), skin, np.float32)
    hair = linear_rgb(colour(rng, str(rng.choice(["grey", "wood"])))[None, None].astype(np.uint8))
    hair = (hair[0, 0] * rng.uniform(0.05, 0.6)).tolist()
    cv2.rectangle(face, (0, 0), (size, round(size * rng.uniform(0.2, 0.4))), hair, -1)
    side = round(size * rng.uniform(0.25, 0.34))
    for x in (0, size - side):
        cv2.rectangle(face, (x, 0), (x + side, round(size * rng.uniform(0.5, 0.85))), hair, -1)
    for x in (0.43, 0.57):
        cv2.ellipse(face, (round(x * size), 45), (4, 2), 0, 0, 360, (skin * 0.15).tolist(), -1)
    cv2.ellipse(face, (size // 2, 67), (6, 2), 0, 0, 360, (skin * [0.8, 0.4, 0.4]).tolist(), -1)
    return face


def draw_surroundings(rng, scene: Scene, camera: Camera, size: tuple[int, int]) -> Surroundings:
    """Backdrop, ground and veil of one camera."""
    width, height = size
    margin_x, margin_y = (round(n * _MARGIN) for n in size)
    backdrop = background(rng, height + 2 * margin_y, width + 2 * margin_x)
    ground, to_world = None, np.eye(3)
    if scene.ground_m is not None and camera.center_m[2] > scene.ground_m + 0.03:
        ground = np.full((_TEXELS, _TEXELS, 4), 255, np.uint8)
        kinds = str(rng.choice(["any", "wood", "wall"], p=[0.5, 0.25, 0.25]))
        ground[..., :3] = texture(rng, _TEXELS, _TEXELS, kinds)
        if rng.random() < 0.15:  # a round table
            ground[..., 3] = 0
            middle = (_TEXELS // 2,) * 2
            cv2.circle(ground, middle, _TEXELS // 2 - 4, (255,) * 4, -1)
            ground[..., :3] = texture(rng, _TEXELS, _TEXELS, kinds)
            mask = np.zeros((_TEXELS, _TEXELS), np.uint8)
            cv2.circle(mask, middle, _TEXELS // 2 - 4, 255, -1, cv2.LINE_AA)
            ground[..., 3] = mask
        extent = np.exp(rng.uniform(np.log(0.5), np.log(2.5), 2))
        angle = rng.uniform(0, 2 * np.pi)
        c, s = np.cos(angle), np.sin(angle)
        hand = scene.players[0].wrist_m.mean(0)[:2]
        spot = hand + rng.uniform(-0.38, 0.38, 2) @ (np.array([[c, s], [-s, c]]) * extent[:, None])
        axes = np.array([[c, -s], [s, c]]) * extent / _TEXELS
        corner = spot - axes @ [_TEXELS / 2, _TEXELS / 2]
        to_world = np.array([[*axes[0], corner[0]], [*axes[1], corner[1]], [0, 0, 1.0]])
    veil = _draw_veil(rng, height, width) if rng.random() < 0.1 else None
    return Surroundings(backdrop, ground, to_world, veil)


def _draw_veil(rng, height: int, width: int) -> np.ndarray:
    """Something near the lens, out of focus: BGR times alpha, and alpha, (H, W, 4) float32."""
    alpha = np.zeros((height, width), np.float32)
    centre = rng.uniform(0.1, 0.9, 2) * (width, height)
    angles = np.linspace(0, 2 * np.pi, int(rng.integers(3, 8)), endpoint=False)
    radii = width * rng.uniform(0.05, 0.3) * rng.uniform(0.4, 1.4, len(angles))
    outline = np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None] + centre
    cv2.fillPoly(alpha, [outline.astype(np.int32)], 1.0)
    alpha = cv2.GaussianBlur(alpha, (0, 0), width * rng.uniform(0.002, 0.02))[..., None]
    colour = texture(rng, height, width).astype(np.float32)
    return np.concatenate([colour * alpha, alpha], 2)


def draw_picture(
    stage: Stage,
    moving: Layer,
    camera: Camera,
    start: Camera,
    around: Surroundings,
    motion_px: np.ndarray,
    size: tuple[int, int],
) -> Picture:
    """One moment before one camera; start: the same camera at the first moment, whose view the
    backdrop is; motion_px (2,): the hand's way while the shutter is open."""
    image = _warp_backdrop(around.backdrop, camera, start, size)
    shape = image.shape[:2]
    floor = np.zeros(shape, np.uint8)
    if around.ground is not None:
        floor = _lay_ground(image, stage, moving, camera, around)
    still_depth, still_part = np.full(shape, _NOTHING_M), np.full(shape, -1, np.int16)
    if stage.still.parts:
        colour, still_depth, still_part = _cast(stage, stage.still, moving, camera, floor)
        _paste(image, colour, still_part >= 0)
    colour, depth, part = _cast(stage, moving, moving, camera, floor)
    shows = depth < still_depth
    _blend(image, colour, part, shows, motion_px)
    part[~shows] = -1
    still_part[part >= 0] = -1
    veiled = np.zeros(shape, bool)
    if around.veil is not None:
        alpha = around.veil[..., 3:]
        image = (image * (1 - alpha) + around.veil[..., :3]).astype(np.uint8)
        veiled = alpha[..., 0] > 0.5
    return Picture(image, part, still_part, veiled)


def _warp_backdrop(backdrop, camera: Camera, start: Camera, size) -> np.ndarray:
    """Far away as it is, the backdrop only turns with the camera."""
    margins = [round(n * _MARGIN) for n in size]
    shift = np.array([[1, 0, -margins[0]], [0, 1, -margins[1]], [0, 0, 1.0]])
    if (camera.rotation == start.rotation).all():
        (x, y), (width, height) = margins, size
        return backdrop[y : y + height, x : x + width].copy()
    turn = camera.K @ camera.rotation @ start.rotation.T @ np.linalg.inv(start.K)
    return cv2.warpPerspective(backdrop, turn @ shift, size, borderMode=cv2.BORDER_REFLECT)


def _paste(image: np.ndarray, colour: np.ndarray, where: np.ndarray) -> None:
    """The first three channels of colour, where it says so (H, W) bool."""
    cv2.copyTo(np.ascontiguousarray(colour[..., :3]), where.view(np.uint8), image)


def _lay_ground(image, stage, moving, camera: Camera, around: Surroundings) -> np.ndarray:
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
    factor[hit] = _ground_light(stage, moving, points)
    small = cv2.GaussianBlur(factor.reshape(u.shape) ** np.float32(1 / 2.2), (0, 0), 0.8)
    full = cv2.resize(small, (u.shape[1] * _SHADOW_STEP, u.shape[0] * _SHADOW_STEP))
    half = _SHADOW_STEP // 2
    full = np.pad(full, ((0, half), (0, half)), "edge")[half : half + height, half : half + width]
    tint = (light.key * max(light.key_m[2] / np.linalg.norm(light.key_m), 0.1) + light.sky)[::-1]
    tint = (tint / max(tint.max(), 0.3)) ** (1 / 2.2)
    shadow = cv2.merge([full * np.float32(t) for t in tint])
    lit = cv2.multiply(np.ascontiguousarray(seen[..., :3]), shadow, dtype=cv2.CV_8U)
    _paste(image, lit, where)
    return where.view(np.uint8)


def _ground_light(stage: Stage, moving: Layer, points: np.ndarray) -> np.ndarray:
    """Share of its light that each point of the ground gets, (N,)."""
    light = stage.scene.light
    lamps, skies = light.key_samples_m(3).astype(np.float32), _SKIES
    key, sky = np.zeros(len(points), np.float32), np.zeros(len(points), np.float32)
    for lamp in lamps:
        reach = lamp - points
        key += ~(moving.blocks(points, reach) | stage.still.blocks(points, reach))
    for direction in skies:
        reach = np.broadcast_to(direction, points.shape)
        sky += ~(moving.blocks(points, reach) | stage.still.blocks(points, reach))
    strength = light.key.mean() * max(light.key_m[2] / np.linalg.norm(light.key_m), 0.1)
    ambient = light.sky.mean() + 1e-3
    total = strength * key / len(lamps) + ambient * sky / len(skies)
    return (total / (strength + ambient)).astype(np.float32)


_SKIES = (
    np.array([[0.3, 0.1, 0.95], [-0.5, 0.5, 0.7], [0.1, -0.75, 0.65], [0.85, 0.3, 0.4],
              [-0.85, -0.2, 0.5], [0.3, 0.85, 0.4]]) * 0.1
).astype(np.float32)  # fmt: skip


def _cast(stage: Stage, layer: Layer, moving: Layer, camera: Camera, floor: np.ndarray):
    """Colour (H, W, 4) uint8 BGR and cover, depth (H, W) and part (H, W) of a layer.

    floor (H, W) uint8: where the ground is seen; what is below it there is not.
    """
    height, width = shape = floor.shape
    colour = np.zeros((height, width, 4), np.uint8)
    depth, part = np.full(shape, _NOTHING_M), np.full(shape, -1, np.int16)
    chosen = np.flatnonzero(_may_cover(layer, camera, shape))
    rays = camera.ray_directions(np.stack([chosen % width, chosen // width], 1))
    hits = layer.scene.cast(camera.center_m, rays)
    seen = (hits.mesh >= 0) & (hits.depth < _NOTHING_M)
    if stage.scene.ground_m is not None:
        below = camera.center_m[2] + rays[:, 2] * hits.depth < stage.scene.ground_m - 0.004
        seen &= ~(below & (floor.reshape(-1)[chosen] > 0))
    met = np.flatnonzero(seen)
    at, some = chosen[met], hits.take(met)
    depth.reshape(-1)[at], part.reshape(-1)[at] = some.depth, some.mesh
    if len(met):
        linear = stage.colour(layer, some, camera.center_m, rays[met], moving)
        flat = colour.reshape(-1, 4)
        flat[at, :3] = linear_to_srgb(linear)[:, ::-1] * np.float32(255) + np.float32(0.5)
        flat[at, 3] = 255
    return colour, depth, part


def _may_cover(layer: Layer, camera: Camera, shape) -> np.ndarray:
    """Where rays are worth casting, (H, W) uint8: in the parts' outlines."""
    mask = np.zeros(shape, np.uint8)
    for part in layer.parts:
        pieces = [part.vertices_m]
        if part.kind == ARM:  # long and bent: ring by ring
            rings = part.vertices_m.reshape(-1, 17, 3)
            pieces = [rings[k : k + 2].reshape(-1, 3) for k in range(len(rings) - 1)]
        for points in pieces:
            in_camera = camera.to_camera(points)
            near = in_camera[:, 2] < 0.02
            if near.all():
                continue
            if near.any():
                mask[:] = 1
                return mask
            px = in_camera @ camera.K.T
            px = np.clip(np.round(px[:, :2] / px[:, 2:]), -8000, 8000).astype(np.int32)
            cv2.fillConvexPoly(mask, cv2.convexHull(px), 1)
    return cv2.dilate(mask, np.ones((3, 3), np.uint8))


def _blend(image, colour, part, shows, motion_px: np.ndarray) -> None:
    """What moves over the picture, blurred along its way; what is nearer stays in front."""
    length = np.hypot(*motion_px)
    if length <= MIN_BLUR_PX:
        _paste(image, colour, shows & (part >= 0))
        return
    kernel = line_kernel(motion_px * min(1, _MAX_BLUR_PX / length))
    smeared = cv2.filter2D(colour, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    chosen = np.flatnonzero((smeared[..., 3] > 0) & shows)
    over = smeared.reshape(-1, 4)[chosen].astype(np.float32)
    flat = image.reshape(-1, 3)
    mixed = flat[chosen] * (1 - over[:, 3:] / 255) + over[:, :3]
    flat[chosen] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
