"""Videos with their hands beside them → shards."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from deformer.data.clip import decode_labels, decode_meta
from deformer.data.dataset import labels_of, read_info
from deformer.files.images import decode_image
from deformer.hand.camera import project
from deformer.hand.mano import HandLayer, load_hands
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.video.frames import video_writer
from deformer.video.hands_file import HandRows, HandsInfo, read_hands, write_hands
from pipelines import inspect, verify
from pipelines.build_shards import Options, build
from pipelines.building.shard import read_clips
from pipelines.datasets import videos
from pipelines.datasets.source import UnusableInputError

SIZE = (160, 120)
K = np.array([[200.0, 0, 79.5], [0, 200.0, 59.5], [0, 0, 1]])
FRAMES = 8
HANDS = load_hands("standin")
LAYER = HandLayer(HANDS)


def hands_of(num: int, is_left: bool, track: int, x_m: float, tips: str = "dexycb") -> HandRows:
    """A hand that turns and moves, in every frame."""
    rng = np.random.default_rng(track)
    pose = np.tile(rng.normal(0, 0.1, 48), (num, 1)).astype(np.float32)
    pose[:, 0] += np.linspace(0, 0.5, num)
    pose[:, 3:] = np.abs(pose[:, 3:]) * 0.2
    betas = np.tile(rng.normal(0, 0.5, 10), (num, 1)).astype(np.float32)
    rotmats = rotvec_to_rotmat(torch.from_numpy(pose).unflatten(1, (16, 3)))
    sides = torch.full((num,), is_left)
    joints = LAYER(rotmats, torch.from_numpy(betas), sides, tips)[1].numpy()
    wrist = np.stack([x_m + np.arange(num) * 0.004, np.full(num, 0.05), np.full(num, 0.6)], 1)
    joints = (joints - joints[:, :1] + wrist[:, None]).astype(np.float32)
    px = project(joints, K).astype(np.float32)
    return HandRows(
        np.arange(num), np.arange(num) / 30, np.full(num, track), np.full(num, is_left),
        np.ones(num, bool), np.full(num, 0.9, np.float32),
        np.concatenate([px.min(1), px.max(1)], 1), px, joints, pose, betas,
        np.ones(num, np.float32), np.ones((num, 1), np.float32), np.full(num, 2, np.float32),
    )  # fmt: skip


def both(num: int = FRAMES) -> HandRows:
    parts = hands_of(num, False, 0, -0.1), hands_of(num, True, 3, 0.03)
    rows = HandRows(*map(np.concatenate, zip(*parts, strict=True)))
    return rows.at(np.lexsort([rows.track, rows.frame]))


def info_of(name: str, **changes) -> HandsInfo:
    made = HandsInfo(
        source=name, fps=30.0, width=SIZE[0], height=SIZE[1], num_frames=FRAMES,
        K=tuple(map(tuple, K.tolist())), K_from="given", checkpoint="tiny", checkpoint_sha256="0",
        licence="none to speak of", hand_model="standin", hand_model_sha256=HANDS.sha256,
        detector="by hand", smoothed=False, config_sha256="1",
    )  # fmt: skip
    return replace(made, **changes)


def write_video(path: Path, rows: HandRows, fps: float = 30, num: int = FRAMES) -> None:
    """Grey, brighter by 10 from frame to frame, with a red dot on each joint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with video_writer(path, fps, SIZE) as write:
        for k in range(num):
            image = np.full((SIZE[1], SIZE[0], 3), 40 + 10 * k, np.uint8)
            for joints in rows.joints_px[rows.frame == k]:
                for x, y in joints:
                    cv2.circle(image, (round(float(x)), round(float(y))), 2, (255, 0, 0), -1)
            write(image, k / fps)


def add(root: Path, name: str, rows: HandRows, fps: float = 30, **changes) -> Path:
    path = root / name
    write_video(path, rows, fps)
    hands = path.with_name(f"{path.stem}.hands.parquet")
    write_hands(hands, rows, info_of(path.name, fps=fps, **changes))
    return hands


def build_videos(root: Path, **changes) -> dict:
    return build(Options("videos", root=root, out=root.parent / "built", workers=0, **changes))


def frames_of(root: Path) -> list[dict]:
    return pq.read_table(root.parent / "built" / "frames.parquet").to_pylist()


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "vidéos of mine"


def test_hands_come_back_as_the_file_says(root):
    rows = both()
    add(root, "val/küche 1.mp4", rows)
    info = build_videos(root)
    assert info["counts"]["valid"] == 2 * FRAMES and info["counts"]["invalid"] == {}
    assert info["counts"]["splits"] == {"val": {"frames": 16, "valid": 16}}
    seen = set()
    for mark in info["shards"]:
        for clip in read_clips(root.parent / "built" / mark["name"], mark["name"]):
            seen.add(clip.meta.side)
            assert (clip.meta.dataset, clip.meta.sequence) == ("videos", "val/küche 1.mp4")
            assert clip.meta.hand == "standin" and clip.meta.image_size == SIZE
            mine = rows.at(rows.is_left == (clip.meta.side == "left"))
            labels, corner = clip.labels, clip.labels["crop_xywh"][:, None, :2]
            np.testing.assert_allclose(labels["joints_px"] + corner, mine.joints_px, atol=0.01)
            np.testing.assert_allclose(labels["joints_cam_m"], mine.joints_cam_m, atol=1e-6)
            for name in ("pose_rotvec", "betas"):
                np.testing.assert_array_equal(labels[name], getattr(mine, name))
            rest = getattr(HANDS, clip.meta.side).wrist_m(mine.betas)
            np.testing.assert_allclose(labels["trans_m"] + rest, mine.wrist_cam_m, atol=1e-6)
            for k in range(FRAMES):
                image = decode_image(clip.members[f"{clip.meta.key}.{k:06d}.jpg"]).astype(int)
                assert abs(np.median(image) - (40 + 10 * k)) <= 3  # this very frame
                x, y = labels["joints_px"][k, 0].round().astype(int)
                blue, _, red = image[y, x]
                assert red - blue > 60  # the wrist's dot
    assert seen == {"left", "right"}


def test_labels_are_marked_as_predicted(root, capsys):
    add(root, "one.mp4", both())
    build_videos(root)
    info = read_info(root.parent / "built")
    assert labels_of(info) == "predicted"
    source = info["parameters"]["source"]
    assert source["licence"] == "none to speak of" and source["checkpoint"] == "tiny"
    assert source["min_detection"] == "0.8"
    folder = root.parent / "built"
    assert verify.run(verify.Options(folder, workers=0)) == 0
    inspect.run(inspect.Options(folder, sheet=root.parent / "sheet.png"))
    assert "recorded, predicted labels" in capsys.readouterr().out
