"""Write a raw dataset in the official layout of DexYCB or HO-3D, with the stand-in hand.

    python -m pipelines.synthesize --layout dexycb --out data/dexycb-synthetic
    python -m pipelines.synthesize --layout ho3d-v2 --out data/ho3d-synthetic --sequences 10

The same parameters and seed give byte-identical files, whatever the number of workers. A run that
was interrupted goes on where it stopped: finished sequences are kept.
"""

import json
import multiprocessing
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipelines.source import SYNTHETIC_MARK
from pipelines.synthetic import dexycb_layout, ho3d_layout
from pipelines.synthetic.model_files import write_models
from pipelines.synthetic.plan import SequencePlan, dexycb_plan, dexycb_serials, ho3d_plan
from pipelines.synthetic.sequence import single_threaded

VERSION = 1
"""Raised whenever the same parameters give other files."""

_PARTIAL = ".partial"


@dataclass(frozen=True)
class SynthesisConfig:
    """What to write."""

    layout: Literal["dexycb", "ho3d-v2", "ho3d-v3"]
    """Whose layout."""
    out: Path
    """Folder to write: new, empty, or an earlier run of the same parameters."""
    sequences: int | Literal["all"] = 20
    """How many sequences, spread over subjects and splits; `all`: DexYCB's 1000, HO-3D's 68."""
    cameras: int | None = None
    """Cameras per sequence: DexYCB 1 to 8 (default 8), HO-3D 1."""
    frames: int = 72
    """Frames per sequence, at 30 a second."""
    seed: int = 0
    """Everything is drawn from it."""
    depth: bool = True
    """Also write the depth images."""
    workers: int | None = None
    """Processes (default: the machine's cores). They change no byte."""

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ValueError(f"--frames {self.frames}: a motion needs at least 2")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers {self.workers}: at least 1")
        if self.layout != "dexycb" and self.cameras not in (None, 1):
            raise ValueError(
                f"--cameras {self.cameras}: a sequence of HO-3D has 1 camera; leave the option out"
            )
        self.plan()  # complains about --sequences and --cameras

    def plan(self) -> list[SequencePlan]:
        """The sequences, in the order in which they are made."""
        count = None if self.sequences == "all" else self.sequences
        if self.layout == "dexycb":
            dexycb_serials(self.num_cameras)
            return dexycb_plan(count)
        return ho3d_plan(count)

    @property
    def num_cameras(self) -> int:
        if self.layout != "dexycb":
            return 1
        return 8 if self.cameras is None else self.cameras

    def mark(self) -> dict:
        """What the root says of itself: everything that its files depend on."""
        hand, hand_sha256 = dexycb_layout.hand_name_and_hash()
        return {
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


def synthesize(config: SynthesisConfig, console: Console | None = None) -> None:
    """Write the dataset, or what is missing of it.

    Raises `FileExistsError` where the folder holds something else.
    """
    root, plans = config.out, config.plan()
    claim_root(root, config.mark())
    shutil.rmtree(root / _PARTIAL, ignore_errors=True)
    write_models(root)
    if config.layout == "dexycb":
        subjects = sorted({plan.subject for plan in plans})
        dexycb_layout.write_shared(root, config.seed, subjects)
    missing = [plan for plan in plans if not (root / plan.folder).is_dir()]
    _run(config, missing, len(plans), console)
    shutil.rmtree(root / _PARTIAL, ignore_errors=True)
    if config.layout != "dexycb":
        ho3d_layout.finish_lists(root, plans)


def claim_root(root: Path, mark: dict) -> None:
    """Mark the folder as synthetic before anything else is in it, or check that it is ours."""
    path = root / SYNTHETIC_MARK
    if path.is_file():
        found = json.loads(path.read_text())
        differences = [
            f"{key}: there {found.get(key)!r}, asked {mark.get(key)!r}"
            for key in sorted({*found, *mark})
            if found.get(key) != mark.get(key)
        ]
        if differences:
            raise FileExistsError(
                f"{root} was synthesized with other parameters ({'; '.join(differences)}). "
                "Give the same ones to continue it, another --out, or delete the folder."
            )
        return
    if root.is_dir() and any(root.iterdir()):
        raise FileExistsError(
            f"{root} is not empty and holds no {SYNTHETIC_MARK}: it is not a synthesized dataset, "
            "and nothing is written into it. Give another --out."
        )
    root.mkdir(parents=True, exist_ok=True)
    text = json.dumps(mark, indent=2) + "\n"
    draft = path.with_suffix(".tmp")
    draft.write_text(text)
    draft.replace(path)


def make_sequence(config: SynthesisConfig, plan: SequencePlan) -> str:
    """Render one sequence in a folder of its own, then put it in its place at once."""
    single_threaded()
    root = config.out
    partial = root / _PARTIAL / plan.folder
    if config.layout == "dexycb":
        dexycb_layout.write_sequence(
            partial,
            plan.subject,
            plan.name,
            plan.side,
            plan.object_name,
            seed=config.seed,
            serials=dexycb_serials(config.num_cameras),
            num_frames=config.frames,
            with_depth=config.depth,
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
    (root / plan.folder).parent.mkdir(parents=True, exist_ok=True)
    partial.rename(root / plan.folder)
    return plan.folder


def _run(config: SynthesisConfig, plans: list[SequencePlan], total: int, console) -> None:
    columns = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    workers = min(config.workers or os.cpu_count() or 1, max(len(plans), 1))
    with Progress(*columns, console=console or Console(stderr=True)) as progress:
        bar = progress.add_task("sequences", total=total, completed=total - len(plans))
        if workers == 1:
            for plan in plans:
                make_sequence(config, plan)
                progress.advance(bar)
            return
        context = multiprocessing.get_context("spawn")  # threads of torch and Embree do not fork
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            futures = [pool.submit(make_sequence, config, plan) for plan in plans]
            try:
                for future in as_completed(futures):
                    future.result()
                    progress.advance(bar)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def main() -> None:
    """The command."""
    try:
        config = tyro.cli(SynthesisConfig, description=__doc__)
        synthesize(config)
    except (ValueError, FileExistsError) as error:
        sys.exit(f"error: {error}")
    plans = config.plan()
    print(
        f"{config.out}: {len(plans)} sequences × {config.num_cameras} cameras × "
        f"{config.frames} frames, layout {config.layout}, synthetic"
    )


if __name__ == "__main__":
    main()
