"""The hand model: MANO's licensed files or the stand-in, and one layer for both sides.

Conventions, tested in `tests/deformer/hand/test_mano.py`:

- a pose is 16 joint rotations in MANO's order; the first is global, about the wrist J₀(β);
- the translation is added afterwards, so the wrist is at translation + J₀(β);
- 45 PCA coefficients are expanded here (`pca_to_rotvec`), never inside a layer: smplx's layer
  silently reads 45 coefficients as axis-angle;
- the left hand's shape directions are used as published, with the known wrong sign of their x
  coordinate, because DexYCB was annotated with them.
"""

import hashlib
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from deformer.files.foreign import UnreadableFileError
from deformer.files.patient import read_file
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
    TIPS,
    Tips,
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
"""Places of the files in the given folder: `models`, as in the zip; the folder of the unpacked zip;
`mano` beside models of other bodies, as in smplx."""
_DOWNLOAD = "MANO v1.2 from https://mano.is.tue.mpg.de (free for research, after registration)"
_WANTED = f"Wanted is the file of {_DOWNLOAD}"


@dataclass(frozen=True, eq=False)
class HandArrays:
    """One side of a hand model, float32, with MANO's own names; lengths in metres."""

    v_template: np.ndarray  # (778, 3)
    shapedirs: np.ndarray  # (778, 3, 10)
    posedirs: np.ndarray  # (778, 3, 135)
    J_regressor: np.ndarray  # (16, 778)
    weights: np.ndarray  # (778, 16)
    hands_components: np.ndarray  # (45, 45), a component per row
    hands_mean: np.ndarray  # (45,)
    faces: np.ndarray  # (1538, 3) int64

    def wrist_m(self, betas: np.ndarray) -> np.ndarray:
        """J₀(β), the wrist of the untranslated hand: betas (..., 10) → (..., 3) metres."""
        wrist_dirs = np.einsum("v,vcb->cb", self.J_regressor[0], self.shapedirs)
        return self.J_regressor[0] @ self.v_template + betas @ wrist_dirs.T

    def pca_to_rotvec(self, coefficients: np.ndarray) -> np.ndarray:
        """DexYCB's 45 PCA coefficients (..., 45) → 15 finger rotations (..., 45), axis-angle."""
        return self.hands_mean + coefficients @ self.hands_components


@dataclass(frozen=True, eq=False)
class Hands:
    """Both sides of a hand model, its name, and a hash of all its numbers."""

    name: str  # "mano" or "standin"
    right: HandArrays
    left: HandArrays
    sha256: str


def load_hands(source: str | Path | None = None) -> Hands:
    """Load a hand model.

    source: "standin", or a folder for `find_mano`; None: `$MANO_DIR`.

    Raises `FileNotFoundError` that says where to get MANO when files are missing,
    `UnreadableFileError` that names the array when a file is not a MANO model.
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


def load_hands_of(info: dict, mano_dir: Path | None = None) -> Hands:
    """The hand model that a dataset was built with.

    info: of `dataset.json`. mano_dir: MANO's folder, by default `$MANO_DIR`. Raises `ValueError`
    for a dataset that was built without a hand model or with another one, `FileNotFoundError`
    when MANO's files are missing.
    """
    name, sha256 = info["parameters"]["hand"], info["parameters"]["hand_sha256"]
    if name == "none":
        raise ValueError(
            "these shards were built with --hand none, so they hold no MANO labels: build them "
            "with --mano-dir"
        )
    return load_same_hands(name, sha256, "these shards were built", mano_dir)


def load_same_hands(name: str, sha256: str, made: str, mano_dir: Path | None) -> Hands:
    """The hand model of this name and hash. made: what was made with it, for the message.

    Raises `ValueError` when the files hold another model.
    """
    hands = load_hands("standin" if name == "standin" else mano_dir)
    if hands.sha256 != sha256:
        raise ValueError(
            f"{made} with another hand model: {name} {sha256[:12]}, here is "
            f"{hands.name} {hands.sha256[:12]}; name the same files by --mano-dir, or make it anew"
        )
    return hands


def find_mano(folder: str | Path | None = None) -> Path:
    """The folder of MANO's files: `folder`, by default `$MANO_DIR`, or a place in it where the
    download or smplx puts them. `folder` may also be one of the two files.

    Raises `FileNotFoundError` that says where to get MANO, or which place to name.
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
    """Why a folder is unusable: it is a file, is missing, or lacks files."""
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
    """Raises `UnreadableFileError` unless the file is a whole model of this side's hand."""
    try:
        raw = read_npz(read_file(path)) if path.suffix == ".npz" else load_pickle(path)
        hand = _hand_arrays(raw)
    except UnreadableFileError as error:  # load_pickle names the file
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
    """x, in metres, from the wrist to the mean of all vertices; negative for a right hand."""
    return float(hand.v_template[:, 0].mean() - hand.J_regressor[0] @ hand.v_template[:, 0])


def _hand_arrays(raw: object) -> HandArrays:
    if not isinstance(raw, dict):
        raise ValueError(f"a MANO file holds a dictionary of arrays, not {type(raw).__name__}")
    arrays = {}
    for key, shape in _SHAPES.items():
        with np.errstate(over="ignore"):  # then it is not finite
            arrays[key] = _dense(raw, key).astype(np.float32)
        if arrays[key].shape != shape:
            raise ValueError(f"{key} has shape {arrays[key].shape}, MANO's is {shape}")
        if not np.isfinite(arrays[key]).all():
            raise ValueError(f"{key} holds values that are not finite")
    faces = arrays.pop("f").astype(np.int64)
    if faces.min() < 0 or faces.max() >= NUM_VERTICES:
        raise ValueError(f"f names a vertex outside 0 to {NUM_VERTICES - 1}")
    parents = tuple(arrays.pop("kintree_table")[0, 1:].astype(np.int64).tolist())
    if parents != MANO_PARENTS[1:]:  # the root's entry is arbitrary
        raise ValueError(f"kintree_table has the parents {parents}, MANO's are {MANO_PARENTS[1:]}")
    return HandArrays(**arrays, faces=faces)


def _dense(raw: dict, key: str) -> np.ndarray:
    if key not in raw:
        raise ValueError(f"the array {key!r} is missing; this is not a MANO v1.2 model")
    array = raw[key]
    if not isinstance(array, np.ndarray):
        try:
            array = np.asarray(array, np.float64)
        except (TypeError, ValueError, OverflowError):  # such as lists of unequal length
            raise ValueError(f"{key} is no array") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{key} holds {array.dtype}, not numbers")
    return array


class HandLayer(nn.Module):
    """Poses hands of both sides in one batch: blend shapes and linear blend skinning, within 1e-6 m
    of `smplx.MANOLayer`.

    Every table holds both sides next to each other, and a hand has zero coefficients for the other
    side. So a batch is one matrix product without branches: it compiles, can be replayed as a CUDA
    graph, and never waits for the device.

    vertex_stride: compute only every n-th vertex, and the fingertips, V in place of 778. The joints
    stay the same.
    """

    def __init__(self, hands: Hands, vertex_stride: int = 1) -> None:
        super().__init__()
        tip_ids = np.unique(list(TIP_VERTICES.values()))
        kept = np.union1d(np.arange(0, NUM_VERTICES, vertex_stride), tip_ids)
        self.num_vertices = len(kept)
        self.right = hands.right  # for networks that build a mesh of their own
        sides = [getattr(hands, side) for side in SIDES]
        tables = {
            "kept": kept,  # (V,) numbers of the computed vertices
            "vertex_basis": np.concatenate([_vertex_basis(hand, kept) for hand in sides]),
            "joint_basis": np.concatenate([_joint_basis(hand) for hand in sides]),
            "weights": np.concatenate([hand.weights[kept] for hand in sides], 1),
            "mano_to_dataset": MANO_TO_DATASET,
        }
        for tips in TIPS:
            ids = np.array([TIP_VERTICES[tips, side] for side in SIDES])
            tables[f"tip_vertices_{tips}"] = np.searchsorted(kept, ids)
        # Not in the state dict: checkpoints must not contain MANO's licensed arrays
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def forward(
        self, rotmats: Tensor, betas: Tensor, is_left: Tensor, tips: Tips = "dexycb"
    ) -> tuple[Tensor, Tensor]:
        """Pose the hands.

        rotmats (B, 16, 3, 3): joint rotations in MANO's order, the first global.
        betas (B, 10): shape. is_left (B,) bool. tips: fingertip convention.

        Returns vertices (B, V, 3) and joints (B, 21, 3) in dataset order, metres, after the global
        rotation and without translation.
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
    """(1 + 10 + 135, V·3): coefficients of 1, β and the finger rotations minus identity."""
    parts = (hand.v_template[..., None], hand.shapedirs, hand.posedirs)
    return np.concatenate([part[kept].reshape(-1, part.shape[-1]).T for part in parts])


def _joint_basis(hand: HandArrays) -> np.ndarray:
    """(1 + 10, 16·3): likewise for the joints at rest, which do not depend on rotations."""
    shapes = np.concatenate([hand.v_template[..., None], hand.shapedirs], -1, dtype=np.float64)
    joints = np.einsum("jv,vck->kjc", hand.J_regressor, shapes)
    return joints.reshape(len(joints), -1).astype(np.float32)


def _both_sides(values: Tensor, is_side: Tensor) -> Tensor:
    """values (B, K) → (B, 2K): the half of the hand's side holds them, the other half is 0."""
    return (is_side[..., None] * values[:, None]).flatten(1)


class PosedJoints(NamedTuple):
    """16 posed joints in MANO's order. A point at rest moves to turn @ point + shift."""

    turns: Tensor  # (B, 16, 3, 3)
    places: Tensor  # (B, 16, 3)
    shifts: Tensor  # (B, 16, 3)


def pose_joints(rotmats: Tensor, rest: Tensor) -> PosedJoints:
    """Forward kinematics: rotmats (B, 16, 3, 3), joints at rest (B, 16, 3)."""
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
    return PosedJoints(turns, places, places - (turns @ rest[..., None])[..., 0])
