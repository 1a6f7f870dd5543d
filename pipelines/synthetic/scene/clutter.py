"""Objects on the table that touch neither each other nor the arm nor the hand's path."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from pipelines.rays import RayScene
from pipelines.synthetic.scene.cameras import Camera
from pipelines.synthetic.scene.setting import Setting
from pipelines.synthetic.things.objects import SceneObject, surface_samples_m
from pipelines.synthetic.things.ycb import YCB_OBJECTS

UNPAINTED = np.zeros((1, 1, 3), np.float32)

_GAP_M = 0.012  # objects keep at least this far apart
_FINGER_ROOM_M = 0.075  # and this far from the grasped one
_SWEPT_ROOM_M = 0.02  # and this far from a recorded path
_TRIES = 60
_PILE_TRIES = 300
_PILE_EXCESS_M = (0.0, 0.1)  # a pile's top over the line of sight to the hand
_PILE_FROM_HAND_M = (0.08, 0.28)
_HIDES, _HIDES_ALL = 0.75, 0.95  # shares of the hand: hidden by a pile; almost all
_WAY_POINTS = 24
_SUPPORTED = 0.75  # share of a bottom that lies on the object below
_TOP_M = 0.006  # depth below its top at which a carrying object is solid
_HAND_RADIUS_M, _HAND_POINTS = 0.07, 48  # a ball stands for the hand in any pose


@dataclass(frozen=True, eq=False)
class Placed:
    """An object of the scene. rotation (3, 3), position_m (3,): its pose in the world at the start.

    texture: linear RGB (H, W, 3), row 0 at v = 1.
    """

    thing: SceneObject
    rotation: np.ndarray
    position_m: np.ndarray
    texture: np.ndarray


@dataclass(frozen=True, eq=False)
class SweptPath:
    """Path of hand and grasped object. start_rotation (3, 3), start_m (3,): the object's first
    pose; way_m (N, 3): centres of the hand; swept_m (M, 3): points of both, to stay clear of."""

    start_rotation: np.ndarray
    start_m: np.ndarray
    way_m: np.ndarray
    swept_m: np.ndarray

    @classmethod
    def nearby(cls, grasped: Placed) -> "SweptPath":
        """The likely path of a motion that is not drawn yet: above the object."""
        way = grasped.position_m + np.linspace([0, 0, 0.02], [0, 0, 0.18], 9)
        return cls(grasped.rotation, grasped.position_m, way, np.zeros((0, 3)))


def place_upright(thing: SceneObject, yaw: float, position: np.ndarray) -> Placed:
    """An upright object, not painted yet."""
    c, s = np.cos(yaw), np.sin(yaw)
    return Placed(thing, np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]), position, UNPAINTED)


class Clutter:
    """Collects the objects of a scene; `objects[0]` is the grasped one.

    Piles hide part of the hand, or the hand on part of its path: a hand hidden in every frame could
    not be recovered. Rays to a ball on the hand's path measure how much they hide.

    sign: +1 for a right hand's arm, −1 for a left one's.
    """

    def __init__(
        self,
        objects: list[Placed],
        path: SweptPath,
        cameras: list[Camera],
        sign: float,
        setting: Setting,
    ) -> None:
        self.objects, self.path, self.cameras = objects, path, cameras
        self._sign, self._setting = sign, setting

    def _unused(self, rng: np.random.Generator) -> list[int]:
        used = {o.thing.class_id for o in self.objects}
        return [c for c in rng.permutation(self._setting.classes).tolist() if c not in used]

    def add_others(self, rng: np.random.Generator, num_objects: int, keep_clear: bool) -> None:
        """Add objects until there are `num_objects`, or as many as the setting allows. Without
        piles, tall objects come first and stand in front of low cameras.

        keep_clear: none of them hides the grasped object from the first camera.
        """
        grasped, cameras = self.objects[0], self.cameras
        free = self._unused(rng)
        tall = [c for c in free if YCB_OBJECTS[c].is_tall]
        low_cameras = [c for c in cameras if c.center_m[2] < 0.42 and c.center_m[1] > -0.3]
        low_cameras = [] if keep_clear or self._setting.piles else low_cameras
        blocked = rng.permutation(len(low_cameras)).tolist()[: rng.integers(3, 5)]
        wanted = [(tall.pop(), low_cameras[k]) for k in blocked if tall]
        others = [c for c in free if c not in {t for t, _ in wanted}]
        missing = max(0, min(num_objects, self._setting.max_objects) - len(self.objects))
        wanted += [(c, None) for c in others[: max(0, missing - len(wanted))]]
        for class_id, camera in wanted[:missing]:
            for _ in range(_TRIES):
                candidate = _placed_randomly(rng, YCB_OBJECTS[class_id], grasped, camera)
                toward = cameras[0].center_m[:2] / np.linalg.norm(cameras[0].center_m[:2])
                if keep_clear and candidate.position_m[:2] @ toward > 0.02:
                    continue
                if self._may_stand([candidate]):
                    self.objects.append(candidate)
                    break

    def add_piles(self, rng: np.random.Generator) -> None:
        """Add piles of objects, each between a camera and a point of the hand's path."""
        for _ in range(self._setting.piles):
            for camera, foot_m, height_m in self._gaps(rng):
                pile = self._pile(rng, camera, foot_m, height_m)
                if pile and self._hidden(pile, camera).max() > _HIDES and self._may_stand(pile):
                    self.objects += pile
                    break

    def _gaps(self, rng: np.random.Generator) -> list[tuple[Camera, np.ndarray, float]]:
        """Places with room for a pile: its camera, its foot (2,), and the height that it needs."""
        gaps, points = [], np.concatenate([self.path.swept_m[::3], _surface_m(self.objects[0])])
        for _ in range(_PILE_TRIES):
            camera = self.cameras[rng.integers(len(self.cameras))]
            aim = self.path.way_m[rng.integers(len(self.path.way_m))]
            gap = camera.center_m - aim
            share = rng.uniform(*_PILE_FROM_HAND_M) / np.linalg.norm(gap[:2])
            foot = aim[:2] + gap[:2] * share
            height = aim[2] + gap[2] * share + rng.uniform(*_PILE_EXCESS_M)
            low = points[points[:, 2] < height, :2]
            in_the_way = self._is_in_the_way(*foot) and height > 0.04
            if height > 0 and not in_the_way and (np.hypot(*(low - foot).T) > 0.06).all():
                gaps.append((camera, foot, height))
        return gaps

    def _pile(
        self, rng: np.random.Generator, camera: Camera, foot_m: np.ndarray, height_m: float
    ) -> list[Placed]:
        """Stacked objects, at least `height_m` high; none if they do not reach it."""
        facing = np.arctan2(*(camera.center_m[:2] - foot_m)[::-1])
        pile, top = [], 0.0
        for class_id in self._unused(rng):
            if top >= height_m or len(pile) == self._setting.max_objects - len(self.objects):
                break
            thing = YCB_OBJECTS[class_id]
            spot = np.array([*(foot_m + rng.normal(0, 0.003, 2)), top - thing.bottom_m])
            candidate = place_upright(thing, facing + rng.normal(0, 0.3), spot)
            if not pile or _rests_on(candidate, pile[-1]):
                pile.append(candidate)
                top += float(np.ptp(thing.mesh.vertices_m[:, 2]))
        return pile if top >= height_m else []

    def _is_in_the_way(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether points on the table, arrays of any shape, lie where the arm moves."""
        return (y < 0.02) & (x * self._sign > -0.16) & (x * self._sign < 0.3)

    def _hidden(self, things: list[Placed], camera: Camera) -> np.ndarray:
        """Share of the hand that things hide from a camera at points of its path, (N,)."""
        way = self.path.way_m[:: 1 + len(self.path.way_m) // _WAY_POINTS]
        hand = way[:, None] + _ball_m()
        toward = camera.center_m - hand.reshape(-1, 3)
        blocked = _ray_scene(things).is_blocked(hand.reshape(-1, 3), toward, 1.0)
        return blocked.reshape(hand.shape[:2]).mean(1)

    def _may_stand(self, candidates: list[Placed]) -> bool:
        """Whether candidates touch nothing and hide the whole hand from no camera too long."""
        if not all(self._is_free(candidate) for candidate in candidates):
            return False
        most, still = self._setting.most_hidden, self.objects[1:] + candidates
        return most >= 1 or all(
            (self._hidden(still, camera) > _HIDES_ALL).mean() <= most for camera in self.cameras
        )

    def _is_free(self, candidate: Placed) -> bool:
        points = _surface_m(candidate)
        x, y = points[:, 0], points[:, 1]
        if np.abs(x).max() > 0.6 or y.min() < -0.36 or y.max() > 0.52:
            return False
        centers = np.array([camera.center_m for camera in self.cameras])
        if np.linalg.norm(points - centers[:, None], axis=-1).min() < self._setting.camera_room_m:
            return False
        if self._is_in_the_way(x, y).any() and points[:, 2].max() > 0.04:
            return False
        if len(self.path.swept_m) and _gap_m(candidate, self.path.swept_m) < _SWEPT_ROOM_M:
            return False
        for k, other in enumerate(self.objects):
            room = _GAP_M if k else _FINGER_ROOM_M
            if _gap_m(other, points) < room or _gap_m(candidate, _surface_m(other)) < room:
                return False
        return True


def _surface_m(thing: Placed) -> np.ndarray:
    return surface_samples_m(thing.thing, 0.012) @ thing.rotation.T + thing.position_m


def _gap_m(thing: Placed, points_m: np.ndarray) -> float:
    """The smallest distance of an object to points in the world, negative inside."""
    return thing.thing.signed_distance_m((points_m - thing.position_m) @ thing.rotation).min()


@cache
def _foot_m(thing: SceneObject) -> np.ndarray:
    """The middle of an object's bottom, then points all over it, in the object's frame (N, 3)."""
    points = surface_samples_m(thing, 0.012).astype(float)
    foot = points[points[:, 2] < points[:, 2].min() + 0.004]
    return np.concatenate([[[0, 0, points[:, 2].min()]], foot])


def _rests_on(upper: Placed, lower: Placed) -> bool:
    """Whether the upper object's middle and most of its bottom lie on the lower one's top."""
    foot = _foot_m(upper.thing) @ upper.rotation.T + upper.position_m
    foot[:, 2] -= _TOP_M  # inside a flat top, but in the hole of a vessel
    local = (foot - lower.position_m) @ lower.rotation
    is_on = lower.thing.signed_distance_m(local[:1]) < 0
    supported = (lower.thing.signed_distance_m(local[1:]) < 0).mean()
    return bool(is_on[0]) and bool(supported >= _SUPPORTED)


@cache
def _ball_m() -> np.ndarray:
    """Points spread evenly in a ball as large as a hand, (_HAND_POINTS, 3)."""
    k = np.arange(_HAND_POINTS) + 0.5
    z, angle = 1 - 2 * k / _HAND_POINTS, k * 2.399963  # the golden angle
    flat = np.sqrt(1 - z**2)
    radius = _HAND_RADIUS_M * (k * 0.618034 % 1) ** (1 / 3)
    return radius[:, None] * np.stack([flat * np.cos(angle), flat * np.sin(angle), z], 1)


def _ray_scene(things: list[Placed]) -> RayScene:
    meshes = [(o.thing.mesh.vertices_m @ o.rotation.T + o.position_m, o.thing.mesh) for o in things]
    return RayScene([(vertices, mesh.faces) for vertices, mesh in meshes])


def _placed_randomly(rng, thing: SceneObject, grasped: Placed, camera: Camera | None) -> Placed:
    yaw = rng.uniform(-np.pi, np.pi)
    if camera is None:
        angle, radius = rng.uniform(-np.pi, np.pi), rng.uniform(0.15, 0.36)
        spot = np.array([radius * np.cos(angle), radius * np.sin(angle)])
    else:  # between the hand and this camera
        toward = camera.center_m[:2] - grasped.position_m[:2]
        toward /= np.linalg.norm(toward)
        across = np.array([-toward[1], toward[0]])
        spot = grasped.position_m[:2] + toward * rng.uniform(0.14, 0.25)
        spot = spot + across * rng.uniform(-0.04, 0.04)
        yaw = np.arctan2(toward[1], toward[0]) + rng.normal(0, 0.35)
    return place_upright(thing, yaw, np.array([*spot, -thing.bottom_m]))
