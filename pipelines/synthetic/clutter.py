"""What stands about on the table: free of each other, of the arm and of the hand's whole way."""

from dataclasses import dataclass

import numpy as np

from pipelines.synthetic.cameras import Camera
from pipelines.synthetic.objects import YcbObject, surface_samples_m
from pipelines.synthetic.setting import Setting
from pipelines.synthetic.shapes import Box, Lathe
from pipelines.synthetic.ycb import YCB_OBJECTS

UNPAINTED = np.zeros((1, 1, 3), np.float32)

_GAP_M = 0.012  # objects keep at least this far apart
_FINGER_ROOM_M = 0.075  # and this far from the one that is to be grasped
_SWEPT_ROOM_M = 0.02  # and this far from a recorded way
_TRIES = 60
_SCREEN_TRIES = 40
_SCREEN_EXCESS_M = (-0.06, 0.06)  # of a pile's top over the line of sight to the hand's middle
_SCREEN_FROM_HAND_M = (0.13, 0.34)


@dataclass(frozen=True, eq=False)
class Placed:
    """An object of the scene. rotation (3, 3), position_m (3,): its pose in the world at the start.

    texture: linear RGB (H, W, 3), row 0 at v = 1.
    """

    thing: YcbObject
    rotation: np.ndarray
    position_m: np.ndarray
    texture: np.ndarray


@dataclass(frozen=True, eq=False)
class Course:
    """Where hand and grasped object go. start_rotation (3, 3), start_m (3,): the object at first;
    way_m (N, 3): middles of the hand; swept_m (M, 3): points of both that nothing may touch."""

    start_rotation: np.ndarray
    start_m: np.ndarray
    way_m: np.ndarray
    swept_m: np.ndarray

    @classmethod
    def nearby(cls, grasped: Placed) -> "Course":
        """The way of a motion that is not drawn yet: somewhere over the object."""
        way = grasped.position_m + np.array([[0, 0, 0.04], [0, 0, 0.1], [0, 0, 0.16]])
        return cls(grasped.rotation, grasped.position_m, way, np.zeros((0, 3)))


def placed(thing: YcbObject, yaw: float, position: np.ndarray) -> Placed:
    """Upright at its place, not painted yet."""
    c, s = np.cos(yaw), np.sin(yaw)
    return Placed(thing, np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]), position, UNPAINTED)


class Clutter:
    """The objects of a scene, `objects[0]` the grasped one, while more are put to them.

    sign: +1 for a right hand's arm, −1 for a left one's.
    """

    def __init__(
        self,
        objects: list[Placed],
        course: Course,
        cameras: list[Camera],
        sign: float,
        setting: Setting,
    ) -> None:
        self.objects, self.course, self.cameras = objects, course, cameras
        self._sign, self._setting = sign, setting

    def _unused(self, rng: np.random.Generator) -> list[int]:
        used = {o.thing.class_id for o in self.objects}
        return [c for c in rng.permutation(self._setting.classes).tolist() if c not in used]

    def add_others(self, rng: np.random.Generator, num_objects: int, keep_clear: bool) -> None:
        """Up to `num_objects` in all, tall ones before low cameras first.

        keep_clear: none of them between the first camera and the grasped object.
        """
        grasped, cameras = self.objects[0], self.cameras
        free = self._unused(rng)
        tall = [c for c in free if YCB_OBJECTS[c].is_tall]
        low_cameras = [c for c in cameras if c.center_m[2] < 0.42 and c.center_m[1] > -0.3]
        low_cameras = [] if keep_clear else low_cameras
        blocked = rng.permutation(len(low_cameras)).tolist()[: rng.integers(3, 5)]
        wanted = [(tall.pop(), low_cameras[k]) for k in blocked if tall]
        others = [c for c in free if c not in {t for t, _ in wanted}]
        missing = max(0, num_objects - len(self.objects))
        wanted += [(c, None) for c in others[: max(0, missing - len(wanted))]]
        for class_id, camera in wanted[:missing]:
            for _ in range(_TRIES):
                candidate = _placed_randomly(rng, YCB_OBJECTS[class_id], grasped, camera)
                toward = cameras[0].center_m[:2] / np.linalg.norm(cameras[0].center_m[:2])
                if keep_clear and candidate.position_m[:2] @ toward > 0.02:
                    continue
                if self._stands_free([candidate]):
                    self.objects.append(candidate)
                    break

    def add_screens(self, rng: np.random.Generator) -> None:
        """Piles of objects, each between one camera and some point of the hand's way."""
        standing = 0
        for _ in range(_SCREEN_TRIES if self._setting.screens else 0):
            pile = self._pile(rng, self.cameras[rng.integers(len(self.cameras))])
            if pile and self._stands_free(pile):
                self.objects += pile
                standing += 1
            if standing == self._setting.screens:
                return

    def _pile(self, rng: np.random.Generator, camera: Camera) -> list[Placed]:
        """Objects one on the other, as high as to hide the hand; none where they do not reach."""
        aim = self.course.way_m[rng.integers(len(self.course.way_m))]
        gap = camera.center_m - aim
        share = rng.uniform(*_SCREEN_FROM_HAND_M) / np.linalg.norm(gap[:2])
        foot = aim[:2] + gap[:2] * share + rng.normal(0, 0.02, 2)
        wanted = aim[2] + gap[2] * share + rng.uniform(*_SCREEN_EXCESS_M)
        facing = np.arctan2(gap[1], gap[0])
        pile, top = [], 0.0
        for class_id in self._unused(rng):
            if top >= wanted:
                break
            thing = YCB_OBJECTS[class_id]
            if pile and not _is_flat_on_top(pile[-1].thing):
                continue
            if not (_is_flat_on_top(thing) or thing.is_tall):
                continue
            spot = np.array([*(foot + rng.normal(0, 0.003, 2)), top - thing.bottom_m])
            pile.append(placed(thing, facing + rng.normal(0, 0.3), spot))
            top += float(np.ptp(thing.mesh.vertices_m[:, 2]))
        return pile if top >= wanted else []

    def _stands_free(self, candidates: list[Placed]) -> bool:
        return all(self._is_free(candidate) for candidate in candidates)

    def _is_free(self, candidate: Placed) -> bool:
        points = _surface_m(candidate)
        x, y = points[:, 0], points[:, 1]
        if np.abs(x).max() > 0.6 or y.min() < -0.36 or y.max() > 0.52:
            return False
        in_the_way = (y < 0.02) & (x * self._sign > -0.16) & (x * self._sign < 0.3)
        if in_the_way.any() and points[:, 2].max() > 0.04:
            return False
        if len(self.course.swept_m) and _gap_m(candidate, self.course.swept_m) < _SWEPT_ROOM_M:
            return False
        for k, other in enumerate(self.objects):
            room = _GAP_M if k else _FINGER_ROOM_M
            if _gap_m(other, points) < room or _gap_m(candidate, _surface_m(other)) < room:
                return False
        return True


def _surface_m(thing: Placed) -> np.ndarray:
    return surface_samples_m(thing.thing, 0.012) @ thing.rotation.T + thing.position_m


def _gap_m(thing: Placed, points_m: np.ndarray) -> float:
    """The least distance of an object to points in the world, negative inside."""
    return thing.thing.signed_distance_m((points_m - thing.position_m) @ thing.rotation).min()


def _is_flat_on_top(thing: YcbObject) -> bool:
    """A box or a can: another object may stand on it."""
    if len(thing.parts) > 1:
        return False
    part = thing.parts[0]
    if isinstance(part, Lathe) and part.along == "z":
        radii = [radius for radius, _ in part.profile_m]
        return radii[-2] > 0.6 * max(radii)
    return isinstance(part, Box)


def _placed_randomly(rng, thing: YcbObject, grasped: Placed, camera: Camera | None) -> Placed:
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
    return placed(thing, yaw, np.array([*spot, -thing.bottom_m]))
