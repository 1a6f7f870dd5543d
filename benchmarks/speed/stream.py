"""Speed of the stream alone, and how well it mixes clips."""

import platform
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

from deformer.data.order import OrderConfig
from deformer.data.store import open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.program.processor import usable_cores


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
    """Windows per second of one process on one core, by size; every repeat reads other windows."""
    store, index = open_store(config.data)
    base = StreamConfig(split=config.split, order=OrderConfig(global_batch=8))
    speed, cpu_speed = {}, {}
    for size in config.sizes:
        stream = Stream(replace(base, size=size), store, index)
        wall, cpu = [], []
        for k in range(config.repeats):
            first, num = 1 + k * (config.windows // 8 + 1), config.windows // 8
            batches = stream.batches(first, first + num + 1)
            next(batches)  # opens files
            start, start_cpu = time.perf_counter(), time.process_time()
            read = sum(len(batch.images) for batch in batches)
            wall.append(read / (time.perf_counter() - start))
            cpu.append(read / (time.process_time() - start_cpu))
        speed[size], cpu_speed[size] = statistics.median(wall), statistics.median(cpu)
    mixed, full = stream.clips_mixed()
    distinct = (~(stream.windows.rows[:, 1:] == stream.windows.rows[:, :-1])).sum(1).mean() + 1
    return {
        "machine": f"{usable_cores()} cores, {platform.machine()}",
        "windows": len(stream.windows),
        "distinct_frames_per_window": float(distinct),
        "windows_per_second_by_size": speed,
        "windows_per_cpu_second_by_size": cpu_speed,
        "clips_among_64_windows": mixed,
        "clips_among_64_windows_shuffled": full,
    }
