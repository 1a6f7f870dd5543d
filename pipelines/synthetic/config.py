"""The options of `pipelines.synthesize`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deformer.program.least import check_least
from pipelines.synthetic import benchmark, plans


@dataclass(frozen=True)
class SynthesisConfig:
    """What to write."""

    layout: Literal["dexycb", "ho3d-v2", "ho3d-v3", "hands"]
    """Whose layout; hands is this project's own (pipelines/datasets/hands.py), with the most varied
    scenes."""
    out: Path
    """Folder to write: new, empty, or an earlier run of the same parameters."""
    sequences: int | Literal["all"] = 20
    """How many sequences, spread over subjects and splits; `all`: DexYCB's 1000, HO-3D's 68, or all
    of the benchmark's."""
    cameras: int | None = None
    """Cameras per sequence: DexYCB 1 to 8 (default 8), HO-3D 1, hands 1 to 8 (default 1)."""
    frames: int = 72
    """Frames per sequence, at 30 a second. With --motions this is a maximum: a longer recording is
    cut to the last frames up to where the hand leaves, a shorter one stays whole."""
    stride: int = 1
    """Layout hands only: distance between frames, in thirtieths of a second."""
    seed: int = 0
    """Seed of every random choice."""
    benchmark: Literal["occluded-hands"] | None = None
    """Make this benchmark; --sequences and --cameras set its size."""
    motions: Path | None = None
    """An npz with joints and object poses of every sequence that is made, for the layout dexycb
    (format: pipelines/synthetic/recorded/motions_file.py); without it motion is drawn at random."""
    depth: bool = True
    """Also write the depth images."""
    workers: int | None = None
    """Processes (default: the machine's cores); the files do not depend on it."""

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ValueError(f"--frames {self.frames}: a motion needs at least 2")
        check_least(self, "--", workers=1)
        if self.stride < 1 or (self.stride > 1 and self.layout != "hands"):
            raise ValueError(f"--stride {self.stride}: 1, or more with --layout hands")
        if self.layout == "hands" and self.cameras not in (None, *range(1, 9)):
            raise ValueError(f"--cameras {self.cameras}: the layout hands has 1 to 8")
        if self.layout.startswith("ho3d") and self.cameras not in (None, 1):
            raise ValueError(
                f"--cameras {self.cameras}: a sequence of HO-3D has 1 camera; leave the option out"
            )
        for option, value in (("--benchmark", self.benchmark), ("--motions", self.motions)):
            if value is not None and self.layout != "dexycb":
                raise ValueError(
                    f"{option} {value}: for --layout dexycb only, not {self.layout}; leave it out"
                )
        self.plan()  # raises ValueError for a wrong --sequences or --cameras

    def plan(self) -> list[plans.SequencePlan]:
        """The sequences, in the order in which they are made."""
        count = None if self.sequences == "all" else self.sequences
        if self.layout == "dexycb":
            self.serials()
            return benchmark.benchmark_plan(count) if self.benchmark else plans.dexycb_plan(count)
        if self.layout == "hands":
            if count is None:
                raise ValueError("--sequences all: the layout hands has no end; give a number")
            return plans.hands_plan(count)
        return plans.ho3d_plan(count)

    @property
    def num_cameras(self) -> int:
        if self.layout != "dexycb":
            return self.cameras or 1
        return 8 if self.cameras is None else self.cameras

    def serials(self) -> list[str]:
        """The cameras of the layout dexycb."""
        choose = benchmark.serials if self.benchmark else plans.dexycb_serials
        return choose(self.num_cameras)
