"""What stands on the table in one sequence: objects, lights, colours, the person's clothes."""

from dataclasses import dataclass, replace

import numpy as np

from pipelines.synthetic.arm import ArmStyle
from pipelines.synthetic.cameras import Camera
from pipelines.synthetic.lighting import Light, draw_light, draw_skin
from pipelines.synthetic.objects import Grip, YcbObject, surface_samples_m
from pipelines.synthetic.textures import cloth, hex_to_linear, paint_object, tabletop
from pipelines.synthetic.ycb import YCB_OBJECTS

TABLE_X_M, TABLE_Y_M = (-0.75, 0.75), (-0.44, 0.62)
"""The table's top, z = 0."""

TEXELS_PER_M = 640
_GAP_M = 0.012  # objects keep at least this far apart
_CLASS_ORDER = tuple(YCB_OBJECTS)


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
class World:
    """One sequence's surroundings. `objects[grasped]` is the one that moves."""

    objects: list[Placed]
    grasped: int
    grip: Grip
    approach: np.ndarray
    """(3,) palm direction of the grasp in the world."""
    fingers: np.ndarray
    """(3,) finger direction of the grasp in the world."""
    light: Light
    table: np.ndarray
    """Linear RGB of the table's top, rows from −y to +y, columns from −x to +x."""
    skin: np.ndarray
    sleeve: np.ndarray
    """Linear RGB of a piece of cloth."""
    arm: ArmStyle
    body_m: np.ndarray
    """(3,) middle of the person's chest."""


@dataclass(frozen=True)
class Person:
    """What stays the same through all sequences of a subject."""

    betas: np.ndarray
    skin: np.ndarray
    clothes: str
    sleeve_from_m: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, number: int) -> "Person":
        """Any hand, long or short sleeves; consecutive numbers have well-spread skin tones."""
        colours = ["#23262b", "#7d8389", "#2f4468", "#7b2e2e", "#39523c", "#b9b3a6"]
        clothes = str(rng.choice(colours))
        sleeve = rng.choice(
            [rng.uniform(0.012, 0.05), rng.uniform(0.1, 0.2), 0.36], p=[0.4, 0.25, 0.35]
        )
        tone = (0.12 + 0.618 * number) % 1.0
        return cls(
            np.clip(rng.normal(0, 0.8, 10), -2, 2), draw_skin(rng, tone), clothes, float(sleeve)
        )


def build_world(
    rng: np.random.Generator,
    person: Person,
    side: str,
    grasped_id: int,
    cameras: list[Camera],
    num_objects: int,
    keep_clear: bool = False,
) -> World:
    """Draw a scene: the grasped object in the middle, tall ones before some cameras, others around.

    keep_clear: nothing stands between the first camera and the grasped object.
    """
    thing = YCB_OBJECTS[grasped_id]
    grip = thing.grips[rng.integers(len(thing.grips))]
    approach, fingers, yaw = _grasp_directions(rng, side, grip)
    middle = np.array([rng.uniform(-0.04, 0.04), rng.uniform(-0.05, 0.03), -thing.bottom_m])
    objects = [_placed(thing, yaw, middle)]
    sign = -1.0 if side == "left" else 1.0
    _add_others(rng, objects, num_objects, cameras, sign, keep_clear)
    objects = [replace(o, texture=paint_object(o.thing.paints, rng)) for o in objects]
    height, width = (round((b - a) * TEXELS_PER_M) for a, b in (TABLE_Y_M, TABLE_X_M))
    table = tabletop(rng, height, width)
    light = draw_light(rng, table.mean((0, 1)))
    body = np.array([-0.05 * sign + rng.uniform(-0.05, 0.05), -0.9, 0.1])
    arm = ArmStyle(
        body + np.array([0.19 * sign, 0.02, 0.22]), person.sleeve_from_m, rng.uniform(0.004, 0.012)
    )
    sleeve = cloth(rng, 128, 128, hex_to_linear(person.clothes), 0.2)
    # meta.yml lists the objects by class number; so do the labels
    order = sorted(range(len(objects)), key=lambda k: objects[k].thing.class_id)
    return World(
        [objects[k] for k in order],
        order.index(0),
        grip,
        approach,
        fingers,
        light,
        table,
        person.skin,
        sleeve,
        arm,
        body,
    )


def _placed(thing, yaw, position) -> Placed:
    """At its place, not painted yet."""
    c, s = np.cos(yaw), np.sin(yaw)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    return Placed(thing, rotation, position, np.zeros((1, 1, 3), np.float32))


def _grasp_directions(rng, side: str, grip: Grip):
    """Palm and finger directions that an arm from −y can take, and the object's yaw; world."""
    sign = -1.0 if side == "left" else 1.0
    if grip.approach == "side":
        heading = rng.uniform(-0.25, 0.75)  # of the palm, from straight across towards ahead
        approach = np.array([-sign * np.cos(heading), np.sin(heading), -rng.uniform(0.0, 0.25)])
        fingers = np.array([sign * np.sin(heading), np.cos(heading), rng.uniform(-0.35, 0.05)])
    else:
        heading = rng.uniform(-0.25, 0.75)  # of the fingers, from straight ahead inwards
        fingers = np.array([-sign * np.sin(heading), np.cos(heading), rng.uniform(-0.35, -0.05)])
        approach = np.array([0.0, 0.0, -1.0]) + rng.normal(0, 0.1, 3)
    approach = approach / np.linalg.norm(approach)
    fingers = fingers - approach * (fingers @ approach)
    fingers /= np.linalg.norm(fingers)
    closing = np.arctan2(fingers[1], fingers[0])  # thumb and fingers close along the fingers
    if grip.axis is None:
        yaw = rng.uniform(-np.pi, np.pi)
    else:
        yaw = closing - np.arctan2(grip.axis[1], grip.axis[0]) + rng.normal(0, 0.12)
        x, y = grip.center_m[:2]
        c, s = np.cos(yaw), np.sin(yaw)
        if np.hypot(x, y) < 0.02:
            turn_round = rng.random() < 0.5  # either way will do
        else:  # a handle: the palm comes from outside, not through the body
            turn_round = np.dot([c * x - s * y, s * x + c * y], approach[:2]) > 0
        yaw += np.pi * turn_round
    return approach, fingers, yaw


def _add_others(
    rng, objects: list[Placed], num_objects: int, cameras, sign: float, keep_clear: bool
) -> None:
    """Append objects that stand free of each other and out of the arm's way."""
    used = {objects[0].thing.class_id}
    free = [c for c in rng.permutation(_CLASS_ORDER).tolist() if c not in used]
    tall = [c for c in free if YCB_OBJECTS[c].is_tall]
    low_cameras = [c for c in cameras if c.center_m[2] < 0.42 and c.center_m[1] > -0.3]
    low_cameras = [] if keep_clear else low_cameras
    blocked = rng.permutation(len(low_cameras)).tolist()[: rng.integers(3, 5)]
    wanted = [(tall.pop(), low_cameras[k]) for k in blocked if tall]
    others = [c for c in free if c not in {t for t, _ in wanted}]
    wanted += [(c, None) for c in others[: max(0, num_objects - 1 - len(wanted))]]
    for class_id, camera in wanted[: num_objects - 1]:
        for _ in range(60):
            candidate = _placed_randomly(rng, YCB_OBJECTS[class_id], objects[0], camera)
            toward = cameras[0].center_m[:2] / np.linalg.norm(cameras[0].center_m[:2])
            if keep_clear and candidate.position_m[:2] @ toward > 0.02:
                continue
            if _stands_free(candidate, objects, sign):
                objects.append(candidate)
                break


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
    return _placed(thing, yaw, np.array([*spot, -thing.bottom_m]))


def _stands_free(candidate: Placed, objects: list[Placed], sign: float) -> bool:
    samples = surface_samples_m(candidate.thing, 0.012)
    points = samples @ candidate.rotation.T + candidate.position_m
    if np.abs(points[:, 0]).max() > 0.6 or points[:, 1].min() < -0.36 or points[:, 1].max() > 0.52:
        return False
    height = points[:, 2].max()
    in_the_way = (points[:, 1] < 0.02) & (points[:, 0] * sign > -0.16) & (points[:, 0] * sign < 0.3)
    if in_the_way.any() and height > 0.04:
        return False
    for k, other in enumerate(objects):
        local = (points - other.position_m) @ other.rotation
        room = 0.075 if k == 0 else _GAP_M  # fingers need room round the grasped one
        if other.thing.signed_distance_m(local).min() < room:
            return False
        back = surface_samples_m(other.thing, 0.012) @ other.rotation.T + other.position_m
        local = (back - candidate.position_m) @ candidate.rotation
        if candidate.thing.signed_distance_m(local).min() < room:
            return False
    return True
