"""Recorded hands → motions of the stand-in, for all sequences, and how near they come."""

from functools import cache
from pathlib import Path

import numpy as np
from rich.console import Console

from deformer.hand.conventions import SIDES
from deformer.program.pool import single_threaded
from pipelines.synthetic.hand.motion import Motion
from pipelines.synthetic.layouts.mark import MEASURED, read_mark, write_mark
from pipelines.synthetic.layouts.sequences import SequencePlan
from pipelines.synthetic.recorded.recording import Recorded, Recordings
from pipelines.synthetic.scene.sequence import standin_hands
from pipelines.synthetic.workers import each

_HIGH_RESIDUAL_MM = 8.0


def read_motions(path: Path, plans: list[SequencePlan]) -> Recordings:
    """The file, once it is known to have every plan's recording."""
    recordings = _recordings(path)
    for plan in plans:
        recordings.recording(plan)
    return recordings


def retarget_all(
    root: Path,
    motions: Path,
    num_frames: int,
    workers: int | None,
    plans: list[SequencePlan],
    missing: list[SequencePlan],
    console: Console,
) -> dict[str, Motion]:
    """By folder: what the stand-in makes of the recordings of missing sequences, of at most
    `num_frames` frames each.

    The first time it does all, measures how near it comes, and puts that into the root's mark.
    """
    mark = read_mark(root)
    first_time = not {*MEASURED} <= {*mark}
    chosen = plans if first_time else missing
    jobs = [(motions, plan, num_frames) for plan in chosen]
    recorded = each(_retarget, jobs, workers, "retargeting", len(plans), console)
    if first_time:
        mark |= _measured_mm(recorded)
        write_mark(root, mark)
    for key, what in zip(MEASURED, ("joints from the recorded", "hand in object"), strict=True):
        numbers = ", ".join(f"{name} {value}" for name, value in mark[key].items())
        console.print(f"{what}, mm: {numbers}")
    if mark["retargeting_residual_mm"]["mean"] > _HIGH_RESIDUAL_MM:
        console.print(
            f"warning: the stand-in's joints are more than {_HIGH_RESIDUAL_MM:g} mm from the "
            "recorded ones: look whether --motions has their order as deformer.hand.conventions "
            "has it"
        )
    return {p.folder: r.motion for p, r in zip(chosen, recorded, strict=True)}


def _retarget(path: Path, plan: SequencePlan, num_frames: int) -> Recorded:
    single_threaded()
    return _recordings(path).retarget(plan, num_frames)


@cache
def _recordings(path: Path) -> Recordings:
    """A file, read once per process."""
    hands, _ = standin_hands()
    return Recordings(path, hands)


def _measured_mm(recorded: list[Recorded]) -> dict[str, dict[str, float]]:
    """How near the stand-in's joints come to the recorded ones, and how deep it is in what it
    carries: the deepest vertex, over a few frames of every sequence. By the names of `MEASURED`.
    """
    residual = {
        side: np.concatenate([r.residual_m.ravel() for r in recorded if r.side == side])
        for side in SIDES
        if any(r.side == side for r in recorded)
    }
    distances = {
        "retargeting_residual_mm": _mean_and_p90(np.concatenate([*residual.values()]))
        | {side: part.mean() for side, part in residual.items()},
        "hand_in_object_mm": _mean_and_p90(np.concatenate([r.penetration_m for r in recorded])),
    }
    return {
        name: {key: round(float(x) * 1000, 1) for key, x in values.items()}
        for name, values in distances.items()
    }


def _mean_and_p90(values: np.ndarray) -> dict[str, float]:
    return {"mean": values.mean(), "p90": np.percentile(values, 90)} if len(values) else {}
