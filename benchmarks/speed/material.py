"""What is measured on: a drawn dataset, made once and kept, or one's own."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.figure import run_command
from deformer.data.dataset import DATASET_FILE


@dataclass(frozen=True)
class Material:
    """Raw frames, and shards."""

    root: Path
    """In DexYCB's layout."""
    data: Path
    """Built."""


def make_material(work: Path, root: Path | None, data: Path | None) -> Material:
    """root and data, or in place of either what is drawn into `work`: about 2,000 frames, which
    take two minutes. Raises `ValueError` where that fails."""
    if root is None:
        root = work / "raw"
        run_command(
            "pipelines.synthesize", "--layout", "dexycb", "--out", str(root), "--sequences", "12",
            "--cameras", "4", "--frames", "42",
        )  # fmt: skip
    if data is None:
        data = work / "shards"
        if not (data / DATASET_FILE).exists():
            run_command(
                "pipelines.build_shards", "--dataset", "dexycb", "--root", str(root),
                "--out", str(data),
            )  # fmt: skip
    return Material(root, data)
