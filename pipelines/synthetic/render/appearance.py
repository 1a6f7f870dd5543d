"""What the moving things look like: vertex attributes of hand, arm and object, and their colour."""

import cv2
import numpy as np
from scipy.sparse import csr_matrix

from deformer.hand.conventions import FINGERS, TIP_VERTICES
from pipelines.synthetic.hand.arm import Arm
from pipelines.synthetic.hand.kinematics import HandRig, finger_joints
from pipelines.synthetic.render.rays import unit
from pipelines.synthetic.render.textures import sample_noise

HAND, ARM, OBJECT = 0, 1, 2
"""Meshes of the moving scene, in this order."""


def vertex_normals_operator(faces: np.ndarray, num_vertices: int) -> csr_matrix:
    """Sparse (V, F): sums the normals of the faces round each vertex."""
    rows = faces.ravel()
    columns = np.repeat(np.arange(len(faces)), 3)
    data = np.ones(len(rows), np.float32)
    return csr_matrix((data, (rows, columns)), shape=(num_vertices, len(faces)))


def mesh_normals(vertices: np.ndarray, faces: np.ndarray, operator: csr_matrix) -> np.ndarray:
    """Smooth unit normals (V, 3), outward where faces run counter-clockwise."""
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    normals = operator @ np.cross(b - a, c - a)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def paint_hand(rig: HandRig, skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Albedo per vertex of the hand, linear RGB (778, 3): palm, knuckles, fingertips, nails."""
    v, joints = rig.rest_vertices_m, rig.rest_joints_m
    operator = vertex_normals_operator(rig.arrays.faces, len(v))
    normals = mesh_normals(v, rig.arrays.faces, operator)
    palmar = np.clip(normals @ rig.axes[1] * 1.2, -1, 1)  # +1 palm, −1 back of the hand
    darkness = 1 - skin.mean()
    palm_tint = skin + (np.array([0.6, 0.37, 0.29]) - skin) * (0.12 + 0.3 * darkness)
    share = np.clip(0.5 + 0.7 * palmar, 0, 1)[:, None]
    albedo = skin * (1 - share) + palm_tint * share
    redden = np.zeros(len(v))
    for k in range(len(FINGERS)):
        tip = v[TIP_VERTICES["dexycb", rig.side][k]]
        redden += 0.8 * np.exp(-((np.linalg.norm(v - tip, axis=1) / 0.013) ** 2))
        for joint in range(1 + 4 * k, 4 + 4 * k):
            near = np.exp(-((np.linalg.norm(v - joints[joint], axis=1) / 0.011) ** 2))
            redden += 0.55 * near * np.clip(0.3 - palmar, 0, 1)
    redden = np.clip(redden, 0, 1)[:, None] * rng.uniform(0.5, 1.0)
    albedo = albedo * (1 + redden * np.array([0.05, -0.15, -0.14]))
    for finger in FINGERS:
        albedo = _add_nail(rig, finger, normals, albedo, skin)
    return np.clip(albedo, 0.01, 0.9).astype(np.float32)


def _add_nail(rig, finger, normals, albedo, skin) -> np.ndarray:
    """The back of the last bone, near the tip: paler and pinker."""
    v = rig.rest_vertices_m
    k = FINGERS.index(finger)
    bone = rig.rest_joints_m[4 + 4 * k] - rig.rest_joints_m[3 + 4 * k]
    length = np.linalg.norm(bone)
    along = (v - rig.rest_joints_m[3 + 4 * k]) @ bone / length**2
    mine = np.isin(np.arange(len(v)), np.flatnonzero(rig.owner == finger_joints(finger)[2]))
    back = -rig.axes[1] if finger != "thumb" else _thumb_back(rig, bone / length)
    nail = mine & (along > 0.5) & (along < 1.15) & (normals @ back > 0.72)
    target = 0.45 * skin + 0.55 * np.array([0.72, 0.46, 0.4]) * (0.35 + 0.65 * skin.mean() / 0.4)
    return np.where(nail[:, None], target, albedo)


def _thumb_back(rig: HandRig, bone: np.ndarray) -> np.ndarray:
    """Away from the palm's side of the thumb: half up, half outwards."""
    back = 0.75 * rig.axes[2] - 0.65 * rig.axes[1]
    back = back - bone * (back @ bone)
    return back / np.linalg.norm(back)


def skin_surface(
    albedo: np.ndarray, normals: np.ndarray, rest_m: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Skin at points of the hand: its colour mottled, its normals uneven; all (N, 3)."""
    coarse, fine = sample_noise(rest_m, 1100.0), sample_noise(rest_m, 3700.0)
    mottled = albedo * (1 + 0.09 * coarse[:, :1] + 0.05 * coarse + 0.05 * fine[:, 1:2])
    bumped = normals + 0.09 * coarse + 0.06 * fine
    return mottled, unit(bumped)


def cloth_surface(albedo: np.ndarray, rest_m: np.ndarray) -> np.ndarray:
    """Cloth or skin of the arm: the vertices' colour with a grain, (N, 3)."""
    return albedo * (1 + 0.12 * sample_noise(rest_m, 700.0)[:, :1])


def sample_texture(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear texture (H, W, 3) at uv (N, 2), v upwards, (N, 3)."""
    height, width = texture.shape[:2]
    count = len(uv)
    rows = -(-count // 4096)
    x = np.zeros(rows * 4096, np.float32)
    y = np.zeros(rows * 4096, np.float32)
    x[:count] = uv[:, 0] * (width - 1)
    y[:count] = (1 - uv[:, 1]) * (height - 1)
    found = cv2.remap(
        texture,
        x.reshape(rows, 4096),
        y.reshape(rows, 4096),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return found.reshape(-1, 3)[:count]


def arm_albedo(arm: Arm, skin: np.ndarray, sleeve: np.ndarray) -> np.ndarray:
    """Albedo per vertex of the arm, linear RGB (V, 3)."""
    ring = np.repeat(arm.is_sleeve, arm.num_vertices // len(arm.is_sleeve))
    return np.where(ring[:, None], sleeve.mean((0, 1)), skin * [1.0, 0.97, 0.96]).astype(np.float32)
