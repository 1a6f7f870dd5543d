"""HO-3D v2 and v3: the clips of a folder, and the raw frames of a clip.

    train.txt, evaluation.txt            the frames that count, a line "<sequence>/<frame>" each
    <split>/<sequence>/rgb/0000.png      640×480; v3: .jpg
    <split>/<sequence>/meta/0000.pkl     a pickled dictionary of arrays
    <split>/<sequence>/seg/0000.png      v3, a download of its own; v2: .jpg; training frames only
    evaluation_xyz.json, _verts.json     N×21×3 and N×778×3, the truth of the evaluation split
    models/<object>/textured_simple.obj  YCB-Video's meshes; or in the folder $YCB_MODELS_DIR

Everything is OpenGL there (y up, z towards the viewer), metres, joints in MANO's order; here it
becomes the camera frame x right, y down, z forward, and dataset order. Hands are right hands.

Sources:

- Layout, fields, units, frame, order: the README.txt inside HO-3D_v3, and the scripts of
  github.com/shreyashampali/ho3d. The lists name annotated frames only; the folders hold others
  too, whose fields are None, camMat included.
- The two JSON files: row i belongs to line i of evaluation.txt. That repository's pred.py writes
  predictions in this order (OpenGL, metres) and its eval.py compares them with the files row by
  row. Public loaders of the files index them by line, take the joints in the order of
  handJoints3D, and one checks each wrist against the frame's own label; so does this reader.
- seg: hand and object rendered from the annotation, visible parts only, at a quarter of the
  image's resolution (README.txt). v3: PNG, object green, hand blue. v2: JPEG, hand red, object
  blue. No document states the colours. Four public loaders of each version agree on them, among
  them SRPose (v3) and the authors' own kypt_transformer (v2).
- Names of sequences: letters, a number, and for several cameras one more digit, the camera
  ("ABF14" is camera 4 of ABF1: vis_pcl_all_cameras.py). The letters seem to abbreviate person and
  object together ("SM" mustard bottle, "SMu" mug), but no source says where the person ends:
  `subject` is all letters, and different letters may be the same person.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from deformer.data.official import IMAGE_SIZE, read_frame_list
from deformer.files.patient import entries, is_file, is_folder, status
from deformer.hand.camera import project
from deformer.hand.conventions import MANO_TO_DATASET, NUM_JOINTS, NUM_VERTICES, OPENGL_TO_OPENCV
from pipelines.datasets.ho3d_files import (
    MODELS_VARIABLE,
    label_array,
    models_folder,
    object_name,
    read_meta,
    read_obj,
    read_points,
    read_segmentation,
)
from pipelines.datasets.source import (
    BadFrameError,
    ClipRef,
    ManoPose,
    Mesh,
    RawFrame,
    UnusableInputError,
    read_image,
)

ROOT_VARIABLE = "HO3D_DIR"
DOWNLOAD = "https://github.com/shreyashampali/ho3d"
CENTRE_FRAMES = 128
"""Centre frames of a clip, at most."""
HALO_FRAMES = 30
"""Default reach of a clip beyond its centre frames: windows of 7 frames with gaps of 10 need 3 ×
10."""

_SPLITS = ("train", "evaluation")
_IMAGE_SUFFIX = {"ho3d_v2": ".png", "ho3d_v3": ".jpg"}
_SEGMENTATION_SUFFIX = {"ho3d_v2": ".jpg", "ho3d_v3": ".png"}
_SEGMENTATION_CHANNELS = {"ho3d_v2": (2, 0), "ho3d_v3": (0, 1)}
"""Index in BGR of the hand's colour and of the object's colour."""
_TRUTH_POINTS = {"xyz": NUM_JOINTS, "verts": NUM_VERTICES}
_WRIST_TOLERANCE_M = 0.01
_MODEL_FILE = "textured_simple.obj"

_log = logging.getLogger(__name__)


# ------------------------------------------------------------------------------------- the clips


def list_clips(root: Path, halo_frames: int = HALO_FRAMES) -> list[ClipRef]:
    """The clips of both splits; each listed frame is a centre frame (not halo) of exactly one.

    A split is there when its list and its folder are. Opens one label file per sequence.

    Raises `UnusableInputError` when neither split is there, or a list or folder cannot be used.
    """
    models_folder(root)  # to fail here, not in a worker
    splits = _splits_there(root)
    if not splits:
        raise UnusableInputError(
            f"{root} is no HO-3D folder: expected are train.txt beside train/, or evaluation.txt "
            "beside evaluation/, as HO-3D v2 and v3 unpack (for the download see "
            f"{DOWNLOAD}); name it by --root or ${ROOT_VARIABLE}"
        )
    return [ref for split in splits for ref in _clips_of_split(root, split, halo_frames)]


def _splits_there(root: Path) -> list[str]:
    return [s for s in _SPLITS if is_file(root / f"{s}.txt") and is_folder(root / s)]


def describe(root: Path) -> dict[str, str]:
    """Which of the optional files are there; warns of occlusion that will be null.

    Looks at folders alone: a model or a segmentation may still be absent for one sequence.
    """
    splits = _splits_there(root)
    has_models = any(is_file(path / _MODEL_FILE) for path in _within(models_folder(root)))
    sequences = {s: [p for f in _seg_folders(root) for p in _within(f / s)] for s in splits}
    segmented = [s for s in splits if any(is_folder(path / "seg") for path in sequences[s])]
    truth = [name for name in _TRUTH_POINTS if is_file(root / f"evaluation_{name}.json")]
    unknown = [] if has_models else [s for s in splits if s not in segmented]
    if unknown:
        _log.warning(
            "occlusion will be null for %s: put the YCB-Video models into %s, or name their folder "
            "by $%s",
            " and ".join(unknown),
            root / "models",
            MODELS_VARIABLE,
        )
    if "evaluation" in splits and "verts" not in truth:
        _log.warning(
            "occlusion will be null for evaluation: put evaluation_verts.json into %s, which says "
            "where the hand is",
            root,
        )
    return {
        "object_models": "present" if has_models else "absent",
        "segmentation": ", ".join(segmented) or "absent",
        "evaluation_truth": ", ".join(truth) or "absent",
    }


def _within(folder: Path) -> list[Path]:
    """What is in a folder that may be absent."""
    return entries(folder) if is_folder(folder) else []


def _clips_of_split(root: Path, split: str, halo_frames: int) -> Iterator[ClipRef]:
    listed = read_frame_list(root / f"{split}.txt")
    dataset = _dataset_name(root, split, listed)
    by_sequence: dict[str, set[int]] = {}
    for sequence, number in listed:
        by_sequence.setdefault(sequence, set()).add(number)
    for sequence in sorted(by_sequence):
        numbers = sorted(by_sequence[sequence])
        letters, digits = re.match(r"([A-Za-z]*)(\d*)", sequence).groups()
        grasped = _object_of_sequence(root / split / sequence, numbers)
        for start in range(0, len(numbers), CENTRE_FRAMES):
            centres = numbers[start : start + CENTRE_FRAMES]
            first, last = centres[0] - halo_frames, centres[-1] + halo_frames
            frames = [n for n in numbers if first <= n <= last]
            yield ClipRef(
                key=f"{dataset}-{split}-{sequence}-{centres[0]:06d}",
                dataset=dataset,
                subject=letters or sequence,
                sequence=sequence,
                camera=digits[-1] if len(digits) > 1 else "0",
                side="right",
                object=grasped,
                splits=(("split", split),),
                frames=tuple(frames),
                image_size=IMAGE_SIZE,
                halo=frozenset(frames) - frozenset(centres),
                tips="ho3d",
            )


def _dataset_name(root: Path, split: str, listed: list[tuple[str, int]]) -> str:
    """The version, by the first listed image that is there."""
    for sequence, number in listed:
        for dataset, suffix in _IMAGE_SUFFIX.items():
            if is_file(root / split / sequence / "rgb" / f"{number:04d}{suffix}"):
                return dataset
    raise UnusableInputError(
        f"{root}: none of the {len(listed)} images that {split}.txt lists is there; expected are "
        f"{split}/<sequence>/rgb/<frame>.png (v2) or .jpg (v3): unpack the dataset again"
    )


def _object_of_sequence(folder: Path, numbers: list[int]) -> str:
    """The object of the first label file that names one (a sequence has one object), else ""."""
    for number in numbers:
        try:
            name = object_name(read_meta(folder / "meta" / f"{number:04d}.pkl"))
        except BadFrameError:
            continue
        if name is not None:
            return name
    return ""


# ------------------------------------------------------------------------------------ the frames


def read_clip(root: Path, ref: ClipRef) -> Iterator[RawFrame]:
    """The frames of a clip, one per number of `ref.frames`, in order.

    A training frame has image, K, joints and MANO pose. An evaluation frame has image and K, and
    joints and vertices where the root has the JSON files, else the hand's box. Either has a
    segmentation, or else the object's mesh, where the root has it.

    Raises `UnusableInputError` when a JSON file does not belong to evaluation.txt.
    """
    split = dict(ref.splits)["split"]
    rows, truth = _evaluation_truth(root) if split == "evaluation" else ({}, {})
    for number in ref.frames:
        name = f"{number:04d}{_IMAGE_SUFFIX[ref.dataset]}"
        image, reason = read_image(root / split / ref.sequence / "rgb" / name)
        labels = {}
        try:
            row = {name: truth[name][rows[ref.sequence, number]] for name in truth}
            labels = _read_labels(root, split, ref, number, row)
        except BadFrameError as error:
            reason = reason or error.reason
        yield RawFrame(number, reason, image=image, **labels)


def _read_labels(
    root: Path, split: str, ref: ClipRef, number: int, truth: dict[str, np.ndarray]
) -> dict:
    """The fields of a `RawFrame` but the image; truth is the frame's row of each JSON file."""
    meta = read_meta(root / split / ref.sequence / "meta" / f"{number:04d}.pkl")
    labels = _train_labels(meta) if split == "train" else _evaluation_labels(root, meta, truth)
    if meta.get("camMat") is None:
        raise BadFrameError("intrinsics_missing")
    labels["K"] = label_array(meta, "camMat", (3, 3))
    if split == "evaluation" and _wrist_is_elsewhere(meta, labels):
        raise BadFrameError("labels_contradict")
    name = f"{number:04d}{_SEGMENTATION_SUFFIX[ref.dataset]}"
    for folder in _seg_folders(root):
        path = folder / split / ref.sequence / "seg" / name
        if is_file(path):
            channels = _SEGMENTATION_CHANNELS[ref.dataset]
            return {**labels, "segmentation": read_segmentation(path, *channels, IMAGE_SIZE)}
    return {**labels, "grasped_mesh": _object_mesh(meta, models_folder(root))}


def _seg_folders(root: Path) -> list[Path]:
    """Where segmentations may be: in the root, or apart, in what their downloads unpack to."""
    return [root, *(root / f"HO3D_{version}_segmentations_rendered" for version in ("v2", "v3"))]


def _train_labels(meta: dict) -> dict:
    """handJoints3D 21×3, the wrist first; handPose 48 axis-angle values, the global ones first."""
    joints = label_array(meta, "handJoints3D", (NUM_JOINTS, 3))
    pose = label_array(meta, "handPose", (48,))
    # The wrist stands at trans + J₀(β). The global rotation turns the hand about it, so J₀(β) is
    # the same in both frames, and no hand model is needed to convert trans.
    wrist_rest = joints[0] - label_array(meta, "handTrans", (3,))
    return {
        "joints_cam_m": joints[MANO_TO_DATASET] * OPENGL_TO_OPENCV,
        "pose": ManoPose(
            global_rotvec=Rotation.from_matrix(_rotation_to_camera(pose[:3])).as_rotvec(),
            fingers=pose[3:],
            fingers_are_pca=False,
            betas=label_array(meta, "handBeta", (10,)),
            trans_m=joints[0] * OPENGL_TO_OPENCV - wrist_rest,
        ),
    }


def _rotation_to_camera(rotvec_opengl: np.ndarray) -> np.ndarray:
    """An axis-angle (3,) into OpenGL's frame → the rotation matrix (3, 3) into the camera frame."""
    return OPENGL_TO_OPENCV[:, None] * Rotation.from_rotvec(rotvec_opengl).as_matrix()


def _evaluation_labels(root: Path, meta: dict, truth: dict[str, np.ndarray]) -> dict:
    """The frame's rows of the JSON files, and handBoundingBox: x0, y0, x1, y1."""
    labels = {}
    if "verts" in truth:
        vertices = label_array(truth, "verts", (NUM_VERTICES, 3))
        labels["vertices_cam_m"] = vertices * OPENGL_TO_OPENCV
    if "xyz" not in truth or meta.get("handBoundingBox") is not None:
        labels["box_px"] = label_array(meta, "handBoundingBox", (4,))
    if "xyz" not in truth:
        return labels
    joints = label_array(truth, "xyz", (NUM_JOINTS, 3))
    if meta.get("handJoints3D") is not None:  # the wrist alone
        distance_m = np.linalg.norm(joints[0] - label_array(meta, "handJoints3D", (3,)))
        if distance_m > _WRIST_TOLERANCE_M:
            raise UnusableInputError(
                f"{root}/evaluation_xyz.json does not belong to this evaluation.txt: a wrist lies "
                f"{distance_m:.3f} m from the frame's own label, {_WRIST_TOLERANCE_M} m allowed; "
                "take all files from the same version of HO-3D"
            )
    return {**labels, "joints_cam_m": joints[MANO_TO_DATASET] * OPENGL_TO_OPENCV}


def _wrist_is_elsewhere(meta: dict, labels: dict) -> bool:
    """Whether the wrist is far from the hand's box. Boxes end at the image's border."""
    if meta.get("handJoints3D") is None or "box_px" not in labels:
        return False
    wrist = label_array(meta, "handJoints3D", (3,)) * OPENGL_TO_OPENCV
    wrist_px = project(wrist[None], labels["K"])[0]
    if wrist[2] > 0 and not ((wrist_px >= 0) & (wrist_px < IMAGE_SIZE)).all():
        return False
    corner, opposite = labels["box_px"][:2], labels["box_px"][2:]
    margin = (opposite - corner).max() / 4
    return not ((wrist_px > corner - margin) & (wrist_px < opposite + margin)).all()


def _evaluation_truth(root: Path) -> tuple[dict[tuple[str, int], int], dict[str, np.ndarray]]:
    """The row of each (sequence, frame number), and the arrays that the rows are of.

    The arrays are those of `xyz` (N, 21, 3) and `verts` (N, 778, 3) that the root has, OpenGL.
    """
    listed = read_frame_list(root / "evaluation.txt")
    truth = {}
    for name, num_points in _TRUTH_POINTS.items():
        path = root / f"evaluation_{name}.json"
        if not is_file(path):
            continue
        truth[name] = read_points(path, status(path).st_mtime_ns, num_points)
        if len(truth[name]) != len(listed):
            raise UnusableInputError(
                f"{path} holds {len(truth[name])} frames, evaluation.txt beside it lists "
                f"{len(listed)}: take both from the same version of HO-3D"
            )
    return {frame: row for row, frame in enumerate(listed)}, truth


# ------------------------------------------------------------------------------------ the object


def _object_mesh(meta: dict, models: Path) -> Mesh | None:
    """The object at its pose; None where the label or the models folder does not have it."""
    name = object_name(meta)
    if name is None or meta.get("objRot") is None or meta.get("objTrans") is None:
        return None
    rotation = _rotation_to_camera(label_array(meta, "objRot", (3,)))
    translation = label_array(meta, "objTrans", (3,)) * OPENGL_TO_OPENCV
    path = models / name / _MODEL_FILE
    if not is_file(path):
        return None
    vertices, faces = read_obj(path, status(path).st_mtime_ns)
    return Mesh(vertices @ rotation.T + translation, faces)
