"""The meshes of a wide scene, posed and coloured: hands, arms, what is held, what stands about."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from pipelines.synthetic.hand.arm import Arm, ArmStyle
from pipelines.synthetic.render.appearance import (
    mesh_normals,
    paint_hand,
    sample_texture,
    skin_surface,
    vertex_normals_operator,
)
from pipelines.synthetic.render.backgrounds import background
from pipelines.synthetic.render.lighting import shade
from pipelines.synthetic.render.rays import Hits, RayScene, interpolate, unit
from pipelines.synthetic.render.textures import sample_noise
from pipelines.synthetic.scene.clutter import Placed
from pipelines.synthetic.scene.wide_looks import Looks, linear_rgb
from pipelines.synthetic.scene.wide_scene import Player, Scene

HAND, ARM, THING = 0, 1, 2

_AO_RAYS, _AO_REACH_M = 8, 0.05
_HARD_M = 0.06
"""A lamp's radius up to which its shadows on hands are cast point by point."""
_BAND_M = (0.025, 0.06)
_CLOTH_M = 0.2  # a texture's side on a sleeve

_NORMAL, _ALBEDO, _REST, _UV = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 11)
_AO, _SHARE, _LIT, _NUM_ATTRIBUTES = 11, 12, 13, 14


@dataclass(frozen=True, eq=False)
class Part:
    """A mesh in the world. owner: number of the player it belongs to, −1 for nobody's.

    attributes (V, 14): normal, albedo, place at rest, uv, openness, share of the texture in the
    colour, share of the lamp's light that arrives.
    """

    kind: int
    owner: int
    vertices_m: np.ndarray
    faces: np.ndarray
    attributes: np.ndarray
    texture: np.ndarray
    gloss: float
    mirror: float = 0.0
    """How much of its surroundings shows in it: metal, glaze."""


class Layer:
    """Parts that are cast together."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        if parts:
            self.scene = RayScene([(p.vertices_m, p.faces) for p in parts])
            sizes = [len(p.vertices_m) for p in parts]
            self.first_vertex = np.cumsum([0, *sizes[:-1]])
            self.attributes = np.concatenate([p.attributes for p in parts]).astype(np.float32)

    def update(self, values: np.ndarray, column: int, part: int) -> None:
        first = self.first_vertex[part]
        self.attributes[first : first + len(values), column] = values


def _attributes(normals, albedo, rest=0.0, uv=0.0, share=0.0) -> np.ndarray:
    table = np.ones((len(normals), _NUM_ATTRIBUTES), np.float32)
    table[:, _NORMAL], table[:, _ALBEDO], table[:, _REST] = normals, albedo, rest
    table[:, _UV], table[:, _SHARE] = uv, share
    return table


_NO_TEXTURE = np.zeros((2, 2, 3), np.float32)


class Actor:
    """A player's hand, arm and object, posed at every moment."""

    def __init__(self, player: Player, looks: Looks, number: int, rng: np.random.Generator) -> None:
        self.player, self.looks, self.number = player, looks, number
        style = ArmStyle(player.shoulder_m, looks.sleeve_from_m, looks.sleeve_bulge_m)
        rig, self.arm = player.rig, Arm(player.rig, style)
        self.vertices_m, self.joints_m = player.posed
        self._rotation = player_rotations(player)
        self._faces = rig.arrays.faces.astype(np.int32)
        self._operator = vertex_normals_operator(self._faces, 778)
        self._arm_operator = vertex_normals_operator(self.arm.faces, self.arm.num_vertices)
        # what is painted on the hand fades towards the arm
        along = (rig.rest_vertices_m @ rig.axes[0])[:, None]
        share = np.clip((along + 0.005) / 0.05, 0, 1).astype(np.float32)
        skin = looks.skin.astype(np.float32)
        self._albedo = skin + share * (paint_hand(rig, looks.skin, rng) - skin)

    def parts(self, moment: int) -> list[Part]:
        parts = [self._hand(moment), self._arm(moment)]
        held = self.player.held
        if held is not None:
            pose = held.rotation[moment], held.position_m[moment]
            thing = thing_part(held.thing.mesh, *pose, held.texture, self.number, held.gloss)
            parts.append(replace(thing, mirror=held.mirror))
        return parts

    def _hand(self, moment: int) -> Part:
        vertices = self.vertices_m[moment]
        normals = mesh_normals(vertices, self._faces, self._operator)
        attributes = _attributes(normals, self._albedo, self.player.rig.rest_vertices_m)
        return Part(
            HAND, self.number, vertices, self._faces, attributes, _NO_TEXTURE, self.looks.gloss
        )

    def _arm(self, moment: int) -> Part:
        arm, looks = self.arm, self.looks
        vertices = arm.vertices_m(self.vertices_m[moment], self._rotation[moment])
        normals = mesh_normals(vertices, arm.faces, self._arm_operator)
        sides = arm.num_vertices // len(arm.along_m)
        along = np.repeat(arm.along_m, sides)
        around = np.tile(np.linspace(0, 1, sides), len(arm.along_m))
        rest = np.stack(
            [0.03 * np.cos(2 * np.pi * around), 0.03 * np.sin(2 * np.pi * around), along], 1
        )
        sleeve = along >= looks.sleeve_from_m
        albedo = np.broadcast_to(looks.skin, vertices.shape).copy()
        if looks.band is not None:
            albedo[(along > _BAND_M[0]) & (along < _BAND_M[1]) & ~sleeve] = looks.band
        uv = np.stack([around, along / _CLOTH_M], 1)
        attributes = _attributes(normals, albedo, rest, uv, sleeve)
        return Part(ARM, self.number, vertices, arm.faces, attributes, looks.cloth, 0.01)


def player_rotations(player: Player) -> np.ndarray:
    """(T, 3, 3) of the hand."""
    return Rotation.from_rotvec(player.global_rotvec).as_matrix()


def thing_part(mesh, rotation, position, texture, owner, gloss=0.1) -> Part:
    """A textured mesh at its place."""
    attributes = _attributes(mesh.normals @ rotation.T, 0.0, 0.0, mesh.uv, 1.0)
    vertices = mesh.vertices_m @ rotation.T + position
    return Part(THING, owner, vertices, mesh.faces, attributes, texture, gloss)


def placed_part(placed: Placed, gloss: float) -> Part:
    """An object that stays."""
    return thing_part(
        placed.thing.mesh, placed.rotation, placed.position_m, placed.texture, -1, gloss
    )


class Stage:
    """A scene's layers, moment by moment."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene = scene
        self.actors = [Actor(p, scene.looks, k, rng) for k, p in enumerate(scene.players)]
        self.objects = [placed_part(p, rng.uniform(0.01, 0.35)) for p in scene.still]
        self.still = Layer(self.objects)
        self._turns = rng.uniform(-1, 1, (_AO_RAYS, 3)).astype(np.float32)
        if any(player.held and player.held.mirror for player in scene.players):
            self._mirrored = linear_rgb(background(rng, 96, 192))

    def add(self, parts: list[Part]) -> None:
        """Put these still parts to the scene's own, in place of those added before."""
        self.still = Layer(self.objects + parts)

    def moving(self, moment: int) -> Layer:
        """What moves, with the light that arrives at hands; shadows are then of this moment."""
        layer = Layer([part for actor in self.actors for part in actor.parts(moment)])
        light = self.scene.light
        self._blockers = [known.scene for known in (layer, self.still) if known.parts]
        for number, part in enumerate(layer.parts):
            if part.kind == THING:
                continue
            normals = part.attributes[:, _NORMAL]
            start = (part.vertices_m + 0.0015 * normals).astype(np.float32)
            if part.kind == HAND:
                layer.update(self._openness(start, normals), _AO, number)
            if light.key_radius_m > _HARD_M:
                layer.update(self._lit(start), _LIT, number)
        return layer

    def _openness(self, start: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Share of the surroundings that each vertex sees past fingers and object, (V,)."""
        reaches = (normals + 0.95 * self._turns[:, None]) * _AO_REACH_M
        open_ = 0.15 + 0.85 * self.share_m(start, reaches)
        if self.scene.ground_m is not None:
            open_ *= np.clip(0.55 + (start[:, 2] - self.scene.ground_m) / 0.08, 0.55, 1.0)
        return open_

    def _lit(self, start: np.ndarray) -> np.ndarray:
        """Share of a wide lamp that each vertex sees, (V,)."""
        return self.share_m(start, self.scene.light.key_samples_m(6)[:, None] - start)

    def share_m(self, start: np.ndarray, reaches: np.ndarray) -> np.ndarray:
        """Share of the ways (R, N, 3) from start (N, 3) that nothing blocks, (N,) float32."""
        starts = np.broadcast_to(start, (len(reaches), *start.shape)).reshape(-1, 3)
        ways, met = reaches.reshape(-1, 3), np.zeros(len(starts), bool)
        for scene in self._blockers:
            clear = np.flatnonzero(~met)
            met[clear] = scene.is_blocked(starts.take(clear, 0), ways.take(clear, 0), 0.999)
        return 1 - met.reshape(len(reaches), -1).mean(0, dtype=np.float32)

    def colour(self, layer: Layer, hits: Hits, origin_m, directions) -> np.ndarray:
        """Linear RGB (N, 3) of hits that all met something."""
        looks, light = self.scene.looks, self.scene.light
        rows = hits.corners + layer.first_vertex.take(hits.mesh)[:, None]
        values = interpolate(layer.attributes, rows, hits.weights)
        kinds = np.array([p.kind for p in layer.parts]).take(hits.mesh)
        gloss = np.array([p.gloss for p in layer.parts], np.float32).take(hits.mesh)
        softness = np.where(kinds == HAND, np.float32(0.5), np.float32(0))
        normals, albedo = values[:, _NORMAL].copy(), values[:, _ALBEDO].copy()
        for number, part in enumerate(layer.parts):
            if part.kind == HAND:
                continue
            mine = np.flatnonzero((hits.mesh == number) & (values[:, _SHARE] > 0.5))
            if not len(mine):
                continue
            uv = values.take(mine, 0)[:, _UV]
            albedo[mine] = sample_texture(part.texture, uv if part.kind == THING else uv % 1.0)
        skin = np.flatnonzero((kinds != THING) & (values[:, _SHARE] <= 0.5))
        if len(skin):
            own = values.take(skin, 0)
            plain, smooth, rest = own[:, _ALBEDO], own[:, _NORMAL], own[:, _REST]
            rough, bumped = skin_surface(plain, smooth, rest)
            share = np.float32(looks.roughness)
            painted = (plain + share * (rough - plain)) * _blemishes(looks, rest)
            # light that comes out between fingers has been through skin
            closed = 1 - own[:, _AO, None]
            albedo[skin] = painted * (1 - closed * np.array([0.05, 0.42, 0.5], np.float32))
            normals[skin] = smooth + share * (bumped - smooth)
        sleeve = np.flatnonzero((kinds == ARM) & (values[:, _SHARE] > 0.5))
        if len(sleeve):
            folds = sample_noise(values.take(sleeve, 0)[:, _REST], 260.0)
            normals[sleeve] += 0.35 * folds
        normals = unit(normals)
        view = unit(-directions)
        inner = np.flatnonzero(np.einsum("ni,ni->n", normals, view) < -0.2)
        normals[inner] *= -1  # the inside of a bowl
        points = np.asarray(origin_m, np.float32) + directions * hits.depth[:, None]
        lit = self._shadows(kinds, points + 0.0012 * normals) * values[:, _LIT]
        colour = shade(light, albedo, normals, points, view, lit, gloss, values[:, _AO], softness)
        for number, part in enumerate(layer.parts):
            if part.mirror:
                mine = np.flatnonzero(hits.mesh == number)
                n, eye = normals[mine], view[mine]
                seen = self._in_mirror(2 * n * np.einsum("ni,ni->n", n, eye)[:, None] - eye)
                colour[mine] += np.float32(part.mirror) * (seen - colour[mine])
        return colour

    def _in_mirror(self, directions: np.ndarray) -> np.ndarray:
        """What stands round the scene, seen along unit directions (N, 3): linear RGB."""
        if not len(directions):
            return np.zeros((0, 3), np.float32)
        around = np.arctan2(directions[:, 1], directions[:, 0]) / (2 * np.pi) + 0.5
        return sample_texture(self._mirrored, np.stack([around, directions[:, 2] / 2 + 0.5], 1))

    def _shadows(self, kinds, start: np.ndarray) -> np.ndarray:
        """Whether light arrives, point by point where no vertex says so, (N,)."""
        light, lit = self.scene.light, np.ones(len(start), np.float32)
        cast = np.arange(len(start))
        if light.key_radius_m > _HARD_M:
            cast = np.flatnonzero(kinds == THING)
        begin = start[cast].astype(np.float32)
        lit[cast] = self.share_m(begin, (light.key_m.astype(np.float32) - begin)[None])
        return lit


def _blemishes(looks: Looks, rest_m: np.ndarray) -> np.ndarray:
    """Factors (N, 3): blotches that redden, freckles that darken."""
    broad = sample_noise(rest_m, 330.0)[:, :1]
    factor = 1 + looks.mottle * broad * np.array([0.5, 1.2, 1.1], np.float32)
    if looks.freckles:
        fine = sample_noise(rest_m + 0.5, 1500.0)[:, 1:2]
        factor *= 1 - looks.freckles * np.clip(3 * fine - 1.8, 0, 1) * [0.6, 1.0, 1.1]
    return factor.astype(np.float32)
