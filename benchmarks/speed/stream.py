"""Speed of reading windows from shards."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import torch

from benchmarks.speed.figure import Figure, processor_seconds
from benchmarks.speed.material import Material
from deformer.data.augment import warp_to_input
from deformer.data.crops import Crops, warp_crops
from deformer.data.order import OrderConfig
from deformer.data.store import ClipReader, open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.files.images import decode_jpeg

_BATCH, _STEPS, _REPEATS = 8, 25, 3
_CONFIG = StreamConfig(split="all", order=OrderConfig(global_batch=_BATCH))
_HAS_GPU = torch.cuda.is_available()
_DEVICE = torch.device("cuda" if _HAS_GPU else "cpu")


def stream(material: Material) -> Iterator[Figure]:
    """Windows of 7 frames, 10 apart, with all augmentation, of one reader; where a device warps,
    the reader's part alone."""
    store, index = open_store(material.data)
    for size, warps, aim in ((512, "device", 350), (512, "reader", None), (256, "reader", 400)):
        warp_on = _DEVICE if warps == "device" else None
        reader = Stream(replace(_CONFIG, size=size), store, index, warp_on=warp_on)
        floor, floor_is = _floor(reader)
        what = f"windows of 7×{size}², the {warps} warps, a core"
        yield Figure("stream", what, _speed(reader), "windows/s", aim, floor, floor_is)
        if _HAS_GPU and warp_on:
            what = f"warp of a window of 7×{size}² on {torch.cuda.get_device_name()}"
            yield Figure("stream", what, _warp_ms(reader), "ms")


def _speed(reader: Stream) -> float:
    """Windows per second of processor time; every repeat reads other windows."""
    speeds = []
    for k in range(_REPEATS):
        first = k * (_STEPS + 1)
        reader.read(first)  # opens files
        start = time.process_time()
        for step in range(first + 1, first + 1 + _STEPS):
            reader.read(step)
        speeds.append(_STEPS * _BATCH / (time.process_time() - start))
    return statistics.median(speeds)


def _floor(reader: Stream) -> tuple[float, str]:
    """Windows per second if nothing but decoding, or decoding and warping, were done; and which."""
    rows = reader.windows.rows[: _BATCH * 4]
    files = ClipReader(reader.store, reader.index, 1)
    jpegs = [files.image(row) for row in np.unique(rows).tolist()]
    colours = "RGBX" if reader.warp_on is None else "RGB"  # as readers do it
    seconds = processor_seconds(lambda: [decode_jpeg(jpeg, colours) for jpeg in jpegs]) / len(jpegs)
    if reader.warp_on is None:
        seconds += _warp_seconds(reader, [decode_jpeg(jpeg, "RGBX") for jpeg in jpegs])
    frames_per_window = np.mean([len(np.unique(of_window)) for of_window in reader.windows.rows])
    what = "decoding and warping alone" if reader.warp_on is None else "decoding alone"
    return 1 / (seconds * frames_per_window), what


def _warp_seconds(reader: Stream, crops: list[np.ndarray]) -> float:
    """Per frame, as a reader warps it: the hand's half of a crop fills the input."""
    size = reader.config.size

    def warp() -> None:
        for crop in crops:
            scale = 2 * size / max(crop.shape[:2])
            affine = np.array([[scale, 0, -size / 2], [0, scale, -size / 2], [0, 0, 1]])
            cv2.cvtColor(warp_to_input(crop, affine, size), cv2.COLOR_RGBA2RGB)

    return processor_seconds(warp) / len(crops)


def _warp_ms(reader: Stream) -> float:
    """Milliseconds per window that a GPU needs for a batch, the way there included."""
    crops: Crops = reader.read(0).images
    crops = crops._replace(pixels=tuple(crop.pin_memory() for crop in crops.pixels))
    seconds = []
    for _ in range(3 + _REPEATS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        warp_crops(crops, reader.config.size, reader.warp_on)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[3:]) / len(crops.places)
