"""HO-3D roots made by hand, in the layouts of v2 (PNG) and v3 (JPEG)."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import torch

from deformer.hand.camera import project
from deformer.hand.conventions import DATASET_TO_MANO, NUM_JOINTS, NUM_VERTICES
from deformer.hand.mano import HandLayer
from deformer.hand.rotations import rotvec_to_rotmat
from pipelines.datasets import ho3d

K = np.array([[614.6, 0.0, 320.3], [0.0, 614.1, 238.5], [0.0, 0.0, 1.0]])
FLIP = np.diag([1.0, -1.0, -1.0])
OBJECT = "021_bleach_cleanser"
BOX = [190, 110, 450, 370]
"""Where `joints_opengl` are in the image."""
OBJ = (
    "mtllib a.mtl\nv 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nv 0 0 0.1\nvt 0 0\nf 1/1/1 2/1/1 3/1/1\nf 1 2 4\n"
)


def joints_opengl(seed: int) -> np.ndarray:
    """21 joints in front of an OpenGL camera: z is negative."""
    rng = np.random.default_rng(seed)
    return rng.uniform([-0.1, -0.1, -0.7], [0.1, 0.1, -0.5], (NUM_JOINTS, 3))


def train_meta(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    joints = joints_opengl(seed)
    return {
        "camMat": K,
        "handPose": rng.normal(size=48),
        "handBeta": rng.normal(size=10),
        "handTrans": joints[0] - [0.095, 0.006, 0.006],
        "handJoints3D": joints,
        "objName": OBJECT,
        "objRot": rng.normal(size=(3, 1)),
        "objTrans": np.array([0.0, 0.0, -0.6]),
    }


def evaluation_meta(seed: int = 0) -> dict:
    """What the evaluation split's own labels say: the wrist, a box, and the object."""
    meta = train_meta(seed)
    kept = {key: meta[key] for key in ("camMat", "objName", "objRot", "objTrans")}
    return {**kept, "handJoints3D": meta["handJoints3D"][0], "handBoundingBox": BOX}


def encoded(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


IMAGES = {s: encoded(s, np.full((480, 640, 3), 90, np.uint8)) for s in (".png", ".jpg")}


def add_frame(root: Path, split: str, frame: str, meta: dict, suffix: str = ".png") -> None:
    """One frame "<sequence>/<number>": its line in the list, image and label."""
    sequence, number = frame.split("/")
    for name in ("rgb", "meta"):
        (root / split / sequence / name).mkdir(parents=True, exist_ok=True)
    (root / split / sequence / "rgb" / f"{number}{suffix}").write_bytes(IMAGES[suffix])
    (root / split / sequence / "meta" / f"{number}.pkl").write_bytes(pickle.dumps(meta, 2))
    with (root / f"{split}.txt").open("a") as file:
        file.write(frame + "\n")


def write_truth(root: Path, joints: list, vertices: list) -> None:
    for name, rows in (("xyz", joints), ("verts", vertices)):
        (root / f"evaluation_{name}.json").write_text(json.dumps([row.tolist() for row in rows]))


def only_frame(root: Path):
    (ref,) = ho3d.list_clips(root)
    (raw,) = ho3d.read_clip(root, ref)
    return raw


def posed(hands, pose: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (778, 3) and joints (21, 3), dataset order, of a right hand without translation."""
    rotmats = rotvec_to_rotmat(torch.from_numpy(pose).float().view(1, 16, 3))
    is_left = torch.zeros(1, dtype=torch.bool)
    vertices, joints = HandLayer(hands)(
        rotmats, torch.from_numpy(betas).float()[None], is_left, tips="ho3d"
    )
    return vertices[0].double().numpy(), joints[0].double().numpy()


def evaluation_root(root: Path, frames: list[str]) -> tuple[list, list]:
    for i, frame in enumerate(frames):
        add_frame(root, "evaluation", frame, evaluation_meta(i))
    vertices = np.random.default_rng(9).normal(size=(len(frames), NUM_VERTICES, 3))
    return [joints_opengl(i) for i in range(len(frames))], list(vertices)


def box_of(vertices_opengl: np.ndarray) -> list[float]:
    vertices_px = project(vertices_opengl @ FLIP, K)
    return [*vertices_px.min(0).round(), *vertices_px.max(0).round()]


def add_posed_frames(root: Path, split: str, suffix: str, hands) -> tuple[list, list]:
    """Three frames of one sequence, posed by the hand model; joints and vertices in OpenGL."""
    all_joints, all_vertices = [], []
    for number in range(3):
        rng = np.random.default_rng(number)
        pose, betas = rng.normal(scale=0.3, size=48), rng.normal(size=10)
        pose[:3] = rng.normal(size=3)
        trans = np.array([0.05 * number, -0.02, -0.6])
        vertices, joints = (points + trans for points in posed(hands, pose, betas))
        joints = joints[DATASET_TO_MANO]
        fields = {"handPose": pose, "handBeta": betas, "handTrans": trans, "handJoints3D": joints}
        if split == "evaluation":
            fields = {"handJoints3D": joints[0], "handBoundingBox": box_of(vertices)}
        meta = train_meta() if split == "train" else evaluation_meta()
        add_frame(root, split, f"MC1/{number:04d}", meta | fields, suffix)
        all_joints.append(joints)
        all_vertices.append(vertices)
    return all_joints, all_vertices


def add_model(models: Path, text: str = OBJ) -> None:
    (models / OBJECT).mkdir(parents=True)
    (models / OBJECT / "textured_simple.obj").write_text(text)
