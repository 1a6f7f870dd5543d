"""What the report and the kept page show: everything that was measured, read once, as grids."""

import platform
import subprocess
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.compare.claims import Block, Finding
from benchmarks.compare.comparable import (
    evaluations_by_kind,
    group_by_data,
    is_start,
    kind_of,
    label_of,
)
from benchmarks.evaluation.protocol import BINS, HEADLINE
from benchmarks.evaluation.result import Evaluation, Method, Run, find_evaluations
from benchmarks.evaluation.scored import (
    NoFramesError,
    Scored,
    find_dataset,
    load_scored,
    result_name,
)
from benchmarks.evaluation.training_log import TrainingLog, evaluations_of, find_logs
from benchmarks.figures.style import binned
from benchmarks.tables.rows import DASH, SYNTHETIC_MARK, mean_text
from deformer.data.clip import REASONS
from deformer.data.dataset import (
    DATASET_FILE,
    dataset_sha256,
    read_info,
    read_table,
    split_column,
)
from deformer.experiments import FULL
from deformer.program.processor import processor, usable_cores

_BORDERS = np.array([0.0, *sorted({x for limits in BINS.values() if limits for x in limits})])
_HANDS = {"standin": "the stand-in hand (not MANO)", "mano": "MANO"}


@dataclass(frozen=True, eq=False)
class Material:
    """All that a page is written from."""

    results: Path
    """The folder of all results."""
    evaluations: dict[str, Evaluation]
    """By name."""
    scored: list[Scored]
    problems: dict[str, str]
    """Runs whose frames are not here, and why."""
    datasets: list[Path]
    logs: list[TrainingLog]

    @property
    def main(self) -> str | None:
        """The evaluation that a page begins with: on recordings before synthetic data, the whole
        method before others, the longest training before shorter ones."""

        def rank(name: str) -> tuple:
            e = self.evaluations[name]
            is_run = isinstance(e.run, Run)
            is_full = is_run and kind_of(e.run) == FULL and not is_start(e.run)
            return (e.data.synthetic, not is_run, not is_full, -e.run.step if is_run else 0, name)

        return min(self.evaluations, key=rank, default=None)

    @property
    def evaluated_logs(self) -> list[TrainingLog]:
        """Of the trainings that were evaluated."""
        return [log for log in self.logs if evaluations_of(log, self.evaluations)]

    def log_of(self, name: str) -> TrainingLog | None:
        """Of the run whose checkpoint was evaluated; the innermost, where one run's folder holds
        another's."""
        found = [log for log in self.logs if evaluations_of(log, {name: self.evaluations[name]})]
        return max(found, key=lambda log: len(log.folder.parts), default=None)


def gather(results: Path, runs: Path, data: tuple[Path, ...] = ()) -> Material:
    """Read what there is.

    data: folders of datasets; by default those that were evaluated, or else all of shards. Raises
    `ValueError` and `OSError` for a file that cannot be read.
    """
    found = find_evaluations(results)
    scored, problems = load_scored(found, results, data)
    evaluations = {result_name(path, results): e for path, e in found.items()}
    datasets = dict.fromkeys(data)
    for evaluation in evaluations.values():
        try:
            datasets[find_dataset(evaluation, data)] = None
        except NoFramesError:
            continue  # `problems` has it
    if not datasets:
        datasets = dict.fromkeys(p.parent for p in sorted(Path("shards").glob(f"*/{DATASET_FILE}")))
    return Material(results, evaluations, scored, problems, list(datasets), find_logs(runs))


# ------------------------------------------------------------------------------------------- grids


@dataclass(frozen=True, eq=False)
class Grid:
    """A table of texts."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: Collection[int] = (0,)
    """Columns that hold words; the others hold numbers."""
    title: str = ""


def dataset_facts(folder: Path) -> dict[str, str]:
    """What a built dataset holds and how it was made. Raises `FileNotFoundError` or `ValueError`
    when the folder is no dataset."""
    info = read_info(folder)
    parameters, counts, made = info["parameters"], info["counts"], info["synthetic"]
    kind = "SYNTHETIC, in the layout of" if made else "recordings,"
    not_valid = (f"{n:,} {k} ({REASONS.get(k, k)})" for k, n in counts["invalid"].items())
    shown = ("dataset", "hand", "hand_sha256", "schema_version")
    size = sum(shard["size"] for shard in info["shards"]) / 1e6
    return {
        "what": f"{kind} {parameters['dataset']}",
        "frames": f"{counts['frames']:,}, {counts['valid']:,} of them valid; "
        f"{counts['clips']:,} clips",
        "not valid": "; ".join(not_valid) or "none",
        "hand model": _HANDS.get(parameters["hand"], parameters["hand"]),
        "size": f"{len(info['shards'])} shards, {size:,.0f} MB",
        "made by": _plain(made) if made else "a recorded dataset",
        "build": _plain({k: v for k, v in parameters.items() if k not in shown}),
        "sha256 of dataset.json": dataset_sha256(folder),
    }


def _plain(values: dict) -> str:
    """A nested dictionary as words; hashes shortened, what is empty left out."""

    def words(value: object) -> object:
        if isinstance(value, dict):
            return f"({_plain(value)})"
        is_hash = isinstance(value, str) and len(value) == 64
        return value[:16] if is_hash else value

    return ", ".join(f"{k} {words(v)}" for k, v in values.items() if v not in (None, {}))


def splits_grid(folder: Path) -> Grid:
    """Splits: frames, valid ones, and how many of these fall into each range of occlusion."""
    info = read_info(folder)
    splits = info["counts"]["splits"]
    columns = {name: split_column(info, name) for name in splits}
    wanted = ["valid", "is_halo", "occlusion", *sorted({c for c, _ in columns.values()})]
    frames = read_table(folder / "frames.parquet", wanted)
    use = frames["valid"].to_numpy() & ~frames["is_halo"].to_numpy()
    occlusion = frames["occlusion"].to_numpy().astype(float)
    rows = []
    for name, (column, part) in columns.items():
        inside = use & (frames[column].to_numpy(zero_copy_only=False) == part)
        values = occlusion[inside]
        counts = [*binned(values, values, _BORDERS)[2], np.isnan(values).sum()]
        of_split = splits[name]["frames"], splits[name]["valid"]
        rows.append((name, *map(_count, (*of_split, *counts))))
    ranges = (f"{a:.0%}–{b:.0%}" for a, b in pairwise(_BORDERS))
    return Grid(
        ("split", "frames", "valid", *ranges, "not known"), rows,
        title="Valid frames by how much of the hand objects hide",
    )  # fmt: skip


def trainings_grid(logs: Iterable[TrainingLog]) -> Grid:
    head = ("run", "experiment", "seed", "steps", "began with", "trained on", "minutes",
            "validation PA-MPJPE, mm")  # fmt: skip
    return Grid(head, [_training(log) for log in logs], words=(0, 1, 4, 5))


def _training(log: TrainingLog) -> tuple[str, ...]:
    experiment, minutes = log.experiment, training_minutes(log)
    errors = log.validation.get("pa_mpjpe_mm", np.zeros(0))
    errors = errors[np.isfinite(errors)]
    known = ("not known", DASH, DASH)
    if experiment is not None:
        known = (experiment.name, str(experiment.stream.seed), experiment.begins_with or "nothing")
    name, seed, start = known
    return (
        log.name, name, seed, f"{log.last_step:,}", start, trained_on(log),
        DASH if minutes is None else f"{minutes:,.1f}",
        " → ".join(f"{e:.2f}" for e in errors[sorted({0, len(errors) - 1})]) if errors.size
        else DASH,
    )  # fmt: skip


def trained_on(log: TrainingLog) -> str:
    """`8 × NVIDIA H100, bf16`; a dash where the checkpoint has nothing of it."""
    if log.checkpoint is None or (machine := log.checkpoint.machine) is None:
        return DASH
    times = f"{machine.processes} × " if machine.processes > 1 else ""
    return f"{times}{machine.device}, {log.checkpoint.origin.get('precision', 'float32')}"


def training_minutes(log: TrainingLog) -> float | None:
    """Windows ÷ (windows/s), summed over the records of a training; None where they are not known.
    Validations, and what was trained twice after an interruption, do not count."""
    speeds = log.train.get("windows_per_s")
    if log.experiment is None or speeds is None or not (speeds > 0).all():
        return None
    windows = np.diff(log.step, prepend=0) * log.experiment.stream.order.global_batch
    return float((windows / speeds).sum() / 60)


def results_grid(evaluations: dict[str, Evaluation]) -> Grid:
    """Every evaluation in a line, by name."""
    (first, unit), *others = HEADLINE.values()
    metrics = (f"{first}, {unit} [95 %]", *(f"{name}, {unit}" for name, unit in others))
    head = ("result", *metrics, "data", "what")
    return Grid(head, [_result(*item) for item in evaluations.items()], words=(0, 4, 5))


def _result(name: str, evaluation: Evaluation) -> tuple[str, ...]:
    run, data, scores = evaluation.run, evaluation.data, evaluation.metrics["all"]
    first, *others = (DASH if scores[m] is None else f"{scores[m]['mean']:.2f}" for m in HEADLINE)
    interval = (scores["pa_mpjpe_mm"] or {}).get("interval")
    return (
        f"{name} {SYNTHETIC_MARK}" if data.synthetic else name,
        f"{first} [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else first,
        *others,
        f"{data.name}, {data.split}",
        f"{label_of(run)}, step {run.step:,}" if isinstance(run, Run) else run.method,
    )


def ablation_grids(evaluations: Iterable[Evaluation]) -> list[Grid]:
    """Runs that compare, side by side: a grid for each way to train and each split, where it has
    more than one kind of run; methods without a checkpoint stand above the runs. Raises
    `ValueError` for the same run twice."""
    grids = []
    for found in group_by_data(e for e in evaluations if not is_start(e.run)):
        methods = [(e,) for e in found if isinstance(e.run, Method)]
        for setup, kinds in evaluations_by_kind(found).items():
            if len(kinds) > 1:
                rows = [_ablation(group) for group in (*methods, *kinds.values())]
                title = f"{setup.base}, step {setup.step:,} · {found[0].data}"
                grids.append(Grid(_ABLATION_HEAD, rows, title=title))
    return grids


_MOST = list(BINS)[-1]
_ABLATION_HEAD = (
    "PA / root-aligned, mm", *(bin if bin == "all" else f"{bin} % hidden" for bin in BINS),
    "acceleration, mm/frame²", f"{_MOST} % hidden", "seeds",
)  # fmt: skip


def _ablation(group: tuple[Evaluation, ...]) -> tuple[str, ...]:
    def text(metric: str, bin: str) -> str:
        summaries = [e.metrics[bin][metric] for e in group]
        return DASH if None in summaries else mean_text([s["mean"] for s in summaries])

    run = group[0].run
    mark = f" {SYNTHETIC_MARK}" if group[0].data.synthetic else ""
    seeds = [str(e.run.seed) for e in group if isinstance(e.run, Run)]
    return (
        f"{label_of(run)}{mark}",
        *(f"{text('pa_mpjpe_mm', bin)} / {text('ra_mpjpe_mm', bin)}" for bin in BINS),
        *(text("accel_mm_per_frame2", bin) for bin in ("all", _MOST)),
        ", ".join(seeds) or DASH,
    )  # fmt: skip


def claims_grid(block: Block, findings: Iterable[Finding]) -> Grid:
    """Every measured claim in a line."""
    setup = block.setup
    title = f"{setup.base}, step {setup.step:,} · {block.data} of {block.num_sequences} recordings"
    head = ("source", "claim", "verdict", "difference [95 %]", "paper", "first", "second")
    rows = [_claim(finding) for finding in findings if finding.estimate is not None]
    return Grid(head, rows, words=(0, 1, 2), title=title)


def _claim(finding: Finding) -> tuple[str, ...]:
    claim, e = finding.claim, finding.estimate
    interval = f" [{', '.join(map(_signed, e.interval))}]" if e.interval else ""
    return (
        claim.source, claim.sentence, e.verdict, f"{_signed(e.difference)}{interval}",
        DASH if claim.published is None else _signed(claim.published, 2),
        mean_text(e.better), mean_text(e.worse),
    )  # fmt: skip


def _signed(value: float, decimals: int = 3) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")


def _count(number: float) -> str:
    return f"{int(number):,}" if number else DASH


def machine_facts() -> dict[str, str]:
    """Versions and hardware of this machine; nothing in them names the machine or its user."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        commit = ""
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit or "not known",
        "processor": f"{processor()}; {usable_cores()} cores to use",
        "GPU": ", ".join(gpus) or "none",
    }
