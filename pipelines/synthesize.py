"""Write a raw dataset of the stand-in hand: DexYCB's layout, HO-3D's, or this project's own.

    python -m pipelines.synthesize --layout dexycb --out data/dexycb-synthetic
    python -m pipelines.synthesize --layout ho3d-v2 --out data/ho3d-synthetic --sequences 10
    python -m pipelines.synthesize --layout dexycb --out data/occluded --benchmark occluded-hands
    python -m pipelines.synthesize --layout hands --out data/wide --frames 8 --stride 10

`--motions FILE` has the stand-in do what recorded hands did, each sequence its own recording, which
the file holds under the same name (`pipelines/synthetic/recorded/motions_file.py` has its format);
without it motion is drawn. `--benchmark occluded-hands` chooses sequences and what scenes are made
of so that DexYCB's setup s3 splits them into train, val and test that share no sequence, object or
background, with much of the hand hidden and blurred by motion; `--sequences 40 --cameras 2` makes a
small one.

DexYCB's own toolkit lists 100 sequences of each of its 10 subjects, by all 8 cameras: a root that
it shall open needs `--sequences all --cameras 8`. This project's commands take any part of that.

The same parameters and seed give byte-identical files, whatever the number of workers. A run that
was interrupted goes on where it stopped: finished sequences are kept.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from deformer.files.whole import room_for
from deformer.program.console import PlainConsole, run_program
from deformer.program.least import check_least
from deformer.program.pool import single_threaded
from pipelines.synthetic.hand.motion import Motion
from pipelines.synthetic.layouts import benchmark, dexycb_layout, hands_layout, ho3d_layout
from pipelines.synthetic.layouts.dexycb_layout import Subject
from pipelines.synthetic.layouts.mark import claim_root
from pipelines.synthetic.layouts.model_files import write_models
from pipelines.synthetic.layouts.sequences import (
    SequencePlan,
    dexycb_plan,
    dexycb_serials,
    ho3d_plan,
)
from pipelines.synthetic.recorded.retargeting import read_motions, retarget_all
from pipelines.synthetic.workers import each

VERSION = 3
"""Raised whenever the same parameters give other files."""

_PARTIAL = ".partial"


@dataclass(frozen=True)
class SynthesisConfig:
    """What to write."""

    layout: Literal["dexycb", "ho3d-v2", "ho3d-v3", "hands"]
    """Whose layout; hands is this project's own (pipelines/datasets/hands.py), with the widest
    scenes."""
    out: Path
    """Folder to write: new, empty, or an earlier run of the same parameters."""
    sequences: int | Literal["all"] = 20
    """How many sequences, spread over subjects and splits; `all`: DexYCB's 1000, HO-3D's 68, and
    those of DexYCB that the benchmark has objects for."""
    cameras: int | None = None
    """Cameras per sequence: DexYCB 1 to 8 (default 8), HO-3D 1, hands 1 to 8 (default 1)."""
    frames: int = 72
    """Frames per sequence, at 30 a second. With --motions at most: of a longer recording the last
    ones up to where the hand leaves, of a shorter one all."""
    stride: int = 1
    """Of the layout hands: frames are this many thirtieths of a second apart."""
    seed: int = 0
    """Everything is drawn from it."""
    benchmark: Literal["occluded-hands"] | None = None
    """Make this benchmark; --sequences and --cameras say how much of it."""
    motions: Path | None = None
    """An npz with joints and object poses of every sequence that is made (its format:
    pipelines/synthetic/recorded/motions_file.py), for the layout dexycb; without it motion is
    drawn."""
    depth: bool = True
    """Also write the depth images."""
    workers: int | None = None
    """Processes (default: the machine's cores). They change no byte."""

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
        self.plan()  # complains about --sequences and --cameras

    def plan(self) -> list[SequencePlan]:
        """The sequences, in the order in which they are made."""
        count = None if self.sequences == "all" else self.sequences
        if self.layout == "dexycb":
            self.serials()
            return benchmark.benchmark_plan(count) if self.benchmark else dexycb_plan(count)
        if self.layout == "hands":
            if count is None:
                raise ValueError("--sequences all: the layout hands has no end; give a number")
            return hands_layout.hands_plan(count)
        return ho3d_plan(count)

    @property
    def num_cameras(self) -> int:
        if self.layout != "dexycb":
            return self.cameras or 1
        return 8 if self.cameras is None else self.cameras

    def serials(self) -> list[str]:
        """The cameras of the layout dexycb."""
        choose = benchmark.serials if self.benchmark else dexycb_serials
        return choose(self.num_cameras)

    def mark(self) -> dict:
        """What the root says of itself: everything that its files depend on."""
        hand, hand_sha256 = dexycb_layout.hand_name_and_hash()
        mark = {
            "generator": "pipelines.synthesize",
            "version": VERSION,
            "layout": self.layout,
            "hand": hand,
            "hand_sha256": hand_sha256,
            "seed": self.seed,
            "sequences": self.sequences,
            "cameras": self.num_cameras,
            "frames": self.frames,
            "depth": self.depth,
        }
        if self.layout == "hands":
            mark |= {"stride": self.stride, "hands_version": hands_layout.VERSION}
        if self.benchmark:
            mark |= {"benchmark": self.benchmark, "benchmark_version": benchmark.VERSION}
        return mark


def synthesize(config: SynthesisConfig, console: Console | None = None) -> None:
    """Write the dataset, or what is missing of it.

    Raises `FileExistsError` where the folder holds something else.
    """
    single_threaded()
    root, plans, console = config.out, config.plan(), console or PlainConsole()
    recordings = None if config.motions is None else read_motions(config.motions, plans)
    motions = {} if recordings is None else {"motions_sha256": recordings.file.sha256}
    claim_root(root, config.mark() | motions)
    missing = [plan for plan in plans if not (root / plan.folder).is_dir()]
    recorded = {}
    if recordings is not None:
        sources = config.motions, config.frames, config.workers
        recorded = retarget_all(root, *sources, plans, missing, console)
    shutil.rmtree(root / _PARTIAL, ignore_errors=True)
    if config.layout != "hands":
        write_models(root)
    subjects: dict[str, Subject] = {}
    if config.layout == "dexycb":
        for name in sorted({plan.subject for plan in plans}):
            subjects[name] = Subject.drawn(config.seed, name, recordings)
        dexycb_layout.write_shared(root, list(subjects.values()))
    jobs = [
        (config, plan, subjects.get(plan.subject), recorded.get(plan.folder)) for plan in missing
    ]
    try:
        each(make_sequence, jobs, config.workers, "sequences", len(plans), console)
    finally:
        shutil.rmtree(root / _PARTIAL, ignore_errors=True)
    if config.layout.startswith("ho3d"):
        ho3d_layout.finish_lists(root, plans)


def make_sequence(
    config: SynthesisConfig, plan: SequencePlan, subject: Subject | None, motion: Motion | None
) -> str:
    """Render one sequence in a folder of its own, then put it in its place at once.

    subject: of the layout dexycb; motion: a recorded one.
    """
    single_threaded()
    root = config.out
    partial = root / _PARTIAL / plan.folder
    if config.layout == "dexycb":
        dexycb_layout.write_sequence(
            partial,
            plan,
            subject,
            seed=config.seed,
            serials=config.serials(),
            num_frames=config.frames,
            with_depth=config.depth,
            motion=motion,
        )
    elif config.layout == "hands":
        hands_layout.write_sequence(
            partial,
            plan,
            seed=config.seed,
            num_cameras=config.num_cameras,
            num_frames=config.frames,
            stride=config.stride,
        )
    else:
        ho3d_layout.write_sequence(
            partial,
            ho3d_layout.truth_folder(root),
            plan,
            version=config.layout[-2:],
            seed=config.seed,
            num_frames=config.frames,
            with_depth=config.depth,
        )
    with room_for(root / plan.folder):
        (root / plan.folder).parent.mkdir(parents=True, exist_ok=True)
        partial.rename(root / plan.folder)
    return plan.folder


def main() -> int:
    """The command."""
    going_on = "interrupted; finished sequences are kept: run the same command to go on"
    return run_program(run, SynthesisConfig, "pipelines.synthesize", __doc__, going_on)


def run(config: SynthesisConfig) -> None:
    """Write the dataset, and say what it is."""
    synthesize(config)
    plans = config.plan()
    frames = f"{config.frames} frames" + (" at most" if config.motions else "")
    print(
        f"{config.out}: {len(plans)} sequences × {config.num_cameras} cameras × {frames}, "
        f"layout {config.layout}, synthetic"
    )


if __name__ == "__main__":
    sys.exit(main())
