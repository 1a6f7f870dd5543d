"""Writer of DexYCB's files: one sequence of the rig, and the files that all sequences share.

Layout and meaning of every value follow `dex_ycb_toolkit/dex_ycb.py` and `sequence_loader.py` of
github.com/NVlabs/dex-ycb-toolkit.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from deformer.data.official import SERIALS
from deformer.files.images import encode_jpeg, encode_png
from deformer.files.whole import write_part, write_whole
from deformer.hand.conventions import SIDES
from pipelines.synthetic.config import SynthesisConfig
from pipelines.synthetic.hand.motion import Motion
from pipelines.synthetic.layouts.npz import pack_npz
from pipelines.synthetic.plans import SequencePlan
from pipelines.synthetic.recorded.recording import Recordings
from pipelines.synthetic.render.camera_view import Picture
from pipelines.synthetic.render.layer import HAND
from pipelines.synthetic.render.table_views import table_views
from pipelines.synthetic.scene.cameras import MASTER_SERIAL, Camera, intrinsics, rig
from pipelines.synthetic.scene.sequence import Sequence, compose, compose_recorded
from pipelines.synthetic.scene.setting import Setting
from pipelines.synthetic.scene.world import Person, SequenceSpec
from pipelines.synthetic.seeds import generator
from pipelines.synthetic.things.ycb import CLASS_IDS

HAND_LABEL = 255


@dataclass(frozen=True, eq=False)
class Subject:
    """A subject's eight cameras, and the person, one per side: only the hand's shape may differ."""

    name: str
    cameras: list[Camera]
    people: dict[str, Person]

    @classmethod
    def drawn(cls, seed: int, name: str, recordings: Recordings | None = None) -> "Subject":
        """Drawn from the seed; recordings set the hands' shapes and the cameras' target."""
        person = Person.drawn(generator(seed, name, "person"))
        people, rng = dict.fromkeys(SIDES, person), generator(seed, name, "rig")
        if recordings is None:
            return cls(name, rig(rng), people)
        unknown = np.zeros(10, np.float32)
        for side in SIDES:
            betas = recordings.betas.get((name, side), unknown)
            people[side] = replace(person, appearance=replace(person.appearance, betas=betas))
        return cls(name, rig(rng, recordings.middle_m(name)), people)

    def person(self, side: str, seed: int, setting: Setting) -> Person:
        """The person in a sequence, in clothes of the setting's colours."""
        person = self.people[side]
        if person.clothes in setting.clothes:
            return person
        clothes = generator(seed, self.name, "clothes").choice(setting.clothes)
        return replace(person, clothes=str(clothes))


def write_shared(root: Path, subjects: list[Subject]) -> None:
    """The calibration folder: cameras, one rig per subject, one hand shape per subject and side."""
    folder = root / "calibration"
    for serial in SERIALS:
        write_whole(
            folder / "intrinsics" / f"{serial}_640x480.yml", _yaml(_intrinsics_entry(serial))
        )
    for subject in subjects:
        path = folder / f"extrinsics_{_extrinsics_id(subject.name)}"
        write_whole(path / "extrinsics.yml", _yaml(_extrinsics_entry(subject.cameras)))
        for side, person in subject.people.items():
            path = folder / f"mano_{subject.name}_{side}"
            betas = [float(np.float32(b)) for b in person.appearance.betas]
            write_whole(path / "mano.yml", _yaml({"betas": betas}))


def write_sequence(
    folder: Path,
    plan: SequencePlan,
    config: SynthesisConfig,
    subject: Subject,
    motion: Motion | None = None,
) -> None:
    """Render one sequence into `folder`: meta.yml, pose.npz and a folder per camera.

    motion: recorded, None to draw it.
    """
    cameras = [c for c in subject.cameras if c.name in config.serials()]
    person = subject.person(plan.side, config.seed, plan.setting)
    grasped = CLASS_IDS[plan.object_name]
    spec = SequenceSpec(config.seed, plan.folder, person, plan.side, grasped, cameras, plan.setting)
    sequence = compose(spec, config.frames) if motion is None else compose_recorded(spec, motion)
    write_part(folder / "meta.yml", _yaml(_meta(sequence, plan.subject, plan.side)).encode())
    _write_poses(folder / "pose.npz", sequence, subject.cameras)
    labels = [_camera_labels(sequence, camera) for camera in cameras]
    for frame, number, picture in table_views(sequence).pictures(range(sequence.motion.num_frames)):
        place = folder / cameras[number].name
        write_frame(place, frame, picture, config.depth)
        arrays = {"seg": segmentation(picture)} | {k: v[frame] for k, v in labels[number].items()}
        write_part(place / f"labels_{frame:06d}.npz", pack_npz(arrays))


def segmentation(picture: Picture) -> np.ndarray:
    """(H, W) uint8: 0, YCB class, 255 hand."""
    return picture.coded(lambda part: HAND_LABEL if part.kind == HAND else part.class_id)


def write_frame(folder: Path, frame: int, picture: Picture, with_depth: bool) -> None:
    """Colour as JPEG (4:2:0, quality 95) and depth as 16-bit PNG in millimetres."""
    write_part(folder / f"color_{frame:06d}.jpg", encode_jpeg(picture.image))
    if with_depth:
        millimetres = cv2.add(picture.depth_m * 1000, 0, dtype=cv2.CV_16U)  # rounds and clips
        write_part(folder / f"aligned_depth_to_color_{frame:06d}.png", encode_png(millimetres))


def _camera_labels(sequence: Sequence, camera: Camera) -> dict[str, np.ndarray]:
    """DexYCB's labels of all frames in one camera's frame, float32.

    pose_y (F, n, 3, 4) object poses; pose_m (F, 1, 51), joint_3d (F, 1, 21, 3) metres and joint_2d
    (F, 1, 21, 2) pixels of the hand; without a hand 0, −1 and −1.
    """
    motion, handrig = sequence.motion, sequence.rig
    pose_y = _object_poses(sequence, camera.rotation, camera.translation_m)
    pose_m, wrist_cam = _hand_pose(sequence, camera.rotation, camera.translation_m)
    # From the stored, rounded numbers, as a reader computes it
    fingers = handrig.arrays.pca_to_rotvec(pose_m[:, 3:48])
    _, joints = handrig.pose(fingers, pose_m[:, :3])
    joint_3d = (joints + wrist_cam[:, None]).astype(np.float32)
    homogeneous = joint_3d.astype(np.float64) @ camera.K.T
    joint_2d = (homogeneous[..., :2] / homogeneous[..., 2:]).astype(np.float32)
    absent = ~motion.valid
    pose_m[absent], joint_3d[absent], joint_2d[absent] = 0, -1, -1
    return {
        "pose_y": pose_y,
        "pose_m": pose_m[:, None],
        "joint_3d": joint_3d[:, None],
        "joint_2d": joint_2d[:, None],
    }


def _hand_pose(
    sequence: Sequence, rotation: np.ndarray, translation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """pose_m (F, 51) float32 and the wrist (F, 3), in the frame of rotation and translation."""
    motion, handrig = sequence.motion, sequence.rig
    turned = Rotation.from_matrix(rotation) * Rotation.from_rotvec(motion.global_rotvec)
    components = handrig.arrays.hands_components.astype(np.float64)
    coefficients = np.linalg.solve(
        components.T, (motion.finger_rotvec - handrig.arrays.hands_mean).T
    ).T
    wrist = motion.wrist_m @ rotation.T + translation
    pose = np.concatenate([turned.as_rotvec(), coefficients, wrist - handrig.wrist_m], 1)
    pose = pose.astype(np.float32)
    return pose, pose[:, 48:] + handrig.wrist_m


def _object_poses(sequence: Sequence, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """(F, n, 3, 4) float32 in the frame that rotation, translation lead to."""
    world, motion = sequence.world, sequence.motion
    poses = np.zeros((motion.num_frames, len(world.objects), 3, 4))
    for k, placed in enumerate(world.objects):
        moves = k == world.grasped
        turn = motion.object_rotation if moves else placed.rotation[None]
        spot = motion.object_m if moves else placed.position_m[None]
        poses[:, k, :, :3] = rotation @ turn
        poses[:, k, :, 3] = spot @ rotation.T + translation
    return poses.astype(np.float32)


def _write_poses(path: Path, sequence: Sequence, cameras: list[Camera]) -> None:
    """pose.npz in the master's frame: pose_y (F, n, 7) quaternion xyzw, position; pose_m."""
    master = next(c for c in cameras if c.name == MASTER_SERIAL)
    poses = _object_poses(sequence, master.rotation, master.translation_m)
    frames, count = poses.shape[:2]
    turns = Rotation.from_matrix(poses[..., :3].reshape(-1, 3, 3)).as_quat()
    pose_y = np.concatenate([turns.reshape(frames, count, 4), poses[..., 3]], -1)
    pose_m, _ = _hand_pose(sequence, master.rotation, master.translation_m)
    pose_m[~sequence.motion.valid] = 0
    write_part(path, pack_npz({"pose_y": pose_y.astype(np.float32), "pose_m": pose_m[:, None]}))


def _meta(sequence: Sequence, subject: str, side: str) -> dict:
    return {
        "serials": [c.name for c in sequence.cameras],
        "num_frames": sequence.motion.num_frames,
        "ycb_ids": [placed.thing.class_id for placed in sequence.world.objects],
        "ycb_grasp_ind": sequence.world.grasped,
        "mano_sides": [side],
        "mano_calib": [f"{subject}_{side}"],
        "extrinsics": _extrinsics_id(subject),
    }


def _extrinsics_id(subject: str) -> str:
    """The name of a subject's rig: a date and a time, as DexYCB's."""
    return f"{subject[:8]}_000000"


def _intrinsics_entry(serial: str) -> dict:
    K = intrinsics(serial)
    rng = np.random.default_rng([*serial.encode(), 1])
    focal = 597 + rng.uniform(-3, 3)
    small = Rotation.from_rotvec(rng.normal(0, 0.004, 3)).as_matrix()
    shift = np.array([0.0149, 0, 0]) + rng.normal(0, 2e-4, 3)
    cx, cy = 320 + rng.uniform(-3, 3), 238 + rng.uniform(-3, 3)
    return {
        "color": _focal_entry(K),
        "depth": _focal_entry(np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])),
        "extrinsics": tuple(float(x) for x in np.concatenate([small, shift[:, None]], 1).ravel()),
    }


def _focal_entry(K: np.ndarray) -> dict:
    values = {"fx": K[0, 0], "fy": K[1, 1], "ppx": K[0, 2], "ppy": K[1, 2]}
    return {key: float(value) for key, value in values.items()}


def _extrinsics_entry(cameras: list[Camera]) -> dict:
    """Camera → master's frame, twelve numbers by row; `apriltag`: the table's frame there."""
    master = next(c for c in cameras if c.name == MASTER_SERIAL)
    entry = {}
    for camera in cameras:
        turn = master.rotation @ camera.rotation.T
        spot = master.translation_m - turn @ camera.translation_m
        entry[camera.name] = np.concatenate([turn, spot[:, None]], 1)
    entry["apriltag"] = np.concatenate([master.rotation, master.translation_m[:, None]], 1)
    return {
        "extrinsics": {k: tuple(map(float, v.ravel())) for k, v in entry.items()},
        "master": master.name,
    }


def _yaml(content: dict) -> str:
    return yaml.dump(content, sort_keys=True)
