"""How fast raw frames become shards, where the time goes, and what memory it takes.

The shards of a raw dataset are built, and those of half its clips, in processes of their own; the
difference of the two gives the speed without the start of Python and of the workers, which a long
build does not feel.
"""

import platform
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deformer.data.dataset import read_info
from deformer.program.processor import usable_cores

STAGES = {
    "read labels and images": ("dexycb.py", "_read_frame"),
    "MANO layer": ("hand_model.py", "hand_cam_m"),
    "crop JPEGs": ("crops.py", "crop_image"),
    "cast rays (amodal hand)": ("occlusion.py", "cast_depth"),
    "read back and index": ("shard.py", "index_shard"),
    "hash": ("shard.py", "size_and_sha256"),
}
"""Stage → the function whose cumulative time it is."""


@dataclass(frozen=True)
class Pipeline:
    """Measure the build of shards."""

    root: Path
    """A raw dataset in DexYCB's layout; a few thousand frames or more."""
    out: Path = Path("results/speed")
    """Where pipeline.json goes."""
    workers: tuple[int, ...] = (1, 2)
    """Numbers of workers to measure."""
    repeats: int = 3
    """Builds per number of workers; medians are taken."""


def measure_pipeline(config: Pipeline) -> dict:
    """Build repeatedly."""
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
        "bytes_per_frame_in": _source_bytes(config.root) / frames,
        "bytes_per_frame_out": sum(shard["size"] for shard in whole["shards"]) / frames,
        "frames_per_second_by_workers": speed,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "milliseconds_per_frame_by_stage": _profile(config, frames),
    }


def _arguments(config: Pipeline, out: Path, workers: int) -> list[str]:
    where = ["--root", str(config.root), "--out", str(out), "--workers", str(workers)]
    return ["-m", "pipelines.build_shards", "--dataset", "dexycb", *where]


def _build(config: Pipeline, workers: int, *more: str) -> tuple[dict, float]:
    """Build into a temporary folder; returns its `dataset.json` and the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        # small shards, so that a small dataset keeps all workers busy to the end
        arguments = [*_arguments(config, out, workers), "--frames-per-shard", "150", *more]
        start = time.monotonic()
        _run(arguments)
        seconds = time.monotonic() - start
        return read_info(out), seconds


def _run(arguments: list[str]) -> None:
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if run.returncode:
        raise ValueError(f"python {' '.join(arguments)} failed: {run.stderr}")


def _profile(config: Pipeline, frames: int) -> dict[str, float]:
    """One build in one process under the profiler: milliseconds per frame by stage."""
    with tempfile.TemporaryDirectory() as folder:
        stats_file = Path(folder) / "stats"
        profiler = ["-m", "cProfile", "-o", str(stats_file)]
        _run([*profiler, *_arguments(config, Path(folder) / "out", 0)])
        stats = pstats.Stats(str(stats_file)).stats
    cumulative = {(Path(file).name, name): row[3] for (file, _, name), row in stats.items()}
    seconds = {stage: cumulative[key] for stage, key in STAGES.items()}
    seconds["masks, tar, all the rest"] = cumulative["shard.py", "build_shard"] - sum(
        seconds.values()
    )
    return {stage: 1e3 * t / frames for stage, t in seconds.items()}


def _source_bytes(root: Path) -> int:
    """Bytes of the files that the build reads: colour images and labels, not the depth."""
    patterns = ("*/*/*/color_*", "*/*/*/labels_*")
    return sum(path.stat().st_size for pattern in patterns for path in root.glob(pattern))


def rows(result: dict) -> Iterator[tuple[str, str]]:
    """The measurements in words."""
    yield "frames, of them valid", f"{result['frames']:,}, {result['valid']:,}"
    for workers, speed in result["frames_per_second_by_workers"].items():
        yield f"{workers} worker(s), start excluded", f"{speed:.0f} frames/s"
    yield "peak memory of a process", f"{result['peak_memory_mib']:.0f} MiB"
    yield "read", f"{result['bytes_per_frame_in']:,.0f} bytes/frame"
    yield "written", f"{result['bytes_per_frame_out']:,.0f} bytes/frame"
    for stage, milliseconds in result["milliseconds_per_frame_by_stage"].items():
        yield f"  {stage}, profiled", f"{milliseconds:.2f} ms/frame"
