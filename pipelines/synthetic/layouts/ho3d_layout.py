"""Writer of HO-3D's files, v2 and v3: one camera, one right hand, OpenGL coordinates.

Layout and meaning of every value follow `vis_HO3D.py` and `eval.py` of
github.com/shreyashampali/ho3d, and the README.txt inside HO-3D_v3.
"""

import json
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from deformer.files.images import encode_jpeg, encode_png
from deformer.files.whole import whole_file, write_part, write_whole
from deformer.hand.conventions import DATASET_TO_MANO, OPENGL_TO_OPENCV, TIP_VERTICES
from pipelines.synthetic.config import SynthesisConfig
from pipelines.synthetic.layouts.dexycb_layout import HAND_LABEL, segmentation
from pipelines.synthetic.plans import SequencePlan
from pipelines.synthetic.render.table_views import table_views
from pipelines.synthetic.scene.cameras import table_camera
from pipelines.synthetic.scene.sequence import Sequence, compose
from pipelines.synthetic.scene.world import Person, SequenceSpec
from pipelines.synthetic.seeds import generator
from pipelines.synthetic.things.ycb import CLASS_IDS

DEPTH_SCALE_M = 0.00012498664727900177
"""Metres per step of HO-3D's depth images."""

SEGMENTATION_SIZE = (160, 120)
"""(width, height) of v3's masks: a quarter of the picture."""

_PROTOCOL = 2
_TRUTH_FOLDER = ".evaluation"
_CONTACT_M = 0.004
_LABELLED_KEYS = (
    "handPose", "handTrans", "handBeta", "handJoints3D", "objRot", "objTrans", "objCorners3D",
)  # fmt: skip

_CONSTANT_KEYS = ("camMat", "objName", "objLabel", "objCorners3DRest")


def write_sequence(folder: Path, plan: SequencePlan, config: SynthesisConfig) -> None:
    """Render one sequence into `folder`, and the truth of an evaluation sequence beside it."""
    seed, num_frames, version = config.seed, config.frames, config.layout[-2:]
    sequence = _compose(seed, plan, num_frames)
    labels = _labels(sequence)
    evaluation = plan.split == "evaluation"
    listed = np.ones(num_frames, bool) if evaluation else _annotated(seed, plan.name, num_frames)
    has_masks = version == "v3" and not evaluation
    for frame, _, picture in table_views(sequence).pictures(range(num_frames)):
        if version == "v2":
            write_part(folder / "rgb" / f"{frame:04d}.png", encode_png(picture.image))
        else:
            write_part(folder / "rgb" / f"{frame:04d}.jpg", encode_jpeg(picture.image))
        if config.depth:
            depth = encode_png(_encode_depth(picture.depth_m))
            write_part(folder / "depth" / f"{frame:04d}.png", depth)
        if has_masks:
            grasped = sequence.world.objects[sequence.world.grasped].thing.class_id
            mask = encode_png(_encode_masks(segmentation(picture), grasped))
            write_part(folder / "seg" / f"{frame:04d}.png", mask)
        meta = _meta(sequence, labels, frame, version, evaluation, bool(listed[frame]))
        write_part(folder / "meta" / f"{frame:04d}.pkl", _pickle(meta))
    with whole_file(_truth_folder(config.out) / f"{plan.name}.npz") as file:
        np.savez(file, listed=listed, xyz=labels["handJoints3D"], verts=labels["vertices"])


def _pickle(meta: dict) -> bytes:
    """A pickle that HO-3D's own scripts can read: numpy 1 does not know the module that numpy 2
    names, but numpy 2 knows the old name. Protocol 2 writes a module's name as a line of text."""
    return pickle.dumps(meta, _PROTOCOL).replace(b"cnumpy._core.", b"cnumpy.core.")


def _truth_folder(root: Path) -> Path:
    """The folder in which finished sequences keep material for the lists and JSON files."""
    return root / _TRUTH_FOLDER


def finish_lists(root: Path, plans: list[SequencePlan]) -> None:
    """Write the lists when all sequences are there, unless an earlier run has done so."""
    if _truth_folder(root).is_dir():
        _write_lists(root, plans)
        shutil.rmtree(_truth_folder(root))


def _write_lists(root: Path, plans: list[SequencePlan]) -> None:
    """train.txt, evaluation.txt and the evaluation set's truth, in the list's order."""
    for split in ("train", "evaluation"):
        lines, xyz, verts = [], [], []
        for plan in sorted((p for p in plans if p.split == split), key=lambda p: p.name):
            with np.load(_truth_folder(root) / f"{plan.name}.npz") as truth:
                frames = np.flatnonzero(truth["listed"])
                lines += [f"{plan.name}/{frame:04d}" for frame in frames]
                if split == "evaluation":
                    xyz.append(truth["xyz"][frames])
                    verts.append(truth["verts"][frames])
        write_whole(root / f"{split}.txt", "".join(f"{line}\n" for line in lines))
        if split == "evaluation":
            _write_json(root / "evaluation_xyz.json", xyz)
            _write_json(root / "evaluation_verts.json", verts)


def _write_json(path: Path, parts: list[np.ndarray]) -> None:
    values = np.concatenate(parts) if parts else np.zeros((0, 1, 3))
    write_whole(path, json.dumps(np.round(values.astype(np.float64), 7).tolist()))


def _encode_depth(depth_m: np.ndarray) -> np.ndarray:
    """(H, W) metres → (H, W, 3) uint8 BGR: steps of DEPTH_SCALE_M, low byte in R, high in G."""
    steps = np.clip(np.round(depth_m / DEPTH_SCALE_M), 0, 65535).astype(np.uint16)
    low, high = (steps & 255).astype(np.uint8), (steps >> 8).astype(np.uint8)
    return cv2.merge([np.zeros_like(low), high, low])


def _encode_masks(label: np.ndarray, grasped_id: int) -> np.ndarray:
    """(480, 640) labels → (120, 160, 3) uint8 BGR: hand blue, object green, else black."""
    step = label.shape[0] // SEGMENTATION_SIZE[1]
    small = label[step // 2 :: step, step // 2 :: step]
    masks = np.zeros((*small.shape, 3), np.uint8)
    masks[small == HAND_LABEL] = (255, 0, 0)
    masks[small == grasped_id] = (0, 255, 0)
    return masks


def _compose(seed: int, plan: SequencePlan, num_frames: int) -> Sequence:
    person_name = plan.name.rstrip("0123456789")  # a group of sequences shows one person
    person = Person.drawn(generator(seed, "ho3d", person_name))
    camera = table_camera(plan.name, generator(seed, "ho3d", plan.name, "camera"))
    grasped = CLASS_IDS[plan.object_name]
    spec = SequenceSpec(seed, f"ho3d/{plan.name}", person, "right", grasped, [camera])
    return compose(spec, num_frames, in_hand=True)


def _annotated(seed: int, name: str, num_frames: int) -> np.ndarray:
    """Which training frames have labels: all but a short run and a few single ones, (F,) bool."""
    rng = generator(seed, "ho3d", name, "annotated")
    labelled = rng.random(num_frames) > 0.02
    begin = int(rng.integers(num_frames))
    labelled[begin : begin + max(1, num_frames // 24)] = False
    if not labelled.any():
        labelled[0] = True
    return labelled


def _labels(sequence: Sequence) -> dict[str, np.ndarray]:
    """Everything over the frames, in the camera's OpenGL frame, float32 (camMat float64)."""
    rig, motion, camera = sequence.rig, sequence.motion, sequence.cameras[0]
    to_camera = np.diag(OPENGL_TO_OPENCV) @ camera.rotation  # also OpenCV → OpenGL
    shift = OPENGL_TO_OPENCV * camera.translation_m
    turned = Rotation.from_matrix(to_camera) * Rotation.from_rotvec(motion.global_rotvec)
    pose = np.concatenate([turned.as_rotvec(), motion.finger_rotvec], 1).astype(np.float32)
    wrist = motion.wrist_m @ to_camera.T + shift
    trans = (wrist - rig.wrist_m).astype(np.float32)
    vertices, joints = rig.pose(pose[:, 3:], pose[:, :3])
    offset = (trans + rig.wrist_m)[:, None]
    vertices = vertices + offset
    mano_joints = np.empty_like(joints)
    mano_joints[:] = joints[:, DATASET_TO_MANO] + offset
    mano_joints[:, 16:] = vertices[:, list(TIP_VERTICES["ho3d", "right"])]
    thing = sequence.world.objects[sequence.world.grasped].thing
    low, high = thing.mesh.vertices_m.min(0), thing.mesh.vertices_m.max(0)
    rest = np.array(
        [[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
    )
    rotation = to_camera @ motion.object_rotation
    spot = motion.object_m @ to_camera.T + shift
    return {
        "handPose": pose,
        "handTrans": trans,
        "handJoints3D": mano_joints.astype(np.float32),
        "vertices": vertices.astype(np.float32),
        "objRot": Rotation.from_matrix(rotation).as_rotvec().astype(np.float32)[..., None],
        "objTrans": spot.astype(np.float32),
        "objCorners3D": (rest @ np.swapaxes(rotation, 1, 2) + spot[:, None]).astype(np.float32),
        "objCorners3DRest": rest.astype(np.float32),
    }


def _meta(sequence, labels, frame: int, version: str, evaluation: bool, labelled: bool) -> dict:
    thing = sequence.world.objects[sequence.world.grasped].thing
    if not labelled:
        return dict.fromkeys((*_LABELLED_KEYS, *_CONSTANT_KEYS))
    meta = {
        "camMat": sequence.cameras[0].K,
        "objName": thing.name,
        "objLabel": thing.class_id,
        "objCorners3DRest": labels["objCorners3DRest"],
    }
    for key in _LABELLED_KEYS:
        meta[key] = sequence.rig.betas if key == "handBeta" else labels[key][frame]
    if evaluation:
        for key in ("handPose", "handTrans", "handBeta"):
            del meta[key]
        meta["handJoints3D"] = labels["handJoints3D"][frame, 0]
        meta["handBoundingBox"] = _bounding_box(sequence, labels["vertices"][frame])
    elif version == "v3":
        meta |= _contacts(sequence, labels["vertices"][frame], labels, frame)
    return meta


def _bounding_box(sequence: Sequence, vertices_gl: np.ndarray) -> np.ndarray:
    """Box of the hand in the picture, (4,) x0, y0, x1, y1, whole pixels inside the image."""
    image = (vertices_gl * OPENGL_TO_OPENCV) @ sequence.cameras[0].K.T
    spots = np.round(image[:, :2] / image[:, 2:])
    limits = np.array([639, 479])
    return np.concatenate(
        [np.clip(spots.min(0), 0, limits), np.clip(spots.max(0), 0, limits)]
    ).astype(np.int64)


def _contacts(sequence, vertices_gl, labels, frame) -> dict[str, np.ndarray]:
    """v3's relation of vertices to the object: contact, distance, inside, nearest point at rest."""
    thing = sequence.world.objects[sequence.world.grasped].thing
    rotation = Rotation.from_rotvec(labels["objRot"][frame, :, 0]).as_matrix()
    local = (vertices_gl - labels["objTrans"][frame]) @ rotation
    distance = thing.signed_distance_m(local)
    steps = np.eye(3) * 5e-4
    gradient = np.stack(
        [thing.signed_distance_m(local + s) - thing.signed_distance_m(local - s) for s in steps], 1
    )
    gradient /= np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9)
    return {
        "handVertContact": (np.abs(distance) < _CONTACT_M).astype(np.float32),
        "handVertDist": np.abs(distance).astype(np.float32),
        "handVertIntersec": distance < 0,
        "handVertObjSurfProj": (local - gradient * distance[:, None]).astype(np.float32),
    }
