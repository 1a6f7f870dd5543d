"""What moves in one sequence, frame by frame: hand, arm and grasped object as a layer."""

import numpy as np

from pipelines.synthetic.hand.kinematics import HandRig
from pipelines.synthetic.hand.motion import Motion
from pipelines.synthetic.render.appearance import (
    Limb,
    arm_albedo,
    arm_surface,
    layer_colour,
    num_blocked,
    openness,
    paint_hand,
    skin_surface,
    thing_part,
)
from pipelines.synthetic.render.layer import HAND, Column, Layer
from pipelines.synthetic.render.rays import RayScene
from pipelines.synthetic.scene.world import World

_OPEN_RAYS, _LAMPS = 10, 3


class Stage:
    """Everything about one sequence that its cameras share."""

    def __init__(
        self,
        world: World,
        rig: HandRig,
        motion: Motion,
        still: RayScene | None,
        rng: np.random.Generator,
    ) -> None:
        self.world, self.motion, self._still = world, motion, still
        vertices, joints = rig.pose(motion.finger_rotvec, motion.global_rotvec)
        wrist = motion.wrist_m[:, None]
        self.hand_joints_m = joints + wrist
        self._limb = Limb(rig, world.arm, vertices + wrist, motion.global_rotvec)
        self._hand_albedo = paint_hand(rig, world.skin, rng)
        self._arm_albedo = arm_albedo(self._limb.arm, world.skin, world.sleeve)
        self._open_turns = rng.uniform(-1, 1, (_OPEN_RAYS, 3)).astype(np.float32)
        self._gloss = rng.uniform(0.03, 0.09)
        self._object_gloss = rng.uniform(0.02, 0.3)

    def posed(self, frame: int) -> Layer:
        """All parts of a frame, with the light that arrives at their vertices: hand and arm, where
        there is a hand, and last the object."""
        parts, motion = [], self.motion
        if motion.valid[frame]:
            hand = self._limb.hand_part(frame, self._hand_albedo, skin_surface, self._gloss)
            parts = [hand, self._limb.arm_part(frame, self._arm_albedo, arm_surface)]
        grasped = self.world.objects[self.world.grasped]
        pose = motion.object_rotation[frame], motion.object_m[frame]
        parts.append(thing_part(grasped.thing, *pose, grasped.texture, self._object_gloss))
        layer = Layer(parts)
        lamps = self.world.light.key_samples_m(_LAMPS).astype(np.float32)
        for number, part in enumerate(parts):
            normals = part.attributes[:, Column.NORMAL]
            if part.kind == HAND:
                start = (part.vertices_m + 0.0015 * normals).astype(np.float32)
                seen = openness([layer.scene], start, normals, self._open_turns, 0.0)
                layer.update(number, Column.OPEN, seen)
            if self._still is not None:
                start = (part.vertices_m + 0.002 * normals).astype(np.float32)
                blocked = num_blocked([self._still], start, lamps[:, None] - start, 0.999)
                layer.update(number, Column.LIT, 1 - blocked / _LAMPS)
        return layer

    def colours(self, layer: Layer):
        """Linear RGB (N, 3) of a layer's hits, as `LayerCaster` expects them."""
        lamp_m = self.world.light.key_m.astype(np.float32)

        def lamp_share(points: np.ndarray, _) -> np.ndarray:
            return ~layer.scene.is_blocked(points, lamp_m - points, 0.999)

        def colour(hits, origin_m, directions) -> np.ndarray:
            ways = hits, origin_m, directions
            return layer_colour(layer, *ways, self.world.light, lamp_share)

        return colour
