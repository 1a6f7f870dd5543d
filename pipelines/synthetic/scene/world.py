"""The table's world in one sequence: objects, light, colours, the person's clothes."""

from dataclasses import dataclass, replace

import numpy as np

from pipelines.synthetic.hand.grasp import grasp_directions
from pipelines.synthetic.paint.lighting import Light, draw_light
from pipelines.synthetic.paint.patterns import texture
from pipelines.synthetic.paint.textures import linear_rgb, paint_object
from pipelines.synthetic.scene.appearance import Appearance, draw_appearance
from pipelines.synthetic.scene.cameras import Camera
from pipelines.synthetic.scene.clutter import UNPAINTED, Clutter, Placed, SweptPath, place_upright
from pipelines.synthetic.scene.setting import EVERYTHING, Setting
from pipelines.synthetic.things.objects import Grip
from pipelines.synthetic.things.ycb import YCB_OBJECTS

TABLE_X_M, TABLE_Y_M = (-0.75, 0.75), (-0.44, 0.62)
"""The table's top, z = 0."""

TABLE_TEXELS_PER_M = 500
_LOWEST_LAMP = 0.6  # sine of its height


@dataclass(frozen=True, eq=False)
class Hold:
    """How the hand takes the object. approach, fingers (3,): directions of palm and fingers in the
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
    """None for recorded motion."""
    light: Light
    table: np.ndarray
    """The top's texture, BGR, rows from −y to +y, columns from −x to +x."""
    appearance: Appearance
    shoulder_m: np.ndarray
    body_m: np.ndarray
    """(3,) middle of the person's chest."""
    setting: Setting


@dataclass(frozen=True)
class Person:
    """What all sequences of a subject share."""

    appearance: Appearance
    clothes: str

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Person":
        """Draw any hand, with long or short sleeves."""
        return cls(draw_appearance(rng), str(rng.choice(EVERYTHING.clothes)))


@dataclass(frozen=True, eq=False)
class SequenceSpec:
    """The given facts of a sequence: person, side, grasped object, cameras. Seed and name fix
    everything that is drawn at random."""

    seed: int
    name: str
    person: Person
    side: str
    grasped_id: int
    cameras: list[Camera]
    setting: Setting = EVERYTHING


def build_world(
    rng: np.random.Generator,
    spec: SequenceSpec,
    num_objects: int,
    keep_clear: bool = False,
    path: SweptPath | None = None,
) -> World:
    """Draw a scene: the grasped object in the middle, tall ones before some cameras, others around.

    keep_clear: nothing stands between the first camera and the grasped object. path: of a recorded
    motion; without it the object's place is drawn.
    """
    thing, hold, setting, person = YCB_OBJECTS[spec.grasped_id], None, spec.setting, spec.person
    if path is None:
        grip = thing.grips[rng.integers(len(thing.grips))]
        approach, fingers, yaw = grasp_directions(rng, spec.side, grip)
        middle = np.array([rng.uniform(-0.04, 0.04), rng.uniform(-0.05, 0.03), -thing.bottom_m])
        grasped, hold = place_upright(thing, yaw, middle), Hold(grip, approach, fingers)
        path = SweptPath.nearby(grasped)
    else:
        grasped = Placed(thing, path.start_rotation, path.start_m, UNPAINTED)
    sign = -1.0 if spec.side == "left" else 1.0
    clutter = Clutter([grasped], path, spec.cameras, sign, setting)
    clutter.add_piles(rng)
    clutter.add_others(rng, num_objects, keep_clear)
    objects = [replace(o, texture=paint_object(o.thing.paints, rng)) for o in clutter.objects]
    height, width = (round((b - a) * TABLE_TEXELS_PER_M) for a, b in (TABLE_Y_M, TABLE_X_M))
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
        replace(person.appearance, cloth=cloth),
        body + np.array([0.19 * sign, 0.02, 0.22]),
        body,
        setting,
    )
