"""Writer of the layout in `pipelines/datasets/hands.py`: many short sequences of the stand-in hand,
in varied scenes and at tables with DexYCB's kind of cameras."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from deformer.files.images import encode_jpeg
from deformer.files.whole import write_part
from deformer.hand.conventions import SIDES
from pipelines.datasets.source import GRASPED_OBJECT, HAND, OTHER_OBJECT
from pipelines.synthetic import benchmark
from pipelines.synthetic.config import SynthesisConfig
from pipelines.synthetic.layouts.npz import pack_npz
from pipelines.synthetic.plans import SequencePlan
from pipelines.synthetic.render import layer
from pipelines.synthetic.render.camera_view import CameraView, Picture, SceneViews
from pipelines.synthetic.render.layer import Part
from pipelines.synthetic.render.lens import draw_lens
from pipelines.synthetic.render.scene_layers import SceneLayers
from pipelines.synthetic.render.surroundings import (
    body_parts,
    draw_occluders,
    draw_surroundings,
)
from pipelines.synthetic.render.table_views import table_views
from pipelines.synthetic.scene.cameras import Camera, rig
from pipelines.synthetic.scene.scene import HandTrack
from pipelines.synthetic.scene.sequence import compose
from pipelines.synthetic.scene.varied_cameras import draw_cameras, image_size
from pipelines.synthetic.scene.varied_scene import draw_scene, frame_times
from pipelines.synthetic.scene.world import Person, SequenceSpec
from pipelines.synthetic.seeds import generator
from pipelines.synthetic.standin_hand import standin_hands

VERSION = 4
"""Raised whenever the same parameters give other files."""

_MIN_JOINTS, _MIN_DEPTH_M = 9, 0.08
_TABLES = 0.4
"""Share of the sequences at a table."""
_TABLE_FRAMES, _LATEST = 72, 14
"""Usual length of the motion at a table, and the frame by which the hand has appeared."""
_PLACEMENTS = 40


def write_sequence(folder: Path, plan: SequencePlan, config: SynthesisConfig) -> None:
    """Render one sequence into `folder`: meta.json and a folder per camera."""
    seed, num_frames, stride = config.seed, config.frames, config.stride
    is_table = generator(seed, plan.folder, "kind").random() < _TABLES
    draw = _draw_table if is_table else _draw_varied
    scene_views, frames = draw(plan, seed, config.num_cameras, num_frames, stride)
    tracks, size = scene_views.layers.scene.tracks, scene_views.views[0].size
    segmentations = defaultdict(list)
    for moment, number, picture in scene_views.pictures(frames):
        jpeg = encode_jpeg(picture.image, scene_views.views[number].lens.quality)
        write_part(folder / f"{number}" / f"{frames.index(moment):06d}.jpg", jpeg)
        for k in range(len(tracks)):
            segmentations[number, k].append(_segmentation(picture, k))
    for (number, k), segmentation in segmentations.items():
        cameras = [scene_views.views[number].cameras[moment] for moment in frames]
        labels = _labels(tracks[k], frames, cameras, size)
        if labels["valid"].any():
            labels["segmentation"] = np.stack(segmentation)
            write_part(folder / f"{number}" / f"{tracks[k].side}.npz", pack_npz(labels))
    meta = {
        "subject": plan.name,
        "objects": {p.side: p.held.thing.name if p.held else "" for p in tracks},
        "image_size": list(size),
        "num_frames": num_frames,
        "frame_step": stride,
        "tips": "dexycb",
        "hand": standin_hands()[0].name,
    }
    write_part(folder / "meta.json", f"{json.dumps(meta, indent=1)}\n".encode())


def _draw_table(plan, seed, num_cameras, num_frames, stride) -> tuple[SceneViews, range]:
    """A scene at a table, without anything that the benchmark's test part uses."""
    rng = generator(seed, plan.folder, "table")
    setting = benchmark.outside_test(piles=int(rng.random() < 0.3))
    person = replace(Person.drawn(rng), clothes=str(rng.choice(setting.clothes)))
    side, grasped = str(rng.choice(SIDES)), int(rng.choice(setting.classes))
    cameras = [rig(rng)[k] for k in rng.permutation(8)[:num_cameras]]
    span = (num_frames - 1) * stride + 1
    length = max(_TABLE_FRAMES, span + _LATEST)
    spec = SequenceSpec(seed, f"hands/{plan.folder}", person, side, grasped, cameras, setting)
    sequence = compose(spec, length, num_placements=_PLACEMENTS)
    start = int(rng.integers(sequence.motion.valid.argmax(), length - span + 1))
    return table_views(sequence), range(start, start + span, stride)


def _draw_varied(plan, seed, num_cameras, num_frames, stride) -> tuple[SceneViews, range]:
    rng, times = generator(seed, plan.folder, "hands"), frame_times(num_frames, stride)
    scene = draw_scene(rng, *standin_hands(), times)
    size, layers, views = image_size(rng), SceneLayers(scene, rng), []
    solid = _solid_m(layers)
    for number in range(num_cameras):
        own = generator(seed, plan.folder, "camera", str(number))
        cameras = draw_cameras(own, f"{number}", scene, times, solid, size)
        extra = draw_occluders(own, scene, cameras[0], solid)
        extra += body_parts(scene, cameras[0], own)
        around, lens = draw_surroundings(own, scene, cameras[0], size), draw_lens(own, size, times)
        views.append(CameraView(layers, cameras, around, size, extra, lens, own))
    ways = np.stack([_motion_px(layers, view.cameras) for view in views])
    return SceneViews(layers, views, ways), range(num_frames)


def _solid_m(layers: SceneLayers) -> np.ndarray:
    """Points (N, 3) on everything that a camera keeps away from."""
    points = [meshes.vertices_m[::2, ::12].reshape(-1, 3) for meshes in layers.hand_meshes]
    for moment in (0, len(layers.hand_meshes[0].vertices_m) // 2 - 1):
        for meshes in layers.hand_meshes:
            points += [part.vertices_m[::4] for part in meshes.parts(moment)]
    points += [part.vertices_m[::6] for part in layers.still().parts]
    return np.concatenate(points)


def _motion_px(layers: SceneLayers, cameras: list[Camera]) -> np.ndarray:
    """How far the first hand moves on the picture in 1/30 s, frame by frame, (F, 2)."""
    middle = layers.hand_meshes[0].joints_m.mean(1)
    spots = np.stack([c.to_pixels(spot) for c, spot in zip(cameras, middle, strict=True)])
    now, after = np.split(spots, 2)
    return after - now


def _labels(track: HandTrack, frames: range, cameras: list[Camera], size) -> dict[str, np.ndarray]:
    """All arrays of a hand's npz except the segmentation; a row and a camera per frame."""
    rig, rotvec, wrist_m = track.rig, track.global_rotvec[frames], track.wrist_m[frames]
    turned = [
        (Rotation.from_matrix(c.rotation) * Rotation.from_rotvec(r)).as_rotvec()
        for c, r in zip(cameras, rotvec, strict=True)
    ]
    pose = np.concatenate([turned, track.finger_rotvec[frames]], 1).astype(np.float32)
    wrist = np.stack([c.to_camera(w) for c, w in zip(cameras, wrist_m, strict=True)])
    trans = (wrist - rig.wrist_m).astype(np.float32)
    # From the stored, rounded numbers, as a reader computes it
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


def _segmentation(picture: Picture, number: int) -> np.ndarray:
    """(H, W) uint8 for hand `number`: the other hand and arm count as things in front."""
    own = {layer.HAND: HAND, layer.ARM: 0, layer.THING: GRASPED_OBJECT}

    def code(part: Part) -> int:
        if part.owner == number:
            return own[part.kind]
        return 0 if part.owner == layer.BODY else OTHER_OBJECT

    return picture.coded(code)
