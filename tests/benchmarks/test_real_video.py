"""A network measured on a video: the measure by hand, the rest on a synthesized video."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import real_video
from benchmarks.evaluation.predictions import read_predictions
from benchmarks.real_video import agreement, load_network, main, measure
from deformer.data.batch import without_padding
from deformer.data.store import open_store
from deformer.data.stream import Stream
from deformer.data.windows import WindowConfig
from deformer.video import hands as video_hands
from deformer.video.hands import (
    PredictedHands,
    SeenHands,
    encode_hands,
    guess_intrinsics,
    predict_hands,
)
from tests.benchmarks.untrained import save_untrained
from tests.commands import call
from tests.deformer.small_runs import VERY_SMALL, changed, make_stream
from tests.deformer.video.videos import FakeDetector, seen_hands, write_video

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


def test_joints_of_both_kinds_are_measured():
    seen = seen_hands([0, 1, 0], [False, False, True], 2)
    exact = seen.landmarks_px.copy()
    exact[2] += 1000
    rays = np.concatenate([exact, np.ones((3, 21, 1))], -1)
    joints_cam_m = 0.5 * rays @ np.linalg.inv(guess_intrinsics(seen.image_wh)).T
    joints_cam_m[0, :, 0] = 9
    found = measure(seen, PredictedHands(exact, joints_cam_m, np.zeros((3, 778, 3))))
    shares = {kind: values["within_0.1"] for kind, values in found.items()}
    assert shares == {"joints_2d": pytest.approx(2 / 3), "projected_3d": pytest.approx(1 / 3)}


# ---------------------------------------------------------------------------------- the network


def test_a_video_gives_what_the_same_frames_in_shards_give(data, run, result, tmp_path):
    """The frames of each clip as if they were a video, their true joints as landmarks."""
    predicted = read_predictions(result / "predictions.parquet")
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
        found = predict_hands(model, seen, encode_hands(model, seen), VERY_SMALL.stream.window)
        expected = predicted["joints_m"][np.searchsorted(predicted["row"], rows[chosen, 0])]
        rooted = found.joints_cam_m - found.joints_cam_m[:, :1]
        assert np.allclose(rooted, expected.reshape(-1, 21, 3), atol=1e-5)
        sides |= set(seen.is_left.tolist())
        assert len(frame) == 5
    assert sides == {True, False}


def test_networks_that_a_video_cannot_serve_are_refused(data, hands, tmp_path):
    by_occlusion, other = (
        changed("model", fusion="occlusion"),
        replace(hands, sha256="0123456789ab"),
    )
    stream = make_stream(data)
    for message, run in (
        ("fuses by occlusion, which nobody knows of a video",
         save_untrained(tmp_path / "occlusion", stream, hands, by_occlusion)),
        ("another hand model: standin 0123456789ab, here is",
         save_untrained(tmp_path / "other", stream, other)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            load_network(real_video.Options(run, tmp_path))


# ----------------------------------------------------------------------------------- the command


@pytest.fixture
def video(tmp_path) -> Path:
    return write_video(tmp_path)


def test_the_command_writes_numbers_and_a_sheet(run, video, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(video_hands, "HandDetector", FakeDetector)
    monkeypatch.setattr(real_video, "version", lambda name: "0.0")
    out = tmp_path / "out"
    status = call(main, "--checkpoint", run, "--video", video, "--out", out)
    assert status == 0, capsys.readouterr().err
    result = json.loads((out / "real_video.json").read_text())
    assert result["hands"] == {"right": 3, "left": 4}
    assert result["detections_left_out"] == 1
    assert result["agreement"].keys() == {"single", "window"}
    sheet = cv2.imread(str(out / "real_video.png"))
    assert sheet.shape == (480, 1920, 3)  # seven pairs in two rows


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such video"), (b"no video", "is no video: it is damaged or cut off")],
)
def test_what_is_no_video_is_one_line(run, tmp_path, monkeypatch, capsys, content, message):
    monkeypatch.setattr(video_hands, "HandDetector", None)  # it is not started
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    assert call(main, "--checkpoint", run, "--video", path, "--out", tmp_path) == 1
    errors = capsys.readouterr().err
    assert re.search(rf"error: {re.escape(str(path))}:? {message}", errors)
    assert "Traceback" not in errors
