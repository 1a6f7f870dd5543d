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

from deformer.data.dataset import labels_of, read_info
from deformer.data.order import OrderConfig
from deformer.data.store import open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.data.windows import WindowConfig
from deformer.files.images import decode_image
from deformer.hand.camera import project
from deformer.hand.mano import HandLayer, load_hands
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.video.frames import Video, video_writer
from deformer.video.hands_file import HandRows, HandsInfo, write_hands
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
        detector="by hand", fitted=False, smoothed=False, config_sha256="1",
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


def test_a_stream_reads_them(root):
    add(root, "one.mp4", both())
    build_videos(root)
    config = StreamConfig("train", size=64, window=WindowConfig(3, 2), order=OrderConfig(8))
    stream = Stream(config, *open_store(root.parent / "built"))
    batches = list(stream.batches())
    assert sum(int((~batch.is_padding).sum()) for batch in batches) == 2 * FRAMES
    for batch in batches:
        pixels = torch.einsum("btij,btkj->btki", batch.K, batch.joints_cam_m)
        pixels = pixels[..., :2] / pixels[..., 2:]
        torch.testing.assert_close(pixels, batch.joints_px, atol=0.02, rtol=0)


def test_only_sure_frames_are_valid(root):
    rows = hands_of(FRAMES, False, 0, -0.05)
    rows.is_observed[2] = False
    rows.detection[:4] = [np.nan, 0.7, np.nan, 0.9]
    rows.spread_mm[4:6] = [21, np.nan]
    rows = rows.at(np.arange(FRAMES) != 6)  # a gap
    add(root, "one.mp4", rows)
    build_videos(root)
    expected = ["", "labels_uncertain", "labels_filled_in", "", "labels_uncertain",
                "labels_uncertain", "labels_none", ""]  # fmt: skip
    assert [frame["reason"] for frame in frames_of(root)] == expected


def test_limits_are_settings(root):
    rows = hands_of(FRAMES, False, 0, -0.05)
    rows.spread_mm[:] = np.arange(FRAMES)
    rows.detection[:] = 0.3
    add(root, "one.mp4", rows)
    settings = {"max_spread_mm": 3, "min_detection": 0, "labels": "corrected"}
    (root / "videos.json").write_text(json.dumps(settings))
    info = build_videos(root)
    assert info["counts"]["invalid"] == {"labels_uncertain": 4}
    assert labels_of(info) == "corrected"
    for name, value in {"min_detection": 2, "labels": "true", "spread": 1}.items():
        (root / "videos.json").write_text(json.dumps({name: value}))
        with pytest.raises(UnusableInputError, match=rf"videos\.json: {name} is"):
            videos.list_clips(root)


@pytest.mark.parametrize(
    ("fps", "used", "numbers"),
    [(60, [0, 2, 4, 6], [0, 1, 2, 3]), (25, [*range(8)], [*range(8)]), (15, [*range(8)],
     [*range(0, 16, 2)]), (10, [*range(8)], [*range(0, 16, 2)])],
)  # fmt: skip
def test_frame_numbers_are_thirtieths_of_a_second(root, fps, used, numbers):
    rows = hands_of(FRAMES, True, 1, 0.0)  # left only
    add(root, "one.mp4", rows, fps)
    build_videos(root)
    frames = frames_of(root)
    assert [frame["frame"] for frame in frames] == numbers
    assert all(frame["valid"] and frame["side"] == "left" for frame in frames)
    (ref,) = videos.list_clips(root)
    raws = list(videos.read_clip(root, ref))
    for k, raw in zip(used, raws, strict=True):
        np.testing.assert_array_equal(raw.joints_cam_m, rows.joints_cam_m[k])
        assert abs(np.median(decode_image(raw.image())) - (40 + 10 * k)) <= 3


def test_images_may_be_asked_for_again(root):
    add(root, "one.mp4", both())
    raws = list(videos.read_clip(root, videos.list_clips(root)[0]))
    assert raws[5].image() == raws[5].image() != raws[2].image()


# ------------------------------------------------------------------------------------- bad input


def test_a_video_without_hands_to_read_is_a_row(root, caplog):
    add(root, "good.mp4", both())
    write_video(root / "bare.mp4", both())
    shutil.copy(root / "bare.mp4", root / "cut.mp4")
    (root / "cut.hands.parquet").write_bytes((root / "good.hands.parquet").read_bytes()[:999])
    (root / "broken.mp4").write_bytes(b"no video")
    info = build_videos(root)
    assert "bare.mp4 has no labels" in caplog.text and "cut.mp4 has no labels" in caplog.text
    assert info["counts"]["invalid"] == {"labels_corrupt": 1, "labels_missing": 2}
    reasons = {f["sequence"]: f["reason"] for f in frames_of(root) if not f["valid"]}
    assert reasons == {
        "bare.mp4": "labels_missing", "broken.mp4": "labels_missing", "cut.mp4": "labels_corrupt",
    }  # fmt: skip


@pytest.mark.parametrize(
    "other", [{"num_frames": 9}, {"width": 320}, {"fps": 24.0}, {"height": 90, "num_frames": 20}]
)
def test_hands_of_another_video_are_not_valid(root, other):
    add(root, "good.mp4", both())
    write_hands(add(root, "other.mp4", both()), both(), info_of("other.mp4", **other))
    info = build_videos(root)
    assert info["counts"]["valid"] == 16 and info["counts"]["invalid"] == {"labels_corrupt": 16}


def test_the_rate_of_the_frames_counts_not_the_stated_one(root):
    """A recording with a long pause: its file states a fraction of the rate of its frames."""
    add(root, "one.mp4", both())
    path = root / "one.mp4"
    with video_writer(path, 30, SIZE) as write:
        for k in range(FRAMES):
            write(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), k / 30 + 8 * (k > FRAMES // 2))
    assert Video(path).info.fps < 10
    build_videos(root)
    assert {row["valid"] for row in frames_of(root)} == {True}


def test_a_video_that_is_gone_or_broken(root):
    add(root, "good.mp4", both())
    add(root, "broken.mp4", both())
    (root / "broken.mp4").write_bytes(b"no video")
    assert build_videos(root)["counts"]["invalid"] == {"image_corrupt": 16}


def _changed(**columns) -> HandRows:
    return both()._replace(**columns)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (_changed(frame=np.zeros(16, int)), "two hands of one track in one frame"),
        (_changed(is_left=np.arange(16) % 3 == 0), "a track that changes its side"),
        (_changed(frame=both().frame + 1), "frames that are none of its 8"),
    ],
)
def test_a_table_of_no_tracks(root, rows, message, caplog):
    add(root, "good.mp4", both())
    add(root, "bad.mp4", rows)
    assert build_videos(root)["counts"]["invalid"] == {"labels_corrupt": 1}
    assert message in caplog.text


def test_hands_of_a_measured_length_are_refused(root):
    rows = both()
    path = add(root, "one.mp4", rows._replace(scale=np.full(16, 1.1, np.float32)))
    with pytest.raises(UnusableInputError, match=rf"{path}.*without --hand-length"):
        build_videos(root)


def test_nothing_to_build(root, tmp_path):
    root.mkdir()
    with pytest.raises(UnusableInputError, match="hold no video"):
        build_videos(root)
    write_video(root / "one.mp4", both())
    with pytest.raises(UnusableInputError, match=r"no video of .* pipelines\.predict_videos"):
        build_videos(root)
    add(root, "one.mp4", both().at(np.zeros(16, bool)))
    with pytest.raises(UnusableInputError, match="holds no clip"):
        build_videos(root)


def test_two_hand_models_are_two_datasets(root):
    add(root, "one.mp4", both())
    add(root, "two.mp4", both(), hand_model_sha256="another")
    with pytest.raises(UnusableInputError, match="of different hand models"):
        build_videos(root)
    shutil.rmtree(root)
    add(root, "two.mp4", both(), hand_model_sha256="another")
    with pytest.raises(ValueError, match="made with another hand model"):
        build_videos(root)
    info = build_videos(root, hand="none")
    assert info["parameters"]["hand"] == "none" and info["counts"]["valid"] == 16


def test_a_folder_of_pictures_is_a_video(root):
    rows = both()
    folder = root / "shots"
    folder.mkdir(parents=True)
    for k in range(FRAMES):
        cv2.imwrite(str(folder / f"{k}.png"), np.full((SIZE[1], SIZE[0], 3), 40, np.uint8))
    write_hands(root / "shots.hands.parquet", rows, info_of("shots"))
    assert build_videos(root)["counts"]["valid"] == 16
