"""What moves, frame by frame: hand, arm and grasped object as one ray scene with attributes."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from pipelines.synthetic.hand.arm import Arm
from pipelines.synthetic.hand.kinematics import HandRig
from pipelines.synthetic.hand.motion import Motion
from pipelines.synthetic.render.appearance import (
    ARM,
    HAND,
    OBJECT,
    arm_albedo,
    cloth_surface,
    mesh_normals,
    paint_hand,
    sample_texture,
    skin_surface,
    vertex_normals_operator,
)
from pipelines.synthetic.render.cover import SPACING_M
from pipelines.synthetic.render.lighting import shade
from pipelines.synthetic.render.rays import Hits, RayScene, interpolate, unit
from pipelines.synthetic.scene.world import World
from pipelines.synthetic.things.objects import surface_samples_m

_AO_RAYS, _AO_REACH_M = 10, 0.05
_NORMAL, _ALBEDO, _REST, _AO, _UV = slice(0, 3), slice(3, 6), slice(6, 9), 9, slice(10, 12)
_LIT = 12
_NUM_ATTRIBUTES = 13


@dataclass(frozen=True, eq=False)
class Posed:
    """The moving things in one frame.

    scene: meshes HAND, ARM, OBJECT (without a hand only OBJECT, as mesh 0). attributes (V, 13):
    world normal, albedo, rest position, openness, uv, share of the key light that the still
    objects let through, of all vertices in a row; first_vertex: where
    each mesh begins in it; kinds: HAND, ARM or OBJECT per mesh. outline_m (N, 3): points so dense
    that they show where rays are worth casting. hand_m: (778, 3), None where there is no hand.
    """

    scene: RayScene
    attributes: np.ndarray
    first_vertex: np.ndarray
    kinds: np.ndarray
    outline_m: np.ndarray
    hand_m: np.ndarray | None


class Stage:
    """Everything about one sequence that its cameras share."""

    def __init__(
        self,
        world: World,
        rig: HandRig,
        motion: Motion,
        still: RayScene | None,
        rng: np.random.Generator,
    ) -> None:
        self.world, self.rig, self.motion, self.still = world, rig, motion, still
        self.arm = Arm(rig, world.arm)
        self.hand_faces = rig.arrays.faces.astype(np.int32)
        self._hand_operator = vertex_normals_operator(self.hand_faces, 778)
        corners = rig.rest_vertices_m[self.hand_faces]
        edges_m = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=-1)
        self._wide_faces = self.hand_faces[edges_m.max(1) > 0.009]
        self._arm_operator = vertex_normals_operator(self.arm.faces, self.arm.num_vertices)
        rotvec = motion.global_rotvec
        vertices, joints = rig.pose(motion.finger_rotvec, rotvec)
        self.hand_vertices_m = vertices + motion.wrist_m[:, None]
        self.hand_joints_m = joints + motion.wrist_m[:, None]
        self._hand_rotation = Rotation.from_rotvec(rotvec).as_matrix()
        self._hand_albedo = paint_hand(rig, world.skin, rng)
        self._arm_albedo = arm_albedo(self.arm, world.skin, world.sleeve)
        self._ao_turns = rng.uniform(-1, 1, (_AO_RAYS, 3)).astype(np.float32)
        self.gloss = rng.uniform(0.03, 0.09)
        self.object_gloss = rng.uniform(0.02, 0.3)

    @property
    def object_mesh(self):
        return self.world.objects[self.world.grasped].thing.mesh

    def posed(self, frame: int) -> Posed:
        """Pose all meshes of a frame and work out their vertices' attributes."""
        meshes, kinds, attributes, outline = [], [], [], []
        hand = None
        if self.motion.valid[frame]:
            hand = self.hand_vertices_m[frame]
            for part, kind in ((self._hand(frame), HAND), (self._arm(frame), ARM)):
                vertices, faces, attribute = part
                meshes.append((vertices, faces))
                attributes.append(attribute)
                kinds.append(kind)
                dense = (
                    self.arm.outline_m(vertices) if kind == ARM else self._hand_outline(vertices)
                )
                outline.append(dense)
        vertices, faces, attribute = self._object(frame)
        meshes.append((vertices, faces))
        attributes.append(attribute)
        kinds.append(OBJECT)
        outline.append(self._object_outline(frame))
        scene = RayScene(meshes)
        if hand is not None:
            attributes[0][:, _AO] = self._openness(scene, hand, attributes[0][:, _NORMAL])
        for (vertices, _), attribute in zip(meshes, attributes, strict=True):
            attribute[:, _LIT] = self._lit_past_still(vertices, attribute[:, _NORMAL])
        sizes = [len(a) for a in attributes]
        return Posed(
            scene,
            np.concatenate(attributes).astype(np.float32),
            np.cumsum([0, *sizes[:-1]]).astype(np.int32),
            np.array(kinds),
            np.concatenate(outline).astype(np.float32),
            hand,
        )

    def _hand(self, frame: int):
        vertices = self.hand_vertices_m[frame]
        attribute = np.zeros((len(vertices), _NUM_ATTRIBUTES), np.float32)
        attribute[:, _NORMAL] = mesh_normals(vertices, self.hand_faces, self._hand_operator)
        attribute[:, _ALBEDO] = self._hand_albedo
        attribute[:, _REST] = self.rig.rest_vertices_m
        return vertices, self.hand_faces, attribute

    def _hand_outline(self, vertices: np.ndarray) -> np.ndarray:
        """Vertices, and the middles of faces and edges where they are far apart."""
        a, b, c = (vertices[self._wide_faces[:, k]] for k in range(3))
        return np.concatenate([vertices, (a + b) / 2, (b + c) / 2, (c + a) / 2, (a + b + c) / 3])

    def _arm(self, frame: int):
        vertices = self.arm.vertices_m(self.hand_vertices_m[frame], self._hand_rotation[frame])
        attribute = np.zeros((len(vertices), _NUM_ATTRIBUTES), np.float32)
        normals = mesh_normals(vertices, self.arm.faces, self._arm_operator)
        rows = normals.reshape(len(self.arm.along_m), -1, 3)
        rows[:, 0] = rows[:, -1] = rows[:, 0] + rows[:, -1]  # the seam of the tube
        normals = rows.reshape(-1, 3)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
        centers = vertices.reshape(rows.shape).mean(1, keepdims=True)
        outward = ((vertices.reshape(rows.shape) - centers) * rows).sum() > 0
        attribute[:, _NORMAL] = normals if outward else -normals
        attribute[:, _ALBEDO] = self._arm_albedo
        side = np.linspace(0, 1, rows.shape[1])
        attribute[:, 10] = np.tile(side, rows.shape[0])
        attribute[:, 11] = np.repeat(self.arm.along_m / self.arm.along_m[-1], rows.shape[1])
        attribute[:, _REST] = np.stack(
            [
                0.04 * np.cos(2 * np.pi * attribute[:, 10]),
                0.04 * np.sin(2 * np.pi * attribute[:, 10]),
                0.3 + np.repeat(self.arm.along_m, rows.shape[1]),
            ],
            1,
        )
        attribute[:, _AO] = 0.9
        return vertices, self.arm.faces, attribute

    def _object(self, frame: int):
        mesh, rotation = self.object_mesh, self.motion.object_rotation[frame]
        attribute = np.zeros((len(mesh.vertices_m), _NUM_ATTRIBUTES), np.float32)
        attribute[:, _NORMAL] = mesh.normals @ rotation.T
        attribute[:, _AO] = 1.0
        attribute[:, _UV] = mesh.uv
        vertices = mesh.vertices_m @ rotation.T + self.motion.object_m[frame]
        return vertices, mesh.faces, attribute

    def _object_outline(self, frame: int) -> np.ndarray:
        thing = self.world.objects[self.world.grasped].thing
        samples = surface_samples_m(thing, SPACING_M)
        return samples @ self.motion.object_rotation[frame].T + self.motion.object_m[frame]

    def _openness(self, scene: RayScene, vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Share of the surroundings that each vertex sees past fingers and object, (V,)."""
        blocked = np.zeros(len(vertices), np.float32)
        start = (vertices + 0.0015 * normals).astype(np.float32)
        for turn in self._ao_turns:
            direction = normals + 0.95 * turn
            blocked += scene.is_blocked(start, direction * _AO_REACH_M, 1.0)
        near_table = np.clip(0.6 + start[:, 2] / 0.08, 0.6, 1.0)
        return (1 - 0.85 * blocked / _AO_RAYS) * near_table

    def _lit_past_still(self, vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Share of the key light that passes the still objects on its way to each vertex, (V,)."""
        lit = np.ones(len(vertices), np.float32)
        if self.still is not None:
            start = (vertices + 0.002 * normals).astype(np.float32)
            lamps = self.world.light.key_samples_m(3).astype(np.float32)
            lit = 1 - sum(self.still.is_blocked(start, lamp - start, 0.999) for lamp in lamps) / 3
        return lit

    def colour(
        self, posed: Posed, hits: Hits, origin_m: np.ndarray, directions: np.ndarray
    ) -> np.ndarray:
        """Linear RGB (N, 3) of hits that all met something."""
        rows = hits.corners + posed.first_vertex[hits.mesh][:, None]
        values = interpolate(posed.attributes, rows, hits.weights)
        kind = posed.kinds[hits.mesh]
        normals = values[:, _NORMAL].copy()  # as long as makes no difference to the eye
        albedo = values[:, _ALBEDO].copy()
        gloss = np.full(len(kind), 0.01, np.float32)
        softness = np.zeros(len(kind), np.float32)
        hand, thing, arm = (np.flatnonzero(kind == k) for k in (HAND, OBJECT, ARM))
        if len(hand):
            albedo[hand], normals[hand] = skin_surface(
                albedo[hand], normals[hand], values[hand, _REST]
            )
            gloss[hand], softness[hand] = self.gloss, 0.5
        if len(arm):
            albedo[arm] = cloth_surface(albedo[arm], values[arm, _REST])
        if len(thing):
            texture = self.world.objects[self.world.grasped].texture
            albedo[thing] = sample_texture(texture, values[thing, _UV])
            gloss[thing] = self.object_gloss
        view = unit(-directions)
        inner = np.flatnonzero(np.einsum("ni,ni->n", normals, view) < -0.2)
        normals[inner] *= -1  # the inside of a bowl
        points = origin_m.astype(np.float32) + directions * hits.depth[:, None]
        start = points + 0.0012 * normals
        to_key = self.world.light.key_m.astype(np.float32) - start
        lit = ~posed.scene.is_blocked(start, to_key, 0.999)
        return shade(
            self.world.light,
            albedo,
            normals,
            points,
            view,
            lit * values[:, _LIT],
            gloss,
            values[:, _AO],
            softness,
        )
