"""A training's `log.jsonl` as arrays, and the evaluations that are of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.evaluation.result import Evaluation, Run
from deformer.training.checkpoint import Checkpoint, load_experiment
from deformer.training.experiment import Experiment
from deformer.training.log import read_records

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
    checkpoint: Checkpoint | None
    """The last one, without its tensors; None without one."""
    last_step: int
    """Of the last record."""

    @property
    def experiment(self) -> Experiment | None:
        """What its last checkpoint was trained by; None without one."""
        return None if self.checkpoint is None else self.checkpoint.experiment

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
    records = read_records(folder / LOG_FILE)
    kinds = {kind: [r for r in records if r["kind"] == kind] for kind in ("train", "validation")}
    steps = {k: np.array([r["step"] for r in rs], int) for k, rs in kinds.items()}
    return TrainingLog(
        folder.relative_to(runs).as_posix(), folder, steps["train"], _columns(kinds["train"]),
        steps["validation"], _columns(kinds["validation"]),
        _last_checkpoint(folder),
        max((r["step"] for r in records), default=0),
    )  # fmt: skip


def _last_checkpoint(folder: Path) -> Checkpoint | None:
    try:
        return load_experiment(folder)
    except (OSError, ValueError):
        return None


def _columns(records: list[dict]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for r in records for name in r if name not in ("step", "kind"))
    return {name: np.array([r.get(name, np.nan) for r in records], float) for name in names}


def find_logs(runs: Path) -> list[TrainingLog]:
    """Every run under a folder, which may be absent, by name; empty logs left out."""
    logs = [read_log(path.parent, runs) for path in sorted(runs.rglob(LOG_FILE))]
    return [log for log in logs if len(log.step) or len(log.validation_step)]


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
