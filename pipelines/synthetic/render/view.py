"""One camera's still picture of a sequence: room, person, table and the objects that stay."""

from dataclasses import dataclass

import cv2
import numpy as np

from deformer.data.official import IMAGE_SIZE
from pipelines.synthetic.render.appearance import sample_texture
from pipelines.synthetic.render.cover import SPACING_M, may_cover
from pipelines.synthetic.render.lighting import shade
from pipelines.synthetic.render.rays import RayScene, interpolate, unit
from pipelines.synthetic.render.table_light import CELL_M
from pipelines.synthetic.render.textures import hex_to_linear, linear_to_srgb, room
from pipelines.synthetic.scene.cameras import Camera
from pipelines.synthetic.scene.world import TABLE_X_M, TABLE_Y_M, TEXELS_PER_M, World
from pipelines.synthetic.things.objects import surface_samples_m
from pipelines.synthetic.things.shapes import Lathe

SUBPIXELS = np.array([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]])
"""Further samples of a pixel for its colour; its centre alone decides depth and label."""

WALL_M = (1.6, 2.6)
"""How far behind the table's middle the room's wall stands."""


@dataclass(frozen=True, eq=False)
class StillScene:
    """The objects that stay, in the world: one ray scene and what its hits look like."""

    scene: RayScene | None
    normals: np.ndarray
    uv: np.ndarray
    first_vertex: np.ndarray
    indices: list[int]
    """Position in `World.objects` per mesh."""
    gloss: np.ndarray


@dataclass(frozen=True, eq=False)
class View:
    """One camera and its still layers, all (480, 640).

    image (…, 3) uint8 sRGB, BGR; depth_m float32; label uint8 (YCB class or 0); directions (…, 3)
    float32 in the world; is_table bool; table_to_image (3, 3): cells of its light → pixels.
    """

    camera: Camera
    image: np.ndarray
    depth_m: np.ndarray
    label: np.ndarray
    directions: np.ndarray
    is_table: np.ndarray
    table_to_image: np.ndarray


def still_scene(world: World, rng: np.random.Generator) -> StillScene:
    """The ray scene of all objects but the grasped one."""
    indices = [k for k in range(len(world.objects)) if k != world.grasped]
    if not indices:
        empty = np.zeros((0, 3))
        return StillScene(None, empty, empty, np.zeros(0, int), [], np.zeros(0))
    meshes, normals, uv = [], [], []
    for k in indices:
        placed = world.objects[k]
        mesh = placed.thing.mesh
        meshes.append((mesh.vertices_m @ placed.rotation.T + placed.position_m, mesh.faces))
        normals.append(mesh.normals @ placed.rotation.T)
        uv.append(mesh.uv)
    first = np.cumsum([0, *(len(n) for n in normals[:-1])])
    return StillScene(
        RayScene(meshes),
        np.concatenate(normals).astype(np.float32),
        np.concatenate(uv).astype(np.float32),
        first,
        indices,
        rng.uniform(0.02, 0.3, len(indices)).astype(np.float32),
    )


def render_view(
    world: World, still: StillScene, table: np.ndarray, camera: Camera, rng: np.random.Generator
) -> View:
    """Draw the still layers of one camera; `table` is the lit table top, linear RGB."""
    width, height = IMAGE_SIZE
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([x, y], -1).reshape(-1, 2)
    directions = camera.ray_directions(pixels)
    image = room(rng, height, width, world.setting.walls) * world.light.sky.mean() * 1.6
    depth = _wall_depth(directions, rng).reshape(height, width)
    image, depth = _add_person(world, camera, directions, image, depth)
    image = cv2.GaussianBlur(image, (0, 0), 1.6)
    to_image = _plane_to_image(camera, CELL_M)
    image, depth, is_table = _add_table(world, camera, directions, table, image, depth)
    label = np.zeros((height, width), np.uint8)
    if still.scene is not None:
        _add_objects(world, still, camera, directions, image, depth, label, is_table)
    srgb = np.ascontiguousarray((linear_to_srgb(image)[..., ::-1] * 255 + 0.5).astype(np.uint8))
    return View(
        camera, srgb, depth, label, directions.reshape(height, width, 3), is_table, to_image
    )


def _wall_depth(directions: np.ndarray, rng) -> np.ndarray:
    """A wall across the view: its depth is what the sensor would see behind everything."""
    return np.full(len(directions), rng.uniform(*WALL_M) + 0.8, np.float32)


def _plane_to_image(camera: Camera, cell_m: float) -> np.ndarray:
    """Homography: (column, row) on a grid of the table's plane → pixels."""
    grid = np.array(
        [
            [cell_m, 0, TABLE_X_M[0] + cell_m / 2],
            [0, cell_m, TABLE_Y_M[0] + cell_m / 2],
            [0, 0, 0],
        ]
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
    on_table = (
        (reach > 0)
        & (spot[:, 0] > TABLE_X_M[0])
        & (spot[:, 0] < TABLE_X_M[1])
        & (spot[:, 1] > TABLE_Y_M[0])
        & (spot[:, 1] < TABLE_Y_M[1])
    ).reshape(height, width)
    to_image = _plane_to_image(camera, 1 / TEXELS_PER_M)
    seen = cv2.warpPerspective(
        table, to_image, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    cover = cv2.GaussianBlur(on_table.astype(np.float32), (3, 3), 0.7)[..., None]
    image = image + (seen - image) * cover
    depth = np.where(on_table, reach.reshape(height, width), depth).astype(np.float32)
    return image, depth, on_table


def _add_person(world: World, camera: Camera, directions, image, depth):
    """A simple figure behind the table: chest and head, out of focus."""
    chest = Lathe(
        (
            (0, -0.45),
            (0.2, -0.45),
            (0.19, 0.1),
            (0.21, 0.22),
            (0.12, 0.31),
            (0.05, 0.33),
            (0.045, 0.40),
            (0, 0.40),
        ),
        aspect=0.62,
        crease_rad=1.2,
    )
    angles = np.linspace(-np.pi / 2, np.pi / 2, 9)
    head = Lathe(tuple((max(0.088 * np.cos(a), 0.0), 0.115 * np.sin(a)) for a in angles))
    meshes = [chest.mesh(), head.mesh()]
    shifts = [world.body_m, world.body_m + [0.0, 0.02, 0.47]]
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
    colour = shade(
        world.light,
        albedo.astype(np.float32),
        n,
        points.astype(np.float32),
        -directions[chosen],
        np.ones(len(n), np.float32),
        0.01,
    )
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
    worth = np.zeros(depth.shape, np.uint8)
    for k in still.indices:
        placed = world.objects[k]
        points = surface_samples_m(placed.thing, SPACING_M) @ placed.rotation.T + placed.position_m
        box, mask = may_cover(camera, points)
        worth[box] |= mask
    chosen = np.flatnonzero(worth)
    flat, flat_depth = image.reshape(-1, 3), depth.reshape(-1)
    flat_label, flat_table = label.reshape(-1), is_table.reshape(-1)
    hits = still.scene.cast(camera.center_m, directions[chosen])
    classes = np.array([world.objects[k].thing.class_id for k in still.indices], np.uint8)
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


def _object_colour(world, still, camera, hits, rays, met) -> np.ndarray:
    hits, directions = hits.take(np.flatnonzero(met)), rays[met]
    mesh, weights = hits.mesh, hits.weights
    rows = hits.corners + still.first_vertex[mesh][:, None]
    normals = unit(interpolate(still.normals, rows, weights))
    view = unit(-directions)
    normals[np.einsum("ni,ni->n", normals, view) < -0.2] *= -1
    uv = interpolate(still.uv, rows, weights)
    albedo = np.zeros_like(normals)
    for m, k in enumerate(still.indices):
        mine = mesh == m
        if mine.any():
            albedo[mine] = sample_texture(world.objects[k].texture, uv[mine])
    points = (camera.center_m + directions * hits.depth[:, None]).astype(np.float32)
    start, lit = points + 0.0015 * normals, np.zeros(len(points), np.float32)
    for lamp in world.light.key_samples_m(4):
        lit += ~still.scene.is_blocked(start, lamp.astype(np.float32) - start, 0.999)
    open_sky = np.clip(0.45 + points[:, 2] / 0.06, 0.45, 1.0)
    return shade(
        world.light,
        albedo,
        normals,
        points,
        view.astype(np.float32),
        lit / 4,
        still.gloss[mesh],
        open_sky,
    )
