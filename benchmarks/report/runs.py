"""Trainings, for the report: their curves, and what they reached."""

import numpy as np

from benchmarks.evaluation.result import Evaluation
from benchmarks.evaluation.training_log import TrainingLog, evaluations_of
from benchmarks.figures.style import MAX_LINES
from benchmarks.figures.training_curves import CAPTION, training_curves
from benchmarks.report.html_parts import figure, table
from benchmarks.words import DASH, data_kind
from deformer.experiments import base_of


def split_logs(
    logs: list[TrainingLog], evaluations: dict[str, Evaluation]
) -> tuple[list[TrainingLog], list[TrainingLog]]:
    """Runs to show and the others: those that were evaluated, or all where none was."""
    used = [log for log in logs if evaluations_of(log, evaluations)]
    return (used, [log for log in logs if log not in used]) if used else (logs, [])


def curves(logs: list[TrainingLog], evaluations: dict[str, Evaluation]) -> str:
    """A figure of each experiment with its ablations, of one seed and equally long; of no more than
    `MAX_LINES` runs each."""
    groups: dict[tuple, list[TrainingLog]] = {}
    for log in logs:
        groups.setdefault(_group(log), []).append(log)
    parts = []
    for group in groups.values():
        for i in range(0, len(group), MAX_LINES):
            part = group[i : i + MAX_LINES]
            parts.append(figure(training_curves(part, _origin(part, evaluations)), CAPTION))
    return "".join(parts)


def _group(log: TrainingLog) -> tuple:
    """What runs have in common whose curves belong in one figure."""
    if log.experiment is None:
        return (log.last_step,)
    return base_of(log.experiment.name), log.experiment.stream.seed, log.last_step


def _origin(part: list[TrainingLog], evaluations: dict[str, Evaluation]) -> str:
    """Which runs, on which data, for a title."""
    found = [e.data for log in part for e in evaluations_of(log, evaluations).values()]
    kinds = {f"{data_kind(d)} · {d.name}" for d in found}
    origin = "; ".join(sorted(kinds)) or "data not known: no evaluation is of these runs"
    name = f"run {part[0].name}" if len(part) == 1 else f"{len(part)} runs"
    if len(part) > 1 and (experiment := part[0].experiment):
        name += f" of {base_of(experiment.name)}, seed {experiment.stream.seed}"
    return f"{name} · {origin}"


def runs_table(logs: list[TrainingLog]) -> str:
    headings = (
        "run", "experiment", "steps", "seed", "best validation PA-MPJPE, mm", "windows/s, median",
    )  # fmt: skip
    return table(headings, map(_run_row, logs), words=(0, 1))


def _run_row(log: TrainingLog) -> tuple[str, ...]:
    errors, speeds = log.validation.get("pa_mpjpe_mm"), log.train.get("windows_per_s")
    best = DASH
    if errors is not None and np.isfinite(errors).any():
        at = int(np.nanargmin(errors))
        best = f"{errors[at]:.2f} at step {log.validation_step[at]:,}"
    return (
        log.name,
        log.experiment.name if log.experiment else "not known",
        f"{log.last_step:,}",
        str(log.experiment.stream.seed) if log.experiment else DASH,
        best,
        DASH if speeds is None else f"{np.nanmedian(speeds):.1f}",
    )
