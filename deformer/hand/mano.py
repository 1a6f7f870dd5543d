"""The hand model: loading MANO's licensed files or the stand-in, and one layer for both sides.

Conventions, tested in `tests/deformer/hand/test_mano.py`:

- a pose is 16 joint rotations in MANO's order; the first is the global one, about the wrist J₀(β);
- the translation is added afterwards, so the wrist stands at translation + J₀(β);
- 45 PCA coefficients are expanded here (`pca_to_rotvec`), never inside a layer: smplx's takes 45
  components for axis-angle without a word;
- the left hand's shape directions are used as published, with the well-known wrong sign of their
  x coordinate: DexYCB was annotated with them.
"""

import hashlib
import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deformer.files.foreign import UnreadableFileError
from deformer.files.safe_pickle import load_pickle
from deformer.files.wellformed import read_npz
from deformer.hand.conventions import (
    MANO_PARENTS,
    MANO_TO_DATASET,
    NUM_FACES,
    NUM_MANO_JOINTS,
    NUM_VERTICES,
    SIDES,
    TIP_VERTICES,
)

STANDIN_DIR = Path(__file__).parent

_SHAPES = {
    "v_template": (NUM_VERTICES, 3),
    "shapedirs": (NUM_VERTICES, 3, 10),
    "posedirs": (NUM_VERTICES, 3, 135),
    "J_regressor": (NUM_MANO_JOINTS, NUM_VERTICES),
    "weights": (NUM_VERTICES, NUM_MANO_JOINTS),
    "hands_components": (45, 45),
    "hands_mean": (45,),
    "f": (NUM_FACES, 3),
    "kintree_table": (2, NUM_MANO_JOINTS),
}

_FILES = tuple(f"MANO_{side.upper()}.pkl" for side in SIDES)
_NAME = "[Mm][Aa][Nn][Oo]*"
_PLACES = ("models", _NAME, f"{_NAME}/models", f"models/{_NAME}", f"*/{_NAME}", f"*/models/{_NAME}")
"""Where the files may be within the named folder: `models`, as in the zip; the folder that the zip
was unpacked to; `mano` beside the models of other bodies, as smplx has it."""
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

    Raises `FileNotFoundError` saying where to get MANO when the files are not there,
    `UnreadableFileError` naming the array when a file is not a MANO model.
    """
    if source == "standin":
        name, folder, stem, suffix = "standin", STANDIN_DIR, "STANDIN", "npz"
    else:
        name, folder, stem, suffix = "mano", find_mano(source), "MANO", "pkl"
    right, left = (_read_side(folder / f"{stem}_{side.upper()}.{suffix}", side) for side in SIDES)
    digest = hashlib.sha256()
    for hand in (right, left):
        for field in fields(hand):
            digest.update(np.ascontiguousarray(getattr(hand, field.name)).tobytes())
    return Hands(name, right, left, digest.hexdigest())


def find_mano(folder: str | Path | None = None) -> Path:
    """The folder with MANO's files: `folder` or a place within it where the download or smplx puts
    them; by default what `$MANO_DIR` names. One of the two files may be given in its place.

    Raises `FileNotFoundError` saying where to get MANO, or which place to name.
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
    """Why a folder does not do: what it is, or which of the files it has."""
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
        raw = read_npz(path.read_bytes()) if path.suffix == ".npz" else load_pickle(path)
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
    faces = arrays.pop("f").astype(np.int64)
    if faces.min() < 0 or faces.max() >= NUM_VERTICES:
        raise ValueError(f"f names a vertex outside 0 to {NUM_VERTICES - 1}")
    parents = tuple(arrays.pop("kintree_table")[0, 1:].astype(np.int64).tolist())
    if parents != MANO_PARENTS[1:]:  # of the root it says what it likes
        raise ValueError(f"kintree_table has the parents {parents}, MANO's are {MANO_PARENTS[1:]}")
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
    """Posed hands of both sides in one batch: blend shapes and linear blend skinning, as
    `smplx.MANOLayer` computes them (a test holds both to 1e-6 m).

    Both sides stand side by side in every table, and a hand's coefficients of the other side are 0.
    So a batch of both is one matrix product, and nothing depends on values: it compiles whole, can
    be replayed as a CUDA graph, and never waits for the device.

    vertex_stride: only every n-th vertex, and the fingertips: V in place of 778. Joints are
    the same; a mesh costs as much less.
    """

    def __init__(self, hands: Hands, vertex_stride: int = 1) -> None:
        super().__init__()
        tip_ids = np.unique(list(TIP_VERTICES.values()))
        kept = np.union1d(np.arange(0, NUM_VERTICES, vertex_stride), tip_ids)
        self.num_vertices = len(kept)
        sides = [getattr(hands, side) for side in SIDES]
        tables = {
            "vertex_basis": np.concatenate([_vertex_basis(hand, kept) for hand in sides]),
            "joint_basis": np.concatenate([_joint_basis(hand) for hand in sides]),
            "weights": np.concatenate([hand.weights[kept] for hand in sides], 1),
            "mano_to_dataset": MANO_TO_DATASET,
        }
        for tips in ("dexycb", "ho3d"):
            ids = np.array([TIP_VERTICES[tips, side] for side in SIDES])
            tables[f"tip_vertices_{tips}"] = np.searchsorted(kept, ids)
        # Out of the state dict: a checkpoint must not carry MANO's licensed arrays.
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def forward(
        self, rotmats: Tensor, betas: Tensor, is_left: Tensor, tips: str = "dexycb"
    ) -> tuple[Tensor, Tensor]:
        """Pose the hands.

        rotmats (B, 16, 3, 3): joint rotations in MANO's order, the first global.
        betas (B, 10): shape. is_left (B,) bool. tips: whose fingertip vertices, "dexycb" or "ho3d".

        Returns vertices (B, V, 3) and joints (B, 21, 3) in dataset order, metres, in the frame
        that the global rotation leads to; the translation is the caller's to add.
        """
        is_side = torch.stack([~is_left, is_left], 1).to(rotmats)  # (B, 2), as `SIDES`
        bent = (rotmats[:, 1:] - torch.eye(3, device=rotmats.device)).flatten(1)  # (B, 135)
        shape = torch.cat([torch.ones_like(betas[:, :1]), betas], 1)
        rest = _both_sides(shape, is_side) @ self.joint_basis  # (B, 48)
        unposed = _both_sides(torch.cat([shape, bent], 1), is_side) @ self.vertex_basis
        turns, joints, shifts = pose_joints(rotmats, rest.unflatten(1, (-1, 3)))
        moves = torch.cat([turns, shifts[..., None]], -1).flatten(2)  # (B, 16, 12): [turn | shift]
        moves = torch.einsum("bs,bjk->bsjk", is_side, moves).flatten(1, 2)  # (B, 32, 12)
        moves = (self.weights @ moves).unflatten(-1, (3, 4))  # (B, V, 3, 4)
        unposed = unposed.unflatten(1, (-1, 1, 3))
        vertices = (moves[..., :3] * unposed).sum(-1) + moves[..., 3]
        tip_ids = getattr(self, f"tip_vertices_{tips}")[is_left.long()]  # (B, 5)
        tip_points = vertices.gather(1, tip_ids[..., None].expand(-1, -1, 3))
        return vertices, torch.cat([joints, tip_points], 1)[:, self.mano_to_dataset]


def _vertex_basis(hand: HandArrays, kept: np.ndarray) -> np.ndarray:
    """(1 + 10 + 135, V·3): what 1, β and the bending of the fingers are multiplied with."""
    parts = (hand.v_template[..., None], hand.shapedirs, hand.posedirs)
    return np.concatenate([part[kept].reshape(-1, part.shape[-1]).T for part in parts])


def _joint_basis(hand: HandArrays) -> np.ndarray:
    """(1 + 10, 16·3): likewise, of the joints at rest, which no bending moves."""
    shapes = np.concatenate([hand.v_template[..., None], hand.shapedirs], -1, dtype=np.float64)
    joints = np.einsum("jv,vck->kjc", hand.J_regressor, shapes)
    return joints.reshape(len(joints), -1).astype(np.float32)


def _both_sides(values: Tensor, is_side: Tensor) -> Tensor:
    """values (B, K) → (B, 2K): in the half of each hand's side, the other half 0."""
    return (is_side[..., None] * values[:, None]).flatten(1)


def pose_joints(rotmats: Tensor, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Along the chains: rotmats (B, 16, 3, 3), joints at rest (B, 16, 3).

    Returns, of each joint in MANO's order, its rotation in the hand's frame (B, 16, 3, 3), its
    place (B, 16, 3), and the translation (B, 16, 3) that a point at rest gets after that rotation.
    """
    fingers, bones = rotmats[:, 1:].unflatten(1, (5, 3)), rest[:, 1:].unflatten(1, (5, 3))
    turn, place, parent = rotmats[:, None, 0], rest[:, None, 0], rest[:, None, 0]
    turns, places = [], []
    for k in range(3):  # from the palm outwards, all fingers at once
        place = place + (turn @ (bones[:, :, k] - parent)[..., None])[..., 0]
        turn, parent = turn @ fingers[:, :, k], bones[:, :, k]
        turns.append(turn)
        places.append(place)
    turns = torch.cat([rotmats[:, :1], torch.stack(turns, 2).flatten(1, 2)], 1)
    places = torch.cat([rest[:, :1], torch.stack(places, 2).flatten(1, 2)], 1)
    return turns, places, places - (turns @ rest[..., None])[..., 0]
