"""Trainings, for the report: their curves, what they reached, and the commands that repeat them."""

import shlex
from pathlib import Path

import numpy as np

from benchmarks.evaluation import Evaluation, Run
from benchmarks.figures.style import MAX_LINES
from benchmarks.figures.training_curves import CAPTION, training_curves
from benchmarks.figures.training_log import TrainingLog, last_checkpoint
from benchmarks.report.page import figure, table
from deformer.checkpoint import differences
from deformer.experiments import EXPERIMENTS


def split_logs(
    logs: list[TrainingLog], evaluations: dict[str, Evaluation]
) -> tuple[list[TrainingLog], list[TrainingLog]]:
    """Runs to show and the others: those that were evaluated, or all where none was."""
    used = [log for log in logs if evaluations_of(log, evaluations)]
    return (used, [log for log in logs if log not in used]) if used else (logs, [])


def evaluations_of(log: TrainingLog, evaluations: dict[str, Evaluation]) -> dict[str, Evaluation]:
    """Those of a checkpoint of the run."""
    folder = log.folder.resolve()
    return {
        name: e
        for name, e in evaluations.items()
        if isinstance(e.run, Run)
        and (checkpoint := Path(e.run.checkpoint).resolve())
        and folder in (checkpoint, *checkpoint.parents)
    }


def curves(logs: list[TrainingLog], evaluations: dict[str, Evaluation]) -> str:
    """Figures of at most `MAX_LINES` runs each."""
    parts = []
    for i in range(0, len(logs), MAX_LINES):
        part = logs[i : i + MAX_LINES]
        found = [e.data for log in part for e in evaluations_of(log, evaluations).values()]
        kinds = {f"{'SYNTHETIC data' if d.synthetic else 'recordings'} · {d.name}" for d in found}
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
    best = "–"
    if errors is not None and np.isfinite(errors).any():
        at = int(np.nanargmin(errors))
        best = f"{errors[at]:.2f} at step {log.validation_step[at]:,}"
    return (
        log.name,
        log.experiment.name if log.experiment else "not known",
        f"{log.last_step:,}",
        str(log.experiment.stream.seed) if log.experiment else "–",
        best,
        "–" if speeds is None else f"{np.nanmedian(speeds):.1f}",
    )


def training_command(log: TrainingLog, evaluations: dict[str, Evaluation]) -> str | None:
    """The command that trains the run again, with as many processes and the precision that it had,
    as far as its checkpoint tells; None without one. It ends with the seed."""
    experiment, checkpoint = log.experiment, last_checkpoint(log.folder)
    if experiment is None or checkpoint is None:
        return None
    names = {e.data.name for e in evaluations_of(log, evaluations).values()}
    data = f"shards/{names.pop()}" if len(names) == 1 else "shards/NAME"
    machine, precision = checkpoint.machine, checkpoint.origin.get("precision")
    is_one = machine is None or machine.processes == 1
    words = [
        *(["python"] if is_one else ["torchrun", "--nproc-per-node", str(machine.processes)]),
        "-m", "deformer.train", "--experiment", experiment.name, "--data", data,
        "--out", str(log.folder), "--steps", str(log.last_step),
    ]  # fmt: skip
    if experiment.name in EXPERIMENTS:
        changed = differences(EXPERIMENTS[experiment.name], experiment)
        for name, (_, value) in changed.items():
            words += _option(name, value) if name != "stream.seed" else []
    words += [] if precision is None else ["--precision", precision]
    return shlex.join([*words, "--stream.seed", str(experiment.stream.seed)])


def _option(name: str, value: object) -> list[str]:
    """A field of an experiment, by its dotted name, as an option of `deformer.train`."""
    *parts, field = name.replace("_", "-").split(".")
    if value is False:
        field = f"no-{field}"
    option = f"--{'.'.join([*parts, field])}"
    if isinstance(value, bool):
        return [option]
    return [option, *map(str, value if isinstance(value, tuple | list) else [value])]
