"""A motions file like the recorded one, but of the stand-in's own made-up motion."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from deformer.hand.mano import STANDIN_DIR
from pipelines.synthetic.hand.kinematics import HandRig
from pipelines.synthetic.hand.motion import smooth_noise
from pipelines.synthetic.plans import SequencePlan, dexycb_plan
from pipelines.synthetic.recorded.motions_file import MODEL_YAW_DEG
from pipelines.synthetic.things.ycb import CLASS_IDS, YCB_OBJECTS

FRAMES, HIDDEN = 8, 2
"""Frames of every sequence, and how many of them come before the hand does."""

# The recording camera: x right, y down, z forward, looking 37° downwards across the table
CAMERA_ROTATION = np.array([[-1.0, 0, 0], [0, 0.6, -0.8], [0, -0.8, -0.6]])
CAMERA_M = np.array([0.05, 0.03, 1.0])


def sequences_of(subjects: list[str]) -> list[SequencePlan]:
    """Six sequences of each subject: those that a small plan takes, and more of the same."""
    plans = dexycb_plan(60)
    return [p for s in subjects for p in [q for q in plans if q.subject == s][:6]]


def hand_poses(rng: np.random.Generator, num_frames: int, amount: float = 0.5) -> np.ndarray:
    """Finger poses (F, 45) that change evenly, `amount` of the stand-in's variety of grasps."""
    with np.load(STANDIN_DIR / "STANDIN_RIGHT.npz") as file:
        spread, mean = file["hands_coeffs"].std(0), file["hands_mean"]
        basis = file["hands_components"]
    return mean + (amount * smooth_noise(rng, np.arange(num_frames), 45, 12) * spread) @ basis


def mirrored(rotvec: np.ndarray) -> np.ndarray:
    """Rotations (..., 3k) of a right hand → those of the left hand that is its mirror image."""
    return (rotvec.reshape(-1, 3) * [1, -1, -1]).reshape(rotvec.shape)


def write_motions(path: Path, plans: list[SequencePlan], hands, layer, betas) -> dict[str, dict]:
    """Write the file; by folder the truth in the table's frame: joints, object poses."""
    rows = {"joints": [], "object_rotvec": [], "object_trans": [], "valid": []}
    truth = {}
    for k, plan in enumerate(plans):
        rng = np.random.default_rng(k)
        rig = HandRig(hands, layer, plan.side, betas)
        made = _motion(rig, plan, rng)
        truth[plan.folder] = made
        yaw = Rotation.from_euler("z", MODEL_YAW_DEG.get(plan.object_name, 0), degrees=True)
        rotation = CAMERA_ROTATION @ made["object_rotation"] @ yaw.as_matrix()
        rows["object_rotvec"].append(Rotation.from_matrix(rotation).as_rotvec())
        rows["object_trans"].append(made["object_m"] @ CAMERA_ROTATION.T + CAMERA_M)
        rows["joints"].append(made["joints"] @ CAMERA_ROTATION.T + CAMERA_M)
        rows["valid"].append(np.arange(FRAMES) >= HIDDEN)
    arrays = {key: np.concatenate(parts) for key, parts in rows.items()}
    arrays = {k: a.astype(np.float32) if a.dtype != bool else a for k, a in arrays.items()}
    columns = {"subject": "subject", "name": "name", "side": "side", "object": "object_name"}
    for key, attribute in columns.items():
        arrays[f"sequence_{key}"] = np.array([getattr(plan, attribute) for plan in plans])
    arrays["sequence_start"] = np.arange(len(plans)) * FRAMES
    arrays["sequence_length"] = np.full(len(plans), FRAMES)
    np.savez(path, **arrays)
    return truth


def _motion(rig: HandRig, plan: SequencePlan, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """An upright object, lifted from the middle of the table by a hand from −y."""
    thing = YCB_OBJECTS[CLASS_IDS[plan.object_name]]
    lift = np.maximum(np.arange(FRAMES) - 4, 0)[:, None] * np.array([0.01, 0.005, 0.03])
    start = np.array([*rng.uniform(-0.05, 0.05, 2), -thing.bottom_m])
    turn = Rotation.from_euler("z", rng.uniform(-np.pi, np.pi)).as_matrix()
    fingers = hand_poses(rng, FRAMES)
    if rig.is_left:
        fingers = mirrored(fingers)
    # rest: fingers along f, palm along p; here fingers ahead and palm down
    wished = np.array([[0.0, 1, 0], [0, 0, -1], [1 if rig.is_left else -1, 0, 0]])
    global_rotation = wished.T @ rig.axes
    tremor = Rotation.from_rotvec(0.05 * smooth_noise(rng, np.arange(FRAMES), 3, 8)).as_matrix()
    rotvec = Rotation.from_matrix(tremor @ global_rotation).as_rotvec()
    _, joints = rig.pose(fingers, rotvec)
    wrist = start + lift + [0, -0.13, 0.08 + np.ptp(thing.mesh.vertices_m[:, 2])]
    return {
        "joints": joints + wrist[:, None],
        "object_rotation": np.repeat(turn[None], FRAMES, 0),
        "object_m": start + lift,
    }
