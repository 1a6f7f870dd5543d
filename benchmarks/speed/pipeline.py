"""Speed and memory of building shards from raw frames.

The whole dataset and half of its clips are built, each in a process of its own. The difference
gives the speed without the start of Python and of the workers, which hardly matters in a long
build.
"""

import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from deformer.data.dataset import read_info
from deformer.program.processor import usable_cores


@dataclass(frozen=True)
class Pipeline:
    """Measure the build of shards."""

    root: Path
    """A raw dataset in DexYCB's layout; a few thousand frames or more."""
    out: Path = Path("results/speed")
    """The folder for pipeline.json."""
    workers: tuple[int, ...] = (1, 2)
    """Numbers of workers to measure."""
    repeats: int = 3
    """Builds per number of workers; medians are taken."""


def measure_pipeline(config: Pipeline) -> dict:
    """Build repeatedly and return the numbers."""
    whole, _ = _build(config, 1)
    frames, clips = whole["counts"]["frames"], whole["counts"]["clips"]
    speed = {}
    for workers in config.workers:
        runs = []
        for _ in range(config.repeats):
            half, half_seconds = _build(config, workers, "--limit", str(clips // 2))
            _, seconds = _build(config, workers)
            runs.append((frames - half["counts"]["frames"]) / (seconds - half_seconds))
        speed[workers] = statistics.median(runs)
    return {
        "machine": f"{usable_cores()} cores, {platform.machine()}, Python {sys.version.split()[0]}",
        "frames": frames,
        "valid": whole["counts"]["valid"],
        "bytes_per_frame_out": sum(shard["size"] for shard in whole["shards"]) / frames,
        "frames_per_second_by_workers": speed,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def _build(config: Pipeline, workers: int, *more: str) -> tuple[dict, float]:
    """Build into a temporary folder; returns its `dataset.json` and the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        # small shards keep all workers busy to the end, even with a small dataset
        arguments = ["-m", "pipelines.build_shards", "--dataset", "dexycb",
                     "--root", str(config.root), "--out", str(out), "--workers", str(workers),
                     "--frames-per-shard", "150", *more]  # fmt: skip
        start = time.monotonic()
        run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
        if run.returncode:
            raise ValueError(f"python {' '.join(arguments)} failed: {run.stderr}")
        return read_info(out), time.monotonic() - start
