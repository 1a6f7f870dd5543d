"""Hands, arms and things as parts of a layer, and the colours of their points."""

from collections.abc import Callable

import cv2
import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

from deformer.hand.conventions import FINGERS, TIP_VERTICES
from pipelines.rays import Hits, RayScene, dot, interpolate, unit
from pipelines.synthetic.hand.arm import Arm, ArmStyle
from pipelines.synthetic.hand.kinematics import HandRig, finger_joints
from pipelines.synthetic.paint.lighting import Light, shade
from pipelines.synthetic.paint.textures import sample_noise
from pipelines.synthetic.render.layer import (
    ARM,
    HAND,
    NOBODY,
    SPACING_M,
    THING,
    Column,
    Layer,
    Part,
    Surface,
)
from pipelines.synthetic.things.objects import SceneObject, surface_samples_m

_OPEN_REACH_M = 0.05
_CLOTH_M = 0.2  # a texture's side on a sleeve


def layer_colour(
    layer: Layer,
    hits: Hits,
    origin_m: np.ndarray,
    directions: np.ndarray,
    light: Light,
    lamp_share: Callable,
) -> np.ndarray:
    """Linear RGB (3, N) of hits that all met something, sorted by mesh.

    directions (3, N); lamp_share(points_m, kinds): share of the lamp's light (N,) that arrives.
    """
    values = interpolate(layer.attributes, hits.corners, hits.weights)
    kinds = layer.kinds.take(hits.mesh)
    albedo, normals = np.empty((2, *directions.shape), np.float32)
    ends = np.searchsorted(hits.mesh, np.arange(len(layer.parts) + 1))
    for part, start, stop in zip(layer.parts, ends, ends[1:], strict=False):
        if start < stop:
            albedo[:, start:stop], normals[:, start:stop] = part.surface(values[:, start:stop])
    view = unit(-directions)
    inner = np.flatnonzero(dot(normals, view) < -0.2)
    normals[:, inner] *= -1  # the inside of a bowl
    points = np.asarray(origin_m, np.float32)[:, None] + directions * hits.depth
    lit = lamp_share(points + 0.0012 * normals, kinds) * values[Column.LIT]
    softness = np.where(kinds == HAND, np.float32(0.5), np.float32(0))
    gloss, open_ = layer.gloss.take(hits.mesh), values[Column.OPEN]
    return shade(light, albedo, normals, points, view, lit, gloss, open_, softness)


def openness(
    scenes: list[RayScene], start: np.ndarray, normals: np.ndarray, turns: np.ndarray, floor_m
) -> np.ndarray:
    """Share of the surroundings that nothing near hides from points (V, 3), (V,).

    turns (R, 3): added to the normal for each ray; floor_m: height of a surface below, or None.
    """
    blocked = num_blocked(scenes, start, (normals + 0.95 * turns[:, None]) * _OPEN_REACH_M, 1.0)
    open_ = 1 - 0.85 * blocked.astype(np.float32) / len(turns)
    if floor_m is None:
        return open_
    return open_ * np.clip(0.6 + (start[:, 2] - floor_m) / 0.08, 0.6, 1.0)


def attributes(normals, albedo=0.0, rest=0.0, uv=0.0, textured=0.0, open_=1.0) -> np.ndarray:
    """A part's attributes, (V, 14) float32, without shadow."""
    table = np.ones((len(normals), Column.COUNT), np.float32)
    table[:, Column.NORMAL], table[:, Column.ALBEDO], table[:, Column.REST] = normals, albedo, rest
    table[:, Column.UV], table[:, Column.TEXTURED], table[:, Column.OPEN] = uv, textured, open_
    return table


class Limb:
    """A hand and its arm at every moment. vertices_m (T, 778, 3)."""

    def __init__(
        self,
        rig: HandRig,
        style: ArmStyle,
        vertices_m: np.ndarray,
        global_rotvec: np.ndarray,
        owner: int = NOBODY,
    ) -> None:
        self.rig, self.arm, self.vertices_m, self.owner = rig, Arm(rig, style), vertices_m, owner
        self._rotation = Rotation.from_rotvec(global_rotvec).as_matrix()
        self._faces = rig.arrays.faces.astype(np.int32)
        corners = rig.rest_vertices_m[self._faces]
        edges_m = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=-1)
        self._large_faces = self._faces[edges_m.max(1) > 0.009]
        self._operator = _vertex_normals_operator(self._faces, 778)
        self._arm_operator = _vertex_normals_operator(self.arm.faces, self.arm.num_vertices)
        rings, sides = len(self.arm.along_m), self.arm.num_vertices // len(self.arm.along_m)
        around = np.tile(np.linspace(0, 1, sides), rings).astype(np.float32)
        along = np.repeat(self.arm.along_m, sides)
        self._arm_uv = np.stack([around, along / _CLOTH_M], 1)
        angle = 2 * np.pi * around
        self._arm_rest = np.stack([0.04 * np.cos(angle), 0.04 * np.sin(angle), 0.3 + along], 1)
        self._in_sleeve = np.repeat(self.arm.is_sleeve, sides)

    def hand_part(self, moment: int, albedo: np.ndarray, skin: Surface, gloss: float) -> Part:
        vertices = self.vertices_m[moment]
        normals = _mesh_normals(vertices, self._faces, self._operator)
        table = attributes(normals, albedo, self.rig.rest_vertices_m)
        a, b, c = (vertices[self._large_faces[:, k]] for k in range(3))
        outline = [vertices, (a + b) / 2, (b + c) / 2, (c + a) / 2, (a + b + c) / 3]
        mesh = vertices, self._faces, np.concatenate(outline)
        return Part(HAND, *mesh, table, skin, gloss, self.owner)

    def arm_part(self, moment: int, albedo: np.ndarray, surface: Surface) -> Part:
        arm = self.arm
        vertices = arm.vertices_m(self.vertices_m[moment], self._rotation[moment])
        normals = _mesh_normals(vertices, arm.faces, self._arm_operator)
        rows = normals.reshape(len(arm.along_m), -1, 3)
        rows[:, 0] = rows[:, -1] = rows[:, 0] + rows[:, -1]  # the seam of the tube
        normals = rows.reshape(-1, 3)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
        rings = vertices.reshape(rows.shape)
        outward = ((rings - rings.mean(1, keepdims=True)) * rows).sum() > 0
        normals = normals if outward else -normals
        table = attributes(normals, albedo, self._arm_rest, self._arm_uv, self._in_sleeve, 0.9)
        mesh = vertices, arm.faces, arm.outline_m(vertices, SPACING_M)
        return Part(ARM, *mesh, table, surface, 0.01, self.owner)


def thing_part(
    thing: SceneObject,
    rotation: np.ndarray,
    position_m: np.ndarray,
    texture: np.ndarray,
    gloss: float = 0.1,
    owner: int = NOBODY,
) -> Part:
    """A textured thing in its pose."""
    mesh = thing.mesh
    table = attributes(mesh.normals @ rotation.T, uv=mesh.uv, textured=1.0)
    vertices, outline = (
        points @ rotation.T + position_m
        for points in (mesh.vertices_m, surface_samples_m(thing, SPACING_M))
    )

    def surface(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return sample_texture(texture, values[Column.UV]), values[Column.NORMAL]

    look = table, surface, gloss, owner, thing.class_id
    return Part(THING, vertices, mesh.faces, outline, *look)


def num_blocked(
    scenes: list[RayScene], start: np.ndarray, ways: np.ndarray, reach: float
) -> np.ndarray:
    """How many of the rays (R, N, 3) from start (N, 3) meet something within `reach`, (N,)."""
    starts = np.broadcast_to(start, (len(ways), *start.shape)).reshape(-1, 3)
    ways_left, left = ways.reshape(-1, 3), np.arange(len(starts))  # rays that nothing met yet
    met = np.ones(len(starts), bool)
    for scene in scenes:
        clear = np.flatnonzero(~scene.is_blocked(starts, ways_left, reach))
        starts, ways_left, left = starts.take(clear, 0), ways_left.take(clear, 0), left.take(clear)
    met[left] = False
    return met.reshape(len(ways), -1).sum(0)


def _vertex_normals_operator(faces: np.ndarray, num_vertices: int) -> csr_matrix:
    """Sparse (V, F): sums the normals of the faces round each vertex."""
    rows = faces.ravel()
    columns = np.repeat(np.arange(len(faces)), 3)
    data = np.ones(len(rows), np.float32)
    return csr_matrix((data, (rows, columns)), shape=(num_vertices, len(faces)))


def _mesh_normals(vertices: np.ndarray, faces: np.ndarray, operator: csr_matrix) -> np.ndarray:
    """Smooth unit normals (V, 3), outward where faces run counter-clockwise."""
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    normals = operator @ np.cross(b - a, c - a)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def paint_hand(rig: HandRig, skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Albedo per vertex of the hand, linear RGB (778, 3): palm, knuckles, fingertips, nails."""
    v, joints = rig.rest_vertices_m, rig.rest_joints_m
    operator = _vertex_normals_operator(rig.arrays.faces, len(v))
    normals = _mesh_normals(v, rig.arrays.faces, operator)
    palmar = np.clip(normals @ rig.axes[1] * 1.2, -1, 1)  # +1 palm, −1 back of the hand
    darkness = 1 - skin.mean()
    palm_tint = skin + (np.array([0.6, 0.37, 0.29]) - skin) * (0.12 + 0.3 * darkness)
    share = np.clip(0.5 + 0.7 * palmar, 0, 1)[:, None]
    albedo = skin * (1 - share) + palm_tint * share
    redden = np.zeros(len(v))
    for k in range(len(FINGERS)):
        tip = v[TIP_VERTICES["dexycb", rig.side][k]]
        redden += 0.8 * np.exp(-((np.linalg.norm(v - tip, axis=1) / 0.013) ** 2))
        for joint in range(1 + 4 * k, 4 + 4 * k):
            near = np.exp(-((np.linalg.norm(v - joints[joint], axis=1) / 0.011) ** 2))
            redden += 0.55 * near * np.clip(0.3 - palmar, 0, 1)
    redden = np.clip(redden, 0, 1)[:, None] * rng.uniform(0.5, 1.0)
    albedo = albedo * (1 + redden * np.array([0.05, -0.15, -0.14]))
    for finger in FINGERS:
        albedo = _add_nail(rig, finger, normals, albedo, skin)
    return np.clip(albedo, 0.01, 0.9).astype(np.float32)


def _add_nail(rig, finger, normals, albedo, skin) -> np.ndarray:
    """Paint a nail, paler and pinker: the back of the last bone, near the tip."""
    v = rig.rest_vertices_m
    k = FINGERS.index(finger)
    bone = rig.rest_joints_m[4 + 4 * k] - rig.rest_joints_m[3 + 4 * k]
    length = np.linalg.norm(bone)
    along = (v - rig.rest_joints_m[3 + 4 * k]) @ bone / length**2
    mine = np.isin(np.arange(len(v)), np.flatnonzero(rig.owner == finger_joints(finger)[2]))
    back = -rig.axes[1] if finger != "thumb" else _thumb_back(rig, bone / length)
    nail = mine & (along > 0.5) & (along < 1.15) & (normals @ back > 0.72)
    target = 0.45 * skin + 0.55 * np.array([0.72, 0.46, 0.4]) * (0.35 + 0.65 * skin.mean() / 0.4)
    return np.where(nail[:, None], target, albedo)


def _thumb_back(rig: HandRig, bone: np.ndarray) -> np.ndarray:
    """The direction of the thumb's back: half up, half outwards."""
    back = 0.75 * rig.axes[2] - 0.65 * rig.axes[1]
    back = back - bone * (back @ bone)
    return back / np.linalg.norm(back)


def skin_surface(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The `Surface` of a hand: its colour mottled, its normals uneven."""
    columns = Column.ALBEDO, Column.NORMAL, Column.REST
    albedo, normals, rest_m = (values[column] for column in columns)
    coarse, fine = sample_noise(rest_m, 1100.0), sample_noise(rest_m, 3700.0)
    mottled = albedo * (1 + 0.09 * coarse[0] + 0.05 * coarse + 0.05 * fine[1])
    bumped = normals + 0.09 * coarse + 0.06 * fine
    return mottled, unit(bumped)


def sample_texture(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear texture (H, W, 3) at uv (2, N), v upwards, (3, N)."""
    height, width = texture.shape[:2]
    count = uv.shape[1]
    rows = -(-count // 4096)
    x = np.zeros(rows * 4096, np.float32)
    y = np.zeros(rows * 4096, np.float32)
    x[:count] = uv[0] * (width - 1)
    y[:count] = (1 - uv[1]) * (height - 1)
    found = cv2.remap(
        texture,
        x.reshape(rows, 4096),
        y.reshape(rows, 4096),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.ascontiguousarray(found.reshape(-1, 3)[:count].T)
