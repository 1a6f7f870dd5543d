"""`posedirs`: pose-dependent offsets that make linear blending imitate a better deformer.

Linear blending thins a bent joint. The better deformer blends rigid motions (dual quaternions,
except in the creases) and first swells the skin about each joint: flesh that is squeezed out of
the crease goes to the sides. Swelling grows with 1 − cos θ, which the feature R − I holds linearly.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from deformer.hand.conventions import MANO_PARENTS
from pipelines.standin.grasps import Skeleton
from pipelines.standin.skinning import (
    dual_quaternion_skinning,
    joint_rotations_to_transforms,
    linear_blend_skinning,
    pose_feature,
    pose_to_rotations,
)

SWELL_SHARE = {"side": 1.0, "back": 0.5, "palm": 0.2}  # of the radius, where the skin lies
SWELL = 0.16  # per unit of 1 − cos θ: more keeps more volume, but looks like knobs
RIDGE = 0.02


def _palm_side(vertices, weights, skeleton: Skeleton) -> np.ndarray:
    """How much each vertex lies in the crease of a finger's joints (V,), 0 to 1.

    There linear blending folds the skin neatly, while dual quaternions press it through itself.
    """
    share = np.zeros(len(vertices))
    for j in range(15):
        radial = vertices - skeleton.joints[j + 1]
        radial = radial - np.outer(radial @ skeleton.twist[j], skeleton.twist[j])
        down = -(radial @ skeleton.deviation[j]) / (np.linalg.norm(radial, axis=1) + 1e-9)
        t = np.clip(0.5 + down, 0, 1)
        share += weights[:, j + 1] * t * t * (3 - 2 * t)
    return share


def _swell_fields(vertices, weights, skeleton: Skeleton) -> np.ndarray:
    """Direction and amount of the skin's swelling about each joint (15, V, 3), metres per unit."""
    fields = np.zeros((15, *vertices.shape))
    for j in range(15):
        parent, child = weights[:, MANO_PARENTS[j + 1]], _beyond(weights, j + 1)
        blend = 2 * np.sqrt(np.clip(parent, 0, 1) * np.clip(child, 0, 1))
        radial = vertices - skeleton.joints[j + 1]
        radial = radial - np.outer(radial @ skeleton.twist[j], skeleton.twist[j])
        size = np.linalg.norm(radial, axis=1, keepdims=True) + 1e-9
        up = (radial / size) @ skeleton.deviation[j]  # 1 on the back, −1 on the palm's side
        share = SWELL_SHARE["side"] + np.clip(up, 0, 1) ** 2 * (
            SWELL_SHARE["back"] - SWELL_SHARE["side"]
        )
        share += np.clip(-up, 0, 1) ** 2 * (SWELL_SHARE["palm"] - SWELL_SHARE["side"])
        if j % 3 == 0:
            share *= 0.6  # knuckles sit in the palm: there is no finger to swell all round
        reach = np.minimum(1, 0.012 / size)  # no more than a finger's radius counts
        fields[j] = (blend * share)[:, None] * radial * reach
    return fields


def _beyond(weights: np.ndarray, joint: int) -> np.ndarray:
    """How much of each vertex hangs on the joint or on what follows it in the finger."""
    last = 3 * ((joint - 1) // 3) + 4
    return weights[:, joint:last].sum(1)


class BetterDeformer:
    """The deformer to imitate, on the full mesh."""

    def __init__(self, vertices, weights, skeleton: Skeleton):
        self.vertices, self.weights, self.skeleton = vertices, weights, skeleton
        self.fields = _swell_fields(vertices, weights, skeleton)
        self.crease = _palm_side(vertices, weights, skeleton)[:, None]

    def __call__(self, pose: np.ndarray) -> np.ndarray:
        rotations = pose_to_rotations(pose)
        angle = np.linalg.norm(np.reshape(pose, (15, 3)), axis=1)
        swollen = np.einsum("j,jvc->vc", SWELL * (1 - np.cos(angle)), self.fields)
        transforms, _ = joint_rotations_to_transforms(rotations, self.skeleton.joints)
        swollen += self.vertices
        round_ = dual_quaternion_skinning(swollen, self.weights, transforms)
        folded = linear_blend_skinning(swollen, self.weights, transforms)
        return round_ + self.crease * (folded - round_)


def _active_joints(influences: np.ndarray) -> list[int]:
    """The joints whose own rotation bends the skin at a vertex, given which joints hold it.

    A joint that carries all the others moves the vertex rigidly: its rotation changes nothing in
    the rest frame. Leaving it out keeps the correctives local.
    """
    held = np.flatnonzero(influences).tolist()
    fingers = {(j - 1) // 3 for j in held if j > 0}
    if 0 not in held and len(fingers) == 1:
        held = held[1:]
    return [j for j in held if j > 0]


def fit_posedirs(poses, targets, vertices, weights, joints) -> np.ndarray:
    """Least squares over poses (N, 45) with targets (N, V, 3) → posedirs (V, 3, 135)."""
    features, residuals = [], []
    for pose, target in zip(poses, targets, strict=True):
        rotations = pose_to_rotations(pose)
        transforms, _ = joint_rotations_to_transforms(rotations, joints)
        offset = target - linear_blend_skinning(vertices, weights, transforms)
        blended = np.einsum("vj,jab->vab", weights, transforms[:, :, :3])
        residuals.append(np.linalg.solve(blended, offset[..., None])[..., 0])
        features.append(pose_feature(rotations))
    features, residuals = np.stack(features), np.stack(residuals)
    posedirs = np.zeros((len(vertices), 3, 135))
    for v in range(len(vertices)):
        active = _active_joints(weights[v] > 0.01)
        if not active:
            continue
        columns = np.concatenate([np.arange(9) + 9 * (j - 1) for j in active])
        design = features[:, columns]
        normal = design.T @ design + RIDGE * len(design) * np.eye(len(columns)) / 9
        posedirs[v][:, columns] = np.linalg.solve(normal, design.T @ residuals[:, v]).T
    return posedirs


def training_poses(grasps: np.ndarray, skeleton: Skeleton, rng) -> np.ndarray:
    """Grasps, and every joint bent alone through its range: correctives must not mix joints up."""
    alone = []
    for j in range(15):
        for degrees in np.linspace(-15, 100, 12):
            pose = np.zeros((15, 3))
            aside = rng.normal(0, 8) if j % 3 == 0 else 0.0
            bend = Rotation.from_rotvec(np.deg2rad(degrees) * skeleton.flexion[j])
            turn = Rotation.from_rotvec(np.deg2rad(aside) * skeleton.deviation[j])
            pose[j] = (bend * turn).as_rotvec()
            alone.append(pose.ravel())
    return np.concatenate([np.zeros((1, 45)), np.stack(alone), grasps])
