"""Speed of the stream alone, and how well it mixes clips."""

import platform
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from deformer.data.crops import warp_crops
from deformer.data.order import OrderConfig
from deformer.data.store import open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.program.processor import usable_cores

_WAYS = {"readers": None, "device": torch.device("cuda" if torch.cuda.is_available() else "cpu")}
"""Who warps the frames."""


@dataclass(frozen=True)
class StreamSpeed:
    """Measure the stream, with all augmentation that runs on the CPU."""

    data: str
    """A built dataset."""
    split: str = "all"
    sizes: tuple[int, ...] = (128, 256, 512)
    """Sides of the input, px."""
    windows: int = 400
    """Windows read per measurement."""
    repeats: int = 3
    """Measurements per size; medians are taken."""
    out: Path = Path("results/speed")
    """The folder for stream.json."""


def measure_stream(config: StreamSpeed) -> dict:
    """Windows per second of one reader on one core, by who warps and by size. Where a device warps,
    that is the reader's part alone; the device's is measured on a GPU."""
    store, index = open_store(config.data)
    base = StreamConfig(split=config.split, order=OrderConfig(global_batch=8))
    speed, cpu_speed = ({way: {} for way in _WAYS} for _ in range(2))
    warp_ms = {}
    for size in config.sizes:
        for way, device in _WAYS.items():
            stream = Stream(replace(base, size=size), store, index, warp_on=device)
            speed[way][size], cpu_speed[way][size] = _reader_speed(stream, config)
        if torch.cuda.is_available():
            warp_ms[size] = _warp_ms(stream, config.repeats)
    mixed, full = stream.clips_mixed()
    distinct = (~(stream.windows.rows[:, 1:] == stream.windows.rows[:, :-1])).sum(1).mean() + 1
    return {
        "machine": f"{usable_cores()} cores, {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "windows": len(stream.windows),
        "distinct_frames_per_window": float(distinct),
        "windows_per_second_by_size": speed["readers"],
        "windows_per_cpu_second_by_size": cpu_speed["readers"],
        "windows_per_second_by_size_where_a_device_warps": speed["device"],
        "windows_per_cpu_second_by_size_where_a_device_warps": cpu_speed["device"],
        "gpu_ms_per_window_to_warp_by_size": warp_ms,
        "clips_among_64_windows": mixed,
        "clips_among_64_windows_shuffled": full,
    }


def _reader_speed(stream: Stream, config: StreamSpeed) -> tuple[float, float]:
    """Windows per second and per second of the CPU; every repeat reads other windows."""
    wall, cpu = [], []
    num = config.windows // 8
    for k in range(config.repeats):
        first = 1 + k * (num + 1)
        stream.read(first)  # opens files
        start, start_cpu = time.perf_counter(), time.process_time()
        read = sum(len(stream.read(step).rows) for step in range(first + 1, first + 1 + num))
        wall.append(read / (time.perf_counter() - start))
        cpu.append(read / (time.process_time() - start_cpu))
    return statistics.median(wall), statistics.median(cpu)


def _warp_ms(stream: Stream, repeats: int) -> float:
    """Milliseconds per window that the GPU needs for a batch, its way there included."""
    crops = stream.read(0).images
    crops = crops._replace(pixels=tuple(crop.pin_memory() for crop in crops.pixels))
    seconds = []
    for _ in range(3 + repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        warp_crops(crops, stream.config.size, stream.warp_on)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[3:]) / len(crops.places)
