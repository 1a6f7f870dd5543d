"""The file of recorded motion that `--motions` takes: its format, and reading it.

An npz, of N frames in S sequences:

    joints             (N, 21, 3)  float  metres, in the order of `deformer.hand.conventions`
    object_rotvec      (N, 3)      float  radians, axis-angle: object's axes → the file's frame
    object_trans       (N, 3)      float  metres, the object's origin
    valid              (N,)        bool   whether the hand is there; where not, joints are not read
    sequence_subject   (S,)        str    e.g. 20200709-subject-01
    sequence_name      (S,)        str    e.g. 20200709_141754; <subject>/<name> is one of DexYCB's
    sequence_side      (S,)        str    "right" or "left"
    sequence_object    (S,)        str    the grasped object, e.g. 002_master_chef_can
    sequence_start     (S,)        int    its first row
    sequence_length    (S,)        int    its number of rows: consecutive frames, 30 a second
    object_rotvec_is   ()          str    "axis-angle", or left out: nothing else is read

All are in the frame of one upright camera (x right, y down, z forward) that stands still for all
sequences of a subject and looks down at the table. The object's axes and origin are those of
DexYCB's models (YCB-Video's). The table is found from the objects: give at least three sequences
of a subject, and in most first frames the object must stand or lie on the table. Other arrays are
ignored. To write the file from your own sequences, each a tuple (subject, name, side, object,
rotation (F, 3, 3) and trans (F, 3) of the object, joints (F, 21, 3), valid (F,)):

    subject, name, side, thing, rotation, trans, joints, valid = zip(*own)
    length = np.array([len(frames) for frames in valid])
    rotvec = Rotation.from_matrix(np.concatenate(rotation)).as_rotvec()
    np.savez("motions.npz", joints=np.concatenate(joints), valid=np.concatenate(valid),
             object_rotvec=rotvec, object_rotvec_is=np.array("axis-angle"),
             object_trans=np.concatenate(trans),
             sequence_subject=np.array(subject), sequence_name=np.array(name),
             sequence_side=np.array(side), sequence_object=np.array(thing),
             sequence_start=np.cumsum(length) - length, sequence_length=length)
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from deformer.files.foreign import describe_other
from deformer.files.wellformed import read_npz
from deformer.hand.conventions import SIDES
from pipelines.synthetic.things.ycb import CLASS_IDS

_FRAME_ARRAYS = {
    "joints": ((21, 3), "f", "floats"),
    "object_rotvec": ((3,), "f", "floats"),
    "object_trans": ((3,), "f", "floats"),
    "valid": ((), "b", "bools"),
}
_SEQUENCE_ARRAYS = {
    "sequence_subject": ("U", "strings"),
    "sequence_name": ("U", "strings"),
    "sequence_side": ("U", "strings"),
    "sequence_object": ("U", "strings"),
    "sequence_start": ("iu", "integers"),
    "sequence_length": ("iu", "integers"),
}

MODEL_YAW_DEG = {
    "006_mustard_bottle": 25,
    "008_pudding_box": -25,
    "009_gelatin_box": 80,
    "011_banana": -75,
    "019_pitcher_base": 140,
    "035_power_drill": -120,
    "036_wood_block": 10,
    "037_scissors": 20,
    "040_large_marker": 100,
    "052_extra_large_clamp": 170,
}
"""The turn about z from the axes of `ycb.py` to those of DexYCB's models: the angle at which
recorded fingers touch the shapes and sink into them least."""

_PALM_M = (0.04, 0.2)  # wrist to the middle finger's base, of any hand
_REACH_M = 3.0  # no object is further from a hand
_UPRIGHT_COS, _CAMERA_UP = 0.98, -0.2


@dataclass(frozen=True, eq=False)
class RecordedSequence:
    """One sequence as it was recorded, F frames, in the file's frame.

    joints_m (F, 21, 3); object_rotation (F, 3, 3) from the axes of `ycb.py`; object_m (F, 3);
    valid (F,) bool, true somewhere.
    """

    subject: str
    name: str
    side: str
    object_name: str
    joints_m: np.ndarray
    object_rotation: np.ndarray
    object_m: np.ndarray
    valid: np.ndarray

    @property
    def folder(self) -> str:
        """`<subject>/<name>`."""
        return f"{self.subject}/{self.name}"


def read_motions_file(path: Path) -> tuple[list[RecordedSequence], str]:
    """The sequences of a motions file, and its sha256.

    Raises `FileNotFoundError`, and `ValueError` naming file and array.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"--motions {path}: no such file. It is derived from DexYCB and not part of this "
            "project; leave the option out for procedural motion."
        )
    content = path.read_bytes()
    arrays = _arrays(path, content)
    try:
        _check(arrays)
    except ValueError as error:
        raise ValueError(
            f"--motions {path}: {error}; pipelines/synthetic/recorded/motions_file.py has the "
            "format"
        ) from None
    return _split(arrays), hashlib.sha256(content).hexdigest()


def common_up(rotations: np.ndarray) -> tuple[np.ndarray, int]:
    """The direction (3,) along which most objects have an axis, and how many objects have it.

    rotations (S, 3, 3), object → the frame of an upright camera, which looks at most 78° down; the
    count is 0 where no axis points upwards there.
    """
    axes = rotations.transpose(0, 2, 1).reshape(-1, 3)
    axes = np.concatenate([axes, -axes])
    axes = axes[axes[:, 1] < _CAMERA_UP]
    if not len(axes):
        return np.array([0.0, -1.0, 0.0]), 0
    agree = axes @ axes.T > _UPRIGHT_COS
    up = axes[agree[agree.sum(1).argmax()]].mean(0)
    return up / np.linalg.norm(up), int(agree.sum(1).max())


def _arrays(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """The known arrays of an npz."""
    wanted = [*_FRAME_ARRAYS, *_SEQUENCE_ARRAYS, "object_rotvec_is"]
    try:
        arrays = read_npz(content, wanted)
    except ValueError:
        found = describe_other(content, expected=b"PK\x03\x04")
        raise ValueError(
            f"--motions {path} is no npz of plain arrays, or a part of one: "
            f"{f'{found}, or ' if found else ''}write it with np.savez as the head of "
            "pipelines/synthetic/recorded/motions_file.py shows, or copy it again"
        ) from None
    if missing := [key for key in wanted[:-1] if key not in arrays]:
        raise ValueError(f"--motions {path} lacks {', '.join(missing)}: it is no motions file")
    return arrays


def _check(arrays: dict[str, np.ndarray]) -> None:
    count, sequences = arrays["valid"].shape[:1], arrays["sequence_name"].shape[:1]
    shapes = {key: (count + shape, *kind) for key, (shape, *kind) in _FRAME_ARRAYS.items()}
    shapes |= {key: (sequences, *kind) for key, kind in _SEQUENCE_ARRAYS.items()}
    for key, (shape, kind, words) in shapes.items():
        if arrays[key].shape != shape or len(shape) == 0:
            raise ValueError(f"{key} has shape {arrays[key].shape}, not {shape}")
        if arrays[key].dtype.kind not in kind:
            raise ValueError(f"{key} holds {arrays[key].dtype}, not {words}: convert it")
        if kind == "f" and not np.isfinite(arrays[key]).all():
            raise ValueError(f"{key} holds values that are not finite; give any where none are")
    if not sequences[0]:
        raise ValueError("it holds no sequence")
    _check_values("sequence_side", arrays["sequence_side"], SIDES)
    _check_values("sequence_object", arrays["sequence_object"], tuple(CLASS_IDS))
    folders = np.char.add(np.char.add(arrays["sequence_subject"], "/"), arrays["sequence_name"])
    found, times = np.unique(folders, return_counts=True)
    if (times > 1).any():
        raise ValueError(f"it holds {found[times.argmax()]} {times.max()} times; keep one")
    start, length = (arrays[f"sequence_{key}"].astype(np.int64) for key in ("start", "length"))
    if ((start < 0) | (length < 1) | (start + length > count[0])).any():
        raise ValueError(f"a sequence reaches beyond the file's {count[0]} frames")
    for folder, first, frames in zip(folders, start, length, strict=True):
        if not arrays["valid"][first : first + frames].any():
            raise ValueError(f"{folder} holds no frame with a hand; leave it out of the file")
    meaning = arrays.get("object_rotvec_is", np.array("axis-angle"))
    if meaning.shape != () or str(meaning) != "axis-angle":
        raise ValueError(f"object_rotvec_is {meaning}: it has to be axis-angle; convert the poses")
    _check_metres(arrays)


def _check_values(key: str, values: np.ndarray, allowed: tuple[str, ...]) -> None:
    if wrong := sorted(set(values.tolist()) - set(allowed)):
        raise ValueError(f"{key} has {wrong[0]!r}, which is none of {', '.join(allowed)}")


def _check_metres(arrays: dict[str, np.ndarray]) -> None:
    joints, spots = (arrays[key][arrays["valid"]] for key in ("joints", "object_trans"))
    with np.errstate(over="ignore"):  # infinity is too far as well
        palm = float(np.median(np.linalg.norm(joints[:, 9] - joints[:, 0], axis=-1)))
        away = float(np.median(np.linalg.norm(spots - joints[:, 0], axis=-1)))
    if not _PALM_M[0] < palm < _PALM_M[1]:
        raise ValueError(
            f"joints have the middle finger's base {palm:.3g} from the wrist, and a hand's is "
            f"{_PALM_M[0]} to {_PALM_M[1]} m: give metres, joints in the order of "
            "deformer.hand.conventions"
        )
    if away > _REACH_M:
        raise ValueError(
            f"object_trans is {away:.3g} from the wrist, more than {_REACH_M} m: give metres, in "
            "the joints' frame"
        )


def _split(arrays: dict[str, np.ndarray]) -> list[RecordedSequence]:
    rotations = Rotation.from_rotvec(arrays["object_rotvec"]).as_matrix()
    recordings = []
    for row in zip(*(arrays[key] for key in _SEQUENCE_ARRAYS), strict=True):
        subject, name, side, object_name = map(str, row[:4])
        rows = slice(int(row[4]), int(row[4]) + int(row[5]))
        yaw = Rotation.from_euler("z", -MODEL_YAW_DEG.get(object_name, 0), degrees=True)
        thing = rotations[rows] @ yaw.as_matrix(), arrays["object_trans"][rows]
        joints, valid = arrays["joints"][rows], arrays["valid"][rows]
        recordings.append(RecordedSequence(subject, name, side, object_name, joints, *thing, valid))
    return recordings
