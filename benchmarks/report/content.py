"""Everything that was measured, read once, and shown as grids in the report and the kept page."""

import platform
import subprocess
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.compare.claims import Comparable, Finding
from benchmarks.compare.comparable import group_by_data, group_by_kind, kind_of, label_of
from benchmarks.evaluation.result import Evaluation, Method, Run, find_evaluations
from benchmarks.evaluation.scored import (
    NoFramesError,
    Scored,
    find_dataset,
    load_scored,
    result_name,
)
from benchmarks.evaluation.training_log import TrainingLog, find_logs, log_of
from benchmarks.speed.networks import Costs, read_costs
from benchmarks.tables.rows import DAGGER, DASH, mean_text
from deformer.data.clip import REASONS
from deformer.data.dataset import (
    DATASET_FILE,
    FRAMES_FILE,
    dataset_sha256,
    read_info,
    read_table,
    split_column,
)
from deformer.data.occlusion_bins import BINS, EDGES
from deformer.program.processor import processor, usable_cores
from deformer.variants import FULL

_HANDS = {"standin": "the stand-in hand (not MANO)", "mano": "MANO"}


@dataclass(frozen=True, eq=False)
class Measured:
    """Everything that a page shows."""

    results: Path
    """The folder of all results."""
    evaluations: dict[str, Evaluation]
    """By name."""
    scored: list[Scored]
    problems: dict[str, str]
    """Run → why its frames are not here."""
    datasets: list[Path]
    logs: list[TrainingLog]
    costs: dict[str, Costs]
    """By the base experiment of the networks."""

    @property
    def items(self) -> list[Evaluation | Scored]:
        """All evaluations, with their frames where these are here."""
        scored = {s.name: s for s in self.scored}
        return [scored.get(name, e) for name, e in self.evaluations.items()]

    @property
    def main(self) -> str | None:
        """The evaluation that a page begins with: recordings come before synthetic data, the whole
        method before others, longer trainings before shorter ones."""

        def rank(name: str) -> tuple:
            e = self.evaluations[name]
            is_run = isinstance(e.run, Run)
            is_full = is_run and kind_of(e.run) == FULL
            return (e.data.synthetic, not is_run, not is_full, -e.run.step if is_run else 0, name)

        return min(self.evaluations, key=rank, default=None)

    def log_of(self, name: str) -> TrainingLog | None:
        """The training log of an evaluated run."""
        return log_of(self.evaluations[name].run, self.logs)


def read_measured(results: Path, runs: Path, data: tuple[Path, ...] = ()) -> Measured:
    """Read all evaluations, runs and datasets.

    data: folders of datasets; by default the evaluated ones, or if there are none all in shards.
    Raises `ValueError` and `OSError` for a file that cannot be read.
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
    return Measured(
        results, evaluations, scored, problems, list(datasets), find_logs(runs),
        read_costs(results),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- grids


@dataclass(frozen=True, eq=False)
class Grid:
    """A table of texts."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: Collection[int] = (0,)
    """Columns with text; the others have numbers."""
    title: str = ""


def dataset_facts(folder: Path) -> dict[str, str]:
    """The content of a built dataset and how it was made. Raises `FileNotFoundError` or
    `ValueError` if the folder is no dataset."""
    info = read_info(folder)
    parameters, counts, made = info["parameters"], info["counts"], info["synthetic"]
    kind = "SYNTHETIC, in the layout of" if made else "recordings,"
    not_valid = (f"{n:,} {k} ({REASONS.get(k, k)})" for k, n in counts["invalid"].items())
    size = sum(shard["size"] for shard in info["shards"]) / 1e6
    return {
        "what": f"{kind} {parameters['dataset']}",
        "frames": f"{counts['frames']:,}, {counts['valid']:,} of them valid; "
        f"{counts['clips']:,} clips",
        "not valid": "; ".join(not_valid) or "none",
        "hand model": _HANDS.get(parameters["hand"], parameters["hand"]),
        "size": f"{len(info['shards'])} shards, {size:,.0f} MB",
        "made by": _plain(made) if made else "a recorded dataset",
        "sha256 of dataset.json": dataset_sha256(folder),
    }


def _plain(values: dict) -> str:
    """A nested dictionary as text, with short hashes and without empty values."""

    def words(value: object) -> object:
        if isinstance(value, dict):
            return f"({_plain(value)})"
        is_hash = isinstance(value, str) and len(value) == 64
        return value[:16] if is_hash else value

    return ", ".join(f"{k} {words(v)}" for k, v in values.items() if v not in (None, {}))


def splits_grid(folder: Path) -> Grid:
    """Per split: its frames, valid frames, and valid frames in each range of occlusion."""
    info = read_info(folder)
    splits = info["counts"]["splits"]
    columns = {name: split_column(info, name) for name in splits}
    wanted = ["valid", "is_halo", "occlusion", *sorted({c for c, _ in columns.values()})]
    frames = read_table(folder / FRAMES_FILE, wanted)
    use = frames["valid"].to_numpy() & ~frames["is_halo"].to_numpy()
    occlusion = frames["occlusion"].to_numpy().astype(float)
    rows = []
    for name, (column, part) in columns.items():
        inside = use & (frames[column].to_numpy(zero_copy_only=False) == part)
        values = occlusion[inside]
        counts = [*np.histogram(values, EDGES)[0], np.isnan(values).sum()]
        of_split = splits[name]["frames"], splits[name]["valid"]
        rows.append((name, *(f"{n:,}" if n else DASH for n in (*of_split, *counts))))
    ranges = (f"{a:.0%}–{b:.0%}" for a, b in pairwise(EDGES))
    return Grid(
        ("split", "frames", "valid", *ranges, "not known"), rows,
        title="Valid frames by how much of the hand objects hide",
    )  # fmt: skip


def trainings_grid(logs: Iterable[TrainingLog]) -> Grid:
    head = ("run", "experiment", "seed", "steps", "began with", "trained on",
            "validation PA-MPJPE, mm")  # fmt: skip
    return Grid(head, [_training(log) for log in logs], words=(0, 1, 4, 5))


def _training(log: TrainingLog) -> tuple[str, ...]:
    known = ("not known", DASH, DASH)
    if (e := log.experiment) is not None:
        known = (e.name, str(e.stream.seed), e.begins_with or "nothing")
    name, seed, start = known
    errors = log.validation.get("pa_mpjpe_mm", np.zeros(0))
    errors = errors[np.isfinite(errors)][[0, -1]] if np.isfinite(errors).any() else []
    ends = " → ".join(f"{error:.2f}" for error in errors) or DASH
    return log.name, name, seed, f"{log.last_step:,}", start, trained_on(log), ends


def trained_on(log: TrainingLog) -> str:
    """`8 × NVIDIA H100, bf16`; a dash if the checkpoint does not say."""
    if log.checkpoint is None or not (machine := log.checkpoint.machine):
        return DASH
    processes = machine.get("processes", 1)
    times = f"{processes} × " if processes > 1 else ""
    return f"{times}{machine['device']}, {log.checkpoint.origin.get('precision', 'float32')}"


_RESULTS_HEAD = (
    "PA / root-aligned, mm", "trained as",
    *(bin if bin == "all" else f"{bin} % hidden" for bin in BINS),
    "acceleration, mm/frame²", "seeds",
)  # fmt: skip


def results_grids(evaluations: Iterable[Evaluation]) -> list[Grid]:
    """Results per split: methods without a checkpoint, then runs, averaged over seeds. Raises
    `ValueError` for the same run twice."""
    grids = []
    for found in group_by_data(evaluations):
        groups = [(e,) for e in found if isinstance(e.run, Method)]
        for kinds in group_by_kind(found).values():
            groups += [tuple(seeds.values()) for seeds in kinds.values()]
        rows = [_result(group) for group in groups]
        grids.append(Grid(_RESULTS_HEAD, rows, words=(0, 1), title=str(found[0].data)))
    return grids


def _result(group: tuple[Evaluation, ...]) -> tuple[str, ...]:
    seeds = [str(e.run.seed) for e in group if isinstance(e.run, Run)]
    return (
        marked_label(group[0]),
        trained_as(group[0].run),
        *(error_text(group, bin) for bin in BINS),
        _mean_text(group, "accel_mm_per_frame2", "all"),
        ", ".join(seeds) or DASH,
    )


def marked_label(evaluation: Evaluation) -> str:
    """The label of its run, marked if the data are synthetic."""
    return f"{label_of(evaluation.run)}{f' {DAGGER}' if evaluation.data.synthetic else ''}"


def trained_as(run: Run | Method) -> str:
    """`lite_video, step 1,000`; a dash for a method without a checkpoint."""
    return f"{run.experiment}, step {run.step:,}" if isinstance(run, Run) else DASH


def error_text(group: tuple[Evaluation, ...], bin: str) -> str:
    """Errors of the joints over seeds, Procrustes-aligned / root-aligned."""
    return f"{_mean_text(group, 'pa_mpjpe_mm', bin)} / {_mean_text(group, 'ra_mpjpe_mm', bin)}"


def _mean_text(group: tuple[Evaluation, ...], metric: str, bin: str) -> str:
    summaries = [e.metrics[bin][metric] for e in group]
    return DASH if None in summaries else mean_text([s["mean"] for s in summaries])


def claims_grid(group: Comparable, findings: Iterable[Finding]) -> Grid:
    """A line for every measured claim."""
    setup = group.setup
    title = f"{setup.base}, step {setup.step:,} · {group.data} of {group.num_sequences} recordings"
    head = ("source", "claim", "verdict", "difference [95 %]", "paper", "first", "second")
    rows = [_claim(finding) for finding in findings if finding.estimate is not None]
    return Grid(head, rows, words=(0, 1, 2), title=title)


def _claim(finding: Finding) -> tuple[str, ...]:
    claim, e = finding.claim, finding.estimate
    interval = f" [{', '.join(map(signed, e.interval))}]" if e.interval else ""
    return (
        claim.source, claim.sentence, e.verdict, f"{signed(e.difference)}{interval}",
        DASH if claim.published is None else signed(claim.published, 2),
        mean_text(e.better), mean_text(e.worse),
    )  # fmt: skip


def signed(value: float, decimals: int = 3) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")


def machine_facts() -> dict[str, str]:
    """Versions and hardware of this machine, without the name of the machine or its user."""
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
