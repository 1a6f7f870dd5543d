"""What stands on the table in one sequence: objects, lights, colours, the person's clothes."""

from dataclasses import dataclass, replace

import numpy as np

from pipelines.synthetic.hand.grasp import grasp_directions
from pipelines.synthetic.render.backgrounds import plain_room
from pipelines.synthetic.render.lighting import Light, draw_light
from pipelines.synthetic.render.patterns import texture
from pipelines.synthetic.render.textures import linear_rgb, paint_object
from pipelines.synthetic.scene.cameras import Camera
from pipelines.synthetic.scene.clutter import UNPAINTED, Clutter, Course, Placed, placed
from pipelines.synthetic.scene.looks import Looks, draw_looks
from pipelines.synthetic.scene.setting import EVERYTHING, Setting
from pipelines.synthetic.scene.surroundings import MARGIN, Surroundings
from pipelines.synthetic.things.objects import Grip
from pipelines.synthetic.things.ycb import YCB_OBJECTS

TABLE_X_M, TABLE_Y_M = (-0.75, 0.75), (-0.44, 0.62)
"""The table's top, z = 0."""

_TEXELS_PER_M = 500
_LOWEST_LAMP = 0.6  # sine of its height
_WALL_M = (2.4, 3.4)  # from a camera to the room behind


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
    """The top's texture, BGR, rows from −y to +y, columns from −x to +x."""
    looks: Looks
    shoulder_m: np.ndarray
    body_m: np.ndarray
    """(3,) middle of the person's chest."""
    setting: Setting


@dataclass(frozen=True)
class Person:
    """What stays the same through all sequences of a subject."""

    looks: Looks
    clothes: str

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Person":
        """Any hand, long or short sleeves."""
        return cls(draw_looks(rng), str(rng.choice(EVERYTHING.clothes)))


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
    height, width = (round((b - a) * _TEXELS_PER_M) for a, b in (TABLE_Y_M, TABLE_X_M))
    palette = setting.table_woods if rng.random() < 0.4 else setting.table_hues
    table = texture(rng, height, width, palette, 0.7)
    cloth = linear_rgb(texture(rng, 128, 128, (person.clothes,), 0.3))
    body = np.array([-0.05 * sign + rng.uniform(-0.05, 0.05), -0.9, 0.1])
    # meta.yml lists the objects by class number; so do the labels
    order = sorted(range(len(objects)), key=lambda k: objects[k].thing.class_id)
    return World(
        [objects[k] for k in order],
        order.index(0),
        hold,
        draw_light(rng, _LOWEST_LAMP),
        table,
        replace(person.looks, cloth=cloth),
        body + np.array([0.19 * sign, 0.02, 0.22]),
        body,
        setting,
    )


def table_surroundings(world: World, size: tuple[int, int], rng: np.random.Generator):
    """What one camera sees behind the table, and the table."""
    height, width = (round(n * (1 + 2 * MARGIN)) for n in size[::-1])
    backdrop = plain_room(rng, height, width, world.setting.walls)
    top = np.full((*world.table.shape[:2], 4), 255, np.uint8)
    top[..., :3] = world.table
    cell = 1 / _TEXELS_PER_M
    to_world = np.array([[cell, 0, TABLE_X_M[0]], [0, cell, TABLE_Y_M[0]], [0, 0, 1.0]])
    return Surroundings(backdrop, top, to_world, backdrop_m=rng.uniform(*_WALL_M))
