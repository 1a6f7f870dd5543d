"""The runs that were evaluated, a line each: runs.csv."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

import numpy as np

from benchmarks.evaluation.result import Evaluation, Run
from benchmarks.evaluation.training_log import TrainingLog, evaluations_of
from benchmarks.material import Material


@dataclass(frozen=True)
class KeptRun:
    """An evaluation of a run, and how it was trained. None: not known, such as without a log."""

    name: str
    """Of the evaluation."""
    experiment: str
    seed: int
    steps: int
    """Of the checkpoint that was evaluated."""
    fusion: str
    point_loss: str
    adversarial: bool
    start_from: str | None
    """The run whose model this one began with, or the features that hold its spatial half;
    "nothing" where there was none."""
    trained_steps: int | None
    """Of the whole training."""
    minutes: float | None
    """Of the whole training, without its validations."""
    windows_per_s: float | None
    """Median over the records of the log."""
    saturation: float | None
    """Of the discriminator, mean over the last tenth of the log's records; near 1 it has won."""
    start_pa_mpjpe_mm: float | None
    """Of the validation at step 0, before any training, as the next one."""
    start_mpjpe_mm: float | None
    """Root-aligned."""
    validation_pa_mpjpe_mm: float | None
    """Of the last validation, as the next one."""
    validation_mpjpe_mm: float | None
    trained_in: str | None
    """Precision of the training: "float32" or "bf16"."""
    device: str | None
    """That it was trained on: the GPU's name, or "CPU"."""
    processes: int | None
    threads: int | None
    """Of each process."""
    processor: str | None
    torch: str | None
    """Its version."""
    synthetic: bool
    data: str
    split: str
    frames: int
    test_pa_mpjpe_mm: float | None
    test_ra_mpjpe_mm: float | None
    test_accel_mm_per_frame2: float | None
    dataset_sha256: str


def kept_runs(material: Material) -> list[KeptRun]:
    """A line per evaluation of a run of this project, by name."""
    return [
        _kept_run(name, e, log_of(name, e, material.logs))
        for name, e in material.evaluations.items()
        if isinstance(e.run, Run)
    ]


def log_of(name: str, evaluation: Evaluation, logs: list[TrainingLog]) -> TrainingLog | None:
    """Of the run whose checkpoint was evaluated; the innermost, where one run's folder holds
    another's."""
    found = [log for log in logs if evaluations_of(log, {name: evaluation})]
    return max(found, key=lambda log: len(log.folder.parts), default=None)


def common_start(runs: Iterable[KeptRun]) -> str | None:
    """The run whose model all of them began with, where there is one."""
    found = {run.start_from for run in runs}
    return found.pop() if len(found) == 1 and not found & {None, "nothing"} else None


def _kept_run(name: str, evaluation: Evaluation, log: TrainingLog | None) -> KeptRun:
    run, data, scores = evaluation.run, evaluation.data, evaluation.metrics["all"]
    speeds = None if log is None else log.train.get("windows_per_s")
    experiment = None if log is None else log.experiment
    checkpoint = None if log is None else log.checkpoint
    machine = None if checkpoint is None else checkpoint.machine
    return KeptRun(
        name=name,
        experiment=run.experiment,
        seed=run.seed,
        steps=run.step,
        fusion=run.fusion,
        point_loss=run.point_loss,
        adversarial=run.adversarial,
        start_from=None if experiment is None else experiment.begins_with or "nothing",
        trained_steps=None if log is None else log.last_step,
        minutes=None if log is None else training_minutes(log),
        windows_per_s=None if speeds is None else float(np.nanmedian(speeds)),
        saturation=None if log is None else last_saturation(log),
        start_pa_mpjpe_mm=_validation(log, "pa_mpjpe_mm", at_start=True),
        start_mpjpe_mm=_validation(log, "mpjpe_mm", at_start=True),
        validation_pa_mpjpe_mm=_validation(log, "pa_mpjpe_mm"),
        validation_mpjpe_mm=_validation(log, "mpjpe_mm"),
        trained_in=None if checkpoint is None else checkpoint.origin.get("precision"),
        device=None if machine is None else machine.device,
        processes=None if machine is None else machine.processes,
        threads=None if machine is None else machine.threads,
        processor=None if machine is None else machine.processor,
        torch=None if machine is None else machine.torch,
        synthetic=data.synthetic,
        data=data.name,
        split=data.split,
        frames=data.frames,
        test_pa_mpjpe_mm=_mean(scores["pa_mpjpe_mm"]),
        test_ra_mpjpe_mm=_mean(scores["ra_mpjpe_mm"]),
        test_accel_mm_per_frame2=_mean(scores["accel_mm_per_frame2"]),
        dataset_sha256=data.sha256,
    )


def training_minutes(log: TrainingLog) -> float | None:
    """Windows ÷ (windows/s), summed over the records of a training; None where the size of a step
    or a record's speed is not known. What was trained twice after an interruption counts once."""
    speeds = log.train.get("windows_per_s")
    if log.experiment is None or speeds is None or not (speeds > 0).all():
        return None
    windows = np.diff(log.step, prepend=0) * log.experiment.stream.order.global_batch
    return float((windows / speeds).sum() / 60)


def last_saturation(log: TrainingLog) -> float | None:
    """The discriminator's, mean over the last tenth of the records, one at least; None where it was
    not logged, such as without a discriminator."""
    values = log.train.get("saturation", np.zeros(0))[-max(1, len(log.step) // 10) :]
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _validation(log: TrainingLog | None, name: str, at_start: bool = False) -> float | None:
    """The last one, or the one at step 0."""
    if log is None or name not in log.validation:
        return None
    values = log.validation[name]
    chosen = values[log.validation_step == 0][:1] if at_start else values[-1:]
    return float(chosen[0]) if np.isfinite(chosen).any() else None


def _mean(summary: dict | None) -> float | None:
    return None if summary is None else summary["mean"]


def runs_csv(runs: Iterable[KeptRun]) -> str:
    """A line per `KeptRun`; what is not known is empty."""
    text = io.StringIO()
    names = [field.name for field in fields(KeptRun)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for run in runs:
        writer.writerow({name: _cell(value) for name, value in asdict(run).items()})
    return text.getvalue()


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else value
