"""One sequence at the table from its name and seed: world, grasp and motion."""

from dataclasses import dataclass

import numpy as np

from pipelines.synthetic.hand.grasp import Grasp, find_grasp
from pipelines.synthetic.hand.kinematics import HandRig
from pipelines.synthetic.hand.motion import TABLE_EDGE_Y_M, Motion, held_motion, table_motion
from pipelines.synthetic.scene.cameras import Camera
from pipelines.synthetic.scene.clutter import SweptPath
from pipelines.synthetic.scene.world import SequenceSpec, World, build_world
from pipelines.synthetic.seeds import generator
from pipelines.synthetic.standin_hand import standin_hands
from pipelines.synthetic.things.objects import distance_field, surface_samples_m
from pipelines.synthetic.things.ycb import YCB_OBJECTS

_GRASP_TRIES = 2
_GOOD_SCORE = 6.0
_MOTION_TRIES, _CLEAR_M = 8, -0.002


@dataclass(frozen=True, eq=False)
class Sequence:
    """A sequence before it is drawn."""

    world: World
    rig: HandRig
    grasp: Grasp | None
    """None where the motion is a recording's."""
    motion: Motion
    cameras: list[Camera]
    seed: int
    name: str


def compose(
    spec: SequenceSpec, num_frames: int, in_hand: bool = False, num_placements: int = 90
) -> Sequence:
    """Draw world, grasp and motion; of several draws take the first with a good grasp.

    in_hand: as in HO-3D, the hand turns one object in front of the camera; num_placements: see
    `find_grasp`.
    """
    rig, best = _rig(spec), None
    for attempt in range(_GRASP_TRIES):
        rng = generator(spec.seed, spec.name, "scene", str(attempt))
        num_objects = int(rng.integers(1, 5)) if in_hand else int(rng.integers(4, 7))
        keep_clear = in_hand and rng.random() < 0.75
        world = build_world(rng, spec, num_objects, keep_clear)
        placed = world.objects[world.grasped]
        inverse = placed.rotation.T
        wished = inverse @ world.hold.approach, inverse @ world.hold.fingers
        grasp = find_grasp(rig, placed.thing, world.hold.grip, *wished, rng, num_placements)
        if best is None or grasp.score > best[1].score:
            best = world, grasp
        if grasp.score > _GOOD_SCORE:
            break
    world, grasp = best
    motion = _clear_motion(spec.seed, spec.name, world, rig, grasp, num_frames, in_hand)
    return Sequence(world, rig, grasp, motion, spec.cameras, spec.seed, spec.name)


def compose_recorded(spec: SequenceSpec, motion: Motion) -> Sequence:
    """Draw a world round a recorded motion; nothing stands in its path."""
    rig = _rig(spec)
    rng = generator(spec.seed, spec.name, "scene")
    path = _swept_path(rig, motion, spec.grasped_id)
    world = build_world(rng, spec, int(rng.integers(4, 7)), path=path)
    return Sequence(world, rig, None, motion, spec.cameras, spec.seed, spec.name)


def _rig(spec: SequenceSpec) -> HandRig:
    hands, layer = standin_hands()
    return HandRig(hands, layer, spec.side, spec.person.appearance.betas)


def _swept_path(rig: HandRig, motion: Motion, grasped_id: int) -> SweptPath:
    """The path of a recorded motion."""
    seen = motion.valid
    vertices, joints = rig.pose(motion.finger_rotvec[seen], motion.global_rotvec[seen])
    wrist = motion.wrist_m[seen][:, None]
    samples = surface_samples_m(YCB_OBJECTS[grasped_id], 0.02)
    carried = np.einsum("fij,sj->fsi", motion.object_rotation, samples) + motion.object_m[:, None]
    hand = (vertices + wrist)[:, ::6]
    swept = np.concatenate([hand[::2].reshape(-1, 3), carried[::2].reshape(-1, 3)])
    way = (joints + wrist).mean(1)
    return SweptPath(motion.object_rotation[0], motion.object_m[0], way, swept)


def _clear_motion(seed, name, world, rig, grasp, num_frames: int, in_hand: bool) -> Motion:
    """Draw motions until one touches nothing; else take the one with the largest clearance."""
    placed, best = world.objects[world.grasped], None
    for attempt in range(_MOTION_TRIES):
        rng = generator(seed, name, "motion", str(attempt))
        if in_hand:
            center = np.array([0.0, -0.02, rng.uniform(0.16, 0.22)])
            motion = held_motion(rig, grasp, placed.rotation, center, num_frames, rng)
        else:
            motion = table_motion(rig, grasp, placed.rotation, placed.position_m, num_frames, rng)
        clearance = clearance_m(world, rig, motion)
        if best is None or clearance > best[0]:
            best = clearance, motion
        if clearance > _CLEAR_M:
            break
    return best[1]


def clearance_m(world: World, rig: HandRig, motion: Motion) -> float:
    """The smallest distance of hand and carried object to still objects and table, and of the
    reaching hand to the object that it will take; negative where they overlap."""
    placed = world.objects[world.grasped]
    vertices, _ = rig.pose(motion.finger_rotvec, motion.global_rotvec)
    hand = (vertices + motion.wrist_m[:, None])[:, ::6]
    samples = surface_samples_m(placed.thing, 0.02)
    carried = np.einsum("fij,sj->fsi", motion.object_rotation, samples) + motion.object_m[:, None]
    moves = (motion.object_m != motion.object_m[0]).any(1)
    lowest = [0.02]
    for points, frames in ((hand, motion.valid), (carried, moves)):
        for k, other in enumerate(world.objects):
            if k != world.grasped and frames.any():
                local = (points[frames] - other.position_m) @ other.rotation
                lowest.append(other.thing.signed_distance_m(local).min())
        over_table = points[frames][..., 1] > TABLE_EDGE_Y_M
        if over_table.any():
            lowest.append(points[frames][over_table][:, 2].min() + 0.004)
    reaching = motion.valid & ~moves
    if reaching.any():
        field = distance_field(placed.thing)
        local = (hand[reaching] - placed.position_m) @ placed.rotation
        lowest.append(field(local).min() + 0.004)  # the last frames already touch
    return float(min(lowest))
