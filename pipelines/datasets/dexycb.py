"""DexYCB on disk: lists its clips and reads one, nothing more.

Layout, label formats and the four official setups: Chao et al., "DexYCB: A Benchmark for Capturing
Hand Grasping of Objects", CVPR 2021. A clip is one camera of one sequence.
"""

import logging
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import yaml

from deformer.data.official import IMAGE_SIZE, SERIALS, official_sequences, official_splits
from deformer.files.foreign import decode_text, describe_other, one_line
from deformer.files.patient import entries, is_folder, read_file
from deformer.files.wellformed import read_npz, shown
from deformer.hand.conventions import SIDES
from pipelines.datasets.source import (
    GRASPED_OBJECT,
    HAND,
    OTHER_OBJECT,
    BadFrameError,
    ClipRef,
    ManoPose,
    RawFrame,
    UnusableInputError,
    check_values,
    read_bytes,
    read_image,
)

ROOT_VARIABLE = "DEX_YCB_DIR"
DOWNLOAD = "https://dex-ycb.github.io"

YCB_CLASSES = (
    "002_master_chef_can", "003_cracker_box", "004_sugar_box", "005_tomato_soup_can",
    "006_mustard_bottle", "007_tuna_fish_can", "008_pudding_box", "009_gelatin_box",
    "010_potted_meat_can", "011_banana", "019_pitcher_base", "021_bleach_cleanser", "024_bowl",
    "025_mug", "035_power_drill", "036_wood_block", "037_scissors", "040_large_marker",
    "051_large_clamp", "052_extra_large_clamp", "061_foam_brick",
)  # fmt: skip
"""YCB object k + 1 of `seg` and `ycb_ids` is YCB_CLASSES[k]."""

_SEG_HAND = 255
_LABELS = {"seg": (IMAGE_SIZE[::-1], "ui"), "pose_m": ((1, 51), "f"), "joint_3d": ((1, 21, 3), "f"),
           "joint_2d": ((1, 21, 2), "f")}  # fmt: skip
"""Shape and kinds of dtype of each array of a label file."""
_SUBJECT_FOLDER = re.compile(r"\d{8}-subject-\d{2}")
_SEQUENCE_FOLDER = re.compile(r"\d{8}_\d{6}")
_CALIBRATION = re.compile(r"[A-Za-z0-9_-]+")
_AGAIN = "unpack it again"
_MAX_FRAMES = 1_000_000  # file names have six digits
_DEEPEST, _MOST_ALIASES = 20, 16
"""Levels of nested YAML; the dataset's files have four."""

_log = logging.getLogger(__name__)


class _Loader(yaml.CSafeLoader):
    """Safe YAML that also reads the `!!python/tuple` of the calibration files, as a list."""


_Loader.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: loader.construct_sequence(node)
)


# ------------------------------------------------------------------------------------------ listing


def list_clips(root: Path) -> list[ClipRef]:
    """Every camera of every sequence under `root`, whole dataset or part, in official order.

    Reads every meta file and every calibration that a listed clip needs, so that missing or damaged
    files are found before any work. The shapes (mano.yml) are among them for every hand model: a
    folder without them is incomplete.
    """
    refs, absent, calibrations = [], [], set()
    found = _folders(root, _SUBJECT_FOLDER)
    if not found:
        raise UnusableInputError(
            f"{root} holds no subject folder of DexYCB (20200709-subject-01, …); --root or "
            f"${ROOT_VARIABLE} names the folder that holds them ({DOWNLOAD})"
        )
    for folder in (folder for subject in found for folder in _folders(subject, _SEQUENCE_FOLDER)):
        subject = folder.parent.name
        if folder.name not in official_sequences().get(subject, ()):
            raise UnusableInputError(
                f"{folder} is none of DexYCB's 1000 sequences, so it has no official split; move "
                "it out of the dataset"
            )
        meta = _read_meta(folder)
        for serial in meta["serials"]:
            if is_folder(folder / serial):
                refs.append(_clip_ref(subject, folder.name, serial, meta))
                calibrations.add(meta["mano_calib"][0])
            else:
                absent.append(folder / serial)
    if absent:
        _log.warning(
            "%d camera folders that meta.yml names are not there and are left out; the first: %s",
            len(absent),
            absent[0],
        )
    if not refs:
        raise UnusableInputError(f"{root}: no camera folder that a meta.yml names exists")
    for serial in sorted({ref.camera for ref in refs}):
        read_intrinsics(root, serial)
    for mano_calib in sorted(calibrations):
        _read_betas(root, mano_calib)
    return refs


def _folders(folder: Path, name: re.Pattern) -> list[Path]:
    """Folders named so; others (.ipynb_checkpoints, …) are no recordings."""
    return [p for p in entries(folder) if name.fullmatch(p.name) and is_folder(p)]


def _clip_ref(subject: str, sequence: str, serial: str, meta: dict) -> ClipRef:
    return ClipRef(
        key=f"{subject}_{sequence}_{serial}",
        dataset="dexycb",
        subject=subject,
        sequence=sequence,
        camera=serial,
        side=meta["mano_sides"][0],
        object=YCB_CLASSES[meta["ycb_ids"][meta["ycb_grasp_ind"]] - 1],
        splits=tuple(official_splits(subject, sequence, serial).items()),
        frames=tuple(range(meta["num_frames"])),
        image_size=IMAGE_SIZE,
    )


def _read_yaml(path: Path) -> dict:
    try:
        data = read_file(path)
    except (FileNotFoundError, IsADirectoryError):
        raise UnusableInputError(
            f"{path} is missing; unpack the dataset's archive again, or take the folder that needs "
            "it out"
        ) from None
    content, fault = None, "is empty or holds no mapping"
    try:
        text = decode_text(data)
        _check_nesting(text)
        content = yaml.load(text, _Loader)
    except Exception as error:  # of a value that does not fit its tag, of many types
        fault = f"is no readable YAML ({one_line(error)})"
    if not isinstance(content, dict):
        raise UnusableInputError(f"{path} {fault}: {describe_other(data) or _AGAIN}")
    return content


def _check_nesting(text: str) -> None:
    """Raises `ValueError` for YAML that its reader must not see: too deep, it crashes the process;
    aliases of aliases become gigabytes."""
    depth = aliases = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} levels")
        aliases += isinstance(event, yaml.AliasEvent)
        if aliases > _MOST_ALIASES:
            raise ValueError(f"more than {_MOST_ALIASES} aliases")


def _read_meta(folder: Path) -> dict:
    path = folder / "meta.yml"
    meta = _read_yaml(path)
    keys = ("serials", "num_frames", "ycb_ids", "ycb_grasp_ind", "mano_sides", "mano_calib")
    if missing := [key for key in keys if key not in meta]:
        raise UnusableInputError(f"{path} lacks {', '.join(missing)}; {_AGAIN}")

    def is_list_of(holds: Callable[[object], bool]) -> Callable[[object], bool]:
        return lambda v: isinstance(v, list) and all(map(holds, v))

    rules = {
        "serials": (is_list_of(lambda _: True), "a list of cameras"),
        "num_frames": (lambda v: _is_int(v, 1, _MAX_FRAMES), f"1 to {_MAX_FRAMES}"),
        "ycb_ids": (
            is_list_of(lambda i: _is_int(i, 1, len(YCB_CLASSES))),
            f"a list of numbers 1 to {len(YCB_CLASSES)}",
        ),
        "mano_sides": (lambda v: isinstance(v, list) and v and v[0] in SIDES,
                       "a list of right or left"),
        "mano_calib": (
            lambda v: isinstance(v, list) and v and isinstance(v[0], str)
            and _CALIBRATION.fullmatch(v[0]),
            "a list of names of calibration folders",
        ),
    }  # fmt: skip
    check_values(path, meta, rules, _AGAIN)
    num_ids, serials = len(meta["ycb_ids"]), [str(serial) for serial in meta["serials"]]
    if unknown := [serial for serial in serials if serial not in SERIALS]:
        raise UnusableInputError(f"{path} names camera {unknown[0]}, which is none of {SERIALS}")
    rules = {
        "serials": (lambda _: len(set(serials)) == len(serials), "a list without repetition"),
        "ycb_grasp_ind": (
            lambda v: _is_int(v, 0, num_ids - 1),
            f"an index into ycb_ids, which has {num_ids} items",
        ),
    }
    check_values(path, meta, rules, _AGAIN)
    return meta | {"serials": serials}


def _is_int(value: object, first: int, last: int) -> bool:
    return type(value) is int and first <= value <= last


# ------------------------------------------------------------------------------------------ reading


def read_intrinsics(root: Path, serial: str) -> np.ndarray:
    """K (3, 3) float64 of a camera's colour images, px."""
    width, height = IMAGE_SIZE
    path = root / "calibration" / "intrinsics" / f"{serial}_{width}x{height}.yml"
    color = _read_yaml(path).get("color")
    try:
        fx, fy, cx, cy = values = [float(color[key]) for key in ("fx", "fy", "ppx", "ppy")]
    except KeyError as error:
        raise UnusableInputError(f"{path} lacks color: {error}; unpack it again") from None
    except (TypeError, ValueError, OverflowError):
        values = ()
    if not values or not np.isfinite(values).all() or fx <= 0 or fy <= 0:
        raise UnusableInputError(
            f"{path}: color is {shown(color)}, not four numbers fx, fy, ppx, ppy, the first two "
            "above 0; unpack it again"
        )
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _read_betas(root: Path, mano_calib: str) -> np.ndarray:
    """MANO shape (10,) of a subject's hand."""
    path = root / "calibration" / f"mano_{mano_calib}" / "mano.yml"
    stated = _read_yaml(path).get("betas")
    try:
        betas = np.array(stated, float)
    except (TypeError, ValueError, OverflowError):
        betas = np.empty(0)
    if betas.shape != (10,) or not np.isfinite(betas).all():
        raise UnusableInputError(
            f"{path}: betas is {shown(stated)}, not 10 finite numbers; unpack it again"
        )
    return betas


def has_depth(root: Path, ref: ClipRef) -> bool:
    """Whether depth images of the clip are there."""
    folder = root / ref.subject / ref.sequence / ref.camera
    return any(path.match(_depth_name("*")) for path in entries(folder))


def _depth_name(frame: str) -> str:
    return f"aligned_depth_to_color_{frame}.png"


def read_clip(root: Path, ref: ClipRef) -> Iterator[RawFrame]:
    """The frames of one camera of one sequence, in order."""
    sequence = root / ref.subject / ref.sequence
    meta = _read_meta(sequence)
    K = read_intrinsics(root, ref.camera)
    betas = _read_betas(root, meta["mano_calib"][0])
    codes = np.zeros(256, np.uint8)
    codes[1 : len(YCB_CLASSES) + 1] = OTHER_OBJECT
    codes[meta["ycb_ids"][meta["ycb_grasp_ind"]]] = GRASPED_OBJECT
    codes[_SEG_HAND] = HAND
    for frame in ref.frames:
        try:
            yield _read_frame(sequence / ref.camera, frame, K, betas, codes)
        except BadFrameError as error:
            yield RawFrame(frame, error.reason, K=K)


def _read_frame(folder: Path, frame: int, K, betas, codes) -> RawFrame:
    labels = _read_labels(folder / f"labels_{frame:06d}.npz")
    image, reason = read_image(folder / f"color_{frame:06d}.jpg")
    pose_m, joints = labels["pose_m"][0].astype(float), labels["joint_3d"][0].astype(float)
    if not pose_m.any() or (joints == -1).all():
        return RawFrame(frame, "no_hand", image=image, K=K)
    return RawFrame(
        frame,
        reason,
        image=image,
        depth=partial(read_bytes, folder / _depth_name(f"{frame:06d}"), "depth_missing"),
        K=K,
        joints_cam_m=joints,
        joints_px=labels["joint_2d"][0],
        pose=ManoPose(pose_m[:3], pose_m[3:48], True, betas, pose_m[48:]),
        segmentation=cv2.LUT(labels["seg"].astype(np.uint8), codes),
    )


def _read_labels(path: Path) -> dict[str, np.ndarray]:
    try:
        labels = read_npz(read_bytes(path, "labels_missing"), _LABELS)
    except ValueError:
        raise BadFrameError("labels_corrupt") from None
    for key, (shape, kinds) in _LABELS.items():
        array = labels.get(key)
        if array is None or array.shape != shape or array.dtype.kind not in kinds:
            raise BadFrameError("labels_corrupt")
    seg = labels["seg"]
    if seg.min() < 0 or ((seg > len(YCB_CLASSES)) & (seg != _SEG_HAND)).any():
        raise BadFrameError("labels_corrupt")
    return labels
