"""One sequence at the table from its name and seed: world, grasp, motion, then pictures."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from deformer.data.official import IMAGE_SIZE
from deformer.hand.mano import HandLayer, Hands, load_hands
from pipelines.synthetic.hand.grasp import Grasp, find_grasp
from pipelines.synthetic.hand.kinematics import HandRig
from pipelines.synthetic.hand.motion import TABLE_EDGE_Y_M, Motion, held_motion, table_motion
from pipelines.synthetic.render.lens import steady_lens
from pipelines.synthetic.render.shot import Film, Shot
from pipelines.synthetic.render.stage import Stage
from pipelines.synthetic.scene.cameras import Camera
from pipelines.synthetic.scene.clutter import Course
from pipelines.synthetic.scene.scene import Held, Player, Scene
from pipelines.synthetic.scene.surroundings import body_parts
from pipelines.synthetic.scene.world import Take, World, build_world, table_surroundings
from pipelines.synthetic.things.objects import distance_field, surface_samples_m
from pipelines.synthetic.things.ycb import YCB_OBJECTS

_GRASP_TRIES = 2
_GOOD_SCORE = 6.0
_MOTION_TRIES, _CLEAR_M = 8, -0.002


@cache
def standin_hands() -> tuple[Hands, HandLayer]:
    """The stand-in hand and its layer, loaded once per process."""
    hands = load_hands("standin")
    return hands, HandLayer(hands).eval()


def generator(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for everything that has a name: order and workers do not matter."""
    return np.random.default_rng([seed, *("/".join(names)).encode()])


@dataclass(frozen=True, eq=False)
class Sequence:
    """A sequence before it is filmed."""

    world: World
    rig: HandRig
    grasp: Grasp | None
    """None where the motion is a recording's."""
    motion: Motion
    cameras: list[Camera]
    seed: int
    name: str


def compose(
    take: Take, num_frames: int, in_hand: bool = False, num_placements: int = 90
) -> Sequence:
    """Draw world, grasp and motion; of several draws the first with a good hold.

    in_hand: HO-3D's kind of scene, one object turned in the hand before the camera; num_placements:
    of `find_grasp`.
    """
    rig, best = _rig(take), None
    for attempt in range(_GRASP_TRIES):
        rng = generator(take.seed, take.name, "scene", str(attempt))
        num_objects = int(rng.integers(1, 5)) if in_hand else int(rng.integers(4, 7))
        keep_clear = in_hand and rng.random() < 0.75
        world = build_world(rng, take, num_objects, keep_clear)
        placed = world.objects[world.grasped]
        inverse = placed.rotation.T
        wished = inverse @ world.hold.approach, inverse @ world.hold.fingers
        grasp = find_grasp(rig, placed.thing, world.hold.grip, *wished, rng, num_placements)
        if best is None or grasp.score > best[1].score:
            best = world, grasp
        if grasp.score > _GOOD_SCORE:
            break
    world, grasp = best
    motion = _clear_motion(take.seed, take.name, world, rig, grasp, num_frames, in_hand)
    return Sequence(world, rig, grasp, motion, take.cameras, take.seed, take.name)


def compose_recorded(take: Take, motion: Motion) -> Sequence:
    """Draw a world round a recorded motion: nothing stands where hand or object pass."""
    rig = _rig(take)
    rng = generator(take.seed, take.name, "scene")
    course = _course(rig, motion, take.grasped_id)
    world = build_world(rng, take, int(rng.integers(4, 7)), course=course)
    return Sequence(world, rig, None, motion, take.cameras, take.seed, take.name)


def _rig(take: Take) -> HandRig:
    hands, layer = standin_hands()
    return HandRig(hands, layer, take.side, take.person.looks.betas)


def _course(rig: HandRig, motion: Motion, grasped_id: int) -> Course:
    """Where a recorded motion's hand and object pass."""
    seen = motion.valid
    vertices, joints = rig.pose(motion.finger_rotvec[seen], motion.global_rotvec[seen])
    wrist = motion.wrist_m[seen][:, None]
    samples = surface_samples_m(YCB_OBJECTS[grasped_id], 0.02)
    carried = np.einsum("fij,sj->fsi", motion.object_rotation, samples) + motion.object_m[:, None]
    hand = (vertices + wrist)[:, ::6]
    swept = np.concatenate([hand[::2].reshape(-1, 3), carried[::2].reshape(-1, 3)])
    way = (joints + wrist).mean(1)
    return Course(motion.object_rotation[0], motion.object_m[0], way, swept)


def _clear_motion(seed, name, world, rig, grasp, num_frames: int, in_hand: bool) -> Motion:
    """Of several motions drawn the first that touches nothing on its way, or else the freest."""
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
    """The least distance that hand and carried object keep from the still objects and the table,
    and the reaching hand from the object it is about to take; negative where they meet."""
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


def film_table(sequence: Sequence) -> Film:
    """The sequence before its cameras; moments are frames."""
    motion, names = sequence.motion, (sequence.seed, sequence.name)
    stage, shots = Stage(_scene(sequence), generator(*names, "looks")), []
    for camera in sequence.cameras:
        rng = generator(*names, "film", camera.name)
        around = table_surroundings(sequence.world, IMAGE_SIZE, rng)
        shutter = sequence.world.setting.shutter
        lens = steady_lens(rng, IMAGE_SIZE, np.arange(motion.num_frames), shutter)
        body, poses = body_parts(stage.scene, camera, rng), [camera] * motion.num_frames
        shots.append(Shot(stage, poses, around, IMAGE_SIZE, body, lens, rng))
    ways = [_motion_px(stage, motion, camera) for camera in sequence.cameras]
    return Film(stage, shots, np.stack(ways))


def _scene(sequence: Sequence) -> Scene:
    """The table's scene as any other."""
    world, motion = sequence.world, sequence.motion
    grasped, still = world.objects[world.grasped], list(world.objects)
    del still[world.grasped]
    gloss = generator(sequence.seed, sequence.name, "gloss").uniform(0.02, 0.3)
    way = motion.object_rotation, motion.object_m, _at_rest(motion)
    held = Held(grasped.thing, *way, grasped.texture, gloss)
    pose = motion.global_rotvec, motion.finger_rotvec, motion.wrist_m
    player = Player(sequence.rig, motion.valid, *pose, world.shoulder_m, held)
    return Scene(world.looks, [player], 0.0, still, world.light, (world.body_m, np.pi / 2))


def _at_rest(motion: Motion) -> np.ndarray:
    """In which frames the object lies where it lay before the hand came, (F,) bool."""
    if motion.valid[0]:
        return np.zeros(motion.num_frames, bool)
    same = (motion.object_rotation == motion.object_rotation[0]).all((1, 2))
    return np.logical_and.accumulate(same & (motion.object_m == motion.object_m[0]).all(1))


def _motion_px(stage: Stage, motion: Motion, camera: Camera) -> np.ndarray:
    """How far the middle of the hand moves on the picture from frame to frame, (F, 2)."""
    middle = camera.to_pixels(stage.actors[0].joints_m.mean(1))
    speed = np.gradient(middle, axis=0)
    speed[~motion.valid] = 0
    return speed
