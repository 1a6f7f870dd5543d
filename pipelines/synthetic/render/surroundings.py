"""What surrounds the hands in one view: things in front, the person, ground and backdrop."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from pipelines.rays import RayScene
from pipelines.synthetic.paint.backgrounds import background, plain_room
from pipelines.synthetic.paint.patterns import colour, texture
from pipelines.synthetic.paint.textures import linear_rgb
from pipelines.synthetic.render.layer import BODY, NOTHING_M, Part
from pipelines.synthetic.render.parts import thing_part
from pipelines.synthetic.scene.cameras import Camera
from pipelines.synthetic.scene.scene import Scene
from pipelines.synthetic.scene.varied_scene import draw_thing
from pipelines.synthetic.scene.world import TABLE_TEXELS_PER_M, TABLE_X_M, TABLE_Y_M, World
from pipelines.synthetic.things.household import CHEST, HEAD, HEAD_M, bare
from pipelines.synthetic.things.shapes import Box

MARGIN = 0.15
"""How far the backdrop reaches beyond the picture, as a share of its sides."""

_TEXELS = 512
_WALL_M = (2.4, 3.4)  # from a camera at a table to the room behind
_MOST_HIDDEN = 0.6
"""Largest share of the hands' points that one thing in front may hide."""

_ACROSS = np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]])  # its broad side to the front


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What one camera sees besides meshes. backdrop: a picture wider than the camera's, backdrop_m
    away; ground: a texture with alpha (h, w, 4), None for no ground; ground_to_world (3, 3): the
    texture's column and row → x and y."""

    backdrop: np.ndarray
    ground: np.ndarray | None
    ground_to_world: np.ndarray
    backdrop_m: float = NOTHING_M


def draw_occluders(rng, scene: Scene, camera: Camera, solid_m: np.ndarray) -> list[Part]:
    """Things between camera and hand that touch nothing; often none."""
    parts = []
    for _ in range(int(rng.choice([0, 1, 2], p=[0.55, 0.33, 0.12]))):
        target = scene.tracks[0].wrist_m.mean(0) - 0.08 * scene.tracks[0].elbow
        way = target - camera.center_m
        side = np.cross(way, rng.standard_normal(3))
        side *= abs(rng.normal(0.05, 0.04)) / max(np.linalg.norm(side), 1e-6)
        spot = camera.center_m + way * rng.uniform(0.45, 0.85) + side
        rotation = Rotation.from_quat(rng.standard_normal(4)).as_matrix()
        if rng.random() < 0.5:
            thing = draw_thing(rng)
        else:
            size = np.exp(rng.uniform(np.log(0.012), np.log([0.03, 0.1, 0.5])))
            thing = bare("box", Box(tuple(size.tolist())))
        part = thing_part(thing, rotation, spot, linear_rgb(texture(rng, 128, 192)))
        nearest = np.linalg.norm(solid_m[::3, None] - part.vertices_m[None, ::5], axis=-1).min()
        from_camera = np.linalg.norm(part.vertices_m - camera.center_m, axis=1).min()
        ways, mesh = solid_m[::3] - camera.center_m, RayScene([(part.vertices_m, part.faces)])
        hidden = mesh.is_blocked(camera.center_m, ways, 1.0)
        if nearest > 0.02 and from_camera > 0.08 and hidden.mean() < _MOST_HIDDEN:
            parts.append(part)
    return parts


def body_parts(scene: Scene, camera: Camera, rng) -> list[Part]:
    """The person's chest and head; none if they contain the camera or block its view of the
    hand."""
    if scene.body is None:
        return []
    middle, facing = scene.body
    c, s = np.cos(facing), np.sin(facing)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    head_m = middle + turn @ [0.03, 0, HEAD_M]
    hand_m = scene.tracks[0].wrist_m.mean(0)
    way = camera.center_m + np.linspace(0, 0.9, 10)[:, None] * (hand_m - camera.center_m)
    aside = np.linalg.norm(way[:, :2] - middle[:2], axis=1)
    if (aside < 0.33).any() or np.linalg.norm(way - head_m, axis=1).min() < 0.2:
        return []
    cloth = scene.appearance.cloth
    if rng.random() < 0.25:
        cloth = linear_rgb(texture(rng, 128, 128))
    chest = thing_part(CHEST, turn @ _ACROSS, middle, cloth, 0.01, BODY)
    head = thing_part(HEAD, turn, head_m, _face(rng, scene.appearance.skin), 0.03, BODY)
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
    """Backdrop and ground of one camera."""
    width, height = size
    margin_x, margin_y = (round(n * MARGIN) for n in size)
    backdrop = background(rng, height + 2 * margin_y, width + 2 * margin_x)
    ground, to_world = None, np.eye(3)
    if scene.ground_m is not None and camera.center_m[2] > scene.ground_m + 0.03:
        ground = np.full((_TEXELS, _TEXELS, 4), 255, np.uint8)
        kinds = str(rng.choice(["any", "wood", "wall"], p=[0.5, 0.25, 0.25]))
        ground[..., :3] = texture(rng, _TEXELS, _TEXELS, kinds)
        if rng.random() < 0.15:  # a round table
            alpha = np.zeros((_TEXELS, _TEXELS), np.uint8)
            middle, radius = (_TEXELS // 2,) * 2, _TEXELS // 2 - 4
            ground[..., 3] = cv2.circle(alpha, middle, radius, 255, -1, cv2.LINE_AA)
        extent = np.exp(rng.uniform(np.log(0.5), np.log(2.5), 2))
        angle = rng.uniform(0, 2 * np.pi)
        c, s = np.cos(angle), np.sin(angle)
        hand = scene.tracks[0].wrist_m.mean(0)[:2]
        spot = hand + rng.uniform(-0.38, 0.38, 2) @ (np.array([[c, s], [-s, c]]) * extent[:, None])
        axes = np.array([[c, -s], [s, c]]) * extent / _TEXELS
        corner = spot - axes @ [_TEXELS / 2, _TEXELS / 2]
        to_world = np.array([[*axes[0], corner[0]], [*axes[1], corner[1]], [0, 0, 1.0]])
    return Surroundings(backdrop, ground, to_world)


def table_surroundings(world: World, size: tuple[int, int], rng: np.random.Generator):
    """The table and the room behind it, as one camera sees them."""
    height, width = (round(n * (1 + 2 * MARGIN)) for n in size[::-1])
    backdrop = plain_room(rng, height, width, world.setting.walls)
    top = np.full((*world.table.shape[:2], 4), 255, np.uint8)
    top[..., :3] = world.table
    cell = 1 / TABLE_TEXELS_PER_M
    to_world = np.array([[cell, 0, TABLE_X_M[0]], [0, cell, TABLE_Y_M[0]], [0, 0, 1.0]])
    return Surroundings(backdrop, top, to_world, backdrop_m=rng.uniform(*_WALL_M))
