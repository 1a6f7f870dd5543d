"""A scene as layers: hands, arms, held and still objects, and the light on them."""

from functools import partial

import numpy as np

from pipelines.rays import RayScene, unit
from pipelines.synthetic.hand.arm import ArmStyle
from pipelines.synthetic.paint.textures import sample_noise
from pipelines.synthetic.render.layer import HAND, THING, Column, Layer, Part
from pipelines.synthetic.render.parts import (
    Limb,
    layer_colour,
    num_blocked,
    openness,
    paint_hand,
    sample_texture,
    skin_surface,
    thing_part,
)
from pipelines.synthetic.scene.appearance import Appearance
from pipelines.synthetic.scene.scene import HandTrack, Scene

_OPEN_RAYS, _LAMPS = 8, 4
_HARD_M = 0.06
"""A lamp's radius up to which its shadows on hands are cast point by point."""
_BAND_M = (0.025, 0.06)


class HandMeshes:
    """The meshes of a hand, its arm and its object at every moment."""

    def __init__(
        self, track: HandTrack, appearance: Appearance, number: int, rng: np.random.Generator
    ) -> None:
        self.track, self.number, self._appearance = track, number, appearance
        self.vertices_m, self.joints_m = track.posed
        rig = track.rig
        style = ArmStyle(track.shoulder_m, appearance.sleeve_from_m, appearance.sleeve_bulge_m)
        self._limb = Limb(rig, style, self.vertices_m, track.global_rotvec, number)
        # the hand's paint fades towards the arm
        along = (rig.rest_vertices_m @ rig.axes[0])[:, None]
        share = np.clip((along + 0.005) / 0.05, 0, 1).astype(np.float32)
        skin = appearance.skin.astype(np.float32)
        self._albedo = skin + share * (paint_hand(rig, appearance.skin, rng) - skin)
        arm = self._limb.arm
        ring = np.where((arm.along_m > _BAND_M[0]) & (arm.along_m < _BAND_M[1]), 1, 0)[:, None]
        rings = skin + ring * ((skin if appearance.band is None else appearance.band) - skin)
        self._arm_albedo = np.repeat(rings, arm.num_vertices // len(rings), 0)

    def parts(self, moment: int) -> list[Part]:
        """The moving parts."""
        parts, held = [], self.track.held
        if self.track.valid[moment]:
            skin, arm = partial(_skin, self._appearance), partial(_sleeved_arm, self._appearance)
            parts = [
                self._limb.hand_part(moment, self._albedo, skin, self._appearance.gloss),
                self._limb.arm_part(moment, self._arm_albedo, arm),
            ]
        if held and not held.at_rest[moment]:
            parts.append(self.held_part(moment))
        return parts

    def held_part(self, moment: int) -> Part:
        held = self.track.held
        pose = held.rotation[moment], held.position_m[moment]
        return thing_part(held.thing, *pose, held.texture, held.gloss, self.number)


class SceneLayers:
    """A scene's layers at every moment."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene = scene
        tracks = enumerate(scene.tracks)
        self.hand_meshes = [HandMeshes(t, scene.appearance, k, rng) for k, t in tracks]
        self._objects = [
            thing_part(o.thing, o.rotation, o.position_m, o.texture, rng.uniform(0.01, 0.35))
            for o in scene.still
        ]
        self._stills: dict[tuple[int, ...], Layer] = {}
        self._turns = rng.uniform(-1, 1, (_OPEN_RAYS, 3)).astype(np.float32)

    def still(self, resting: tuple[int, ...] = ()) -> Layer:
        """The still objects, and the objects at rest of the hands with these numbers."""
        if resting not in self._stills:
            parts = [self.hand_meshes[number].held_part(0) for number in resting]
            self._stills[resting] = Layer(self._objects + parts)
        return self._stills[resting]

    def resting(self, moment: int) -> tuple[int, ...]:
        """Numbers of the hands that have not touched their object yet."""
        held = [meshes.track.held for meshes in self.hand_meshes]
        return tuple(k for k, thing in enumerate(held) if thing and thing.at_rest[moment])

    def moving(self, moment: int) -> Layer:
        """The moving parts, with the light that arrives at hands."""
        layer = Layer([part for meshes in self.hand_meshes for part in meshes.parts(moment)])
        light = self.scene.light
        blockers = self._blockers(layer, self.still(self.resting(moment)))
        for number, part in enumerate(layer.parts):
            if part.kind == THING:
                continue
            normals = part.attributes[:, Column.NORMAL]
            start = (part.vertices_m + 0.0015 * normals).astype(np.float32)
            if part.kind == HAND:
                around = start, normals, self._turns, self.scene.ground_m
                layer.update(number, Column.OPEN, openness(blockers, *around))
            if light.key_radius_m > _HARD_M:
                lamps = light.key_samples_m(_LAMPS)[:, None]
                layer.update(number, Column.LIT, share_open(blockers, start, lamps - start))
        return layer

    def _blockers(self, *layers: Layer) -> list[RayScene]:
        return [layer.scene for layer in layers if layer.parts]

    def colours(self, layer: Layer, *others: Layer):
        """A function for `LayerCaster`: a layer's hits → linear RGB (3, N); others: layers that
        cast shadows on it, too."""
        light, blockers = self.scene.light, self._blockers(layer, *others)
        lamp_m = light.key_m.astype(np.float32)

        def lamp_share(points: np.ndarray, kinds: np.ndarray) -> np.ndarray:
            """Share of the lamp's light, point (3, N) by point where no vertex holds it."""
            lit = np.ones(len(kinds), np.float32)
            soft = light.key_radius_m > _HARD_M
            cast = np.flatnonzero(kinds == THING) if soft else np.arange(len(kinds))
            start = np.ascontiguousarray(points.take(cast, 1).T)
            lit[cast] = share_open(blockers, start, (lamp_m - start)[None])
            return lit

        def colour(hits, origin_m, directions) -> np.ndarray:
            ways = hits, origin_m, directions
            return layer_colour(layer, *ways, light, lamp_share)

        return colour


def share_open(blockers: list[RayScene], start: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """Share of the rays (R, N, 3) from start (N, 3) that nothing blocks, (N,) float32."""
    blocked = num_blocked(blockers, start, ways, 0.999)
    return 1 - blocked.astype(np.float32) / np.float32(len(ways))


def _skin(appearance: Appearance, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The `Surface` of a person's skin."""
    plain, smooth = values[Column.ALBEDO], values[Column.NORMAL]
    rough, bumped = skin_surface(values)
    share = np.float32(appearance.roughness)
    painted = (plain + share * (rough - plain)) * _blemishes(appearance, values[Column.REST])
    # light between fingers has passed through skin
    closed = 1 - values[Column.OPEN]
    albedo = painted * (1 - closed * np.array([[0.05], [0.42], [0.5]], np.float32))
    return albedo, smooth + share * (bumped - smooth)


def _sleeved_arm(appearance: Appearance, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The `Surface` of an arm: skin, and cloth with folds from where the sleeve begins."""
    in_sleeve = values[Column.TEXTURED] > 0.5
    bare, sleeve = np.flatnonzero(~in_sleeve), np.flatnonzero(in_sleeve)
    albedo, normals = np.zeros((2, 3, values.shape[1]), np.float32)
    albedo[:, bare], normals[:, bare] = _skin(appearance, values.take(bare, 1))
    if len(sleeve):
        own = values.take(sleeve, 1)
        albedo[:, sleeve] = sample_texture(appearance.cloth, own[Column.UV] % 1.0)
        folds = sample_noise(own[Column.REST], 260.0)
        normals[:, sleeve] = unit(own[Column.NORMAL] + 0.35 * folds)
    return albedo, normals


def _blemishes(appearance: Appearance, rest_m: np.ndarray) -> np.ndarray:
    """Factors (3, N): blotches that redden, freckles that darken."""
    broad = sample_noise(rest_m, 330.0)[0]
    factor = 1 + appearance.mottle * broad * np.array([[0.5], [1.2], [1.1]], np.float32)
    if appearance.freckles:
        fine = sample_noise(rest_m + 0.5, 1500.0)[1]
        factor *= 1 - appearance.freckles * np.clip(3 * fine - 1.8, 0, 1) * [[0.6], [1.0], [1.1]]
    return factor.astype(np.float32)
