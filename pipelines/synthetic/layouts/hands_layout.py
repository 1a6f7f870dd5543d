"""The layout of `pipelines/datasets/hands.py`, written: many short sequences of the stand-in hand,
wide scenes and, now and then, one of a table with DexYCB's kind of cameras."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from deformer.data.official import IMAGE_SIZE
from deformer.files.images import encode_jpeg
from deformer.files.whole import write_part
from deformer.hand.conventions import SIDES
from pipelines.datasets.source import GRASPED_OBJECT, HAND, OTHER_OBJECT
from pipelines.synthetic.hand.kinematics import HandRig
from pipelines.synthetic.layouts import benchmark
from pipelines.synthetic.layouts.encode import pack_npz
from pipelines.synthetic.layouts.sequences import SequencePlan
from pipelines.synthetic.render import layer
from pipelines.synthetic.render.film import HAND_LABEL
from pipelines.synthetic.render.layer import Layer
from pipelines.synthetic.render.lens import draw_lens, photograph
from pipelines.synthetic.render.wide_picture import Picture, Shot
from pipelines.synthetic.scene.cameras import Camera, rig
from pipelines.synthetic.scene.sequence import compose, film, generator, standin_hands
from pipelines.synthetic.scene.wide_cameras import draw_cameras, image_size
from pipelines.synthetic.scene.wide_scene import draw_scene
from pipelines.synthetic.scene.wide_stage import Stage
from pipelines.synthetic.scene.wide_surroundings import (
    BODY,
    body_parts,
    draw_occluders,
    draw_surroundings,
)
from pipelines.synthetic.scene.world import Person, Take

VERSION = 4
"""Raised whenever the same parameters give other files."""

_VAL_EVERY = 25
_MIN_JOINTS, _MIN_DEPTH_M = 9, 0.08
_TABLES = 0.4
"""Share of the sequences that are of a table."""
_TABLE_FRAMES, _LATEST = 72, 14
"""The usual length of a table's motion, and the frame in which its hand has come."""
_PLACEMENTS = 40


def hands_plan(count: int) -> list[SequencePlan]:
    """`count` sequences, one for validation to twenty-four for training."""
    if count < 1:
        raise ValueError(f"--sequences {count}: at least 1")
    splits = ["val" if k % _VAL_EVERY == _VAL_EVERY - 1 else "train" for k in range(count)]
    return [SequencePlan(f"{k:06d}", "", "", "", split) for k, split in enumerate(splits)]


def write_sequence(
    folder: Path, plan: SequencePlan, *, seed: int, num_cameras: int, num_frames: int, stride: int
) -> None:
    """Render one sequence into `folder`: meta.json and a folder per camera."""
    is_table = generator(seed, plan.folder, "kind").random() < _TABLES
    write = _write_table if is_table else _write_wide
    objects, size = write(folder, plan, seed, num_cameras, num_frames, stride)
    meta = {
        "subject": plan.name,
        "objects": objects,
        "image_size": list(size),
        "num_frames": num_frames,
        "frame_step": stride,
        "tips": "dexycb",
        "hand": standin_hands()[0].name,
    }
    write_part(folder / "meta.json", f"{json.dumps(meta, indent=1)}\n".encode())


def _write_table(folder, plan, seed, num_cameras, num_frames, stride):
    """A scene of the table's, as the benchmark's but for what its test is made of."""
    rng = generator(seed, plan.folder, "table")
    setting = benchmark.outside_test(piles=int(rng.random() < 0.3))
    person = Person.drawn(rng, int(rng.integers(100)))
    person = replace(person, clothes=str(rng.choice(setting.clothes)))
    side, grasped = str(rng.choice(SIDES)), int(rng.choice(setting.classes))
    cameras = [rig(rng)[k] for k in rng.permutation(8)[:num_cameras]]
    span = (num_frames - 1) * stride + 1
    length = max(_TABLE_FRAMES, span + _LATEST)
    take = Take(seed, f"hands/{plan.folder}", person, side, grasped, cameras, setting)
    sequence = compose(take, length, num_placements=_PLACEMENTS)
    motion = sequence.motion
    start = int(rng.integers(motion.valid.argmax(), length - span + 1))
    frames = range(start, start + span, stride)
    segmentation = np.zeros((num_cameras, num_frames, *IMAGE_SIZE[::-1]), np.uint8)
    for frame, number, picture in film(sequence, frames):
        k = frames.index(frame)
        jpeg = encode_jpeg(picture.image)
        write_part(folder / f"{number}" / f"{k:06d}.jpg", jpeg)
        codes = np.full(256, OTHER_OBJECT, np.uint8)
        codes[0], codes[HAND_LABEL], codes[grasped] = 0, HAND, GRASPED_OBJECT
        segmentation[number, k] = codes[picture.label]
    pose = [a[frames] for a in (motion.global_rotvec, motion.finger_rotvec, motion.wrist_m)]
    for number, camera in enumerate(cameras):
        labels = _labels(sequence.rig, *pose, [camera] * num_frames, IMAGE_SIZE)
        if labels["valid"].any():
            labels["segmentation"] = segmentation[number]
            write_part(folder / f"{number}" / f"{side}.npz", pack_npz(labels))
    return {side: sequence.world.objects[sequence.world.grasped].thing.name}, IMAGE_SIZE


def _write_wide(folder, plan, seed, num_cameras, num_frames, stride):
    rng = generator(seed, plan.folder, "hands")
    scene = draw_scene(rng, *standin_hands(), num_frames, stride)
    size, stage = image_size(rng), Stage(scene, rng)
    solid = _solid_m(stage)
    for number in range(num_cameras):
        own = generator(seed, plan.folder, "camera", str(number))
        name = f"{number}"
        cameras = draw_cameras(own, name, scene, solid, size)
        occluders = draw_occluders(own, scene, cameras[0], solid)
        stage.add(occluders + body_parts(scene, cameras[0], own))
        around, lens = draw_surroundings(own, scene, cameras[0], size), draw_lens(own, size)
        shot, pictures = Shot(stage, cameras[0], around, size), []
        for frame in range(num_frames):
            moving = stage.moving(frame)
            way = _motion_px(stage, cameras, frame, num_frames) * lens.shutter
            picture = shot.picture(moving, cameras[frame], way)
            pictures.append((picture, moving))
            jpeg = photograph(lens, picture.image, own)
            write_part(folder / name / f"{frame:06d}.jpg", jpeg)
        for actor in stage.actors:
            p = actor.player
            pose = (a[:num_frames] for a in (p.global_rotvec, p.finger_rotvec, p.wrist_m))
            labels = _labels(p.rig, *pose, cameras[:num_frames], size)
            if labels["valid"].any():
                labels["segmentation"] = np.stack(
                    [_segmentation(p, m, stage.still.parts, actor.number) for p, m in pictures]
                )
                write_part(folder / name / f"{p.side}.npz", pack_npz(labels))
    return {p.side: p.held.thing.name if p.held else "" for p in scene.players}, size


def _solid_m(stage: Stage) -> np.ndarray:
    """Points (N, 3) of everything that a camera must not be in."""
    points = [actor.vertices_m[::2, ::12].reshape(-1, 3) for actor in stage.actors]
    for moment in (0, len(stage.scene.times) // 2 - 1):
        for actor in stage.actors:
            points += [part.vertices_m[::4] for part in actor.parts(moment)]
    points += [part.vertices_m[::6] for part in stage.still.parts]
    return np.concatenate(points)


def _motion_px(stage: Stage, cameras: list[Camera], frame: int, num_frames: int) -> np.ndarray:
    """How far the first hand moves on the picture in 1/30 s, (2,)."""
    middle = stage.actors[0].joints_m.mean(1)
    after = cameras[frame + num_frames].to_pixels(middle[frame + num_frames])
    return after - cameras[frame].to_pixels(middle[frame])


def _labels(
    rig: HandRig, global_rotvec, finger_rotvec, wrist_m, cameras: list[Camera], size
) -> dict[str, np.ndarray]:
    """Every array of a hand's npz but the segmentation; a row and a camera per frame."""
    turned = [
        (Rotation.from_matrix(c.rotation) * Rotation.from_rotvec(r)).as_rotvec()
        for c, r in zip(cameras, global_rotvec, strict=True)
    ]
    pose = np.concatenate([turned, finger_rotvec], 1).astype(np.float32)
    wrist = np.stack([c.to_camera(w) for c, w in zip(cameras, wrist_m, strict=True)])
    trans = (wrist - rig.wrist_m).astype(np.float32)
    # What a reader computes from the stored numbers, not from those before rounding
    _, joints = rig.pose(pose[:, 3:], pose[:, :3])
    joints = (joints + rig.wrist_m + trans[:, None]).astype(np.float32)
    K = cameras[0].K.astype(np.float32)
    px = joints @ K.T
    px = px[..., :2] / np.maximum(px[..., 2:], 1e-6)
    inside = ((px >= 0) & (px <= np.array(size) - 1)).all(-1)
    valid = (inside.sum(1) >= _MIN_JOINTS) & (joints[..., 2].min(1) > _MIN_DEPTH_M)
    return {
        "K": K,
        "joints_cam_m": joints,
        "valid": valid,
        "pose_rotvec": pose,
        "betas": rig.betas.astype(np.float32),
        "trans_m": trans,
    }


def _segmentation(picture: Picture, moving: Layer, still_parts, number: int) -> np.ndarray:
    """(H, W) uint8 as player `number` sees it: the other's hand and arm are things in front."""
    own, codes = {layer.HAND: HAND, layer.ARM: 0, layer.THING: GRASPED_OBJECT}, []
    for part in moving.parts:
        codes.append(own[part.kind] if part.owner == number else OTHER_OBJECT)
    seen = np.array([*codes, 0], np.uint8)[picture.moving]
    still = [0 if part.owner == BODY else OTHER_OBJECT for part in still_parts]
    over = picture.still >= 0
    seen[over] = np.array([*still, 0], np.uint8)[picture.still[over]]
    seen[picture.veiled] = OTHER_OBJECT
    return seen
