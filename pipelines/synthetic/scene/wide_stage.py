"""A wide scene as layers: hands, arms, what is held, what stands about; and the light on them."""

from functools import partial

import numpy as np

from pipelines.synthetic.hand.arm import ArmStyle
from pipelines.synthetic.render.appearance import (
    Limb,
    layer_colour,
    num_blocked,
    openness,
    paint_hand,
    sample_texture,
    skin_surface,
    thing_part,
)
from pipelines.synthetic.render.backgrounds import background
from pipelines.synthetic.render.layer import HAND, THING, Column, Layer, Part
from pipelines.synthetic.render.rays import unit
from pipelines.synthetic.render.textures import sample_noise
from pipelines.synthetic.scene.wide_looks import Looks, linear_rgb
from pipelines.synthetic.scene.wide_scene import Player, Scene

_OPEN_RAYS, _LAMPS = 8, 6
_HARD_M = 0.06
"""A lamp's radius up to which its shadows on hands are cast point by point."""
_BAND_M = (0.025, 0.06)


class Actor:
    """A player's hand, arm and object, posed at every moment."""

    def __init__(self, player: Player, looks: Looks, number: int, rng: np.random.Generator) -> None:
        self.player, self.number, self._looks = player, number, looks
        self.vertices_m, self.joints_m = player.posed
        rig = player.rig
        style = ArmStyle(player.shoulder_m, looks.sleeve_from_m, looks.sleeve_bulge_m)
        self._limb = Limb(rig, style, self.vertices_m, player.global_rotvec, number)
        # what is painted on the hand fades towards the arm
        along = (rig.rest_vertices_m @ rig.axes[0])[:, None]
        share = np.clip((along + 0.005) / 0.05, 0, 1).astype(np.float32)
        skin = looks.skin.astype(np.float32)
        self._albedo = skin + share * (paint_hand(rig, looks.skin, rng) - skin)
        arm = self._limb.arm
        ring = np.where((arm.along_m > _BAND_M[0]) & (arm.along_m < _BAND_M[1]), 1, 0)[:, None]
        rings = skin + ring * ((skin if looks.band is None else looks.band) - skin)
        self._arm_albedo = np.repeat(rings, arm.num_vertices // len(rings), 0)

    def parts(self, moment: int) -> list[Part]:
        skin, arm = partial(_skin, self._looks), partial(_sleeved_arm, self._looks)
        hand = self._limb.hand_part(moment, self._albedo, skin, self._looks.gloss)
        parts = [hand, self._limb.arm_part(moment, self._arm_albedo, arm)]
        if held := self.player.held:
            pose = held.rotation[moment], held.position_m[moment]
            look = held.texture, held.gloss, self.number, held.mirror
            parts.append(thing_part(held.thing, *pose, *look))
        return parts


class Stage:
    """A scene's layers, moment by moment."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene = scene
        self.actors = [Actor(p, scene.looks, k, rng) for k, p in enumerate(scene.players)]
        self._objects = [
            thing_part(o.thing, o.rotation, o.position_m, o.texture, rng.uniform(0.01, 0.35))
            for o in scene.still
        ]
        self.still, self.blockers = Layer(self._objects), []
        self._turns = rng.uniform(-1, 1, (_OPEN_RAYS, 3)).astype(np.float32)
        self._mirrored = None
        if any(player.held and player.held.mirror for player in scene.players):
            self._mirrored = linear_rgb(background(rng, 96, 192))

    def add(self, parts: list[Part]) -> None:
        """Put these still parts to the scene's own, in place of those added before."""
        self.still = Layer(self._objects + parts)

    def moving(self, moment: int) -> Layer:
        """What moves, with the light that arrives at hands; shadows are then of this moment."""
        layer, light = Layer([p for a in self.actors for p in a.parts(moment)]), self.scene.light
        self.blockers = [known.scene for known in (layer, self.still) if known.parts]
        for number, part in enumerate(layer.parts):
            if part.kind == THING:
                continue
            normals = part.attributes[:, Column.NORMAL]
            start = (part.vertices_m + 0.0015 * normals).astype(np.float32)
            if part.kind == HAND:
                around = start, normals, self._turns, self.scene.ground_m
                layer.update(number, Column.OPEN, openness(self.blockers, *around))
            if light.key_radius_m > _HARD_M:
                lamps = light.key_samples_m(_LAMPS)[:, None]
                layer.update(number, Column.LIT, self.share_open(start, lamps - start))
        return layer

    def share_open(self, start: np.ndarray, ways: np.ndarray) -> np.ndarray:
        """Share of the ways (R, N, 3) from start (N, 3) that nothing blocks, (N,) float32."""
        blocked = num_blocked(self.blockers, start, ways, 0.999)
        return 1 - blocked.astype(np.float32) / np.float32(len(ways))

    def colours(self, layer: Layer):
        """Linear RGB (N, 3) of a layer's hits, as `LayerCaster` expects them."""
        light = self.scene.light
        lamp_m = light.key_m.astype(np.float32)

        def lamp_share(points: np.ndarray, kinds: np.ndarray) -> np.ndarray:
            """Whether light arrives, point by point where no vertex says so."""
            lit = np.ones(len(points), np.float32)
            soft = light.key_radius_m > _HARD_M
            cast = np.flatnonzero(kinds == THING) if soft else np.arange(len(points))
            lit[cast] = self.share_open(points[cast], (lamp_m - points[cast])[None])
            return lit

        def colour(hits, origin_m, directions) -> np.ndarray:
            ways = hits, origin_m, directions
            return layer_colour(layer, *ways, light, lamp_share, self._mirrored)

        return colour


def _skin(looks: Looks, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The `Surface` of somebody's skin."""
    plain, smooth = values[:, Column.ALBEDO], values[:, Column.NORMAL]
    rough, bumped = skin_surface(values)
    share = np.float32(looks.roughness)
    painted = (plain + share * (rough - plain)) * _blemishes(looks, values[:, Column.REST])
    # light that comes out between fingers has been through skin
    closed = 1 - values[:, Column.OPEN, None]
    albedo = painted * (1 - closed * np.array([0.05, 0.42, 0.5], np.float32))
    return albedo, smooth + share * (bumped - smooth)


def _sleeved_arm(looks: Looks, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The `Surface` of an arm: skin, and cloth with folds from where the sleeve begins."""
    in_sleeve = values[:, Column.TEXTURED] > 0.5
    bare, sleeve = np.flatnonzero(~in_sleeve), np.flatnonzero(in_sleeve)
    albedo, normals = np.zeros((2, len(values), 3), np.float32)
    albedo[bare], normals[bare] = _skin(looks, values.take(bare, 0))
    if len(sleeve):
        own = values.take(sleeve, 0)
        albedo[sleeve] = sample_texture(looks.cloth, own[:, Column.UV] % 1.0)
        folds = sample_noise(own[:, Column.REST], 260.0)
        normals[sleeve] = unit(own[:, Column.NORMAL] + 0.35 * folds)
    return albedo, normals


def _blemishes(looks: Looks, rest_m: np.ndarray) -> np.ndarray:
    """Factors (N, 3): blotches that redden, freckles that darken."""
    broad = sample_noise(rest_m, 330.0)[:, :1]
    factor = 1 + looks.mottle * broad * np.array([0.5, 1.2, 1.1], np.float32)
    if looks.freckles:
        fine = sample_noise(rest_m + 0.5, 1500.0)[:, 1:2]
        factor *= 1 - looks.freckles * np.clip(3 * fine - 1.8, 0, 1) * [0.6, 1.0, 1.1]
    return factor.astype(np.float32)
