"""A small DexYCB root with consistent labels, written from the stand-in hand in a moment.

The synthesizer makes better pictures; this makes small ones fast, and wrong ones on purpose.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from deformer.data.official import official_sequences
from deformer.hand.camera import project
from deformer.hand.mano import HandLayer, Hands
from deformer.hand.rotations import rotvec_to_rotmat
from pipelines.building.occlusion import cast_depth
from pipelines.datasets.source import Mesh

K = np.array([[616.0, 0, 312], [0, 615.5, 241], [0, 0, 1]])
BETAS = np.linspace(-0.5, 0.5, 10)
YCB_IDS = [5, 6, 13]
GRASPED, OTHER, HAND = 6, 13, 255
WALL_M = 1.5
CALIBRATION = "20200709-subject-01_left"


def write_root(
    root: Path, hands: Hands, layer: HandLayer, clips: list[tuple[int, int, str]], num_frames=6,
    depth: bool = False,
) -> Path:  # fmt: skip
    """Write cameras of sequences; clips: (subject index, sequence index, serial). depth: also depth
    images, of the hand before a wall."""
    mark = {"hand": hands.name, "hand_sha256": hands.sha256}
    root.mkdir(parents=True, exist_ok=True)
    (root / "synthetic.json").write_text(json.dumps(mark))
    calibration = root / "calibration" / f"mano_{CALIBRATION}"
    calibration.mkdir(parents=True)
    (calibration / "mano.yml").write_text(yaml.dump({"betas": BETAS.tolist()}))
    (root / "calibration" / "intrinsics").mkdir()
    for subject_index, sequence_index, serial in clips:
        subject = list(official_sequences())[subject_index]
        folder = root / subject / official_sequences()[subject][sequence_index]
        side = "left" if sequence_index % 2 else "right"
        write_meta(folder, serial, num_frames, side)
        color = {"fx": 616.0, "fy": 615.5, "ppx": 312.0, "ppy": 241.0}
        intrinsics = root / "calibration" / "intrinsics" / f"{serial}_640x480.yml"
        intrinsics.write_text(yaml.dump({"color": color, "extrinsics": (1.0, 0.0)}))
        (folder / serial).mkdir()
        rng = np.random.default_rng([subject_index, sequence_index, int(serial)])
        for frame in range(num_frames):
            write_frame(folder / serial, frame, side, hands, layer, rng, depth)
    return root


def write_meta(folder: Path, serial: str, num_frames: int, side: str, **changes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "meta.yml"
    serials = yaml.safe_load(path.read_text())["serials"] if path.exists() else []
    meta = {
        "serials": [*serials, serial],
        "num_frames": num_frames,
        "ycb_ids": YCB_IDS,
        "ycb_grasp_ind": YCB_IDS.index(GRASPED),
        "mano_sides": [side],
        "mano_calib": [CALIBRATION],
        "extrinsics": "20200702_151821",
    }
    path.write_text(yaml.dump(meta | changes))


def write_frame(folder: Path, frame: int, side: str, hands, layer, rng, depth=False) -> None:
    """One image and its labels; the first frame of a clip has no hand in it."""
    seg, seen = np.zeros((480, 640), np.uint8), np.full((480, 640), np.inf)
    pose_m = np.zeros((1, 51), np.float32)
    joint_3d = np.full((1, 21, 3), -1, np.float32)
    joint_2d = np.full((1, 21, 2), -1, np.float32)
    if frame:
        hand = getattr(hands, side)
        pose_m[0, :3] = rng.normal(size=3)
        pose_m[0, 3:48] = rng.normal(size=45) * 0.3
        pose_m[0, 48:] = [*rng.uniform(-0.1, 0.1, 2), rng.uniform(0.6, 0.9)]
        rotvec = np.concatenate([pose_m[0, :3], hand.pca_to_rotvec(pose_m[0, 3:48])])
        rotmats = rotvec_to_rotmat(torch.from_numpy(rotvec).float().view(1, 16, 3))
        betas = torch.from_numpy(BETAS).float()[None]
        vertices, joints = layer(rotmats, betas, torch.tensor([side == "left"]))
        vertices, joints = vertices[0].numpy() + pose_m[0, 48:], joints.numpy() + pose_m[0, 48:]
        joint_3d, joint_2d = joints, project(joints, K).astype(np.float32)
        seen = cast_depth(Mesh(vertices, hand.faces), K, (640, 480))
        seg[np.isfinite(seen)] = HAND
        x, y = np.clip(joint_2d[0, 9], 0, [600, 440]).astype(int)
        seg[y : y + 30, x : x + 30] = GRASPED
        seg[y - 15 : y, x : x + 20] = OTHER
    image = cv2.resize(rng.integers(0, 256, (60, 80, 3), np.uint8), (640, 480))
    image[seg == HAND] = (120, 150, 220)
    cv2.imwrite(str(folder / f"color_{frame:06d}.jpg"), image)
    if depth:
        depth_mm = np.rint(1000 * np.minimum(seen, WALL_M)).astype(np.uint16)
        cv2.imwrite(str(folder / f"aligned_depth_to_color_{frame:06d}.png"), depth_mm)
    np.savez_compressed(
        folder / f"labels_{frame:06d}.npz",
        seg=seg,
        pose_y=np.zeros((len(YCB_IDS), 3, 4), np.float32),
        pose_m=pose_m,
        joint_3d=joint_3d,
        joint_2d=joint_2d,
    )


def edit_labels(path: Path, **change: np.ndarray | None) -> None:
    """Rewrite a label file with some arrays replaced, or left out where None."""
    with np.load(path) as npz:
        arrays = {**npz, **change}
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})
