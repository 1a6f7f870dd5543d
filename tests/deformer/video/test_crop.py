"""Hands are cut out of a video as training's are cut out of the shards."""

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
from deformer.video.crop import boxes_in_image, boxes_of_inputs, crop_hands
from tests.deformer.small_runs import build_dataset

SIZE = 64


@pytest.fixture(scope="module")
def streamed(raw_root) -> tuple:
    """Dataset, and all its frames as the stream gives them, one by one."""
    folder = build_dataset(raw_root)
    config = StreamConfig(size=SIZE, window=WindowConfig(num_frames=1)).for_evaluation("all")
    stream = Stream(config, *open_store(folder))
    return folder, [without_padding(batch) for batch in stream.batches()]


def test_a_hand_is_cut_out_of_a_frame_as_the_stream_cuts_it(raw_root, streamed):
    folder, batches = streamed
    frames = pq.read_table(folder / "frames.parquet").to_pylist()
    compared = 0
    for batch in batches:
        for row, expected in zip(batch.rows[:, 0].tolist(), batch.images[:, 0], strict=True):
            frame = frames[row]
            place = raw_root / frame["subject"] / frame["sequence"] / frame["camera"]
            jpeg = (place / f"color_{frame['frame']:06d}.jpg").read_bytes()
            image = decode_jpeg(jpeg)
            box = np.array(frame["box_px"]) + np.tile(frame["crop_xywh"][:2], 2)
            (found,) = crop_hands(image, box[None], SIZE)
            assert np.abs(found.astype(int) - expected.numpy()).max() <= 1
            compared += 1
    assert compared == 35


def test_the_box_of_an_input_is_the_stream_s(streamed):
    batch = streamed[1][0]
    boxes = boxes_of_inputs(len(batch.boxes_px), SIZE)
    assert np.allclose(boxes, batch.boxes_px[:, 0], atol=1e-3)


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
