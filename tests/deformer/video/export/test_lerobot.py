"""The dataset, read with pyarrow; `lerobot` itself read one by hand (docs/exports.md)."""

import json
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from deformer.export import Options, export
from deformer.video.export.lerobot import CAMERA
from deformer.video.export.lerobot_stats import combine, of_histogram, of_values
from deformer.video.frames import Video
from tests.deformer.video.hand_rows import (
    LATER,
    WITH_GAP,
    join,
    track_rows,
    two_hands,
    write_clip,
    write_video,
)


def _export(files, out: Path, **options) -> Path:
    (folder,) = export(Options(tuple(files), "lerobot", out, **options))
    return folder


def _table(folder: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(folder / "data/chunk-000/file-000.parquet")
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def _json(folder: Path, name: str):
    return json.loads((folder / "meta" / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Two videos, the second of one hand."""
    folder = tmp_path_factory.mktemp("videos")
    one = track_rows(0, [1, 2], True)
    files = [
        write_clip(folder, "a", source="a.mp4"),
        write_clip(folder, "b", one, source="b.mp4", num_frames=5),
    ]
    write_video(folder / "a.mp4", 12)
    write_video(folder / "b.mp4", 5, 50)
    return _export(files, folder / "dataset", videos=folder, task="pour coffee")


def test_a_row_per_frame(dataset):
    rows = _table(dataset)
    assert rows["episode_index"].tolist() == [0] * 12 + [1] * 5
    assert rows["frame_index"].tolist() == [*range(12), *range(5)]
    assert rows["index"].tolist() == list(range(17))
    assert np.allclose(rows["timestamp"], rows["frame_index"] / 30)
    assert not rows["task_index"].any()
    hands = two_hands()
    for side, frames, track in (("right", WITH_GAP, 0), ("left", LATER, 1)):
        mine = hands.at(hands.track == track)
        valid = np.flatnonzero(rows[f"{side}.is_valid"][:12])
        assert valid.tolist() == frames
        joints = rows[f"observation.{side}.joints_cam_m"]
        assert np.array_equal(joints[valid].reshape(-1, 21, 3), mine.joints_cam_m)
        missing = np.setdiff1d(np.arange(12), valid)
        assert not joints[missing].any() and len(missing)
        for name in ("wrist_cam_m", "pose_rotvec", "betas", "scale"):
            values = rows[f"observation.{side}.{name}"][valid]
            assert np.array_equal(values, getattr(mine, name))
        assert rows[f"{side}.is_observed"][valid].tolist() == [f != 7 for f in frames]
        assert (rows[f"{side}.track"][valid] == track).all()
    assert not rows["right.is_valid"][12:].any()
    assert np.allclose(rows["observation.camera_K"][3], [100, 0, 47.5, 0, 100, 31.5, 0, 0, 1])


def test_the_description_agrees_with_the_data(dataset):
    info, rows = _json(dataset, "info"), _table(dataset)
    assert (info["codebase_version"], info["fps"]) == ("v3.0", 30)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (2, 17, 1)
    assert set(info["features"]) == {*rows, CAMERA}
    for name, values in rows.items():
        feature = info["features"][name]
        assert feature["shape"] == [values.shape[1] if values.ndim > 1 else 1]
        assert feature["names"] is None or len(feature["names"]) == feature["shape"][0]
    joints = info["features"]["observation.left.joints_cam_m"]["names"]
    assert joints[:4] == ["wrist_x", "wrist_y", "wrist_z", "thumb_1_x"]
    episodes = pq.read_table(dataset / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(e["dataset_from_index"], e["dataset_to_index"]) for e in episodes] == [
        (0, 12), (12, 17),
    ]  # fmt: skip
    assert [e["tasks"] for e in episodes] == [["pour coffee"]] * 2
    for episode in episodes:
        place = {key: episode[f"{key}/chunk_index"] for key in ("data", "meta/episodes")}
        assert set(place.values()) == {0}
        assert (dataset / info["data_path"].format(chunk_index=0, file_index=0)).is_file()
    assert [one["source"] for one in _json(dataset, "hands")] == ["a.mp4", "b.mp4"]
    tasks = pq.read_table(dataset / "meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert tasks.to_pylist() == [{"task_index": 0, "task": "pour coffee"}]


def test_statistics_leave_out_missing_hands(dataset):
    stats, rows = _json(dataset, "stats"), _table(dataset)
    name = "observation.left.joints_cam_m"
    valid = rows[name][rows["left.is_valid"]]
    assert stats[name]["count"] == [len(valid)] == [12]
    for key, expected in (("mean", valid.mean(0)), ("std", valid.std(0)), ("min", valid.min(0))):
        assert np.allclose(stats[name][key], expected, atol=1e-6)
    assert stats["observation.right.betas"]["count"] == [len(WITH_GAP)]
    assert np.allclose(stats["index"]["mean"], 8)
    assert np.shape(stats[CAMERA]["mean"]) == (3, 1, 1) and stats[CAMERA]["count"] == [17]
    assert set(stats) == {*rows, CAMERA}


def test_videos_are_frame_for_frame_at_the_timestamps(dataset):
    info = _json(dataset, "info")
    assert info["features"][CAMERA]["shape"] == [64, 96, 3]
    episodes = pq.read_table(dataset / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    for k, (episode, shade) in enumerate(zip(episodes, (20, 50), strict=True)):
        place = {key: episode[f"videos/{CAMERA}/{key}"] for key in ("chunk_index", "file_index")}
        path = dataset / info["video_path"].format(video_key=CAMERA, **place)
        frames = list(Video(path))
        assert (len(frames), place["file_index"]) == (episode["length"], k)
        for frame in frames:
            assert abs(frame.time_s - frame.index / 30) < 1e-4  # LeRobot's own tolerance
            assert abs(frame.image_rgb.mean() - shade * frame.index) < 4
        with av.open(path) as container:
            is_key = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
        assert sum(is_key) == (len(is_key) + 1) // 2
        assert episode[f"videos/{CAMERA}/from_timestamp"] == 0
        assert np.isclose(episode[f"videos/{CAMERA}/to_timestamp"], len(frames) / 30)


def test_without_videos_there_is_no_camera(tmp_path):
    folder = _export([write_clip(tmp_path)], tmp_path / "out")
    info = _json(folder, "info")
    assert info["video_path"] is None and CAMERA not in info["features"]
    assert not (folder / "videos").exists()


def test_the_longest_track_of_a_side_stays(tmp_path, caplog):
    """A hand that was lost and found is one hand; another person's is left out."""
    hands = join(
        track_rows(0, [0, 1, 2, 3, 4], False),
        track_rows(1, [4, 5], False),
        track_rows(2, [8, 9, 10], False),
    )
    rows = _table(_export([write_clip(tmp_path, hands=hands)], tmp_path / "out"))
    assert np.flatnonzero(rows["right.is_valid"]).tolist() == [0, 1, 2, 3, 4, 5, 8, 9, 10]
    assert rows["right.track"][[4, 5, 8]].tolist() == [0, 1, 2]
    assert "1 right hands are left out" in caplog.text


def test_a_video_without_hands_is_an_episode(tmp_path):
    hands = two_hands().at(np.zeros(18, bool))
    folder = _export([write_clip(tmp_path, hands=hands)], tmp_path / "out")
    rows = _table(folder)
    assert len(rows["index"]) == 12 and not rows["left.is_valid"].any()
    assert _json(folder, "stats")["observation.left.betas"]["count"] == [0]


def test_what_does_not_fit_is_refused(tmp_path):
    first = write_clip(tmp_path, "first", source="clip.mp4")
    with pytest.raises(FileNotFoundError, match=r"has no clip.mp4, the video of .*first"):
        _export([first], tmp_path / "out", videos=tmp_path)
    write_video(tmp_path / "clip.mp4", 9)
    with pytest.raises(ValueError, match="is not the video of .*: it has"):
        _export([first], tmp_path / "out", videos=tmp_path)
    other = write_clip(tmp_path, "slow", fps=25.0)
    with pytest.raises(ValueError, match=r"one frame rate.*first 30, slow 25"):
        _export([first, other], tmp_path / "out")
    wide = write_clip(tmp_path, "wide", width=128)
    with pytest.raises(ValueError, match=r"one size.*first 96x64, wide 128x64"):
        _export([first, wide], tmp_path / "out", videos=tmp_path)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="is not empty, and a dataset is a folder of its own"):
        _export([first], tmp_path)
    assert first.exists()


def test_rates_and_uneven_times(tmp_path, caplog):
    path = write_clip(tmp_path, fps=30000 / 1001)
    assert _json(_export([path], tmp_path / "a"), "info")["fps"] == 30
    assert caplog.text == ""
    hands = two_hands()
    path = write_clip(tmp_path, hands=hands._replace(time_s=hands.time_s * 1.5), fps=12.5)
    assert _json(_export([path], tmp_path / "b"), "info")["fps"] == 12.5
    assert "up to 0.33 s off the video's own" in caplog.text


def test_statistics_of_parts_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    parts = [rng.normal(k, 1 + k, (10 * (k + 1), 2)) for k in range(3)]
    found = combine([of_values(part) for part in parts] + [of_values(parts[0], np.zeros(10, bool))])
    whole = of_values(np.concatenate(parts))
    for name in ("min", "max", "mean", "std", "count"):
        assert np.allclose(found[name], whole[name]), name


def test_statistics_of_pixels():
    values = np.random.default_rng(0).integers(20, 200, (3, 5000))
    histogram = np.stack([np.bincount(row, minlength=256) for row in values])
    found, expected = of_histogram(histogram, 7), of_values(values.T / 255)
    for name in set(expected) - {"count"}:
        assert np.shape(found[name]) == (3, 1, 1)
        assert np.allclose(np.ravel(found[name]), expected[name], atol=1 / 255), name
    assert found["count"] == [7]
