"""What trainings told: `log.jsonl` of a run as arrays, and their curves as a figure."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.plot_style import (
    DASHES,
    GREY,
    MAX_LINES,
    PALETTE,
    new_figure,
    no_data,
    set_title,
    styled,
)
from deformer.checkpoint import load_checkpoint
from deformer.experiments import Experiment

LOG_FILE = "log.jsonl"


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """One run. Values by name, (steps,) each, NaN where a record lacks one."""

    name: str
    """Of its folder, from the folder of all runs."""
    folder: Path
    step: np.ndarray
    train: dict[str, np.ndarray]
    validation_step: np.ndarray
    validation: dict[str, np.ndarray]
    experiment: Experiment | None
    """What its last checkpoint was trained by; None without one."""
    last_step: int
    """Of the last record."""

    @property
    def learning_rate(self) -> np.ndarray | None:
        """(steps,) of the model, warm-up included; None where the experiment is not known."""
        if self.experiment is None or "rate" not in self.train:
            return None
        optim = self.experiment.optim
        warm = np.minimum(1.0, self.step / max(1, optim.warmup_steps))
        return optim.lr * self.train["rate"] * warm


def read_log(folder: Path, runs: Path) -> TrainingLog:
    """The log of a run; a last line that was cut off is left out. Raises `ValueError` for a line
    that is no record."""
    path = folder / LOG_FILE
    lines = path.read_text().splitlines(keepends=True)
    try:
        records = [json.loads(line) for line in lines if line.endswith("\n") and line.strip()]
        kinds = {
            kind: [r for r in records if r["kind"] == kind] for kind in ("train", "validation")
        }
        steps = {k: np.array([r["step"] for r in rs], int) for k, rs in kinds.items()}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no training log ({error!r}): take it away") from error
    try:
        experiment = load_checkpoint(folder, only=("none",)).experiment
    except (OSError, ValueError):
        experiment = None
    return TrainingLog(
        folder.relative_to(runs).as_posix(), folder, steps["train"], _columns(kinds["train"]),
        steps["validation"], _columns(kinds["validation"]), experiment,
        max((r["step"] for r in records), default=0),
    )  # fmt: skip


def _columns(records: list[dict]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for r in records for name in r if name not in ("step", "kind"))
    return {name: np.array([r.get(name, np.nan) for r in records], float) for name in names}


def find_logs(runs: Path) -> list[TrainingLog]:
    """Every run under a folder, which may be absent, by name; empty logs left out."""
    logs = [read_log(path.parent, runs) for path in sorted(runs.rglob(LOG_FILE))]
    return [log for log in logs if len(log.step) or len(log.validation_step)]


@styled
def training_curves(logs: list[TrainingLog], origin: str) -> Figure:
    """Validation error, loss, learning rate, discriminator: of at most `MAX_LINES` runs.

    origin: of which data, for the title.
    """
    logs = logs[:MAX_LINES]
    figure = new_figure(height_in=10.2 + 0.22 * (len(logs) if len(logs) > 1 else 0))
    set_title(figure, "Training", origin)
    axes = figure.subplots(5, 1, sharex=True)
    for k, log in enumerate(logs):
        _draw_run(axes, log, PALETTE[k], DASHES[k], alone=len(logs) == 1)
    titles = (
        "validation, PA-MPJPE, mm", "total loss", "learning rate of the model",
        "discriminator's loss, model's adversarial loss",
        "saturation of the discriminator",
    )  # fmt: skip
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, loc="left", color=GREY, fontsize=10.5)
        if not ax.lines:
            no_data(ax, "not known: it was not logged, or there is no checkpoint")
            ax.set_yticks([])
    low, high = axes[1].get_ylim()
    if axes[1].lines and low > 0 and high > 20 * low:
        axes[1].set_yscale("log")
    axes[2].set_ylim(bottom=0)
    axes[2].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes[4].set_ylim(-0.03, 1.03)
    axes[4].set_xlabel("step")
    axes[4].xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    if len(logs) > 1:
        handles = [
            next(line for ax in axes for line in ax.lines if line.get_label() == log.name)
            for log in logs
        ]
        figure.legend(handles, [log.name for log in logs], loc="outside lower left", ncols=1)
    else:
        for ax in (axes[0], axes[3]):
            if ax.lines:
                ax.legend(loc="best")
    return figure


def _draw_run(axes: list[Axes], log: TrainingLog, color: str, dash, alone: bool) -> None:
    """One run into the five panels; of several runs, one line each."""

    def draw(ax: Axes, x: np.ndarray, values: dict, name: str, label: str, k: int = 0) -> None:
        if name in values and np.isfinite(values[name]).any():
            used, kind = (PALETTE[k], DASHES[k]) if alone else (color, dash)
            marker = "o" if np.isfinite(values[name]).sum() < 20 else None
            shown = label if alone else log.name
            ax.plot(x, values[name], color=used, linestyle=kind, marker=marker, markersize=3.5,
                    label=shown)  # fmt: skip

    draw(axes[0], log.validation_step, log.validation, "pa_mpjpe_mm", "all")
    if alone:
        draw(axes[0], log.validation_step, log.validation, "pa_mpjpe_occluded_mm", "occluded", 1)
    draw(axes[1], log.step, log.train, "total", "total")
    if (rate := log.learning_rate) is not None:
        draw(axes[2], log.step, {"rate": rate}, "rate", "rate")
    draw(axes[3], log.step, log.train, "discriminator", "discriminator")
    if alone:
        draw(axes[3], log.step, log.train, "adversarial", "adversarial", 1)
    draw(axes[4], log.step, log.train, "saturation", "saturation")
