"""The hands of many videos: mirrored folders, one row each, the same files after any stop."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import deformer.predict
from deformer.data.windows import WindowConfig
from deformer.files.sealed import SEAL
from deformer.files.whole import NoRoomError
from deformer.training.weights_file import find_weights
from deformer.video.folders import videos_below
from deformer.video.frames import video_writer
from deformer.video.hands_file import read_hands
from pipelines import build_shards, predict_videos
from pipelines.datasets.source import UnusableInputError
from pipelines.predict_videos import MARKS_FOLDER, Options
from tests.deformer.video.networks import write_random_weights
from tests.processes import assert_nothing_is_left

REPOSITORY = Path(__file__).parents[2]
FRAMES = 6
FAKE = """
import time
import numpy as np
from deformer.video import predictor
from deformer.video.track import Track

def detect_video(frames, num_hands):
    time.sleep(DELAY)
    return [[] for _ in frames]

def follow(detections, wh, times_s, options):
    frames = np.arange(len(detections))
    boxes = np.stack([10 + frames, 12 + frames, 40 + frames, 45 + frames], 1).astype(float)
    score = np.full(len(frames), 0.9, np.float32)
    return [Track(0, len(detections) % 2 == 1, frames, boxes, score > 0, score)]

predictor.detect_video, predictor.follow = detect_video, follow
"""
"""A detector that finds one hand; a left one in videos with an odd number of frames."""


def make_video(path: Path, num: int = FRAMES, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(seed).integers(0, 255, (num, 64, 64, 3), np.uint8)
    with video_writer(path, 10, (64, 64)) as write:
        for k, image in enumerate(images):
            write(image, k / 10)
    return path


@pytest.fixture
def detector(monkeypatch):
    from deformer.video import predictor

    for name in ("detect_video", "follow"):
        monkeypatch.setattr(predictor, name, getattr(predictor, name))  # put back afterwards
    exec(FAKE.replace("DELAY", "0"), {})


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "our videos"
    make_video(root / "a.mp4")
    make_video(root / "küche" / "deep er" / "b.mp4", FRAMES + 1, 1)
    make_video(root / "küche" / "a.mp4", seed=2)
    return root


@pytest.fixture
def weights(tmp_path) -> Path:
    return write_random_weights(tmp_path / "small.safetensors", WindowConfig(3, 2))


@pytest.fixture
def predict(root, weights, tmp_path):
    def run(**changes) -> dict[str, predict_videos.Row]:
        given = {"root": root, "out": tmp_path / "out", "workers": 0, "device": "cpu",
                 "checkpoint": str(weights), "render": False}  # fmt: skip
        return {row.video: row for row in predict_videos.predict_videos(Options(**given | changes))}

    return run


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def visible(folder: Path) -> set[str]:
    return {name for name in bytes_of(folder) if not name.startswith(MARKS_FOLDER)}


def table(folder: Path) -> list[dict]:
    with (folder / "videos.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_folders_are_mirrored(predict, detector, root, tmp_path):
    before = bytes_of(root)
    predict(render=True)
    out = tmp_path / "out"
    stems = ("a", "küche/a", "küche/deep er/b")
    kinds = ("parquet", "mp4", "html")
    assert visible(out) == {"videos.csv"} | {f"{s}.hands.{k}" for s in stems for k in kinds}
    assert bytes_of(root) == before
    rows = table(out)
    assert [row["video"] for row in rows] == ["a.mp4", "küche/a.mp4", "küche/deep er/b.mp4"]
    assert [row["frames"] for row in rows] == ["6", "6", "7"]
    assert {row["state"] for row in rows} == {"done"} and {row["reason"] for row in rows} == {""}
    hands, info = read_hands(out / "küche" / "deep er" / "b.hands.parquet")
    assert info.source == "b.mp4" and info.tips == "dexycb" and hands.is_left.all()


def test_what_is_done_is_kept_and_new_videos_are_added(predict, detector, root, tmp_path):
    predict()
    whole = bytes_of(tmp_path / "out")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.parquet")}
    make_video(root / "new.mp4")
    assert predict()["new.mp4"].state == "done"
    assert all(path.stat().st_mtime_ns == was for path, was in times.items())
    shutil.rmtree(tmp_path / "out")
    (root / "new.mp4").unlink()
    predict()
    assert bytes_of(tmp_path / "out") == whole


def test_bad_videos_are_rows(predict, detector, root, tmp_path, capsys, monkeypatch):
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.mov").write_text("no video")
    (root / "notes.txt").write_text("left out")
    make_video(root / "a.mkv")
    line = ["predict", "--root", root, "--out", tmp_path / "out", "--workers", 0, "--no-render"]
    line += ["--checkpoint", tmp_path / "small.safetensors", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", list(map(str, line)))
    assert predict_videos.main() == 0
    rows = {row["video"]: row for row in table(tmp_path / "out")}
    failed = {name: row["reason"] for name, row in rows.items() if row["state"] == "failed"}
    assert failed.keys() == {"a.mp4", "empty.mp4", "text.mov"}
    assert failed["a.mp4"] == "its files would be those of a.mkv: rename one of the two"
    assert failed["text.mov"].startswith("text.mov is no video")
    printed = capsys.readouterr().out
    assert "6 videos: 3 done (0 without a hand, 0 damaged), 3 failed" in printed
    assert "empty.mp4: " in printed and "camera of 3: assumed" in printed


def test_what_is_wrong_with_a_video_is_known_after_a_stop(predict, detector, root, tmp_path):
    """Also where it was stopped between the table and its mark."""
    whole = make_video(root / "cut.mp4", 30).read_bytes()
    (root / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    row = predict()["cut.mp4"]
    assert row.state == "done" and row.reason.startswith("cut.mp4 is damaged or cut off")
    whole = bytes_of(tmp_path / "out")
    assert predict()["cut.mp4"] == row
    (tmp_path / "out" / MARKS_FOLDER / "cut.mp4" / "done.json").unlink()
    (tmp_path / "out" / "videos.csv").unlink()
    assert predict()["cut.mp4"] == row
    assert bytes_of(tmp_path / "out") == whole


def test_a_video_without_hands_is_done(predict, tmp_path):
    assert all((row.state, row.hands) == ("done", 0) for row in predict().values())
    assert len(read_hands(tmp_path / "out" / "a.hands.parquet")[0].frame) == 0


def test_other_options_are_refused_or_replace(predict, detector, root, tmp_path):
    predict()
    before = bytes_of(tmp_path / "out")
    with pytest.raises(UnusableInputError, match=r"fov: None → 60.*--overwrite"):
        predict(fov=60)
    assert bytes_of(tmp_path / "out") == before
    rows = predict(fov=60, overwrite=True)
    assert {(row.state, row.camera) for row in rows.values()} == {
        ("done", "given: field of view 60°")
    }
    make_video(root / "a.mp4", 4)
    assert "from another video" in predict(fov=60)["a.mp4"].reason
    assert predict(fov=60, overwrite=True)["a.mp4"].frames == 4


def test_input_that_cannot_be_used(predict, root, tmp_path, monkeypatch):
    with pytest.raises(UnusableInputError, match="is not a folder"):
        predict(root=tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match="hold no video"):
        predict(root=tmp_path / "bare")
    with pytest.raises(ValueError, match="exclude each other"):
        predict(workers=1, scheduler="tcp://head:1")

    def full(*_):
        raise NoRoomError("no space left")

    monkeypatch.setattr(predict_videos, "predict_video", full)
    with pytest.raises(NoRoomError):
        predict()


def test_results_below_the_root_are_no_videos(predict, detector, root):
    predict(out=root / "hands")
    shutil.copytree(root / "küche", root / "hands" / "küche", dirs_exist_ok=True)
    assert len(predict(out=root / "hands")) == 3


def test_own_recordings_become_shards(predict, detector, root, tmp_path):
    predict(out=root)
    shutil.copy(root / "a.mp4", root / "a.hands.mp4")  # an overlay
    assert len(predict(out=root)) == 3
    (root / "videos.json").write_text('{"max_spread_mm": 1000}')  # random weights
    options = build_shards.Options("videos", root=root, out=tmp_path / "shards", workers=0)
    info = build_shards.build(options)
    assert info["counts"]["clips"] == 3 and info["counts"]["frames"] > 0
    assert set(info["counts"]["invalid"]) <= {"labels_uncertain", "hand_outside_image"}


# --------------------------------------------------------------------------------------- processes


def start(root: Path, out: Path, weights: Path, delay: float, *more: str) -> subprocess.Popen:
    fake = out.parent / f"fake{delay}"
    fake.mkdir(exist_ok=True)
    (fake / "sitecustomize.py").write_text(FAKE.replace("DELAY", str(delay)))
    line = ["--root", root, "--out", out, "--checkpoint", weights, "--device", "cpu", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.predict_videos", *map(str, line)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(fake), str(REPOSITORY)])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for_a_video(process: subprocess.Popen, out: Path) -> None:
    deadline = time.monotonic() + 400
    while not list(out.glob(f"{MARKS_FOLDER}/**/done.json")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "workers"), [(signal.SIGINT, 0), (signal.SIGKILL, 1)])
def test_stopped_and_resumed(predict, detector, root, weights, tmp_path, kind, workers):
    for k in range(5):
        make_video(root / f"more{k}.mp4", 3, k)
    out = tmp_path / "out"
    process = start(root, out, weights, 1, "--workers", str(workers), "--no-render")
    wait_for_a_video(process, out)
    os.killpg(process.pid, kind)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == (130 if kind == signal.SIGINT else -kind), errors
    assert "Traceback" not in errors
    if kind == signal.SIGINT:
        assert "run the same command to go on" in errors
        assert_nothing_is_left(process.pid)
    assert not (out / "videos.csv").exists()
    assert len(predict()) == len(predict(out=tmp_path / "reference")) == 8
    expected = bytes_of(tmp_path / "reference")
    assert len(expected) == 8 * 2 + 2
    assert bytes_of(out) == expected


def test_a_scheduler_that_is_already_running(predict, detector, root, tmp_path):
    from dask.distributed import LocalCluster

    (root / "empty.mp4").write_bytes(b"")
    place = {"processes": False, "protocol": "tcp", "dashboard_address": ":0"}
    with LocalCluster(n_workers=1, threads_per_worker=1, **place) as cluster:
        rows = predict(workers=None, scheduler=cluster.scheduler_address)
    assert [row.state for row in rows.values()] == ["done", "failed", "done", "done"]
    predict(out=tmp_path / "reference")
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "reference")


def test_the_network_is_that_of_predict(root, tmp_path):
    checkpoint = Options(root=root, out=tmp_path).checkpoint
    assert checkpoint == deformer.predict.Options(source="").checkpoint
    assert find_weights(checkpoint).is_file()


def test_marks_hold_no_times(predict, detector, tmp_path):
    predict()
    mark = json.loads((tmp_path / "out" / MARKS_FOLDER / "a.mp4" / "done.json").read_text())
    assert mark.keys() == {"config", "row", SEAL}


def test_a_link_to_a_folder_above_is_followed_once(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert videos_below(tmp_path) == [tmp_path / "clip.mp4"]
