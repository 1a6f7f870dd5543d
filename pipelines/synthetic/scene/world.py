"""What stands on the table in one sequence: objects, lights, colours, the person's clothes."""

from dataclasses import dataclass, replace

import numpy as np

from pipelines.synthetic.hand.arm import ArmStyle
from pipelines.synthetic.render.lighting import Light, draw_light, draw_skin
from pipelines.synthetic.render.textures import cloth, hex_to_linear, paint_object, tabletop
from pipelines.synthetic.scene.cameras import Camera
from pipelines.synthetic.scene.clutter import UNPAINTED, Clutter, Course, Placed, placed
from pipelines.synthetic.scene.setting import EVERYTHING, Setting
from pipelines.synthetic.things.objects import Grip
from pipelines.synthetic.things.ycb import YCB_OBJECTS

TABLE_X_M, TABLE_Y_M = (-0.75, 0.75), (-0.44, 0.62)
"""The table's top, z = 0."""

TEXELS_PER_M = 640


@dataclass(frozen=True, eq=False)
class Hold:
    """How the object is to be taken. approach, fingers (3,): directions of palm and fingers in the
    world."""

    grip: Grip
    approach: np.ndarray
    fingers: np.ndarray


@dataclass(frozen=True, eq=False)
class World:
    """One sequence's surroundings. `objects[grasped]` is the one that moves."""

    objects: list[Placed]
    grasped: int
    hold: Hold | None
    """None where a recording says how the object is held."""
    light: Light
    table: np.ndarray
    """Linear RGB of the table's top, rows from −y to +y, columns from −x to +x."""
    skin: np.ndarray
    sleeve: np.ndarray
    """Linear RGB of a piece of cloth."""
    arm: ArmStyle
    body_m: np.ndarray
    """(3,) middle of the person's chest."""
    setting: Setting


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
        clothes = str(rng.choice(EVERYTHING.clothes))
        sleeve = rng.choice(
            [rng.uniform(0.012, 0.05), rng.uniform(0.1, 0.2), 0.36], p=[0.4, 0.25, 0.35]
        )
        tone = (0.12 + 0.618 * number) % 1.0
        return cls(
            np.clip(rng.normal(0, 0.8, 10), -2, 2), draw_skin(rng, tone), clothes, float(sleeve)
        )


@dataclass(frozen=True, eq=False)
class Take:
    """Who takes which object before which cameras. Seed and name fix all that is drawn for it."""

    seed: int
    name: str
    person: Person
    side: str
    grasped_id: int
    cameras: list[Camera]
    setting: Setting = EVERYTHING


def build_world(
    rng: np.random.Generator,
    take: Take,
    num_objects: int,
    keep_clear: bool = False,
    course: Course | None = None,
) -> World:
    """Draw a scene: the grasped object in the middle, tall ones before some cameras, others around.

    keep_clear: nothing stands between the first camera and the grasped object. course: where a
    recorded object starts and what hand and object sweep; without it both are drawn.
    """
    thing, hold, setting, person = YCB_OBJECTS[take.grasped_id], None, take.setting, take.person
    if course is None:
        grip = thing.grips[rng.integers(len(thing.grips))]
        approach, fingers, yaw = grasp_directions(rng, take.side, grip)
        middle = np.array([rng.uniform(-0.04, 0.04), rng.uniform(-0.05, 0.03), -thing.bottom_m])
        grasped, hold = placed(thing, yaw, middle), Hold(grip, approach, fingers)
        course = Course.nearby(grasped)
    else:
        grasped = Placed(thing, course.start_rotation, course.start_m, UNPAINTED)
    sign = -1.0 if take.side == "left" else 1.0
    clutter = Clutter([grasped], course, take.cameras, sign, setting)
    clutter.add_piles(rng)
    clutter.add_others(rng, num_objects, keep_clear)
    objects = [replace(o, texture=paint_object(o.thing.paints, rng)) for o in clutter.objects]
    height, width = (round((b - a) * TEXELS_PER_M) for a, b in (TABLE_Y_M, TABLE_X_M))
    table = tabletop(rng, height, width, setting.table_hues, setting.table_woods)
    light = draw_light(rng, table.mean((0, 1)))
    body = np.array([-0.05 * sign + rng.uniform(-0.05, 0.05), -0.9, 0.1])
    arm = ArmStyle(
        body + np.array([0.19 * sign, 0.02, 0.22]), person.sleeve_from_m, rng.uniform(0.004, 0.012)
    )
    sleeve = cloth(rng, 128, 128, hex_to_linear(person.clothes), 0.2)
    # meta.yml lists the objects by class number; so do the labels
    order = sorted(range(len(objects)), key=lambda k: objects[k].thing.class_id)
    objects, grasped_at = [objects[k] for k in order], order.index(0)
    looks = light, table, person.skin, sleeve, arm
    return World(objects, grasped_at, hold, *looks, body, setting)


def grasp_directions(rng, side: str, grip: Grip):
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
