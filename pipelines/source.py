"""What a dataset must deliver: a list of clips, and the raw frames of a clip.

A dataset is a module with three names (see "Adding a dataset" in the README):

    ROOT_VARIABLE: str                                   environment variable that holds its folder
    list_clips(root: Path) -> list[ClipRef]              cheap: folder names and meta files only
    read_clip(root: Path, ref: ClipRef) -> Iterator[RawFrame]     one per frame of ref, in order

Everything after that (hand model, boxes, crops, occlusion, tar, index) is common to all datasets.
What is wrong with one frame is data: `RawFrame(frame, reason=…)`. What makes the whole folder
unusable is an `UnusableInputError`.
"""

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

SYNTHETIC_MARK = "synthetic.json"
"""A synthesized root holds this file: who made it, from what seed, with which hand model."""

BACKGROUND, OTHER_OBJECT, GRASPED_OBJECT, HAND = 0, 1, 2, 255
"""Values of `RawFrame.segmentation`."""


class UnusableInputError(ValueError):
    """The input as a whole cannot be used. The message says what to do."""


class BadFrameError(Exception):
    """One frame cannot be used: `reason` is a key of `deformer.clip.REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class ClipRef:
    """One clip to be built: a run of frames of one camera of one sequence."""

    key: str
    """Unique in the dataset; letters, digits, '-' and '_' (a dot would end it for WebDataset)."""
    dataset: str
    subject: str
    sequence: str
    camera: str
    side: str
    """"right" or "left"."""
    object: str
    """Name of the grasped object."""
    splits: tuple[tuple[str, str], ...]
    """Setup and part: (("s0", "train"), …) or (("split", "evaluation"),). No shard mixes them."""
    frames: tuple[int, ...]
    """Frame numbers of the source, in order."""
    image_size: tuple[int, int]
    """(width, height) that every image of the clip must have."""
    halo: frozenset[int] = frozenset()
    """Those of `frames` that stand here only as neighbours of others."""
    tips: str = "dexycb"
    """Whose fingertip vertices the joints end in: "dexycb" or "ho3d" (`deformer.hand`)."""


@dataclass(frozen=True)
class ManoPose:
    """MANO parameters as a dataset states them, in this project's camera frame."""

    global_rotvec: np.ndarray  # (3,) axis-angle
    fingers: np.ndarray  # (45,) axis-angle, or PCA coefficients
    fingers_are_pca: bool
    betas: np.ndarray  # (10,)
    trans_m: np.ndarray  # (3,), the wrist stands at trans_m + J_0(betas)


@dataclass(frozen=True)
class Mesh:
    """Triangles in the camera frame."""

    vertices_cam_m: np.ndarray  # (N, 3)
    faces: np.ndarray  # (M, 3)


@dataclass(frozen=True)
class RawFrame:
    """One frame as the dataset has it, in the camera frame x right, y down, z forward; metres.

    None means that the dataset does not say. Pixels are those of the whole source image.
    """

    frame: int
    reason: str = ""
    """Why the frame cannot be used (a key of `deformer.clip.REASONS`); empty where it can."""
    image: bytes | None = None
    """The image file as it is: JPEG or PNG."""
    K: np.ndarray | None = None  # (3, 3)
    joints_cam_m: np.ndarray | None = None  # (21, 3) in dataset order
    box_px: np.ndarray | None = None
    """(4,) x0, y0, x1, y1 of the hand, where the dataset gives a box instead of joints."""
    pose: ManoPose | None = None
    vertices_cam_m: np.ndarray | None = None
    """(778, 3), where the dataset gives vertices instead of MANO parameters."""
    segmentation: np.ndarray | None = None
    """(height, width) uint8: BACKGROUND, OTHER_OBJECT, GRASPED_OBJECT, HAND."""
    grasped_mesh: Mesh | None = None
    """The grasped object at its pose, where there is no segmentation."""


class DatasetModule(Protocol):
    """The three names that a dataset module has."""

    ROOT_VARIABLE: str

    def list_clips(self, root: Path) -> list[ClipRef]: ...

    def read_clip(self, root: Path, ref: ClipRef) -> Iterator[RawFrame]: ...


def load_dataset(name: str) -> DatasetModule:
    """The module of a dataset: `dexycb`, `ho3d`, or the dotted name of a module of one's own."""
    full_name = name if "." in name else f"pipelines.{name}"
    try:
        module = importlib.import_module(full_name)
    except ModuleNotFoundError as error:
        if error.name not in (full_name, full_name.rpartition(".")[0]):
            raise
        raise UnusableInputError(
            f"--dataset {name!r}: there is no module {full_name}; known are dexycb and ho3d, or "
            "give the dotted name of a module of your own (README, Adding a dataset)"
        ) from None
    missing = [n for n in ("ROOT_VARIABLE", "list_clips", "read_clip") if not hasattr(module, n)]
    if missing:
        raise UnusableInputError(
            f"--dataset {name!r}: module {full_name} lacks {', '.join(missing)}, which every "
            "dataset has (README, Adding a dataset)"
        )
    return module


def read_bytes(path: Path, missing: str) -> bytes:
    """The file's bytes; `BadFrameError(missing)` where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadFrameError(missing) from None


def synthetic_mark(root: Path) -> dict | None:
    """What a synthesized root says of itself; None for a recorded dataset."""
    path = root / SYNTHETIC_MARK
    if not path.is_file():
        return None
    try:
        mark = json.loads(path.read_text())
        return {"hand": mark["hand"], "hand_sha256": mark["hand_sha256"], **mark}
    except (json.JSONDecodeError, KeyError) as error:
        raise UnusableInputError(
            f"{path} is damaged ({error!r}): synthesize the folder again"
        ) from None
