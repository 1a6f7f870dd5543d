"""Trainings, for the report: their curves, and what they reached."""

import numpy as np

from benchmarks.evaluation import Evaluation
from benchmarks.figures.style import MAX_LINES
from benchmarks.figures.training_curves import CAPTION, training_curves
from benchmarks.report.page import figure, table
from benchmarks.training_log import TrainingLog, evaluations_of
from benchmarks.words import DASH, data_kind


def split_logs(
    logs: list[TrainingLog], evaluations: dict[str, Evaluation]
) -> tuple[list[TrainingLog], list[TrainingLog]]:
    """Runs to show and the others: those that were evaluated, or all where none was."""
    used = [log for log in logs if evaluations_of(log, evaluations)]
    return (used, [log for log in logs if log not in used]) if used else (logs, [])


def curves(logs: list[TrainingLog], evaluations: dict[str, Evaluation]) -> str:
    """Figures of at most `MAX_LINES` runs each."""
    parts = []
    for i in range(0, len(logs), MAX_LINES):
        part = logs[i : i + MAX_LINES]
        found = [e.data for log in part for e in evaluations_of(log, evaluations).values()]
        kinds = {f"{data_kind(d)} · {d.name}" for d in found}
        origin = "; ".join(sorted(kinds)) or "data not known: no evaluation is of these runs"
        name = f"run {part[0].name}" if len(part) == 1 else f"{len(part)} runs"
        parts.append(figure(training_curves(part, f"{name} · {origin}"), CAPTION))
    return "".join(parts)


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
