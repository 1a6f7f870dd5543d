"""Recorded hands → motion of the stand-in for all sequences, and the distance between them."""

from functools import cache
from pathlib import Path

import numpy as np
from rich.console import Console

from deformer.program.pool import single_threaded
from pipelines.synthetic.hand.motion import Motion
from pipelines.synthetic.plans import SequencePlan
from pipelines.synthetic.progress import map_with_progress
from pipelines.synthetic.recorded.recording import Recordings, RetargetedSequence
from pipelines.synthetic.standin_hand import standin_hands

_HIGH_RESIDUAL_MM = 8.0


def read_motions(path: Path, plans: list[SequencePlan]) -> Recordings:
    """Read a motions file and check that it has every plan's recording."""
    recordings = _recordings(path)
    for plan in plans:
        recordings.recording(plan)
    return recordings


def retarget_all(
    motions: Path,
    num_frames: int,
    workers: int | None,
    plans: list[SequencePlan],
    console: Console,
) -> dict[str, Motion]:
    """By folder: the stand-in's motion, at most `num_frames` frames each.

    Prints how far its joints are from the recorded ones.
    """
    jobs = [(motions, plan, num_frames) for plan in plans]
    recorded = map_with_progress(_retarget, jobs, workers, "retargeting", len(plans), console)
    if not recorded:
        return {}
    residual_mm = 1000 * np.concatenate([r.residual_m.ravel() for r in recorded])
    mean, p90 = residual_mm.mean(), np.percentile(residual_mm, 90)
    console.print(f"joints from the recorded, mm: mean {mean:.1f}, p90 {p90:.1f}")
    if mean > _HIGH_RESIDUAL_MM:
        console.print(
            f"warning: the stand-in's joints are more than {_HIGH_RESIDUAL_MM:g} mm from the "
            "recorded ones: check that --motions has them in the order of "
            "deformer.hand.conventions"
        )
    return {p.folder: r.motion for p, r in zip(plans, recorded, strict=True)}


def _retarget(path: Path, plan: SequencePlan, num_frames: int) -> RetargetedSequence:
    single_threaded()
    return _recordings(path).retarget(plan, num_frames)


@cache
def _recordings(path: Path) -> Recordings:
    """A file, read once per process."""
    hands, _ = standin_hands()
    return Recordings(path, hands)
