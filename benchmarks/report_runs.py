"""Trainings and the machine, for the report: curves, commands, seeds, versions, hardware."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
from pathlib import Path

import numpy as np
import torch

from benchmarks.evaluation import Evaluation, Run
from benchmarks.plot_style import MAX_LINES
from benchmarks.report_page import definitions, figure, table
from benchmarks.training_log import TrainingLog, training_curves
from deformer.checkpoint import differences
from deformer.experiments import EXPERIMENTS

_PACKAGES = ("deformer-hands", "torch", "torchvision", "numpy", "smplx", "pyarrow", "matplotlib")


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
        caption = (
            "From above: the error on the validation split, which should fall and then level off; "
            "the sum of all losses; the learning rate; the discriminator's loss beside the model's "
            "adversarial loss; and its saturation. Near 1 over a long time with the adversarial "
            "loss near 1, the discriminator has won and teaches nothing."
        )
        parts.append(figure(training_curves(part, f"{name} · {origin}"), caption))
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
    """The command that trains the run again, as far as its checkpoint tells; None without one."""
    experiment = log.experiment
    if experiment is None:
        return None
    names = {e.data.name for e in evaluations_of(log, evaluations).values()}
    data = f"shards/{names.pop()}" if len(names) == 1 else "shards/NAME"
    words = [
        "python", "-m", "deformer.train", "--experiment", experiment.name, "--data", data,
        "--out", str(log.folder), "--steps", str(log.last_step),
    ]  # fmt: skip
    if experiment.name in EXPERIMENTS:
        changed = differences(EXPERIMENTS[experiment.name], experiment)
        for name, (_, value) in changed.items():
            text = " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    return shlex.join(words)


def machine() -> str:
    """Versions and hardware of the machine that writes the report."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return definitions(
        [
            ("python", platform.python_version()),
            *((name, _version(name)) for name in _PACKAGES),
            ("commit", _commit()),
            ("system", f"{platform.system()} {platform.machine()}"),
            ("processor", f"{_processor()}; {cores} cores to use"),
            ("GPU", ", ".join(gpus) or "none"),
        ]
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "not known"
    return run.stdout.strip() if run.returncode == 0 else "not known"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "not known"
