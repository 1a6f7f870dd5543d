"""A network measured on a video: the measure by hand, the rest on a synthesized video."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from benchmarks import real_video
from benchmarks.evaluate import Options as EvaluateOptions
from benchmarks.evaluate import evaluate
from benchmarks.evaluation.predictions import read_predictions
from benchmarks.real_video import agreement, choose_tiles, load_network, main, measure
from deformer.data.batch import without_padding
from deformer.data.store import open_store
from deformer.data.stream import Stream
from deformer.data.windows import WindowConfig
from deformer.training.checkpoint import Content, save_checkpoint
from deformer.video import hands as video_hands
from deformer.video.detect import Detection
from deformer.video.hands import (
    Predicted,
    SeenHands,
    decode,
    encode,
    guess_intrinsics,
    make_windows,
    read_frames,
    see_hands,
    surest,
)
from tests.deformer.small_runs import CPU, VERY_SMALL, build_dataset, make_learner, make_stream

SIZE = VERY_SMALL.stream.size


def save_run(out: Path, hands, data: Path, experiment=VERY_SMALL) -> Path:
    """A run of no step."""
    stream = make_stream(data)
    content = Content(
        step=0, experiment=experiment, hand={"name": hands.name, "sha256": hands.sha256},
        stream=stream.state(0), tensors=make_learner(hands, stream).tensors(),
    )  # fmt: skip
    save_checkpoint(out, content, keep=1)
    return out


@pytest.fixture(scope="module")
def data(raw_root) -> Path:
    return build_dataset(raw_root)


@pytest.fixture(scope="module")
def run(tmp_path_factory, hands, data) -> Path:
    return save_run(tmp_path_factory.mktemp("run"), hands, data)


def hand(x: float, y: float, side: str = "right", score: float = 0.9) -> Detection:
    """A hand of 40 px around a place."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-20, 20, (21, 2))
    points[:2] = [[-20, -20], [20, 20]]
    return Detection(side, score, points + [x, y])


def seen_hands(frames: list[int], is_left: list[bool], num_frames: int, **more) -> SeenHands:
    n = len(frames)
    landmarks = np.stack([hand(60, 50).landmarks_px] * n)
    inputs = np.random.default_rng(1).integers(0, 255, (n, SIZE, SIZE, 3), np.uint8)
    values = np.array(frames), np.array(is_left), landmarks, inputs
    return replace(SeenHands(*values, (160, 120), num_frames, 0), **more)


# --------------------------------------------------------------------------------- the measure


def test_agreement_by_hand():
    """A tight box of 100 × 60 px has a hand box with a side of 150 px."""
    landmarks = np.tile([50.0, 30.0], (1, 21, 1))
    landmarks[0, :2] = [[0, 0], [100, 60]]
    points = landmarks.copy()
    points[0, 0, 0] += 14.9  # within 0.1
    points[0, 1, 1] -= 29.9  # within 0.2
    points[0, 2] += [24.0, 32.0]  # 40 px: neither
    points[0, 3] = np.nan
    assert agreement(points, landmarks) == {
        "within_0.1": pytest.approx(18 / 21),
        "within_0.2": pytest.approx(19 / 21),
        "median_distance": 0.0,
    }


def test_joints_of_both_kinds_are_measured_by_side():
    seen = seen_hands([0, 1, 0], [False, False, True], 2)
    exact = seen.landmarks_px.copy()
    exact[2] += 1000
    rays = np.concatenate([exact, np.ones((3, 21, 1))], -1)
    joints_cam_m = 0.5 * rays @ np.linalg.inv(guess_intrinsics(seen.image_wh)).T
    joints_cam_m[0, :, 0] = 9
    found = measure(seen, Predicted(exact, joints_cam_m, np.zeros((3, 778, 3))))
    shares = {
        kind: {group: values["within_0.1"] for group, values in groups.items()}
        for kind, groups in found.items()
    }
    assert shares == {
        "joints_2d": {"all": pytest.approx(2 / 3), "right": 1.0, "left": 0.0},
        "projected_3d": {"all": pytest.approx(1 / 3), "right": 0.5, "left": 0.0},
    }


def test_a_side_that_is_not_seen_has_no_number():
    seen = seen_hands([0, 1], [True, True], 2)
    predicted = Predicted(seen.landmarks_px, np.ones((2, 21, 3)), np.zeros((2, 778, 3)))
    assert measure(seen, predicted)["joints_2d"].keys() == {"all", "left"}


def test_the_surest_hand_of_a_side_that_is_whole_in_the_image_is_taken():
    sure, unsure, outside = hand(50, 50, score=0.9), hand(90, 50, score=0.6), hand(10, 50, score=1)
    left = hand(90, 60, "left", 0.5)
    assert surest([unsure, left, outside, sure], (160, 120)) == [sure, left]
    assert surest([outside], (160, 120)) == []


@pytest.mark.parametrize(
    ("num_right", "num_left", "expected"),
    [(2, 30, 2 + 10), (30, 30, 12), (0, 5, 5), (3, 4, 7), (1, 0, 1)],
)
def test_tiles_show_both_sides(num_right, num_left, expected):
    is_left = np.arange(num_right + num_left) >= num_right
    tiles = choose_tiles(is_left, 12)
    assert len(tiles) == len(set(tiles.tolist())) == expected
    assert is_left[tiles].sum() == min(num_left, max(6, 12 - num_right))


# ---------------------------------------------------------------------------------- the network


def test_windows_stay_with_a_side_and_among_the_frames_it_was_seen_in():
    seen = seen_hands([0, 1, 2, 4, 1, 2, 3], [False] * 4 + [True] * 3, 5)
    windows = make_windows(seen, WindowConfig(num_frames=3, gap=1))
    assert seen.frame[windows].tolist() == [
        [0, 0, 1], [0, 1, 2], [1, 2, 2], [4, 4, 4], [1, 1, 2], [1, 2, 3], [2, 3, 3],
    ]  # fmt: skip
    assert (seen.is_left[windows] == seen.is_left[:, None]).all()


def test_a_network_says_of_a_video_what_it_says_of_the_same_frames_in_shards(data, run, tmp_path):
    """The frames of each clip as if they were a video, their true joints as landmarks."""
    options = EvaluateOptions(str(data), "s0_train", tmp_path, run, workers=0, device="cpu")
    evaluate(options, CPU, Console(quiet=True))
    predicted = read_predictions(tmp_path / "predictions.parquet")
    config = VERY_SMALL.stream.for_evaluation("s0_train")
    store, index = open_store(data)
    single = replace(config, window=WindowConfig(num_frames=1))
    batches = [without_padding(batch) for batch in Stream(single, store, index).batches()]
    rows, is_left, joints_px, images = (
        np.concatenate([getattr(batch, name).numpy() for batch in batches])
        for name in ("rows", "is_left", "joints_px", "images")
    )
    _, model, _ = load_network(real_video.Options(run, tmp_path))
    sides, order = set(), rows[:, 0].argsort()
    for clip in np.unique(index.clip[rows[:, 0]]):
        chosen = order[index.clip[rows[order, 0]] == clip]
        frame = index.numbers["clip_index"][rows[chosen, 0]]
        values = frame, is_left[chosen], joints_px[chosen, 0].astype(float), images[chosen, 0]
        seen = SeenHands(*values, (640, 480), frame.max() + 1, 0)
        found = decode(model, seen, encode(model, seen), VERY_SMALL.stream.window)
        expected = predicted["joints_m"][np.searchsorted(predicted["row"], rows[chosen, 0])]
        rooted = found.joints_cam_m - found.joints_cam_m[:, :1]
        assert np.allclose(rooted, expected.reshape(-1, 21, 3), atol=1e-5)
        sides |= set(seen.is_left.tolist())
        assert len(frame) == 5
    assert sides == {True, False}


def test_what_fuses_by_occlusion_is_refused(data, hands, tmp_path):
    experiment = replace(VERY_SMALL, model=replace(VERY_SMALL.model, fusion="occlusion"))
    out = save_run(tmp_path, hands, data, experiment)
    with pytest.raises(ValueError, match="fuses by occlusion, which nobody knows of a video"):
        load_network(real_video.Options(out, tmp_path))


def test_another_hand_model_is_refused(data, hands, tmp_path):
    other = replace(hands, sha256="0123456789abcdef")
    out = save_run(tmp_path, other, data)
    with pytest.raises(ValueError, match=r"the hand model standin 0123456789ab, here is"):
        load_network(real_video.Options(out, tmp_path))


# ----------------------------------------------------------------------------------- the command


@pytest.fixture
def video(tmp_path) -> Path:
    """Five frames at 20 per second, each of one grey."""
    path = tmp_path / "vidéo of hands.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (160, 120))
    for k in range(5):
        writer.write(np.full((120, 160, 3), 40 * k, np.uint8))
    writer.release()
    return path


class FakeDetector:
    """Two hands in every frame but the fourth, one of them beyond the image in the first."""

    def __init__(self, mode: str) -> None:
        assert mode == "video"
        self.times: list[float] = []

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        assert self.times == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])

    def detect(self, image: np.ndarray, time_s: float) -> list[Detection]:
        self.times.append(time_s)
        k = len(self.times) - 1
        assert abs(int(image.mean()) - 40 * k) <= 2
        return [] if k == 3 else [hand(10 if k == 0 else 50, 50), hand(100, 60, "left")]


def test_frames_and_their_times_are_read(video):
    frames = list(read_frames(video))
    assert [time for _, time in frames] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert {(image.shape, image.dtype.name) for image, _ in frames} == {((120, 160, 3), "uint8")}


def test_videos_of_phones_are_turned_upright(tmp_path):
    path, (width, height) = tmp_path / "phone.mp4", (160, 120)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 20, (width, height))
    stored = np.zeros((height, width, 3), np.uint8)
    stored[:, : width // 2] = 200
    writer.write(stored)
    writer.release()
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44  # of the track: a quarter turn clockwise
    turn = (0, 1 << 16, 0, -1 << 16, 0, 0, height << 16, 0, 1 << 30)
    data[matrix : matrix + 36] = struct.pack(">9i", *turn)
    path.write_bytes(data)
    ((image, _),) = read_frames(path)
    assert image.shape == (width, height, 3)
    assert image[: width // 2 - 8].min() > 150 and image[width // 2 + 8 :].max() < 50


def test_hands_are_right_ones_first_each_side_by_frame(video, monkeypatch):
    monkeypatch.setattr(video_hands, "HandDetector", FakeDetector)
    seen = see_hands(video, SIZE)
    assert seen.frame.tolist() == [1, 2, 4, 0, 1, 2, 4]
    assert seen.is_left.tolist() == [False] * 3 + [True] * 4
    assert (seen.image_wh, seen.num_frames, seen.num_left_out) == ((160, 120), 5, 1)
    middle = seen.inputs[:, SIZE // 2, SIZE // 2, 0].astype(int)
    assert np.abs(middle - 40 * seen.frame).max() <= 2


def test_the_command_writes_numbers_and_a_sheet(run, video, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(video_hands, "HandDetector", FakeDetector)
    monkeypatch.setattr(real_video, "version", lambda name: "0.0")
    out = tmp_path / "out"
    arguments = ["--checkpoint", str(run), "--video", str(video), "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["real_video", *arguments])
    assert main() == 0, capsys.readouterr().err
    result = json.loads((out / "real_video.json").read_text())
    assert result["hands"] == {"right": 3, "left": 4}
    assert result["detections_left_out"] == 1
    assert result["agreement"].keys() == {"single", "window"}
    for kinds in result["agreement"].values():
        assert kinds["joints_2d"].keys() == {"all", "right", "left"}
    sheet = cv2.imread(str(out / "real_video.png"))
    assert sheet.shape == (480, 1920, 3)  # seven pairs in two rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "no frame of it can be read"),
        (b"no video", "no frame of it can be read"),
    ],
)
def test_what_is_no_video_is_one_line(run, tmp_path, monkeypatch, capsys, content, message):
    monkeypatch.setattr(video_hands, "HandDetector", FakeDetector)
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    arguments = ["--checkpoint", str(run), "--video", str(path), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["real_video", *arguments])
    monkeypatch.setattr(FakeDetector, "__exit__", lambda *_: None)
    assert main() == 1
    errors = capsys.readouterr().err
    assert f"error: --video {path}: {message}" in errors
    assert "Traceback" not in errors


def test_a_video_without_hands_is_one_line(video, monkeypatch):
    class Blind(FakeDetector):
        def detect(self, image, time_s):
            super().detect(image, time_s)
            return []

    monkeypatch.setattr(video_hands, "HandDetector", Blind)
    with pytest.raises(ValueError, match="MediaPipe finds no hand that is whole in the image"):
        see_hands(video, SIZE)
