"""Hands of a video in Python."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deformer import inference
from deformer.data.batch import as_float
from deformer.data.windows import WindowConfig, clip_windows
from deformer.hand.camera import project
from deformer.network.model import Deformer
from deformer.video import predictor
from deformer.video.hands import boxes_in_image, boxes_of_inputs, crop_hands
from deformer.video.network import flat_length_m
from deformer.video.predictor import HandOptions, Predictor
from deformer.video.stream import rate_of
from deformer.video.track import Track
from tests.deformer.small_runs import VERY_SMALL
from tests.deformer.video.networks import write_random_weights

FRAMES = np.random.default_rng(0).integers(0, 255, (24, 64, 64, 3), np.uint8)
WINDOW = WindowConfig(7, 3)


def track(number: int, first: int, last: int, is_left: bool, missing=()) -> Track:
    frames = np.arange(first, last + 1)
    corner = np.stack([10 + frames, np.full(len(frames), 12.0)], 1)
    is_observed = ~np.isin(frames, missing)
    detection = np.where(is_observed, 0.9, np.nan).astype(np.float32)
    return Track(number, is_left, frames, np.hstack([corner, corner + 20]), is_observed, detection)


TRACKS = [track(0, 0, 23, False, (7, 8)), track(1, 5, 20, True)]


@pytest.fixture
def tracks(monkeypatch) -> list[Track]:
    """MediaPipe finds these."""
    found = list(TRACKS)
    monkeypatch.setattr(predictor, "detect_video", lambda frames, num_hands: [[] for _ in frames])
    monkeypatch.setattr(predictor, "follow", lambda detections, wh, times_s, options: found)
    return found


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_random_weights(tmp_path_factory.mktemp("weights") / "small.safetensors", WINDOW)


def predict(weights, frames=FRAMES, **options):
    return Predictor(weights, device="cpu", **options)(frames)


def test_rows_are_those_of_whole_windows(weights, tracks):
    rows = predict(weights)
    network = Predictor(weights, device="cpu").network
    for found in tracks:
        mine = rows.at((rows.track == found.track) & rows.is_observed)
        seen = found.frames[found.is_observed]
        assert mine.frame.tolist() == seen.tolist()
        tight = found.boxes_px[found.is_observed]
        crops = [crop_hands(FRAMES[k], box[None], network.size)[0] for k, box in zip(seen, tight)]  # noqa: B905
        images = as_float(torch.from_numpy(np.stack(crops)))
        boxes, N = torch.from_numpy(boxes_of_inputs(len(seen), network.size)), len(seen)
        is_left = np.full(N, found.is_left)
        features = inference.encode(network.model, images, boxes, torch.from_numpy(is_left))
        K = np.broadcast_to(predictor.camera_of(None, None, (64, 64)).K, (N, 3, 3))
        places = np.zeros(24, bool)
        places[seen] = True
        windows = np.searchsorted(seen, clip_windows(places, WINDOW))
        frames = inference.Frames(features, is_left, boxes_in_image(tight), K)
        expected = inference.decode(network.model, frames, windows, WINDOW.centre)
        joints = expected.joints_m + expected.wrist_cam_m[:, None]
        np.testing.assert_allclose(mine.joints_cam_m, joints, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(mine.joints_px, expected.joints_px, atol=1e-4)
        np.testing.assert_allclose(mine.pose_rotvec, expected.pose_rotvec, atol=1e-5)
        np.testing.assert_allclose(mine.weights, expected.weights, atol=1e-5)
        np.testing.assert_allclose(mine.box_px, boxes_in_image(tight), atol=1e-4)
        assert (mine.is_left == found.is_left).all()


def test_rows_are_in_the_order_of_frames_then_tracks(weights, tracks):
    rows = predict(weights, fps=10)
    assert len(rows.frame) == 24 + 16
    order = list(zip(rows.frame.tolist(), rows.track.tolist(), strict=True))
    assert order == sorted(order)
    np.testing.assert_allclose(rows.time_s, rows.frame / 10)
    assert rows.weights.shape == (40, 7)


def test_each_frame_of_a_hand_is_encoded_once(weights, tracks, monkeypatch):
    """Windows of 7 frames at every frame would encode 7 times as many."""
    num_encoded, real = [], Deformer.encode_frames

    def counted(self, images, boxes_px, is_left):
        num_encoded.append(len(images))
        return real(self, images, boxes_px, is_left)

    monkeypatch.setattr(Deformer, "encode_frames", counted)
    rows = predict(weights)
    num_hands = int(rows.is_observed.sum())
    assert sum(num_encoded) == num_hands == 38
    assert max(num_encoded) <= 16
    assert num_hands * WINDOW.num_frames >= 6 * sum(num_encoded)


def test_a_gap_is_filled_without_a_look_at_its_frames(weights, tracks):
    tracks[1:] = []
    rows = predict(weights)
    gap = rows.at(np.isin(rows.frame, (7, 8)))
    assert gap.is_observed.tolist() == [False, False]
    assert np.isnan(gap.detection).all()
    others = FRAMES.copy()
    others[7:9] = 0
    for value, expected in zip(predict(weights, others), rows, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_networks_of_single_frames_turn_evenly_over_a_gap(tmp_path, tracks):
    window = WindowConfig(1, 10)
    path = write_random_weights(tmp_path / "frames.safetensors", window, "center")
    rows = predict(path)
    mine = rows.at(rows.track == 0)
    assert mine.weights.shape == (24, 1)
    assert mine.weights[:, 0].tolist() == [0.0 if k in (7, 8) else 1.0 for k in range(24)]
    steps = np.diff(mine.joints_cam_m[6:10, 0], axis=0)
    np.testing.assert_allclose(steps, steps[:1].repeat(3, 0), atol=1e-5)


def test_gaps_are_filled_up_to_half_a_window(tmp_path, monkeypatch):
    asked = {}

    def follow(detections, wh, times_s, options):
        asked[num] = options.fill_frames
        return []

    monkeypatch.setattr(predictor, "detect_video", lambda frames, num_hands: [[] for _ in frames])
    monkeypatch.setattr(predictor, "follow", follow)
    for num in (1, 7):
        path = write_random_weights(tmp_path / f"{num}.safetensors", WindowConfig(num, 10))
        assert len(predict(path, fps=60).frame) == 0
    assert asked == {1: 20, 7: 60}


def test_a_measured_hand_sets_the_scale_and_stays_on_its_rays(weights, tracks):
    rows, measured = predict(weights), predict(weights, hand_length=190)
    network = Predictor(weights, device="cpu").network
    length = flat_length_m(network.model, measured.betas, measured.is_left)
    np.testing.assert_allclose(length * measured.scale, 0.19, rtol=1e-5)
    K = predictor.camera_of(None, None, (64, 64)).K
    np.testing.assert_allclose(
        project(measured.joints_cam_m, K), project(rows.joints_cam_m, K), rtol=1e-3, atol=1e-3
    )
    ratio = measured.wrist_cam_m / rows.wrist_cam_m
    np.testing.assert_allclose(ratio, measured.scale[:, None].repeat(3, 1), rtol=1e-4)
    assert (rows.scale == 1).all()


def test_less_delay_sees_less(weights, tracks):
    causal = predict(weights, delay=0)
    changed = FRAMES.copy()
    changed[15:] = 0
    again = predict(weights, changed, delay=0)
    past = causal.frame < 15
    np.testing.assert_array_equal(again.joints_cam_m[past], causal.joints_cam_m[past])
    ahead = predict(weights, changed)
    assert not np.allclose(ahead.joints_cam_m[past], predict(weights).joints_cam_m[past])


def test_smoothing_changes_neither_frames_nor_tracks(weights, tracks):
    rows, smooth = predict(weights), predict(weights, smooth=True)
    np.testing.assert_array_equal(smooth.frame, rows.frame)
    np.testing.assert_array_equal(smooth.track, rows.track)
    assert np.abs(smooth.joints_cam_m - rows.joints_cam_m).max() > 1e-3


def test_images_come_from_any_iterable(weights, tracks):
    rows = predict(weights)
    for frames in (list(FRAMES), (frame for frame in FRAMES)):
        np.testing.assert_array_equal(predict(weights, frames).joints_cam_m, rows.joints_cam_m)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "there are no frames"),
        ([FRAMES[0], FRAMES[1, :32]], "frame 1 has shape .* all must be alike"),
        ([FRAMES[0] / 255], "of float64, must be .*uint8"),
        ([FRAMES[0, ..., 0]], r"frame 0 has shape \(64, 64\)"),
    ],
)
def test_other_arrays_are_refused(weights, tracks, frames, message):
    with pytest.raises(ValueError, match=message):
        predict(weights, frames)


def test_a_hand_that_is_never_seen_has_no_rows(weights, tracks):
    tracks[:] = [replace(TRACKS[0], is_observed=np.zeros(24, bool))]
    assert len(predict(weights).frame) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hand_length": 18.5}, "--hand-length is 18.5, must be 50 to 300 mm"),
        ({"num_hands": 5}, "--num-hands is 5, must be 1 to 4"),
        ({"delay": -1}, "--delay is -1"),
        ({"fps": 0}, "--fps is 0"),
        ({"fov": 60, "intrinsics": "1,1,1,1"}, "exclude each other"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        HandOptions(**options)


def test_the_network_knows_its_inputs(weights):
    network = Predictor(weights, device="cpu").network
    assert (network.size, network.window) == (VERY_SMALL.stream.size, WINDOW)
    assert network.licence == "not stated"
    with pytest.raises(ValueError, match="--device nothing cannot be used"):
        Predictor(weights, device="nothing")


@pytest.mark.parametrize(
    ("times", "stated", "expected"),
    [
        (np.arange(9) / 30, 1000, 30),  # a browser's recording
        ([0, 1 / 30, 2 / 30, 8, 8 + 1 / 30], 3.9, 30),  # a pause
        (np.round(np.arange(9) / 29.97, 3), 29.97, 29.97),
        ([0.0], 25, 25),
    ],
)
def test_the_rate_is_that_of_most_frames(times, stated, expected):
    assert rate_of(list(times), stated) == pytest.approx(expected, rel=1e-6)
