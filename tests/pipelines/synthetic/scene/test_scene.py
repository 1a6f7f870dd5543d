"""The synthetic world: what it must hold for a model to learn from it and be tested on it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from deformer.data.official import IMAGE_SIZE, SERIALS
from deformer.hand.conventions import FINGERS
from deformer.hand.mano import HandLayer
from pipelines.rays import RayScene
from pipelines.synthetic.hand.kinematics import SIDE_BY_SIDE_RAD, FingerBend, HandRig
from pipelines.synthetic.layouts.npz import pack_npz
from pipelines.synthetic.plans import dexycb_plan
from pipelines.synthetic.render.layer import ARM, HAND, THING
from pipelines.synthetic.render.table_views import table_views
from pipelines.synthetic.scene.cameras import rig
from pipelines.synthetic.scene.sequence import clearance_m, compose
from pipelines.synthetic.scene.world import Person, SequenceSpec
from pipelines.synthetic.seeds import generator
from pipelines.synthetic.things.objects import distance_field, surface_samples_m
from pipelines.synthetic.things.ycb import CLASS_IDS, YCB_OBJECTS


def composed(plan, num_frames: int, serials: Sequence[str] = SERIALS):
    person = Person.drawn(generator(0, plan.subject, "person"))
    cameras = [c for c in rig(generator(0, plan.subject, "rig")) if c.name in serials]
    grasped = CLASS_IDS[plan.object_name]
    spec = SequenceSpec(0, plan.folder, person, plan.side, grasped, cameras, plan.setting)
    return compose(spec, num_frames)


def hand_vertices(sequence) -> np.ndarray:
    motion = sequence.motion
    vertices, _ = sequence.rig.pose(motion.finger_rotvec, motion.global_rotvec)
    return vertices + motion.wrist_m[:, None]


@pytest.fixture(scope="module")
def sequence():
    return composed(dexycb_plan(4)[3], 72)


def test_hand_comes_late_and_moves_at_a_hand_s_pace(sequence):
    motion = sequence.motion
    assert 5 <= motion.valid.argmax() <= 14 and motion.valid[-1]
    speed = np.linalg.norm(np.diff(motion.wrist_m, axis=0), axis=1) * 30
    assert 0.2 < speed[motion.valid[1:]].max() < 3.0
    turns = np.abs(np.diff(motion.finger_rotvec, axis=0)).max(1)
    assert 0.005 < turns.max() < 0.35


def test_object_follows_the_hand_rigidly(sequence):
    motion = sequence.motion
    placed = sequence.world.objects[sequence.world.grasped]
    moves = (motion.object_m != placed.position_m).any(1)
    assert 0.3 < moves.mean() < 0.8
    local = np.einsum("fji,fj->fi", motion.object_rotation, motion.wrist_m - motion.object_m)
    np.testing.assert_allclose(
        local[moves][1:], np.broadcast_to(sequence.grasp.wrist_m, (moves.sum() - 1, 3)), atol=1e-6
    )
    assert motion.object_m[-1, 2] > motion.object_m[0, 2] + 0.02


def test_fingers_touch_and_do_not_sink_in(sequence):
    motion = sequence.motion
    thing = sequence.world.objects[sequence.world.grasped].thing
    moves = (motion.object_m != motion.object_m[0]).any(1)
    vertices = hand_vertices(sequence)[moves]
    local = np.einsum(
        "fvi,fij->fvj", vertices - motion.object_m[moves][:, None], motion.object_rotation[moves]
    )
    distance = distance_field(thing)(local)
    assert distance.min() > -0.005
    nearest = [distance[:, sequence.rig.finger_vertices[f]].min(1) for f in FINGERS]
    assert sum(np.median(d) < 0.004 for d in nearest) >= 3
    assert np.median(nearest[0]) < 0.004  # the thumb


def test_objects_stand_on_the_table_apart_from_each_other(sequence):
    objects = sequence.world.objects
    assert 3 <= len(objects) <= 6
    assert len({o.thing.class_id for o in objects}) == len(objects)
    for a in objects:
        points = surface_samples_m(a.thing, 0.01) @ a.rotation.T + a.position_m
        assert abs(points[:, 2].min()) < 1e-3
        for b in objects:
            if a is not b:
                local = (points - b.position_m) @ b.rotation
                assert b.thing.signed_distance_m(local).min() > 0.005
    assert clearance_m(sequence.world, sequence.rig, sequence.motion) > -0.01


def test_the_object_lies_still_until_it_is_touched_and_pictures_leave_no_trace(sequence):
    scene_views = table_views(replace(sequence, cameras=sequence.cameras[:1]))
    last = sequence.motion.num_frames - 1
    before, held, again = (picture for _, _, picture in scene_views.pictures([0, last, 0]))
    grasped = sequence.world.objects[sequence.world.grasped].thing.class_id
    assert not before.moving_parts and [p.kind for p in held.moving_parts] == [HAND, ARM, THING]
    for picture, is_held in ((before, False), (held, True)):
        assert (grasped in [p.class_id for p in picture.moving_parts]) == is_held
        assert (grasped in [p.class_id for p in picture.still_parts]) != is_held
    np.testing.assert_array_equal(again.depth_m, before.depth_m)
    np.testing.assert_array_equal(again.still, before.still)
    assert np.abs(again.image.astype(int) - before.image).mean() < 8  # but for the noise


def test_npz_has_no_times_in_it(tmp_path):
    arrays = {"seg": np.zeros((4, 4), np.uint8), "pose": np.ones(3, np.float32)}
    (tmp_path / "a.npz").write_bytes(pack_npz(arrays))
    assert pack_npz(arrays) == (tmp_path / "a.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as found:
        assert {k: found[k].dtype for k in found} == {k: v.dtype for k, v in arrays.items()}


@pytest.mark.parametrize("class_id", YCB_OBJECTS)
def test_surface_and_signed_distance_agree(class_id):
    thing = YCB_OBJECTS[class_id]
    distance = thing.signed_distance_m(surface_samples_m(thing, 0.008).astype(float))
    assert np.median(np.abs(distance)) < 1e-3  # parts run into each other: some lie inside
    assert distance.max() < 1.5e-3
    assert np.isclose(np.linalg.norm(thing.mesh.normals, axis=1), 1, atol=1e-3).all()


def occlusions(sequence, frames) -> list[float]:
    """Share of the hand's pixels, on a coarse grid, that objects hide; all cameras, some frames."""
    motion, world = sequence.motion, sequence.world
    vertices, found = hand_vertices(sequence), []
    x, y = np.meshgrid(np.arange(0, IMAGE_SIZE[0], 4), np.arange(0, IMAGE_SIZE[1], 4))
    pixels = np.stack([x, y], -1).reshape(-1, 2)
    for frame in frames:
        meshes = [(vertices[frame], sequence.rig.arrays.faces)]
        for k, o in enumerate(world.objects):
            moves = k == world.grasped
            turn = motion.object_rotation[frame] if moves else o.rotation
            spot = motion.object_m[frame] if moves else o.position_m
            meshes.append((o.thing.mesh.vertices_m @ turn.T + spot, o.thing.mesh.faces))
        hand, everything = RayScene(meshes[:1]), RayScene(meshes)
        for camera in sequence.cameras:
            rays = camera.ray_directions(pixels)
            amodal = hand.cast(camera.center_m, rays).mesh == 0
            if amodal.sum() > 3:
                hidden = everything.cast(camera.center_m, rays[amodal]).mesh > 0
                found.append(float(hidden.mean()))
    return found


@pytest.mark.parametrize("side", ["right", "left"])
def test_spreads_and_the_thumb_s_turn_mean_what_they_say(hands, side):
    rig = HandRig(hands, HandLayer(hands), side, np.zeros(10))

    def joints_m(spread_rad, thumb_in_rad):
        bend = FingerBend(np.zeros(5), np.zeros(5), spread_rad, np.array([thumb_in_rad]))
        return rig.pose(rig.finger_rotvec(bend)[None])[1][0]

    def angles(joints):  # of index, middle, ring and little in the plane of the palm, degrees
        bones = joints[[7, 11, 15, 19]] - joints[[5, 9, 13, 17]]
        return np.degrees(np.arctan2(bones @ rig.axes[2], bones @ rig.axes[0]))

    together = joints_m(SIDE_BY_SIDE_RAD, 0.0)
    assert np.ptp(angles(together)) < 2
    assert np.ptp(angles(joints_m(np.zeros(5), 0.0))) > 20  # of the rest pose
    gaps = [np.linalg.norm(joints_m(np.zeros(5), turn)[4] - together[8]) for turn in (0, 0.5)]
    assert gaps[1] < gaps[0] - 0.02
