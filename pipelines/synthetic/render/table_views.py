"""Views of one sequence at the table, one per camera."""

import numpy as np

from deformer.data.official import IMAGE_SIZE
from pipelines.synthetic.hand.motion import Motion
from pipelines.synthetic.render.camera_view import CameraView, SceneViews
from pipelines.synthetic.render.lens import steady_lens
from pipelines.synthetic.render.scene_layers import SceneLayers
from pipelines.synthetic.render.surroundings import body_parts, table_surroundings
from pipelines.synthetic.scene.cameras import Camera
from pipelines.synthetic.scene.scene import HandTrack, Held, Scene
from pipelines.synthetic.scene.sequence import Sequence
from pipelines.synthetic.seeds import generator


def table_views(sequence: Sequence) -> SceneViews:
    """A sequence from each of its cameras; moments are frames."""
    motion, names = sequence.motion, (sequence.seed, sequence.name)
    layers, views = SceneLayers(_scene(sequence), generator(*names, "looks")), []
    for camera in sequence.cameras:
        rng = generator(*names, "film", camera.name)
        around = table_surroundings(sequence.world, IMAGE_SIZE, rng)
        shutter = sequence.world.setting.shutter
        lens = steady_lens(rng, IMAGE_SIZE, np.arange(motion.num_frames), shutter)
        body, poses = body_parts(layers.scene, camera, rng), [camera] * motion.num_frames
        views.append(CameraView(layers, poses, around, IMAGE_SIZE, body, lens, rng))
    ways = [_motion_px(layers, motion, camera) for camera in sequence.cameras]
    return SceneViews(layers, views, np.stack(ways))


def _scene(sequence: Sequence) -> Scene:
    """A sequence at the table as a `Scene`."""
    world, motion = sequence.world, sequence.motion
    grasped, still = world.objects[world.grasped], list(world.objects)
    del still[world.grasped]
    gloss = generator(sequence.seed, sequence.name, "gloss").uniform(0.02, 0.3)
    way = motion.object_rotation, motion.object_m, _at_rest(motion)
    held = Held(grasped.thing, *way, grasped.texture, gloss)
    pose = motion.global_rotvec, motion.finger_rotvec, motion.wrist_m
    track = HandTrack(sequence.rig, motion.valid, *pose, world.shoulder_m, held)
    return Scene(world.appearance, [track], 0.0, still, world.light, (world.body_m, np.pi / 2))


def _at_rest(motion: Motion) -> np.ndarray:
    """Frames before anything moves the object, (F,) bool."""
    if motion.valid[0]:
        return np.zeros(motion.num_frames, bool)
    same = (motion.object_rotation == motion.object_rotation[0]).all((1, 2))
    return np.logical_and.accumulate(same & (motion.object_m == motion.object_m[0]).all(1))


def _motion_px(layers: SceneLayers, motion: Motion, camera: Camera) -> np.ndarray:
    """How far the middle of the hand moves on the picture from frame to frame, (F, 2)."""
    middle = camera.to_pixels(layers.hand_meshes[0].joints_m.mean(1))
    speed = np.gradient(middle, axis=0)
    speed[~motion.valid] = 0
    return speed
