"""Plausible finger poses: axes of bending, joint limits, named grasps, and a wide random sample.

Angles of a hand are (5 fingers, 5) degrees in MANO's order of fingers: flexion, deviation towards
the thumb's side and twist of the first joint, flexion of the second and of the third. The thumb's
deviation is palmar abduction. Positive flexion curls towards the palm, on either hand.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from pipelines.standin.skinning import joint_rotations_to_transforms, pose_to_rotations

INDEX, MIDDLE, LITTLE, RING, THUMB = range(5)
#                  flexion, deviation, twist, second, third
LOWER = np.array([[-10, -15, 0, 0, -5]] * 4 + [[-25, -20, -10, -5, -15]], float)
UPPER = np.array([[90, 15, 0, 102, 72]] * 4 + [[45, 45, 40, 55, 75]], float)
# How far a flexed finger leans towards the thumb's side. With more it would cross its neighbour.
CONVERGENCE = {"index": 0.06, "middle": 0.0, "little": 0.04, "ring": 0.03}
FLESH_M = 0.003  # how deep two fingers may press into each other


@dataclass(frozen=True)
class Skeleton:
    """What posing needs: joints (16, 3), tips (5, 3), radii (5, 3) metres, unit axes (15, 3)."""

    joints: np.ndarray
    tips: np.ndarray
    flexion: np.ndarray
    deviation: np.ndarray
    twist: np.ndarray
    radii: np.ndarray


def build_skeleton(vertices, joints, tips, weights) -> Skeleton:
    """Read the axes off a hand in its rest pose.

    The last phalanx is broader than it is high; its broad direction is the axis of the finger's
    hinges. Without the average with the converging axis, neighbouring fists would cross.
    """
    flexion, twist, radii = np.zeros((15, 3)), np.zeros((15, 3)), np.zeros((5, 3))
    for f, finger in enumerate(("index", "middle", "little", "ring", "thumb")):
        chain = np.vstack([joints[1 + 3 * f : 4 + 3 * f], tips[[f]]])
        bones = _unit(np.diff(chain, axis=0))
        hinge = _broad_direction(vertices[weights[:, 3 + 3 * f] > 0.9], bones[2])
        # Towards the palm: downwards for the fingers, away from the thumb's side for the thumb.
        hinge *= np.sign(hinge[2] if finger != "thumb" else -hinge[1])
        if finger != "thumb":
            aim = np.array([0, -1, CONVERGENCE[finger]])
            hinge = _unit(hinge + 3 * _unit(np.cross(bones[2], aim)))
        for k in range(3):
            j = 3 * f + k
            twist[j] = bones[k]
            flexion[j] = _unit(hinge - (hinge @ bones[k]) * bones[k])
            own = vertices[weights[:, 1 + j] > 0.8] - chain[k]
            across = own - np.outer(own @ bones[k], bones[k])
            radii[f, k] = np.linalg.norm(across, axis=1).mean() if len(own) else 0.01
    return Skeleton(joints, tips, flexion, _unit(np.cross(twist, flexion)), twist, radii)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def _broad_direction(points: np.ndarray, along: np.ndarray) -> np.ndarray:
    centred = points - points.mean(0)
    centred = centred - np.outer(centred @ along, along)
    return np.linalg.svd(centred, full_matrices=False)[2][0]


def angles_to_pose(angles: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Angles (5, 5) degrees → 45 axis-angle values; a finger deviates first, then flexes."""
    radians = np.deg2rad(angles)
    flex = np.zeros((15, 3))
    flex[0::3] = radians[:, [0]] * skeleton.flexion[0::3]
    flex[1::3] = radians[:, [3]] * skeleton.flexion[1::3]
    flex[2::3] = radians[:, [4]] * skeleton.flexion[2::3]
    aside, turn = np.zeros((15, 3)), np.zeros((15, 3))
    aside[0::3] = radians[:, [1]] * skeleton.deviation[0::3]
    turn[0::3] = radians[:, [2]] * skeleton.twist[0::3]
    rotation = Rotation.from_rotvec(flex) * Rotation.from_rotvec(aside)
    return (rotation * Rotation.from_rotvec(turn)).as_rotvec().ravel()


def _posed_chains(pose, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Each phalanx's transform from rest (15, 3, 4), and each finger's joints and tip (5, 4, 3)."""
    transforms, joints = joint_rotations_to_transforms(pose_to_rotations(pose), skeleton.joints)
    tips = _apply(transforms[3::3], skeleton.tips)
    return transforms[1:], np.concatenate([joints[1:].reshape(5, 3, 3), tips[:, None]], axis=1)


def _apply(transforms: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.einsum("fab,fb->fa", transforms[:, :, :3], points) + transforms[:, :, 3]


def surface(pose, skeleton: Skeleton, place: str) -> tuple[np.ndarray, np.ndarray]:
    """Points on the skin of each finger and its outward normals, (5, 3) each.

    place: "pad" of the last phalanx; "back" or "side" (the thumb's side) of the second one.
    """
    transforms, chains = _posed_chains(pose, skeleton)
    k, share = (2, 0.62) if place == "pad" else (1, 0.5)
    palmwards = np.cross(skeleton.flexion[k::3], skeleton.twist[k::3])
    normal = {"pad": palmwards, "back": -palmwards, "side": skeleton.flexion[k::3]}[place]
    normal = np.einsum("fab,fb->fa", transforms[k::3, :, :3], normal)
    centre = chains[:, k] + share * (chains[:, k + 1] - chains[:, k])
    return centre + (0.8 if k == 2 else 1.0) * skeleton.radii[:, [k]] * normal, normal


def named_grasps() -> dict[str, np.ndarray]:
    """The centre of each kind of grasp, angles (5, 5) degrees."""

    def hand(mcp, pip, thumb, spread=(0, 0, 0, 0)):
        """mcp, pip and spread in MANO's order: index, middle, little, ring."""
        fingers = [(m, s, 0, p, 0.6 * p) for m, p, s in zip(mcp, pip, spread, strict=True)]
        return np.array([*fingers, thumb], float)

    rest_thumb = (5, 5, 0, 5, 10)
    return {
        "flat": hand([0] * 4, [4] * 4, (-5, 0, 0, 2, 2)),
        "spread": hand([-4] * 4, [2] * 4, (-20, -5, 0, 0, 0), (9, 1, -12, -6)),
        "relaxed": hand([18, 24, 32, 28], [28, 32, 34, 34], rest_thumb, (-4, 0, 6, 3)),
        "power": hand([44, 44, 42, 43], [50, 52, 50, 52], (4, 36, 18, 16, 26), (-1, 0, 1, 1)),
        "sphere": hand([28, 28, 34, 30], [40, 42, 44, 42], (0, 34, 14, 14, 22), (8, 1, -10, -4)),
        "hook": hand([12, 14, 18, 15], [75, 78, 78, 78], (6, 12, 4, 10, 15), (-4, 0, 5, 3)),
        "fist": hand([76, 80, 82, 82], [94, 96, 92, 96], (24, 32, 20, 32, 48), (0, 0, -1, 1)),
        "point": hand([6, 72, 78, 76], [6, 90, 88, 90], (20, 36, 20, 30, 40), (0, -1, -1, 0)),
        "lateral": hand([50, 56, 62, 58], [62, 66, 66, 66], (16, -2, 4, 14, 24), (0, 0, 3, 1)),
        "pinch": hand([48, 34, 34, 34], [46, 34, 34, 34], (8, 32, 18, 14, 20), (-2, 0, 4, 2)),
        "tripod": hand([50, 52, 48, 46], [42, 44, 56, 52], (8, 34, 20, 14, 20), (1, 0, 4, 2)),
    }


# What the thumb's pad touches in these grasps: a place on the skin of these fingers.
TOUCHES = {
    "pinch": ("pad", [INDEX]),
    "tripod": ("pad", [INDEX, MIDDLE]),
    "lateral": ("side", [INDEX]),
    "fist": ("back", [INDEX, MIDDLE]),
    "point": ("back", [MIDDLE]),
}


def touch(angles, skeleton: Skeleton, name: str, gap_m: float) -> np.ndarray:
    """Bend the thumb (and fingers that meet it pad to pad) until it faces its goal, gap_m away."""
    place, fingers = TOUCHES[name]
    free = np.zeros((5, 5), bool)
    free[THUMB] = True
    if place == "pad":
        free[np.ix_(fingers, [0, 3])] = True
    lower, upper = LOWER[free], UPPER[free]
    start = np.clip(angles[free], lower + 0.1, upper - 0.1)

    def fill(x):
        full = angles.copy()
        full[free] = x
        if place == "pad":
            full[fingers, 4] = 0.6 * full[fingers, 3]
        return full

    def residual(x):
        pose = angles_to_pose(fill(x), skeleton)
        pads, facing = surface(pose, skeleton, "pad")
        goals, normals = surface(pose, skeleton, place)
        goal, normal = goals[fingers].mean(0), _unit(normals[fingers].mean(0))
        reach = pads[THUMB] - gap_m * normal - goal
        return np.concatenate([reach / 0.002, 0.7 * (facing[THUMB] + normal), (x - start) / 70])

    return fill(least_squares(residual, start, bounds=(lower, upper), max_nfev=25).x)


def _collision_m(pose: np.ndarray, skeleton: Skeleton) -> float:
    """How deep two different fingers, or a finger and the palm, overlap; spheres along bones."""
    _, chains = _posed_chains(pose, skeleton)
    centres, radii = [], []
    for k, share in ((0, 0.5), (0, 0.85), (1, 0.3), (1, 0.7), (2, 0.2), (2, 0.65)):
        centres.append(chains[:, k] + share * (chains[:, k + 1] - chains[:, k]))
        # The ball of the thumb is not a finger: only a core of its first phalanx counts.
        radii.append(np.minimum(skeleton.radii[:, k], 0.0115) * (0.85 if k == 2 else 1.0))
    centres, radii = np.stack(centres, axis=1), np.stack(radii, axis=1)
    distance = np.linalg.norm(centres[:, None, :, None] - centres[None, :, None], axis=-1)
    overlap = radii[:, None, :, None] + radii[None, :, None] - distance
    overlap[np.arange(5), np.arange(5)] = -1
    # The palm's flesh, as spheres under the metacarpals of the four fingers.
    roots, wrist = skeleton.joints[[1, 4, 7, 10]], skeleton.joints[0]
    share = np.linspace(0.2, 0.75, 4)[:, None, None]
    palm = (roots + share * (wrist - roots) + [0, -0.002, 0]).reshape(-1, 3)
    reach = np.linalg.norm(centres[:, 2:, None] - palm, axis=-1)
    return max(overlap.max(), (radii[:, 2:, None] + 0.0125 - reach)[:4].max())


def sample_grasps(skeleton: Skeleton, count: int, rng) -> np.ndarray:
    """Finger poses (count, 45): named grasps, opened, closed, mixed and jittered within limits."""
    centres = named_grasps()
    names = [n for n in centres if n != "flat"]
    poses = []
    while len(poses) < count:
        name = names[rng.integers(len(names))]
        other = names[rng.integers(len(names))]
        mix = rng.uniform(0, 0.35) if rng.random() < 0.5 else 0.0
        angles = (1 - mix) * centres[name] + mix * centres[other]
        angles = centres["flat"] + rng.uniform(0.45, 1.12) * (angles - centres["flat"])
        angles += _jitter(rng)
        angles = np.clip(angles, LOWER, UPPER)
        if name in TOUCHES:
            # Pads hold things between them; a thumb on knuckles holds little.
            widest = 0.045 if TOUCHES[name][0] == "pad" else 0.015
            angles = touch(angles, skeleton, name, rng.uniform(0.0, widest))
        # A degree of play about every axis, as real joints have.
        pose = angles_to_pose(angles, skeleton) + np.deg2rad(rng.normal(0, 1.0, 45))
        if _collision_m(pose, skeleton) < FLESH_M:
            poses.append(pose)
    return np.stack(poses)


def _jitter(rng) -> np.ndarray:
    """Noise of the angles, degrees: a shared part for the four fingers, and each finger's own."""
    noise = np.zeros((5, 5))
    noise[:4, 0] = rng.normal(0, 7) + rng.normal(0, 7, 4)
    noise[:4, 1] = rng.normal(0, 3.5, 4)
    noise[:4, 3] = rng.normal(0, 8) + rng.normal(0, 7, 4)
    noise[:4, 4] = 0.6 * noise[:4, 3] + rng.normal(0, 4, 4)
    noise[4] = rng.normal(0, (7, 7, 5, 7, 10))
    return noise


def grasp_components(poses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PCA like MANO's: mean (45,), components (45, 45) by variance, coefficients (N, 45)."""
    mean = poses.mean(0)
    components = np.linalg.svd(poses - mean, full_matrices=False)[2]
    largest = np.abs(components).argmax(1)
    components *= np.sign(components[np.arange(45), largest])[:, None]
    return mean, components, (poses - mean) @ components.T
