"""Write a raw dataset of the stand-in hand: DexYCB's layout, HO-3D's, or this project's own.

    python -m pipelines.synthesize --layout dexycb --out data/dexycb-synthetic
    python -m pipelines.synthesize --layout ho3d-v2 --out data/ho3d-synthetic --sequences 10
    python -m pipelines.synthesize --layout dexycb --out data/occluded --benchmark occluded-hands
    python -m pipelines.synthesize --layout hands --out data/varied --frames 8 --stride 10

With `--motions FILE` the stand-in repeats recorded motion: each sequence takes the recording of its
own name (format: `pipelines/synthetic/recorded/motions_file.py`). Without it motion is drawn at
random. `--benchmark occluded-hands` chooses sequences and scenes such that DexYCB's setup s3 splits
them into train, val and test without a common sequence, object or background. Objects hide much of
the hand, and motion blurs it. `--sequences 40 --cameras 2` makes a small one.

DexYCB's own toolkit expects 100 sequences of each of its 10 subjects from all 8 cameras: make such
a root with `--sequences all --cameras 8`. This project's commands read any part of it.

The same parameters and seed give byte-identical files with any number of workers. To continue an
interrupted run, run the same command again: it keeps finished sequences.
"""

import json
import shutil
import sys
from pathlib import Path

from rich.console import Console

from deformer.files.foreign import read_json
from deformer.files.whole import room_for, write_whole
from deformer.program.console import PlainConsole, run_program
from deformer.program.pool import single_threaded
from pipelines.datasets.source import SYNTHETIC_FILE
from pipelines.synthetic import benchmark
from pipelines.synthetic.config import SynthesisConfig
from pipelines.synthetic.hand.motion import Motion
from pipelines.synthetic.layouts import dexycb_layout, hands_layout, ho3d_layout
from pipelines.synthetic.layouts.dexycb_layout import Subject
from pipelines.synthetic.layouts.model_files import write_models
from pipelines.synthetic.plans import SequencePlan
from pipelines.synthetic.progress import map_with_progress
from pipelines.synthetic.recorded.retargeting import read_motions, retarget_all
from pipelines.synthetic.standin_hand import standin_hands

VERSION = 3
"""Raised whenever the same parameters give other files."""

_PARTIAL = ".partial"


def _mark(config: SynthesisConfig) -> dict:
    """What `synthetic.json` holds: everything that the root's files depend on."""
    hands, _ = standin_hands()
    mark = {
        "generator": "pipelines.synthesize",
        "version": VERSION,
        "layout": config.layout,
        "hand": hands.name,
        "hand_sha256": hands.sha256,
        "seed": config.seed,
        "sequences": config.sequences,
        "cameras": config.num_cameras,
        "frames": config.frames,
        "depth": config.depth,
    }
    if config.layout == "hands":
        mark |= {"stride": config.stride, "hands_version": hands_layout.VERSION}
    if config.benchmark:
        mark |= {"benchmark": config.benchmark, "benchmark_version": benchmark.VERSION}
    return mark


def _claim_root(root: Path, mark: dict) -> None:
    """Write `synthetic.json` into a new folder, or check that the folder has the same
    parameters."""
    path = root / SYNTHETIC_FILE
    if path.is_file():
        found = read_json(path)
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
            f"{root} is not empty and holds no {SYNTHETIC_FILE}: it is not a synthesized dataset, "
            "and nothing is written into it. Give another --out."
        )
    write_whole(path, json.dumps(mark, indent=2) + "\n")


def synthesize(config: SynthesisConfig, console: Console | None = None) -> None:
    """Write the sequences that the dataset still lacks.

    Raises `FileExistsError` where the folder holds something else.
    """
    single_threaded()
    root, plans, console = config.out, config.plan(), console or PlainConsole()
    recordings = None if config.motions is None else read_motions(config.motions, plans)
    motions = {} if recordings is None else {"motions_sha256": recordings.sha256}
    _claim_root(root, _mark(config) | motions)
    missing = [plan for plan in plans if not (root / plan.folder).is_dir()]
    recorded = {}
    if recordings is not None:
        sources = config.motions, config.frames, config.workers
        recorded = retarget_all(*sources, missing, console)
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
        map_with_progress(make_sequence, jobs, config.workers, "sequences", len(plans), console)
    finally:
        shutil.rmtree(root / _PARTIAL, ignore_errors=True)
    if config.layout.startswith("ho3d"):
        ho3d_layout.finish_lists(root, plans)


def make_sequence(
    config: SynthesisConfig, plan: SequencePlan, subject: Subject | None, motion: Motion | None
) -> str:
    """Render one sequence into a temporary folder, then rename it.

    subject: for the layout dexycb; motion: recorded, None to draw it.
    """
    single_threaded()
    root, partial = config.out, config.out / _PARTIAL / plan.folder
    if config.layout == "dexycb":
        dexycb_layout.write_sequence(partial, plan, config, subject, motion)
    elif config.layout == "hands":
        hands_layout.write_sequence(partial, plan, config)
    else:
        ho3d_layout.write_sequence(partial, plan, config)
    with room_for(root / plan.folder):
        (root / plan.folder).parent.mkdir(parents=True, exist_ok=True)
        partial.rename(root / plan.folder)
    return plan.folder


def main() -> int:
    """The command."""
    going_on = "interrupted; finished sequences are kept: run the same command to go on"
    return run_program(run, SynthesisConfig, "pipelines.synthesize", __doc__, going_on)


def run(config: SynthesisConfig) -> None:
    """Write the dataset and print a summary."""
    synthesize(config)
    plans = config.plan()
    frames = f"{config.frames} frames" + (" at most" if config.motions else "")
    print(
        f"{config.out}: {len(plans)} sequences × {config.num_cameras} cameras × {frames}, "
        f"layout {config.layout}, synthetic"
    )


if __name__ == "__main__":
    sys.exit(main())
