"""Depth as the stream's input: stored values, none blended, where the labels say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deformer.data.augment import AugmentConfig, Draw, crop_to_input, draw
from deformer.data.batch import collate, empty_images, read_window, to_input
from deformer.data.order import OrderConfig
from deformer.data.store import ClipReader, open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.data.windows import WindowConfig
from deformer.files.images import decode_depth, encode_png
from deformer.hand.box import hand_box
from tests.deformer.data.conftest import labelled_clip
from tests.pipelines.handmade import CROP_SIZE, build_dataset, depth_of

SIZE = 64
CONFIG = StreamConfig(
    split="all", size=SIZE, input="depth", window=WindowConfig(3, 2), order=OrderConfig(8), seed=1
)
SEEDS = (3, 4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Two clips of five frames in one shard; a frame is not valid."""
    clips = [
        labelled_clip(f"clip-{seed}", seed=seed, num_frames=5, depth=True, invalid=[2][seed - 3 :])
        for seed in SEEDS
    ]
    return build_dataset(tmp_path_factory.mktemp("depth") / "dataset", [clips])


def test_the_reader_finds_every_depth_image(dataset):
    store, index = open_store(dataset)
    reader = ClipReader(store, index, 2)
    for row in np.flatnonzero(index.numbers["valid"]):
        seed, frame = SEEDS[index.clip[row]], int(index.numbers["clip_index"][row])
        np.testing.assert_array_equal(decode_depth(reader.depth(row)), depth_of(seed, frame))
        assert reader.member_name(row, "depth_") == f"clip-{seed}.{frame:06d}.depth.png"


@pytest.mark.parametrize("seed", range(4))
def test_every_pixel_is_the_nearest_of_the_crop(dataset, seed):
    store, index = open_store(dataset)
    drawn = Draw() if seed == 0 else draw(AugmentConfig(), np.random.default_rng(seed))
    images = empty_images((3,), SIZE, "depth")
    rows = np.array([5, 5, 7])
    window = read_window(ClipReader(store, index, 2), rows, 1, drawn, images)
    affine = crop_to_input(*hand_box(window.labels["box_px"].astype(float)), drawn, SIZE)
    v, u = np.mgrid[:SIZE, :SIZE]
    width, height = CROP_SIZE
    for t, frame in enumerate((0, 0, 2)):
        back = np.linalg.inv(affine[t])
        x, y = np.einsum("ij,jhw->ihw", back[:2, :2], np.stack([u, v])) + back[:2, 2, None, None]
        # OpenCV computes positions to 1/1024 px
        is_clear = (abs(x % 1 - 0.5) > 0.01) & (abs(y % 1 - 0.5) > 0.01)
        x, y = np.rint(x).astype(int), np.rint(y).astype(int)
        is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        depth = depth_of(SEEDS[1], frame)
        expected = np.where(is_inside, depth[y.clip(0, height - 1), x.clip(0, width - 1)], 0)
        np.testing.assert_array_equal(images[t, ..., 0][is_clear], expected[is_clear])
        assert is_clear.mean() > 0.9 and is_inside.any()
        assert np.isin(images[t], [0, *depth.ravel()]).all()  # nothing is blended


def test_a_batch_of_depth_has_the_windows_and_labels_of_the_batch_of_colour(dataset):
    streams = [
        Stream(config, *open_store(dataset)) for config in (CONFIG, replace(CONFIG, input="rgb"))
    ]
    depth, colour = (next(stream.batches()) for stream in streams)
    assert depth.images.shape == (8, 3, SIZE, SIZE, 1) and depth.images.dtype == torch.uint16
    for name in depth._fields[1:-1]:
        one, other = getattr(depth, name), getattr(colour, name)
        assert torch.equal(one.nan_to_num(), other.nan_to_num()), name
    assert streams[0].fingerprint == streams[1].fingerprint


def test_the_input_is_metres_without_a_change_of_colours(dataset):
    batch = next(Stream(CONFIG, *open_store(dataset)).batches())
    assert (batch.photometric != batch.photometric.new_tensor([1, 1, 1, 0, 0])).any()
    images = to_input(batch)
    assert images.shape == (8, 3, 1, SIZE, SIZE) and images.dtype == torch.float32
    expected = batch.images.numpy().astype(np.float32)[:, :, None, ..., 0] / 1000
    np.testing.assert_allclose(images, expected, rtol=1e-6)
    assert images.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_the_same_batches_with_workers(dataset):
    alone, with_workers = (
        list(Stream(CONFIG, *open_store(dataset), workers=workers).batches(0, 2))
        for workers in (0, 1)
    )
    for one, other in zip(alone, with_workers, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.rows, other.rows)


def test_a_corrupt_depth_image_is_left_out_by_depth_alone(tmp_path):
    clip = labelled_clip("clip", seed=0, num_frames=4, depth=True)
    clip.depths[3] = encode_png(np.zeros((80, 96, 3), np.uint8))
    folder = build_dataset(tmp_path / "dataset", [[clip]])
    config = replace(CONFIG.for_evaluation("all"), window=WindowConfig(1, 1))
    stream = Stream(config, *open_store(folder))
    (batch,) = stream.batches()
    assert sorted(batch.rows[~batch.is_padding, 0].tolist()) == [0, 1, 2]
    assert [name.split(":")[0] for name in stream.skipped] == ["clip.000003.depth.png"]
    (batch,) = Stream(replace(config, input="rgb"), *open_store(folder)).batches()
    assert sorted(batch.rows[~batch.is_padding, 0].tolist()) == [0, 1, 2, 3]


def test_depth_of_shards_without_depth_is_refused_before_the_first_step(tmp_path):
    folder = build_dataset(tmp_path / "plain", [[labelled_clip("clip", seed=0)]])
    with pytest.raises(ValueError, match=r"input is depth, but .*plain is built without depth: .*"):
        Stream(CONFIG, *open_store(folder))


def test_evaluation_keeps_the_input():
    assert CONFIG.for_evaluation("all").input == "depth"


def test_collated_values_stay_integers(dataset):
    store, index = open_store(dataset)
    images = empty_images((1,), SIZE, "depth")
    window = read_window(ClipReader(store, index, 2), np.array([0]), 0, Draw(), images)
    assert torch.equal(collate(images[None], [window], [False]).images[0], torch.from_numpy(images))
