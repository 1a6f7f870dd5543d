"""Recordings of hands with MANO labels in this project's own simple layout, and its reader.

    <root>/<split>/<sequence>/meta.json              what the sequence is, see below
    <root>/<split>/<sequence>/<camera>/000000.jpg    its images, numbered from 0
    <root>/<split>/<sequence>/<camera>/right.npz     labels of its right hand, where it has one
    <root>/<split>/<sequence>/<camera>/left.npz      and of its left hand

meta.json: `subject` (who), `objects` (by side: what that hand holds, "" for nothing), `image_size`
[width, height] and `num_frames` (of every camera), `frame_step` (how many frames of the recording,
at 30 a second, lie from one image to the next; 1 where it is missing), `tips` ("dexycb" or "ho3d",
whose fingertips the joints end in; "dexycb" where it is missing). `<split>` is any name; `train`
and `val` are usual.

An npz holds F rows, one per image; camera frame x right, y down, z forward, metres:

| array | shape | meaning |
|---|---|---|
| `K` | (3, 3) or (F, 3, 3) | camera matrix, px |
| `joints_cam_m` | (F, 21, 3) | joints in DexYCB's order |
| `valid` | (F,) bool | whether the hand is there; every frame where it is missing |
| `pose_rotvec` | (F, 48) | axis-angle, mean pose included; optional, with the next two |
| `betas`, `trans_m` | (10,), (F, 3) | shape; the wrist stands at trans_m + J₀(betas) |
| `segmentation` | (F, H, W) uint8 | 0, 1 something in front, 2 what the hand holds, 255 the hand;
  optional |

A hand is a clip, so an image with two labelled hands is built twice, each with its own crop.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deformer.files.foreign import UnreadableFileError, read_json
from deformer.files.patient import entries, folders, is_file
from deformer.files.wellformed import read_npz
from deformer.hand.conventions import SIDES
from pipelines.datasets.source import (
    BadFrameError,
    ClipRef,
    ManoPose,
    RawFrame,
    UnusableInputError,
    check_values,
    read_bytes,
    read_image,
)

ROOT_VARIABLE = "HANDS_DIR"
META_FILE = "meta.json"
_FEW = 2
"""This many images may be missing from a short camera folder; from a long one, half."""
_MANO = ("pose_rotvec", "betas", "trans_m")
_HEADERS_BYTES = 1 << 20
_MOST_SIDE_PX = 65_535
"""Of a JPEG."""


def list_clips(root: Path) -> list[ClipRef]:
    """Every labelled hand of every camera, by split, sequence, camera and side."""
    sequences = [path for split in folders(root) for path in folders(split)]
    metas = [path / META_FILE for path in sequences if is_file(path / META_FILE)]
    if not metas:
        raise UnusableInputError(
            f"{root} holds no <split>/<sequence>/{META_FILE}; --root or ${ROOT_VARIABLE} names the "
            "folder that holds the splits (layout: pipelines/datasets/hands.py)"
        )
    refs = [ref for path in metas for ref in _clips_of_sequence(path)]
    if not refs:
        raise UnusableInputError(
            f"{root}: no camera folder holds right.npz or left.npz (layout: "
            "pipelines/datasets/hands.py)"
        )
    return refs


def _clips_of_sequence(path: Path) -> Iterator[ClipRef]:
    meta, folder = _read_meta(path), path.parent
    for camera in folders(folder):
        for side in SIDES:
            if not is_file(camera / f"{side}.npz"):
                continue
            _check_num_frames(path, meta["num_frames"], camera)
            yield ClipRef(
                key=f"{folder.parent.name}-{folder.name}-{camera.name}-{side}",
                dataset="hands",
                subject=meta["subject"],
                sequence=folder.name,
                camera=camera.name,
                side=side,
                object=meta["objects"].get(side, ""),
                splits=(("split", folder.parent.name),),
                frames=tuple(meta["frame_step"] * k for k in range(meta["num_frames"])),
                image_size=tuple(meta["image_size"]),
                tips=meta.get("tips", "dexycb"),
            )


def _check_num_frames(path: Path, num_frames: int, camera: Path) -> None:
    """Refuse a `num_frames` far above the number of images, before making a list of that length."""
    num_images = sum(path.suffix == ".jpg" for path in entries(camera))
    if num_frames > 2 * num_images + _FEW:
        raise UnusableInputError(
            f"{path}: num_frames is {num_frames}, and {camera} holds {num_images} .jpg images; "
            "correct num_frames, or bring the images there (000000.jpg, 000001.jpg, …)"
        )


def _read_meta(path: Path) -> dict:
    try:
        meta = read_json(path)
    except UnreadableFileError as error:
        raise UnusableInputError(f"{error}; or write it again") from None
    rules = {
        "subject": (lambda v: isinstance(v, str), "a string"),
        "objects": (lambda v: isinstance(v, dict), "a mapping of side to object"),
        "num_frames": (lambda v: type(v) is int and v > 0, "a whole number above 0"),
        "image_size": (
            lambda v: (
                isinstance(v, list)
                and len(v) == 2
                and all(type(n) is int and 1 <= n <= _MOST_SIDE_PX for n in v)
            ),
            f"[width, height], each 1 to {_MOST_SIDE_PX}",
        ),
    }
    rules["frame_step"] = rules["num_frames"]
    meta = {"frame_step": 1} | meta
    check_values(path, meta, rules, "correct it")
    return meta


def read_clip(root: Path, ref: ClipRef) -> Iterator[RawFrame]:
    """The frames of one hand before one camera, in order."""
    folder = root / dict(ref.splits)["split"] / ref.sequence / ref.camera
    labels, fault = None, ""
    try:
        labels = _read_labels(folder / f"{ref.side}.npz", ref)
    except BadFrameError as error:
        fault = error.reason
    for k, frame in enumerate(ref.frames):
        image, reason = read_image(folder / f"{k:06d}.jpg")
        if labels is None:
            yield RawFrame(frame, fault, image=image)
        else:
            yield _raw_frame(k, frame, reason, image, labels)


def _raw_frame(k: int, frame: int, reason: str, image: bytes | None, labels: dict) -> RawFrame:
    K = labels["K"] if labels["K"].ndim == 2 else labels["K"][k]
    if not labels["valid"][k]:
        return RawFrame(frame, "no_hand", image=image, K=K)
    pose = None
    if "pose_rotvec" in labels:
        rotvec = labels["pose_rotvec"][k]
        pose = ManoPose(rotvec[:3], rotvec[3:], False, labels["betas"], labels["trans_m"][k])
    seen = labels["segmentation"][k] if "segmentation" in labels else None
    joints = labels["joints_cam_m"][k]
    return RawFrame(
        frame, reason, image=image, K=K, joints_cam_m=joints, pose=pose, segmentation=seen
    )


def _read_labels(path: Path, ref: ClipRef) -> dict[str, np.ndarray]:
    """The arrays of a file, all of the right shape and kind; raises `BadFrameError`."""
    n, (width, height) = len(ref.frames), ref.image_size
    shapes = {
        "K": [((3, 3), "f"), ((n, 3, 3), "f")],
        "joints_cam_m": [((n, 21, 3), "f")],
        "valid": [((n,), "b")],
        "pose_rotvec": [((n, 48), "f")],
        "betas": [((10,), "f")],
        "trans_m": [((n, 3), "f")],
        "segmentation": [((n, height, width), "u")],
    }
    item_bytes = {name: 2 if name == "segmentation" else 8 for name in shapes}
    most_bytes = _HEADERS_BYTES + sum(
        item_bytes[name] * math.prod(kinds[-1][0]) for name, kinds in shapes.items()
    )
    try:
        labels = read_npz(read_bytes(path, "labels_missing"), shapes, most_bytes)
    except ValueError:
        raise BadFrameError("labels_corrupt") from None
    labels.setdefault("valid", np.ones(n, bool))
    required = ["K", "joints_cam_m", *(_MANO if any(k in labels for k in _MANO) else ())]
    if not set(required) <= set(labels):
        raise BadFrameError("labels_corrupt")
    for key, value in labels.items():
        if not any(value.shape == s and value.dtype.kind == kind for s, kind in shapes[key]):
            raise BadFrameError("labels_corrupt")
    return labels
