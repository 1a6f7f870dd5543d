"""All that report and kept page are written from: evaluations, datasets and training logs."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare.comparable import Kind, kind_of
from benchmarks.evaluation.result import Evaluation, Run, find_evaluations
from benchmarks.evaluation.scored import (
    NoFramesError,
    Scored,
    find_dataset,
    load_scored,
    result_name,
)
from benchmarks.evaluation.training_log import TrainingLog, find_logs
from deformer.data.dataset import DATASET_FILE


@dataclass(frozen=True, eq=False)
class Material:
    """All that a page is written from, read once."""

    results: Path
    """The folder of all results."""
    runs: Path
    """The folder of all runs."""
    data: tuple[Path, ...]
    """Folders of datasets that were named."""
    mano_dir: Path | None
    evaluations: dict[str, Evaluation]
    """By name."""
    scored: list[Scored]
    problems: dict[str, str]
    """Runs whose frames are not here, and why."""
    datasets: list[Path]
    logs: list[TrainingLog]

    @property
    def main(self) -> str | None:
        """The evaluation that a page speaks of first: on recordings before synthetic data, the
        whole method before others, the longest training before shorter ones."""

        def rank(name: str) -> tuple:
            e = self.evaluations[name]
            is_run = isinstance(e.run, Run)
            is_full = is_run and kind_of(e.run) == Kind()
            return (e.data.synthetic, not is_run, not is_full, -e.run.step if is_run else 0, name)

        return min(self.evaluations, key=rank, default=None)


def gather(
    results: Path, runs: Path, data: tuple[Path, ...] = (), mano_dir: Path | None = None
) -> Material:
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
            continue  # told in the section of figures
    if not datasets:
        datasets = dict.fromkeys(p.parent for p in sorted(Path("shards").glob(f"*/{DATASET_FILE}")))
    logs = find_logs(runs)
    return Material(
        results, runs, data, mano_dir, evaluations, scored, problems, list(datasets), logs
    )  # fmt: skip
