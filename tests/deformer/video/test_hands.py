"""The hands of a video and their windows."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from deformer.data.augment import Draw, crop_to_input
from deformer.data.batch import without_padding
from deformer.data.store import open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.data.windows import WindowConfig
from deformer.files.images import decode_jpeg
from deformer.hand.box import hand_box
from deformer.video import hands as video_hands
from deformer.video.hands import (
    boxes_in_image,
    boxes_of_inputs,
    crop_hands,
    hand_windows,
    see_hands,
    surest,
)
from tests.deformer.small_runs import build_dataset
from tests.deformer.video.videos import SIZE, FakeDetector, hand, seen_hands, write_video


@pytest.fixture
def video(tmp_path) -> Path:
    return write_video(tmp_path)


def test_the_surest_hand_of_a_side_that_is_whole_in_the_image_is_taken():
    sure, unsure, outside = hand(50, 50, score=0.9), hand(90, 50, score=0.6), hand(10, 50, score=1)
    left = hand(90, 60, "left", 0.5)
    assert surest([unsure, left, outside, sure], (160, 120)) == [sure, left]
    assert surest([outside], (160, 120)) == []


def test_windows_stay_with_a_side_and_among_the_frames_it_was_seen_in():
    seen = seen_hands([0, 1, 2, 4, 1, 2, 3], [False] * 4 + [True] * 3, 5)
    windows = hand_windows(seen, WindowConfig(num_frames=3, gap=1))
    assert seen.frame[windows].tolist() == [
        [0, 0, 1], [0, 1, 2], [1, 2, 2], [4, 4, 4], [1, 1, 2], [1, 2, 3], [2, 3, 3],
    ]  # fmt: skip
    assert (seen.is_left[windows] == seen.is_left[:, None]).all()


def test_hands_are_right_ones_first_each_side_by_frame(video, monkeypatch):
    monkeypatch.setattr(video_hands, "HandDetector", FakeDetector)
    seen = see_hands(video, SIZE)
    assert seen.frame.tolist() == [1, 2, 4, 0, 1, 2, 4]
    assert seen.is_left.tolist() == [False] * 3 + [True] * 4
    assert (seen.image_wh, seen.num_frames, seen.num_left_out) == ((160, 120), 5, 1)
    middle = seen.inputs[:, SIZE // 2, SIZE // 2, 0].astype(int)
    assert np.abs(middle - 40 * seen.frame).max() <= 2


def test_a_video_without_hands_is_one_line(video, monkeypatch):
    class Blind(FakeDetector):
        def detect(self, image, time_s):
            super().detect(image, time_s)
            return []

    monkeypatch.setattr(video_hands, "HandDetector", Blind)
    with pytest.raises(ValueError, match="MediaPipe finds no hand that is whole in the image"):
        see_hands(video, SIZE)


def test_a_hand_is_cut_out_of_a_frame_as_the_stream_cuts_it(raw_root):
    """All frames of a dataset, one by one."""
    folder = build_dataset(raw_root)
    config = StreamConfig(size=SIZE, window=WindowConfig(num_frames=1)).for_evaluation("all")
    frames = pq.read_table(folder / "frames.parquet").to_pylist()
    compared = 0
    for batch in map(without_padding, Stream(config, *open_store(folder)).batches()):
        boxes = boxes_of_inputs(len(batch.images), SIZE)
        np.testing.assert_allclose(boxes, batch.boxes_px[:, 0], atol=1e-3)
        for row, expected in zip(batch.rows[:, 0].tolist(), batch.images[:, 0], strict=True):
            frame = frames[row]
            place = raw_root / frame["subject"] / frame["sequence"] / frame["camera"]
            image = decode_jpeg((place / f"color_{frame['frame']:06d}.jpg").read_bytes())
            box = np.array(frame["box_px"]) + np.tile(frame["crop_xywh"][:2], 2)
            (found,) = crop_hands(image, box[None], SIZE)
            assert np.abs(found.astype(int) - expected.numpy()).max() <= 1
            compared += 1
    assert compared == 35


def test_points_in_the_box_come_back_to_where_they_were_in_the_image():
    rng = np.random.default_rng(0)
    points = rng.uniform([-20, 10], [300, 200], (3, 21, 2))
    boxes = np.concatenate([points.min(1), points.max(1)], 1)
    affine = crop_to_input(*hand_box(boxes), Draw(), SIZE)
    in_input = points @ affine[:, :2, :2].transpose(0, 2, 1) + affine[:, None, :2, 2]
    corner, opposite = np.split(boxes_in_image(boxes)[:, None], 2, -1)
    assert np.allclose(corner + (in_input + 0.5) / SIZE * (opposite - corner), points)


def test_what_lies_outside_the_image_is_black():
    (found,) = crop_hands(np.full((50, 50, 3), 255, np.uint8), np.array([[-20, 10, 20, 50]]), 60)
    assert not found[:, :28].any()
    assert not found[51:].any()
    assert (found[1:48, 31:] == 255).all()
