"""All that the report is written from: evaluations, datasets and training logs, read once."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.evaluation import Evaluation, Run, find_evaluations
from benchmarks.figures.training_log import TrainingLog, find_logs
from benchmarks.scored import (
    NotDrawableError,
    Scored,
    find_dataset,
    load_scored,
    result_name,
    run_label,
)
from deformer.dataset import DATASET_FILE


@dataclass(frozen=True, eq=False)
class Material:
    """All that the page is written from."""

    results: Path
    """The folder of all results."""
    runs: Path
    """The folder of all runs."""
    mano_dir: Path | None
    evaluations: dict[str, Evaluation]
    """By name."""
    scored: list[Scored]
    problems: dict[str, str]
    """Evaluations that cannot be drawn, and why."""
    datasets: list[Path]
    logs: list[TrainingLog]

    @property
    def main(self) -> str | None:
        """The evaluation that the page speaks of first: on recordings before synthetic data, the
        whole method before others, the longest training before shorter ones."""

        def rank(name: str) -> tuple:
            e = self.evaluations[name]
            is_run = isinstance(e.run, Run)
            is_full = is_run and run_label(e.run) == "Dynamic"
            return (e.data.synthetic, not is_run, not is_full, -e.run.step if is_run else 0, name)

        return min(self.evaluations, key=rank, default=None)


def gather(
    results: Path, runs: Path, given: tuple[Path, ...] = (), mano_dir: Path | None = None
) -> Material:
    """Read what there is.

    given: folders of datasets; by default those that were evaluated, or else all of shards. Raises
    `ValueError` and `OSError` for a file that cannot be read.
    """
    found = find_evaluations(results)
    scored, problems = load_scored(found, results, given)
    evaluations = {result_name(path, results): e for path, e in found.items()}
    datasets = dict.fromkeys(given)
    for evaluation in evaluations.values():
        try:
            datasets[find_dataset(evaluation, given)] = None
        except NotDrawableError:
            continue  # told in the section of figures
    if not datasets:
        datasets = dict.fromkeys(p.parent for p in sorted(Path("shards").glob(f"*/{DATASET_FILE}")))
    logs = find_logs(runs)
    return Material(
        results, runs, mano_dir, evaluations, scored, problems, list(datasets), logs
    )  # fmt: skip
