"""The runs that were evaluated, a line each, and the commands that repeat them: for what
`benchmarks.keep` writes.
"""

import csv
import io
import re
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from benchmarks.ablations import PRESETS
from benchmarks.evaluation import Evaluation, Run
from benchmarks.figures.training_log import TrainingLog, last_checkpoint
from benchmarks.report.material import Material
from benchmarks.report.runs import evaluations_of, training_command
from benchmarks.scored import is_start
from deformer.box import AugmentationRange
from deformer.experiments import base_of

_NAMED_BY_SEED = ("--out", "--checkpoint")
"""Options whose folders end in the seed, as `benchmarks.ablations` names them."""


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
    """The run whose model this one began with; "nothing" where there was none."""
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
    checkpoint = None if log is None else last_checkpoint(log.folder)
    machine = None if checkpoint is None else checkpoint.machine
    return KeptRun(
        name=name,
        experiment=run.experiment,
        seed=run.seed,
        steps=run.step,
        fusion=run.fusion,
        point_loss=run.point_loss,
        adversarial=run.adversarial,
        start_from=None if experiment is None else experiment.start_from or "nothing",
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


# --------------------------------------------------------------------------------------- commands


def make_commands(mark: dict, runs: Iterable[Run]) -> list[str]:
    """`make ablations` as it was measured, one per preset and number of steps. FILE stands for what
    cannot be made.

    mark: what `dataset.json` says of how the benchmark was synthesized; runs: that were evaluated
    on it.
    """
    presets = {preset.bases.get(mark["benchmark"]): name for name, preset in PRESETS.items()}
    seeds: dict[tuple[str, int], set[int]] = {}
    for run in runs:
        preset = presets.get(base_of(run.experiment))
        if preset is not None and not is_start(run):
            seeds.setdefault((preset, run.step), set()).add(run.seed)
    motions = ["MOTIONS=FILE"] if "motions_sha256" in mark else []
    lines = []
    for (preset, step), found in sorted(seeds.items()):
        numbers = " ".join(map(str, sorted(found)))
        words = [f"PRESET={preset}", *motions, f'SEEDS="{numbers}"', f"STEPS={step}"]
        lines.append(" ".join(["make ablations", *words]))
    return lines


def dataset_commands(info: dict, name: str) -> list[str]:
    """What makes and builds a dataset, from what its `dataset.json` (info) says. RAW and MOTIONS
    stand for what cannot be made."""
    parameters, mark = info["parameters"], info["synthetic"] or {}
    is_made_here = "generator" in mark
    raw = f"data/{name}" if is_made_here else "RAW"
    build = [
        "python", "-m", "pipelines.build_shards", "--dataset", parameters["dataset"], "--root", raw,
        "--out", f"shards/{name}", "--frames-per-shard", str(parameters["frames_per_shard"]),
    ]  # fmt: skip
    if parameters["limit"] is not None:
        build += ["--limit", str(parameters["limit"])]
    for field, value in parameters["augmentation"].items():
        if value != getattr(AugmentationRange(), field):
            build += [f"--augmentation.{field}", str(value)]
    if parameters["hand"] == "none":
        build += ["--hand", "none"]
    return [*([_synthesize(mark, raw)] if is_made_here else []), shlex.join(build)]


def _synthesize(mark: dict, out: str) -> str:
    words = ["python", "-m", "pipelines.synthesize", "--layout", mark["layout"], "--out", out]
    if "benchmark" in mark:
        words += ["--benchmark", mark["benchmark"]]
    words += ["--sequences", str(mark["sequences"])]
    if mark["layout"] == "dexycb":
        words += ["--cameras", str(mark["cameras"])]
    words += ["--frames", str(mark["frames"]), "--seed", str(mark["seed"])]
    words += ["--motions", "MOTIONS"] if "motions_sha256" in mark else []
    words += [] if mark["depth"] else ["--no-depth"]
    return shlex.join(words)


def training_commands(material: Material) -> list[tuple[int, str]]:
    """(seed, command) of every run that was evaluated and of those that they started from, each
    after the one that it started from; runs without a checkpoint are left out."""
    used = [log for log in material.logs if evaluations_of(log, material.evaluations)]
    starts = [start for log in used for start in _starts_of(log, material.logs)]
    return [
        (log.experiment.stream.seed, text)
        for log in dict.fromkeys([*starts, *used])
        if (text := training_command(log, material.evaluations)) is not None
    ]


def _starts_of(log: TrainingLog, logs: list[TrainingLog]) -> list[TrainingLog]:
    """The runs that one began with, directly or not, the first of all first."""
    if log.experiment is None or log.experiment.start_from is None:
        return []
    start = Path(log.experiment.start_from).resolve()  # of a run, or one of its checkpoints
    folders = [start, *start.parents]
    found = [other for other in logs if other is not log and other.folder.resolve() in folders]
    others = [other for other in logs if other is not log]
    return [start for other in found for start in (*_starts_of(other, others), other)]


def evaluation_commands(material: Material) -> list[tuple[int | None, str]]:
    """(seed, command) of every evaluation; of others' predictions the seed is None."""
    evaluations = material.evaluations.values()
    return [(e.run.seed if isinstance(e.run, Run) else None, e.command) for e in evaluations]


def over_seeds(commands: Iterable[tuple[int | None, str]]) -> list[str]:
    """(seed, command) → commands; those that differ by their seed alone become one shell loop."""
    groups: dict[str, dict[int | None, str]] = {}
    for seed, text in commands:
        groups.setdefault(_for_any_seed(text, seed), {})[seed] = text
    return [
        f"for s in {' '.join(map(str, by_seed))}; do {pattern}; done"
        if len(by_seed) > 1
        else next(iter(by_seed.values()))
        for pattern, by_seed in groups.items()
    ]


def _for_any_seed(command: str, seed: int | None) -> str:
    """The command with $s for the seed: of --stream.seed, and at the end of a run's folder."""
    words, pattern, option = shlex.split(command), [], ""
    for word in words:
        named = re.fullmatch(rf"(.*seed){seed}", word) if option in _NAMED_BY_SEED else None
        if option == "--stream.seed" and word == str(seed):
            pattern.append("$s")
        elif named:
            pattern.append(f"{shlex.quote(named[1])}$s")
        else:
            pattern.append(shlex.quote(word))
        option = word
    return " ".join(pattern)
