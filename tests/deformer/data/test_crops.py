"""Frames that the device warps: those that readers warp, to a grey level."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from deformer.data import crops as crops_module
from deformer.data import workers as data_workers
from deformer.data.augment import AugmentConfig, crop_to_input, draw, warp_to_input
from deformer.data.batch import Batch
from deformer.data.crops import Crops, pack_crops, warp_crops
from deformer.data.order import OrderConfig
from deformer.data.store import open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.data.windows import WindowConfig
from deformer.data.workers import read_ahead
from tests.deformer.data.conftest import labelled_clip
from tests.pipelines.handmade import build_dataset

CPU = torch.device("cpu")
CONFIG = StreamConfig(size=64, window=WindowConfig(3, 2), order=OrderConfig(8, mix_clips=3), seed=1)


def assert_same_but_for_a_grey_level(one: Batch, other: Batch) -> None:
    difference = (one.images.int() - other.images.int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 0.01
    assert one.images.shape == other.images.shape and one.images.dtype == other.images.dtype
    assert one.skipped == other.skipped
    for name in Batch._fields[1:-1]:
        assert torch.equal(getattr(one, name).nan_to_num(), getattr(other, name).nan_to_num())


@pytest.mark.parametrize("workers", [0, 1])
def test_the_device_makes_the_batches_that_readers_make(dataset, workers):
    store, index = open_store(dataset)
    expected = list(Stream(CONFIG, store, index).batches())
    stream = Stream(CONFIG, store, index, workers=workers, warp_on=CPU)
    batches = list(stream.batches())
    for one, other in zip(batches, expected, strict=True):
        assert_same_but_for_a_grey_level(one, other)
    (again,) = stream.batches(3, 4)
    assert torch.equal(again.images, batches[3].images)
    assert stream.fingerprint == Stream(CONFIG, store, index).fingerprint


@pytest.mark.parametrize("size", [24, 200])  # smaller than the crops, and larger
def test_crops_of_all_sizes_are_warped_as_opencv_does(monkeypatch, size):
    rng = np.random.default_rng(size)
    shapes = [(50, 90), (80, 40), (16, 16), (90, 90), (33, 71)]
    pixels = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    rows = np.array([[7, 7, 9], [3, 4, 9]])  # two and three frames
    affine = np.empty((2, 3, 3, 3))
    for b in range(2):
        drawn = draw(AugmentConfig(), rng)
        for t, row in enumerate(rows[b]):
            centre = np.array([[40.0 + row, 35.0]])
            affine[b, t] = crop_to_input(centre, np.array([50.0 + row]), drawn, size)[0]
    crops = pack_crops([pixels[:2], pixels[2:]], rows, affine)
    images = warp_crops(crops, size, CPU)
    of_frame, outside = [[0, 0, 1], [2, 3, 4]], 0
    for b, t in np.ndindex(2, 3):
        expected = warp_to_input(pixels[of_frame[b][t]], affine[b, t], size)
        difference = np.abs(images[b, t].numpy().astype(int) - expected)
        assert difference.max() <= 1
        outside += (expected == 0).all(-1).sum()
    assert outside > 0
    monkeypatch.setattr(crops_module, "_AT_ONCE", 2)
    assert (warp_crops(crops, size, CPU).int() - images.int()).abs().max() <= 1


def test_a_frame_that_a_window_repeats_travels_once(dataset):
    stream = Stream(CONFIG, *open_store(dataset), warp_on=CPU)
    batch = stream.read(0)
    distinct = sum(len(set(rows)) for rows in batch.rows.tolist())
    assert len(batch.images.pixels) == distinct < batch.rows.numel()


@pytest.mark.parametrize("workers", [0, 1])
def test_crops_are_pinned_with_the_rest(dataset, monkeypatch, workers):
    """Without a GPU: what pins is stood in for."""
    pinned = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(data_workers, "_pinned", lambda data: pinned.append(data) or data.clone())
    read = Stream(CONFIG, *open_store(dataset), warp_on=CPU).read
    (batch,) = read_ahead(read, range(1), workers, True)
    expected = read(0)
    assert isinstance(batch.images, Crops)
    assert all(map(torch.equal, batch.images.pixels, expected.images.pixels))
    assert torch.equal(batch.images.input_to_crop, expected.images.input_to_crop)
    assert sum(data.nbytes for data in pinned) > sum(c.nbytes for c in expected.images.pixels)


def test_windows_of_corrupt_frames_are_left_out_alike(tmp_path):
    clip = labelled_clip("clip", seed=3, num_frames=6)
    clip.images[2] = b"\xff\xd8\xff\xe0 this is no JPEG"
    folder = build_dataset(tmp_path / "dataset", [[clip]])
    streams = [Stream(CONFIG, *open_store(folder), warp_on=warp_on) for warp_on in (None, CPU)]
    one, other = (list(stream.batches()) for stream in streams)
    for expected, batch in zip(one, other, strict=True):
        assert_same_but_for_a_grey_level(batch, expected)
    assert streams[0].skipped == streams[1].skipped != {}


def test_depth_is_refused(tmp_path):
    clip = labelled_clip("clip", seed=3, num_frames=4, depth=True)
    folder = build_dataset(tmp_path / "dataset", [[clip]])
    make = partial(Stream, replace(CONFIG, input="depth"), *open_store(folder))
    make()
    with pytest.raises(ValueError, match="warp_on is cpu, but only readers warp depth"):
        make(warp_on=CPU)
