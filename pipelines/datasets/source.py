"""What a dataset must deliver: a list of clips, and the raw frames of a clip.

A dataset is a module with three names (see docs/adding-a-dataset.md):

    ROOT_VARIABLE: str                                   environment variable that holds its folder
    list_clips(root: Path) -> list[ClipRef]              cheap: folder names and meta files only
    read_clip(root: Path, ref: ClipRef) -> Iterator[RawFrame]     one per frame of ref, in order

A module may have more:

    HALO_FRAMES: int                       clips are parts of recordings; this is how many frame
                                           numbers they reach beyond their centre frames on each
                                           side, as far as the recording goes; list_clips then
                                           takes another number as halo_frames
    DOWNLOAD: str                          the page where the dataset can be downloaded
    hand_of(root: Path) -> tuple[str, str]        name and sha256 of the hand model of the labels;
                                           without it MANO, or what a synthesized root says
    describe(root: Path) -> dict[str, str]        what in the root, beyond the list of clips, shapes
                                           the result, such as files that may be absent; cheap, and
                                           the place to warn of what the result will lack; "labels":
                                           "predicted" marks labels that nobody measured
    has_depth(root: Path, ref: ClipRef) -> bool   whether the clip has depth images, which read_clip
                                           then gives; without it `build_shards --depth` is refused

Everything after that (hand model, boxes, crops, occlusion, tar, index) is common to all datasets.
What is wrong with one frame is data: `RawFrame(frame, reason=…)`. What makes the whole folder
unusable is an `UnusableInputError`.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np

from deformer.data.clip import REASONS, SPLIT_COLUMNS
from deformer.files.foreign import UnreadableFileError, read_json
from deformer.files.patient import is_file, read_file
from deformer.files.wellformed import shown
from deformer.hand.conventions import NUM_JOINTS, NUM_VERTICES, SIDES, TIPS

SYNTHETIC_FILE = "synthetic.json"
"""Every synthesized root holds this file: generator, seed, hand model."""

_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")

BACKGROUND, OTHER_OBJECT, GRASPED_OBJECT, HAND = 0, 1, 2, 255
"""Values of `RawFrame.segmentation`."""


class UnusableInputError(ValueError):
    """The input as a whole cannot be used. The message says what to do."""


class BadFrameError(Exception):
    """One frame cannot be used: `reason` is a key of `deformer.data.clip.REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class ClipRef:
    """One clip to be built: a run of frames of one camera of one sequence."""

    key: str
    """Unique in the dataset; letters, digits, '-' and '_' (a dot would end it for WebDataset), 80
    at most (a member's name in a tar has 100)."""
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
    """Frame numbers of the source, rising."""
    image_size: tuple[int, int]
    """(width, height) that every image of the clip must have."""
    halo: frozenset[int] = frozenset()
    """The `frames` that are here only as neighbours of others."""
    tips: str = "dexycb"
    """Fingertip convention of the joints: "dexycb" or "ho3d"
    (`deformer.hand.conventions`)."""

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError(f"key is {self.key!r}: 1 to 80 letters, digits, '-' and '_' allowed")
        if self.side not in SIDES:
            self._refuse("side", f"one of {SIDES}")
        setups = [setup for setup, _ in self.splits]
        if not set(setups) <= set(SPLIT_COLUMNS) or len(set(setups)) < len(setups):
            self._refuse("splits", f"pairs of a setup, of {SPLIT_COLUMNS} once each, and a part")
        if self.tips not in TIPS:
            self._refuse("tips", f"one of {TIPS}")
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            self._refuse("image_size", "width and height, px")
        if not self.frames or any(a >= b for a, b in pairwise(self.frames)):
            self._refuse("frames", "one number at least, strictly rising")
        if self.frames[0] < -(2**31) or self.frames[-1] >= 2**31:
            self._refuse("frames", "numbers of 32 bits")
        if not self.halo <= set(self.frames):
            self._refuse("halo", "numbers that are among frames")

    def _refuse(self, name: str, rule: str) -> None:
        raise ValueError(
            f"clip {self.key!r}: {name} is {shown(getattr(self, name), 200)}, not {rule}"
        )


def _check_arrays(owner: object, **shapes: tuple[int | None, ...]) -> None:
    """Raise `ValueError` unless these are None, or numbers of these shapes (None: any length)."""
    for name, shape in shapes.items():
        value = getattr(owner, name)
        if value is None:
            continue
        array = np.asarray(value)
        fits = len(array.shape) == len(shape) and all(
            n in (None, m) for n, m in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype.kind not in "biuf":
            wanted = tuple("N" if n is None else n for n in shape)
            raise ValueError(
                f"{name} is {array.dtype} of shape {array.shape}, not numbers of shape {wanted}"
            )


@dataclass(frozen=True)
class ManoPose:
    """MANO parameters as a dataset states them, in this project's camera frame."""

    global_rotvec: np.ndarray  # (3,) axis-angle
    fingers: np.ndarray  # (45,) axis-angle, or PCA coefficients
    fingers_are_pca: bool
    betas: np.ndarray  # (10,)
    trans_m: np.ndarray | None  # (3,), the wrist stands at trans_m + J_0(betas)
    wrist_cam_m: np.ndarray | None = None  # (3,), in place of trans_m

    def __post_init__(self) -> None:
        if (self.trans_m is None) == (self.wrist_cam_m is None):
            raise ValueError("a pose needs either trans_m or wrist_cam_m")
        _check_arrays(self, wrist_cam_m=(3,))
        _check_arrays(self, global_rotvec=(3,), fingers=(45,), betas=(10,), trans_m=(3,))


@dataclass(frozen=True)
class Mesh:
    """Triangles in the camera frame."""

    vertices_cam_m: np.ndarray  # (N, 3)
    faces: np.ndarray  # (M, 3)

    def __post_init__(self) -> None:
        _check_arrays(self, vertices_cam_m=(None, 3), faces=(None, 3))
        # the ray caster reads whatever memory a wrong number points to
        if np.size(self.faces) and not (
            np.min(self.faces) >= 0 and np.max(self.faces) < len(self.vertices_cam_m)
        ):
            raise ValueError(f"faces must name vertices 0 to {len(self.vertices_cam_m) - 1}")


@dataclass(frozen=True)
class RawFrame:
    """One frame as the dataset has it, in the camera frame x right, y down, z forward; metres.

    None means that the dataset does not say. Pixels are those of the whole source image.
    """

    frame: int
    reason: str = ""
    """Why the frame cannot be used (a key of `deformer.data.clip.REASONS`); empty where it can."""
    image: bytes | Callable[[], bytes] | None = None
    """The image file as it is: JPEG or PNG. Or a function that reads it, so that long clips need
    not fit into memory: it is called for frames that are kept, in their order, and may raise
    `BadFrameError`."""
    depth: Callable[[], bytes] | None = None
    """Reads the depth image of the same pixels as `image`, a grey PNG of 16 bits: mm along the
    viewing axis, 0 where it is unknown. It is called as `image` is, in a build with depth."""
    K: np.ndarray | None = None  # (3, 3)
    joints_cam_m: np.ndarray | None = None  # (21, 3) in dataset order
    joints_px: np.ndarray | None = None
    """(21, 2) x, y: where the dataset itself says that K projects joints_cam_m. The build compares
    them, and keeps its own projection. Not for 2D joints that people or a detector marked."""
    box_px: np.ndarray | None = None
    """(4,) x0, y0, x1, y1 of the hand. It makes the crop where there are no joints, else it is
    compared with them."""
    pose: ManoPose | None = None
    vertices_cam_m: np.ndarray | None = None
    """(778, 3), where the dataset gives vertices instead of MANO parameters."""
    segmentation: np.ndarray | None = None
    """(height, width) uint8: BACKGROUND, OTHER_OBJECT, GRASPED_OBJECT, HAND."""
    grasped_mesh: Mesh | None = None
    """The grasped object at its pose, where there is no segmentation."""

    def __post_init__(self) -> None:
        if self.reason and self.reason not in REASONS:
            raise ValueError(f"reason is {self.reason!r}, not empty and none of {list(REASONS)}")
        _check_arrays(
            self,
            K=(3, 3),
            joints_cam_m=(NUM_JOINTS, 3),
            joints_px=(NUM_JOINTS, 2),
            box_px=(4,),
            vertices_cam_m=(NUM_VERTICES, 3),
            segmentation=(None, None),
        )
        if self.segmentation is not None and self.segmentation.dtype != np.uint8:
            raise ValueError(f"segmentation is {self.segmentation.dtype}, not uint8")


_OURS = ("dexycb", "ho3d", "hands", "videos")


def load_dataset(name: str) -> ModuleType:
    """The module of a dataset: one of this package's, or your own module.

    That may be `my_hands`, which is a file my_hands.py in the current folder or on Python's path,
    or `my_package.my_hands`.
    """
    full_name = f"pipelines.datasets.{name}" if name in _OURS else name
    try:
        module = importlib.import_module(full_name)
    except ModuleNotFoundError as error:
        if not f"{full_name}.".startswith(f"{error.name}."):
            raise  # the module is there: it imports another that is not
        raise UnusableInputError(
            f"--dataset {name!r}: there is no module {full_name}; known are {', '.join(_OURS)}, "
            "or give the name of a module of your own, such as my_hands for a file my_hands.py in "
            "the current folder (docs/adding-a-dataset.md)"
        ) from None
    missing = [n for n in ("ROOT_VARIABLE", "list_clips", "read_clip") if not hasattr(module, n)]
    if missing:
        raise UnusableInputError(
            f"--dataset {name!r}: module {full_name} lacks {', '.join(missing)}, which every "
            "dataset has (docs/adding-a-dataset.md)"
        )
    return module


def read_bytes(path: Path, missing: str) -> bytes:
    """The file's bytes; `BadFrameError(missing)` where there is no such file."""
    try:
        return read_file(path)
    except (FileNotFoundError, IsADirectoryError):
        raise BadFrameError(missing) from None


def read_image(path: Path) -> tuple[bytes | None, str]:
    """A frame's image, or None and the reason: the labels are kept either way."""
    try:
        return read_bytes(path, "image_missing"), ""
    except BadFrameError as error:
        return None, error.reason


def check_values(
    path: Path,
    content: dict,
    rules: dict[str, tuple[Callable[[object], object], str]],
    advice: str,
) -> None:
    """Raise `UnusableInputError` for a value of a meta file that breaks its rule: a test, and the
    same in words."""
    for key, (holds, rule) in rules.items():
        value = content.get(key)
        if not holds(value):
            raise UnusableInputError(f"{path}: {key} is {shown(value)}, not {rule}; {advice}")


def synthetic_mark(root: Path) -> dict | None:
    """The content of a root's `synthetic.json`; None for a recorded dataset."""
    path = root / SYNTHETIC_FILE
    if not is_file(path):
        return None
    try:
        mark = read_json(path)
        return {"hand": mark["hand"], "hand_sha256": mark["hand_sha256"], **mark}
    except UnreadableFileError as error:
        raise UnusableInputError(f"{error}; synthesize the folder again") from None
    except KeyError as error:
        raise UnusableInputError(f"{path} lacks {error}; synthesize the folder again") from None
