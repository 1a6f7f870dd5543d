"""Hands as `deformer.predict` writes them, synthesized from the stand-in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from deformer.hand.camera import project
from deformer.hand.mano import HandLayer, load_hands
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.video.frames import video_writer
from deformer.video.hands_file import HandRows, HandsInfo, write_hands

K = ((100.0, 0.0, 47.5), (0.0, 100.0, 31.5), (0.0, 0.0, 1.0))
INFO = HandsInfo(
    source="clip.mp4", fps=30.0, width=96, height=64, num_frames=12, K=K, K_from="given",
    checkpoint="lite", checkpoint_sha256="0" * 64, licence="Apache-2.0", hand_model="standin",
    hand_model_sha256=load_hands("standin").sha256, detector="boxes", fitted=False, smoothed=False,
    config_sha256="1" * 64,
)  # fmt: skip
WITH_GAP = [0, 1, 2, 3, 6, 7, 8, 9]
LATER = list(range(2, 12))


def track_rows(track: int, frames: list[int], is_left: bool, scale: float = 1.0) -> HandRows:
    """A hand that moves, turns and bends; joints are those of the stand-in."""
    N, rng = len(frames), np.random.default_rng(track)
    time_s = np.array(frames) / INFO.fps
    start, speed = rng.normal(0, 0.4, 48), rng.normal(0, 1, 48)
    pose = torch.from_numpy((start + time_s[:, None] * speed).astype(np.float32))
    betas = torch.from_numpy(rng.normal(0, 1, 10).astype(np.float32)).expand(N, 10)
    layer = HandLayer(load_hands("standin"))
    rotmats = rotvec_to_rotmat(pose.unflatten(-1, (16, 3)))
    _, joints = layer(rotmats, betas, torch.full((N,), is_left))
    wrist = np.array([0.1 - 0.2 * is_left, 0.05, 0.6]) + time_s[:, None] * [0.1, 0, 0.2]
    joints = (scale * (joints - joints[:, :1])).numpy() + wrist[:, None].astype(np.float32)
    pixels = project(joints, np.array(K)).astype(np.float32)
    return HandRows(
        frame=np.array(frames), time_s=time_s, track=np.full(N, track),
        is_left=np.full(N, is_left), is_observed=np.array(frames) != 7,
        detection=np.full(N, 0.9, np.float32),
        box_px=np.concatenate([pixels.min(1), pixels.max(1)], 1), joints_px=pixels,
        joints_cam_m=joints, pose_rotvec=pose.numpy(), betas=betas.numpy().copy(),
        scale=np.full(N, scale, np.float32), weights=np.full((N, 7), 1 / 7, np.float32),
        spread_mm=np.ones(N, np.float32),
    )  # fmt: skip


def join(*tracks: HandRows) -> HandRows:
    rows = HandRows(*(np.concatenate(values) for values in zip(*tracks, strict=True)))
    return rows.at(np.lexsort([rows.track, rows.frame]))


def two_hands() -> HandRows:
    """Track 0, a right hand with a gap; track 1, a left hand, measured, from the third frame on."""
    return join(track_rows(0, WITH_GAP, False), track_rows(1, LATER, True, scale=1.1))


def write_clip(folder: Path, stem: str = "clip", hands: HandRows | None = None, **info) -> Path:
    path = folder / f"{stem}.hands.parquet"
    write_hands(path, two_hands() if hands is None else hands, replace(INFO, **info))
    return path


def write_video(path: Path, num_frames: int = 12, shade: int = 20) -> int:
    """A grey video that brightens; the number of its frames."""
    with video_writer(path, INFO.fps, (INFO.width, INFO.height)) as write:
        for k in range(num_frames):
            image = np.full((INFO.height, INFO.width, 3), min(shade * k, 255), np.uint8)
            write(image, k / INFO.fps)
    return num_frames
