"""A training's `log.jsonl` as arrays, with its last checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.evaluation.result import Method, Run
from deformer.training.checkpoint import Checkpoint, load_experiment
from deformer.training.experiment import Experiment
from deformer.training.log import LOG_FILE, read_records


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """One run. Values by name, (steps,) each; NaN if a record lacks the value."""

    name: str
    """The path of its folder, relative to the folder of all runs."""
    folder: Path
    step: np.ndarray
    train: dict[str, np.ndarray]
    validation_step: np.ndarray
    validation: dict[str, np.ndarray]
    checkpoint: Checkpoint | None
    """The last one, without its tensors; None if there is none."""

    @property
    def experiment(self) -> Experiment | None:
        """The experiment of its last checkpoint; None without a checkpoint."""
        return None if self.checkpoint is None else self.checkpoint.experiment

    @property
    def command(self) -> str | None:
        """The command that trained it; None if the checkpoint does not say."""
        return None if self.checkpoint is None else self.checkpoint.command

    @property
    def last_step(self) -> int:
        return max(self.step.max(initial=0), self.validation_step.max(initial=0))


def read_log(folder: Path, runs: Path) -> TrainingLog:
    """The log of a run, without a last line that was cut off. Raises `ValueError` for a line that
    is no record."""
    records = read_records(folder / LOG_FILE)
    train, validation = (
        [r for r in records if r["kind"] == kind] for kind in ("train", "validation")
    )
    try:
        checkpoint = load_experiment(folder)
    except (OSError, ValueError):
        checkpoint = None
    return TrainingLog(
        folder.relative_to(runs).as_posix(), folder,
        *_columns(train), *_columns(validation), checkpoint,
    )  # fmt: skip


def _columns(records: list[dict]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    names = dict.fromkeys(name for r in records for name in r if name not in ("step", "kind"))
    values = {name: np.array([r.get(name, np.nan) for r in records], float) for name in names}
    return np.array([r["step"] for r in records], int), values


def find_logs(runs: Path) -> list[TrainingLog]:
    """Every run under a folder by name, without empty logs; none if the folder is absent."""
    logs = [read_log(path.parent, runs) for path in sorted(runs.rglob(LOG_FILE))]
    return [log for log in logs if len(log.step) or len(log.validation_step)]


def log_of(run: Run | Method, logs: list[TrainingLog]) -> TrainingLog | None:
    """The log of the run whose checkpoint was evaluated. If one run's folder holds another's, the
    inner one counts."""
    if isinstance(run, Method):
        return None
    checkpoint = Path(run.checkpoint).resolve()
    found = [log for log in logs if log.folder.resolve() in (checkpoint, *checkpoint.parents)]
    return max(found, key=lambda log: len(log.folder.parts), default=None)
