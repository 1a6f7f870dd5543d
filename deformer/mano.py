"""The hand model: loading MANO's licensed files or the stand-in, and one layer for both sides.

Conventions, tested in `tests/deformer/test_mano.py`:

- a pose is 16 joint rotations in MANO's order; the first is the global one, about the wrist J₀(β);
- the translation is added afterwards, so the wrist stands at translation + J₀(β);
- 45 PCA coefficients are expanded here (`pca_to_rotvec`), never inside smplx, which takes 45
  components for axis-angle without a word;
- the left hand's shape directions are used as published, with the well-known wrong sign of their
  x coordinate: DexYCB was annotated with them.
"""

import contextlib
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from smplx import MANOLayer
from smplx.utils import Struct
from torch import Tensor, nn

from deformer.hand import (
    MANO_PARENTS,
    MANO_TO_DATASET,
    NUM_FACES,
    NUM_MANO_JOINTS,
    NUM_VERTICES,
    SIDES,
    TIP_VERTICES,
)
from deformer.reading import UnreadableFileError
from deformer.safe_pickle import load_pickle

STANDIN_DIR = Path(__file__).parent / "standin"

_SHAPES = {
    "v_template": (NUM_VERTICES, 3),
    "shapedirs": (NUM_VERTICES, 3, 10),
    "posedirs": (NUM_VERTICES, 3, 135),
    "J_regressor": (NUM_MANO_JOINTS, NUM_VERTICES),
    "weights": (NUM_VERTICES, NUM_MANO_JOINTS),
    "hands_components": (45, 45),
    "hands_mean": (45,),
}

_FILES = tuple(f"MANO_{side.upper()}.pkl" for side in SIDES)
_NAME = "[Mm][Aa][Nn][Oo]*"
_PLACES = ("models", _NAME, f"{_NAME}/models", f"models/{_NAME}", f"*/{_NAME}", f"*/models/{_NAME}")
"""Where in a folder that is called MANO's the files may be: `models`, as in the zip; the folder
that the zip was unpacked to; and `mano` among the models of other bodies, as smplx has it."""
_DOWNLOAD = "MANO v1.2 from https://mano.is.tue.mpg.de (free for research, after registration)"
_WANTED = f"Wanted is the file of {_DOWNLOAD}"


@dataclass(frozen=True, eq=False)
class HandArrays:
    """One side of a hand model, float32, under MANO's own names; lengths in metres."""

    v_template: np.ndarray  # (778, 3)
    shapedirs: np.ndarray  # (778, 3, 10)
    posedirs: np.ndarray  # (778, 3, 135)
    J_regressor: np.ndarray  # (16, 778)
    weights: np.ndarray  # (778, 16)
    hands_components: np.ndarray  # (45, 45), a component per row
    hands_mean: np.ndarray  # (45,)
    faces: np.ndarray  # (1538, 3) int64

    def wrist_m(self, betas: np.ndarray) -> np.ndarray:
        """J₀(β): the wrist of the untranslated hand; betas (..., 10) → (..., 3) metres."""
        wrist_dirs = np.einsum("v,vcb->cb", self.J_regressor[0], self.shapedirs)
        return self.J_regressor[0] @ self.v_template + betas @ wrist_dirs.T

    def pca_to_rotvec(self, coefficients: np.ndarray) -> np.ndarray:
        """DexYCB's 45 PCA coefficients (..., 45) → 15 finger rotations (..., 45), axis-angle."""
        return self.hands_mean + coefficients @ self.hands_components


@dataclass(frozen=True, eq=False)
class Hands:
    """Both sides of one hand model, its name, and a hash of all its numbers."""

    name: str  # "mano" or "standin"
    right: HandArrays
    left: HandArrays
    sha256: str


def load_hands(source: str | Path | None = None) -> Hands:
    """Load a hand model.

    source: "standin", or a folder as `find_mano` takes it; None means the folder that `$MANO_DIR`
    names.

    Raises `FileNotFoundError` saying where MANO is to be had when the files are not there,
    `UnreadableFileError` naming the array when a file is not a MANO model.
    """
    if source == "standin":
        name, folder, stem, suffix = "standin", STANDIN_DIR, "STANDIN", "npz"
    else:
        name, folder, stem, suffix = "mano", find_mano(source), "MANO", "pkl"
    right, left = (_read_side(folder / f"{stem}_{side.upper()}.{suffix}", side) for side in SIDES)
    digest = hashlib.sha256()
    for hand in (right, left):
        for key in (*_SHAPES, "faces"):
            digest.update(np.ascontiguousarray(getattr(hand, key)).tobytes())
    return Hands(name, right, left, digest.hexdigest())


def find_mano(folder: str | Path | None = None) -> Path:
    """The folder with MANO's files: `folder` or a place within it where the download or smplx puts
    them; by default what `$MANO_DIR` names. One of the two files may be given in its place.

    Raises `FileNotFoundError` saying where MANO is to be had, or which place is to be named.
    """
    folder = folder or os.environ.get("MANO_DIR") or None
    if folder is None:
        raise FileNotFoundError(_not_found("$MANO_DIR is not set"))
    named = Path(folder).resolve()
    if named.name in _FILES and named.is_file():
        named = named.parent
    for places in ((named,), _places_within(named)):
        whole = [place for place in places if all((place / name).is_file() for name in _FILES)]
        if len(whole) == 1:
            return whole[0]
        if whole:
            raise FileNotFoundError(
                f"{folder} holds MANO's files in {' and in '.join(map(str, whole))}: name the one "
                "that is meant by --mano-dir or $MANO_DIR"
            )
    raise FileNotFoundError(_not_found(f"{folder} {_instead(named)}"))


def _places_within(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = {place.resolve() for pattern in _PLACES for place in folder.glob(pattern)}
    return sorted(found)


def _instead(folder: Path) -> str:
    """What a folder without MANO's files is or has of them."""
    if not folder.is_dir():
        return "is a file, not a folder" if folder.exists() else "does not exist"
    there = [place / name for place in (folder, *_places_within(folder)) for name in _FILES]
    if parts := [str(path) for path in there if path.is_file()]:
        return f"holds only {' and '.join(parts)}"
    alike = sorted(p.name for p in folder.iterdir() if "mano" in p.name.lower())
    return f"holds only {', '.join(alike[:4])}" if alike else "does not hold them"


def _not_found(why: str) -> str:
    return (
        f"MANO's files ({' and '.join(_FILES)}) are needed, but {why}. Download {_DOWNLOAD}, "
        "unpack it, and name its folder by --mano-dir or $MANO_DIR. Without MANO: `--hand standin` "
        "on synthetic data, `--hand none` to build what needs no hand model."
    )


def _read_side(path: Path, side: str) -> HandArrays:
    """Raises `UnreadableFileError` where a file is damaged, or no model of a hand of this side."""
    try:
        raw = dict(np.load(path)) if path.suffix == ".npz" else load_pickle(path)
        hand = _hand_arrays(raw)
    except UnreadableFileError as error:  # load_pickle has named the file
        raise type(error)(f"{error}. {_WANTED}") from None
    except ValueError as error:
        raise UnreadableFileError(f"{path}: {error}. {_WANTED}") from None
    reach = _fingers_x(hand)
    if (reach < 0) != (side == "right"):
        raise UnreadableFileError(
            f"{path} is no {side} hand: its fingers point along {'-+'[reach > 0]}x as the other "
            f"one's do; put both files back as they are in {_DOWNLOAD}"
        )
    return hand


def _fingers_x(hand: HandArrays) -> float:
    """x, in metres, from the wrist to the middle of all vertices: below 0 for a right hand."""
    return float(hand.v_template[:, 0].mean() - hand.J_regressor[0] @ hand.v_template[:, 0])


def _hand_arrays(raw: object) -> HandArrays:
    if not isinstance(raw, dict):
        raise ValueError(f"a MANO file holds a dictionary of arrays, not {type(raw).__name__}")
    arrays = {}
    for key, shape in _SHAPES.items():
        arrays[key] = _dense(raw, key).astype(np.float32)
        if arrays[key].shape != shape:
            raise ValueError(f"{key} has shape {arrays[key].shape}, MANO's is {shape}")
        if not np.isfinite(arrays[key]).all():
            raise ValueError(f"{key} holds values that are not finite")
    faces = _dense(raw, "f").astype(np.int64)
    if faces.shape != (NUM_FACES, 3):
        raise ValueError(f"f has shape {faces.shape}, MANO's is {(NUM_FACES, 3)}")
    if faces.min() < 0 or faces.max() >= NUM_VERTICES:
        raise ValueError(f"f names a vertex outside 0 to {NUM_VERTICES - 1}")
    tree = _dense(raw, "kintree_table").astype(np.int64)
    if tree.shape != (2, NUM_MANO_JOINTS) or tuple(tree[0, 1:]) != MANO_PARENTS[1:]:
        raise ValueError(
            f"kintree_table of shape {tree.shape} is {tree.tolist()!s:.120}, MANO's parents are "
            f"{MANO_PARENTS}"
        )
    return HandArrays(**arrays, faces=faces)


def _dense(raw: dict, key: str) -> np.ndarray:
    if key not in raw:
        raise ValueError(f"the array {key!r} is missing; this is not a MANO v1.2 model")
    try:
        array = np.asarray(raw[key])
    except ValueError:  # lists of unequal length
        raise ValueError(f"{key} is no array") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{key} holds {array.dtype}, not numbers")
    return array


class HandLayer(nn.Module):
    """Posed hands of both sides in one batch, by two `smplx.MANOLayer`s.

    Every hand is computed by both sides and one is chosen: with 778 vertices that costs less than
    splitting the batch, and keeps shapes static and the device unsynchronised.

    vertex_stride: only every so many-th vertex, and the fingertips: V in place of 778. Joints are
    the same; a mesh costs as much less.
    """

    def __init__(self, hands: Hands, vertex_stride: int = 1) -> None:
        super().__init__()
        tip_ids = np.unique(list(TIP_VERTICES.values()))
        kept = np.union1d(np.arange(0, NUM_VERTICES, vertex_stride), tip_ids)
        self.num_vertices = len(kept)
        self.right = _mano_layer(hands.right, True, kept)
        self.left = _mano_layer(hands.left, False, kept)
        for tips in ("dexycb", "ho3d"):
            ids = np.array([TIP_VERTICES[tips, side] for side in SIDES])
            ids = torch.from_numpy(np.searchsorted(kept, ids))
            self.register_buffer(f"tip_vertices_{tips}", ids, persistent=False)
        order = torch.from_numpy(MANO_TO_DATASET)
        self.register_buffer("mano_to_dataset", order, persistent=False)

    def forward(
        self, rotmats: Tensor, betas: Tensor, is_left: Tensor, tips: str = "dexycb"
    ) -> tuple[Tensor, Tensor]:
        """Pose the hands.

        rotmats (B, 16, 3, 3): joint rotations in MANO's order, the first global.
        betas (B, 10): shape. is_left (B,) bool. tips: whose fingertip vertices, "dexycb" or "ho3d".

        Returns vertices (B, V, 3) and joints (B, 21, 3) in dataset order, metres, in the frame
        that the global rotation leads to; the translation is the caller's to add.
        """
        vertices_right, joints_right = _pose(self.right, rotmats, betas)
        vertices_left, joints_left = _pose(self.left, rotmats, betas)
        chosen = is_left[:, None, None]
        vertices = torch.where(chosen, vertices_left, vertices_right)[:, : self.num_vertices]
        joints = torch.where(chosen, joints_left, joints_right)
        tip_ids = getattr(self, f"tip_vertices_{tips}")[is_left.long()]  # (B, 5)
        tip_points = vertices.gather(1, tip_ids[..., None].expand(-1, -1, 3))
        return vertices, torch.cat([joints, tip_points], 1)[:, self.mano_to_dataset]


def _pose(layer: MANOLayer, rotmats: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
    output = layer(betas=betas, global_orient=rotmats[:, :1], hand_pose=rotmats[:, 1:])
    return output.vertices, output.joints[:, :NUM_MANO_JOINTS]


def _mano_layer(hand: HandArrays, is_right: bool, kept: np.ndarray) -> MANOLayer:
    """Of the vertices `kept`."""
    kintree = np.stack([np.array(MANO_PARENTS), np.arange(NUM_MANO_JOINTS)])
    arrays = {key: getattr(hand, key) for key in _SHAPES}
    if len(kept) < NUM_VERTICES:
        arrays |= _thinned(hand, kept)
    data = Struct(**arrays, f=hand.faces, kintree_table=kintree)
    with contextlib.redirect_stdout(io.StringIO()):  # smplx prints that MANO has 10 shape values
        layer = MANOLayer(
            "",
            is_rhand=is_right,
            data_struct=data,
            num_betas=10,
            flat_hand_mean=True,
            create_body_pose=False,  # else a parameter that nothing trains
        )
    # Out of the state dict: a checkpoint must not carry MANO's licensed arrays.
    for module in layer.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, buffer, persistent=False)
    return layer


def _thinned(hand: HandArrays, kept: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of some vertices. The joints at rest, a mean of vertices that may be gone, stand
    behind them as vertices of their own, which no pose moves."""
    regressor = hand.J_regressor
    of_joints = {
        "v_template": regressor @ hand.v_template,
        "shapedirs": np.einsum("jv,vck->jck", regressor, hand.shapedirs),
        "posedirs": np.zeros((NUM_MANO_JOINTS, *hand.posedirs.shape[1:]), np.float32),
        "weights": np.eye(NUM_MANO_JOINTS, dtype=np.float32),
    }
    thinned = {
        name: np.concatenate([getattr(hand, name)[kept], rest]).astype(np.float32)
        for name, rest in of_joints.items()
    }
    itself = np.zeros((NUM_MANO_JOINTS, len(kept) + NUM_MANO_JOINTS), np.float32)
    itself[:, len(kept) :] = np.eye(NUM_MANO_JOINTS)
    return thinned | {"J_regressor": itself}
