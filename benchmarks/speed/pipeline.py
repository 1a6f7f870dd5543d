"""Speed of drawing raw frames, of building shards from them, and of verifying the shards.

Small and large work is done in processes of their own. The difference is the speed without the
start of Python and of the workers, which hardly matters in a long build.
"""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.speed.figure import Figure, Spent, processor_seconds, run_module
from benchmarks.speed.material import Material
from deformer.data.dataset import read_info
from deformer.files.images import check_jpeg
from pipelines.building.shard import read_clips, size_and_sha256
from pipelines.verify import verify

_REPEATS = 3
_CAMERAS, _FRAMES = 2, 40


def synthesizer(material: Material) -> Iterator[Figure]:
    """Frames of 640×480 in DexYCB's layout, with depth and masks."""
    with tempfile.TemporaryDirectory() as folder:
        one, three = (_draw(Path(folder) / str(n), n) for n in (1, 3))
    speed = 2 * _CAMERAS * _FRAMES / (three - one).processor_seconds
    yield Figure("synthesizer", "frames of 640×480, a core", speed, "frames/s", 40)


def _draw(out: Path, sequences: int) -> Spent:
    return run_module(
        "pipelines.synthesize", "--layout", "dexycb", "--out", str(out), "--workers", "1",
        "--sequences", str(sequences), "--cameras", str(_CAMERAS), "--frames", str(_FRAMES),
    )  # fmt: skip


def build(material: Material) -> Iterator[Figure]:
    """DexYCB's layout → shards with labels, masks and lossless crops."""
    one, two = (
        [_build_half(material.root, workers) for _ in range(_REPEATS)] for workers in (1, 2)
    )
    speed = statistics.median(frames / spent.processor_seconds for frames, spent in one)
    yield Figure("build", "frames, a core", speed, "frames/s", 250)
    seconds = [statistics.median(spent.seconds for _, spent in runs) for runs in (one, two)]
    yield Figure("build", "two workers against one", seconds[0] / seconds[1], "×", 1.9, 2, "cores")


def _build_half(root: Path, workers: int) -> tuple[int, Spent]:
    """What the second half of the clips adds: frames, and time."""
    clips, frames, all_spent = _build(root, workers)
    _, fewer, half_spent = _build(root, workers, "--limit", str(clips // 2))
    return frames - fewer, all_spent - half_spent


def _build(root: Path, workers: int, *more: str) -> tuple[int, int, Spent]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        # small shards keep all workers busy to the end, even with a small dataset
        spent = run_module(
            "pipelines.build_shards", "--dataset", "dexycb", "--root", str(root), "--out", str(out),
            "--workers", str(workers), "--frames-per-shard", "150", *more,
        )  # fmt: skip
        counts = read_info(out)["counts"]
        return counts["clips"], counts["frames"], spent


def _jpegs(tars: list[Path]) -> Iterator[bytes]:
    for clip in (clip for tar in tars for clip in read_clips(tar, tar.name)):
        yield from (data for name, data in clip.members.items() if name.endswith(".jpg"))


def verifying(material: Material) -> Iterator[Figure]:
    """All that `pipelines.verify` checks of a shard, in this process."""
    tars = sorted(material.data.glob("*.tar"))
    megabytes = sum(tar.stat().st_size for tar in tars) / 1e6
    hashing = megabytes / processor_seconds(lambda: [size_and_sha256(tar) for tar in tars])
    reading = megabytes / processor_seconds(lambda: [check_jpeg(data) for data in _jpegs(tars)])
    speed = megabytes / processor_seconds(lambda: verify(material.data, "standin", workers=0))
    floor_is = f"every JPEG read alone; sha256 alone {hashing:,.0f}"
    yield Figure("verify", "shards, a core", speed, "MB/s", hashing / 2, reading, floor_is)
