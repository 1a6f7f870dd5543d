"""One camera's still picture of a sequence: room, person, table and the objects that stay."""

from dataclasses import dataclass

import cv2
import numpy as np

from deformer.data.official import IMAGE_SIZE
from pipelines.synthetic.render.appearance import num_blocked, thing_part
from pipelines.synthetic.render.layer import Canvas, Column, Layer, may_cover
from pipelines.synthetic.render.lighting import shade
from pipelines.synthetic.render.rays import RayScene, interpolate, unit
from pipelines.synthetic.render.table_light import CELL_M
from pipelines.synthetic.render.textures import hex_to_linear, linear_to_srgb, room
from pipelines.synthetic.scene.cameras import Camera
from pipelines.synthetic.scene.world import TABLE_X_M, TABLE_Y_M, TEXELS_PER_M, World
from pipelines.synthetic.things.household import CHEST, HEAD, HEAD_M

SUBPIXELS = np.array([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]])
"""Further samples of a pixel for its colour; its centre alone decides depth and label."""

WALL_M = (1.6, 2.6)
"""How far behind the table's middle the room's wall stands."""


@dataclass(frozen=True, eq=False)
class View(Canvas):
    """One camera and its still layers, all (480, 640).

    label uint8 (YCB class or 0); is_table bool; table_to_image (3, 3): cells of its light → pixels.
    """

    label: np.ndarray
    is_table: np.ndarray
    table_to_image: np.ndarray


def still_layer(world: World, rng: np.random.Generator) -> Layer:
    """All objects but the grasped one; a part's owner is its position in `World.objects`."""
    indices = [k for k in range(len(world.objects)) if k != world.grasped]
    parts = []
    for k, gloss in zip(indices, rng.uniform(0.02, 0.3, len(indices)), strict=True):
        o = world.objects[k]
        parts.append(thing_part(o.thing, o.rotation, o.position_m, o.texture, gloss, k))
    return Layer(parts)


def render_view(
    world: World, still: Layer, table: np.ndarray, camera: Camera, rng: np.random.Generator
) -> View:
    """Draw the still layers of one camera; `table` is the lit table top, linear RGB."""
    width, height = IMAGE_SIZE
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([x, y], -1).reshape(-1, 2)
    directions = camera.ray_directions(pixels)
    image = room(rng, height, width, world.setting.walls) * world.light.sky.mean() * 1.6
    # a wall across the view: its depth is what the sensor would see behind everything
    depth = np.full((height, width), rng.uniform(*WALL_M) + 0.8, np.float32)
    image, depth = _add_person(world, camera, directions, image, depth)
    image = cv2.GaussianBlur(image, (0, 0), 1.6)
    to_image = _plane_to_image(camera, CELL_M)
    image, depth, is_table = _add_table(world, camera, directions, table, image, depth)
    label = np.zeros((height, width), np.uint8)
    if still.scene is not None:
        _add_objects(world, still, camera, directions, image, depth, label, is_table)
    srgb = np.ascontiguousarray((linear_to_srgb(image)[..., ::-1] * 255 + 0.5).astype(np.uint8))
    directions = directions.reshape(height, width, 3)
    return View(camera, srgb, depth, directions, label, is_table, to_image)


def _plane_to_image(camera: Camera, cell_m: float) -> np.ndarray:
    """Homography: (column, row) on a grid of the table's plane → pixels."""
    grid = np.array(
        [[cell_m, 0, TABLE_X_M[0] + cell_m / 2], [0, cell_m, TABLE_Y_M[0] + cell_m / 2], [0, 0, 0]]
    )
    plane = camera.rotation @ grid
    plane[:, 2] += camera.translation_m
    return camera.K @ plane


def _add_table(world, camera, directions, table, image, depth):
    height, width = depth.shape
    origin = camera.center_m.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = -origin[2] / directions[:, 2]
        spot = origin[:2] + directions[:, :2] * reach[:, None]
    low, high = np.array([TABLE_X_M, TABLE_Y_M]).T
    on_table = ((reach > 0) & ((spot > low) & (spot < high)).all(1)).reshape(height, width)
    to_image, size = _plane_to_image(camera, 1 / TEXELS_PER_M), (width, height)
    seen = cv2.warpPerspective(table, to_image, size, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.GaussianBlur(on_table.astype(np.float32), (3, 3), 0.7)[..., None]
    image = image + (seen - image) * cover
    depth = np.where(on_table, reach.reshape(height, width), depth).astype(np.float32)
    return image, depth, on_table


def _add_person(world: World, camera: Camera, directions, image, depth):
    """A simple figure behind the table: chest and head, out of focus."""
    meshes = [CHEST.mesh, HEAD.mesh]
    shifts = [world.body_m, world.body_m + [0.0, 0.02, HEAD_M]]
    scene = RayScene([(m.vertices_m + s, m.faces) for m, s in zip(meshes, shifts, strict=True)])
    normals = np.concatenate([m.normals for m in meshes]).astype(np.float32)
    outline = np.concatenate([m.vertices_m + s for m, s in zip(meshes, shifts, strict=True)])
    chosen = _inside_hull(camera, outline)
    hits = scene.cast(camera.center_m, directions[chosen])
    met = np.flatnonzero(hits.mesh >= 0)
    hits, chosen = hits.take(met), chosen[met]
    depths = hits.depth
    rows = hits.corners + np.array([0, len(meshes[0].vertices_m)])[hits.mesh][:, None]
    n = unit(interpolate(normals, rows, hits.weights))
    points = camera.center_m + directions[chosen] * depths[:, None]
    cloth = world.sleeve.mean((0, 1))
    on_head, hair = hits.mesh == 1, hex_to_linear("#2a211c")
    albedo = np.where(on_head[:, None], world.skin, cloth)
    crown = on_head & (points[:, 2] - shifts[1][2] > 0.03 - 0.9 * (points[:, 1] - shifts[1][1]))
    albedo[crown] = hair
    where = n, points.astype(np.float32), -directions[chosen]
    lit = np.ones(len(n), np.float32)
    colour = shade(world.light, albedo.astype(np.float32), *where, lit, 0.01)
    flat, flat_depth = image.reshape(-1, 3), depth.reshape(-1)
    flat[chosen], flat_depth[chosen] = colour, depths
    return flat.reshape(image.shape), flat_depth.reshape(depth.shape)


def _inside_hull(camera: Camera, points_m: np.ndarray) -> np.ndarray:
    """Flat indices of the pixels inside the convex outline of the projected points."""
    width, height = IMAGE_SIZE
    front = camera.to_camera(points_m)[:, 2] > 0.05
    mask = np.zeros((height, width), np.uint8)
    if front.any():
        uv = np.clip(camera.to_pixels(points_m[front]), -4000, 4000).round().astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(uv), 1)
    return np.flatnonzero(mask)


def _add_objects(world, still, camera, directions, image, depth, label, is_table) -> None:
    """Cast the objects that stay: pixel centres for depth and label, more samples for colour."""
    width, _ = IMAGE_SIZE
    found = may_cover(still.parts, camera, depth.shape)
    if found is None:
        return
    worth = np.zeros(depth.shape, np.uint8)
    worth[found[0]] = found[1]
    chosen = np.flatnonzero(worth)
    flat, flat_depth = image.reshape(-1, 3), depth.reshape(-1)
    flat_label, flat_table = label.reshape(-1), is_table.reshape(-1)
    hits = still.scene.cast(camera.center_m, directions[chosen])
    classes = np.array([world.objects[p.owner].thing.class_id for p in still.parts], np.uint8)
    front = (hits.mesh >= 0) & (hits.depth < flat_depth[chosen])
    at = chosen[front]
    flat_depth[at], flat_label[at] = hits.depth[front], classes[hits.mesh[front]]
    flat_table[at] = False
    met = hits.mesh >= 0
    colour, cover = np.zeros((len(chosen), 3), np.float32), met.astype(np.float32)
    colour[met] = _object_colour(world, still, camera, hits, directions[chosen], met)
    edge = _is_edge(chosen, hits, depth.shape)
    if edge.any():
        pixels = np.stack([chosen[edge] % width, chosen[edge] // width], 1)[:, None] + SUBPIXELS
        rays = camera.ray_directions(pixels.reshape(-1, 2))
        finer = still.scene.cast(camera.center_m, rays)
        found = finer.mesh >= 0
        shades = np.zeros((len(rays), 3), np.float32)
        shades[found] = _object_colour(world, still, camera, finer, rays, found)
        colour[edge] = shades.reshape(-1, len(SUBPIXELS), 3).mean(1)
        cover[edge] = found.reshape(-1, len(SUBPIXELS)).mean(1)
    flat[chosen] = flat[chosen] * (1 - cover[:, None]) + colour


def _is_edge(chosen: np.ndarray, hits, shape: tuple[int, int]) -> np.ndarray:
    """Which of the chosen pixels have a neighbour that shows something else."""
    near = np.full(shape, 9.0, np.float32)
    near.reshape(-1)[chosen] = np.where(hits.mesh >= 0, hits.depth, 9.0)
    kernel = np.ones((3, 3), np.uint8)
    return (cv2.dilate(near, kernel) - cv2.erode(near, kernel) > 0.012).reshape(-1)[chosen]


def _object_colour(world, still: Layer, camera, hits, rays, met) -> np.ndarray:
    hits, directions = hits.take(np.flatnonzero(met)), rays[met]
    rows = hits.corners + still.first_vertex[hits.mesh][:, None]
    values = interpolate(still.attributes, rows, hits.weights)
    normals, view = unit(values[:, Column.NORMAL]), unit(-directions).astype(np.float32)
    normals[np.einsum("ni,ni->n", normals, view) < -0.2] *= -1
    albedo = np.zeros_like(normals)
    for number, part in enumerate(still.parts):
        mine = hits.mesh == number
        if mine.any():
            albedo[mine], _ = part.surface(values[mine])
    points = (camera.center_m + directions * hits.depth[:, None]).astype(np.float32)
    start = points + 0.0015 * normals
    ways = world.light.key_samples_m(4).astype(np.float32)[:, None] - start
    lit = 1 - num_blocked([still.scene], start, ways, 0.999).astype(np.float32) / 4
    open_sky, gloss = np.clip(0.45 + points[:, 2] / 0.06, 0.45, 1.0), still.gloss[hits.mesh]
    return shade(world.light, albedo, normals, points, view, lit, gloss, open_sky)
