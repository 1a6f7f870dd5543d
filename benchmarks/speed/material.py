"""What is measured on: one's own data, or what is drawn once and kept."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.speed.figure import run_module
from deformer.data.dataset import DATASET_FILE


@dataclass(eq=False)
class Material:
    """Raw frames, and shards. What is not given is made in `work` when a part asks for it: about
    2,000 drawn frames, in two minutes. Raises `ValueError` where that fails."""

    work: Path
    given_root: Path | None = None
    given_data: Path | None = None

    @cached_property
    def root(self) -> Path:
        """In DexYCB's layout."""
        return self.given_root or self._drawn

    @cached_property
    def data(self) -> Path:
        """Built; of the drawn frames, if no shards are given."""
        data = self.given_data or self.work / "shards"
        if not self.given_data and not (data / DATASET_FILE).exists():
            run_module(
                "pipelines.build_shards", "--dataset", "dexycb", "--root", str(self._drawn),
                "--out", str(data),
            )  # fmt: skip
        return data

    @cached_property
    def _drawn(self) -> Path:
        root = self.work / "raw"
        run_module(  # does nothing where all is there
            "pipelines.synthesize", "--layout", "dexycb", "--out", str(root), "--sequences", "12",
            "--cameras", "4", "--frames", "42",
        )  # fmt: skip
        return root
