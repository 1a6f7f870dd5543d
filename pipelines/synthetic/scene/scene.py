"""A scene to draw: moving hands, still objects, the ground and the light.

World: z up, metres. Moments are 1/30 s or more apart; every array of moments has T rows.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pipelines.synthetic.hand.kinematics import HandRig
from pipelines.synthetic.paint.lighting import Light
from pipelines.synthetic.scene.appearance import Appearance
from pipelines.synthetic.scene.clutter import Placed
from pipelines.synthetic.things.objects import SceneObject


@dataclass(frozen=True, eq=False)
class Held:
    """An object that a hand holds or will take: rotation (T, 3, 3), position_m (T, 3); at_rest (T,)
    bool: no hand has touched it yet."""

    thing: SceneObject
    rotation: np.ndarray
    position_m: np.ndarray
    at_rest: np.ndarray
    texture: np.ndarray
    gloss: float


@dataclass(frozen=True, eq=False)
class HandTrack:
    """One hand over time: valid (T,) bool, whether it is present; global_rotvec (T, 3),
    finger_rotvec (T, 45), wrist_m (T, 3); shoulder_m (3,): the arm's end."""

    rig: HandRig
    valid: np.ndarray
    global_rotvec: np.ndarray
    finger_rotvec: np.ndarray
    wrist_m: np.ndarray
    shoulder_m: np.ndarray
    held: Held | None

    @property
    def side(self) -> str:
        return self.rig.side

    @property
    def elbow(self) -> np.ndarray:
        """The direction from the wrist to the shoulder, (3,)."""
        way = self.shoulder_m - self.wrist_m.mean(0)
        return way / np.linalg.norm(way)

    @cached_property
    def posed(self) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (T, 778, 3) and joints (T, 21, 3) in the world."""
        vertices, joints = self.rig.pose(self.finger_rotvec, self.global_rotvec)
        return vertices + self.wrist_m[:, None], joints + self.wrist_m[:, None]

    def moved(self, by_m: np.ndarray) -> "HandTrack":
        """The hand and its object, shifted by by_m (T, 3); the shoulder shifts by the mean."""
        held = self.held
        if held is not None:
            held = replace(held, position_m=held.position_m + by_m)
        shoulder = self.shoulder_m + by_m.mean(0)
        return replace(self, wrist_m=self.wrist_m + by_m, shoulder_m=shoulder, held=held)


@dataclass(frozen=True, eq=False)
class Scene:
    """tracks: one hand or two, of different sides; ground_m: height of a surface below them, None
    for no surface; still: objects that stay; body: the chest's centre (3,) and facing, or None."""

    appearance: Appearance
    tracks: list[HandTrack]
    ground_m: float | None
    still: list[Placed]
    light: Light
    body: tuple[np.ndarray, float] | None
