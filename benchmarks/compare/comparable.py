"""Which runs may be compared, and in which order they stand.

They may if they are of one experiment and its ablations, were trained alike and equally long and
are evaluated alike (`_setup_of`); then they differ in their variant (`kind_of`) and by the seed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.evaluation.result import Data, Evaluation, Method, Run
from benchmarks.evaluation.scored import Scored
from deformer.experiments import STARTS, VARIANTS, base_of, variant_of

T = TypeVar("T")


@dataclass(frozen=True, order=True)
class Setup:
    """What runs that are compared have in common."""

    base: str
    """The experiment's name without an ablation."""
    step: int
    hand: str
    trained_on: str
    precision: str
    config: str
    """Hash of all else that shaped them."""


def _setup_of(run: Run) -> Setup:
    return Setup(
        base_of(run.experiment), run.step, run.hand, run.trained_on, run.precision, run.config
    )


def kind_of(run: Run) -> str:
    """The name of the variant; of a run that is none, such as what others start from, the
    experiment's."""
    variant = variant_of(run.fusion, run.point_loss, run.adversarial)
    return run.experiment if variant is None else variant.name


def _rank_of(kind: str) -> int:
    """Kinds are ordered by it: the whole method first."""
    names = list(VARIANTS)
    return names.index(kind) if kind in names else len(names)


def label_of(run: Run | Method) -> str:
    """What a run is, in a word or two; a method by its name."""
    if isinstance(run, Method):
        return run.method
    kind = kind_of(run)
    return VARIANTS[kind].label if kind in VARIANTS else kind


def is_start(run: Run | Method) -> bool:
    """Others begin with its model, and nothing is compared with it."""
    return isinstance(run, Run) and run.experiment in STARTS


# ------------------------------------------------------------------------------- runs beside runs


def group_by_split(results: Iterable[Scored]) -> list[list[Scored]]:
    """Runs on the same split of the same build together, recordings first; in the order of their
    kinds, then of their seeds."""
    groups: dict[tuple, list[Scored]] = {}
    for result in results:
        data = result.evaluation.data
        groups.setdefault((data.synthetic, data.name, data.split, data.sha256), []).append(result)

    def place(result: Scored) -> tuple:
        run = result.evaluation.run
        return (_rank_of(kind_of(run)), run.seed, result.name)

    return [sorted(groups[key], key=place) for key in sorted(groups)]


def group_by_data(evaluations: Iterable[Evaluation]) -> list[list[Evaluation]]:
    """Evaluations of the same frames of the same build together, in the order in which they are
    found."""
    groups: dict[Data, list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(evaluation.data, []).append(evaluation)
    return list(groups.values())


def _by_kind(
    items: Iterable[T], evaluation_of: Callable[[T], Evaluation], name_of: Callable[[T], str]
) -> dict[Setup, dict[str, dict[int, T]]]:
    """Runs on one split by what they have in common, by kind in the order of kinds, and by rising
    seed; methods without a checkpoint are left out.

    Raises `ValueError` for the same run twice, by the names of both.
    """
    found: dict[Setup, dict[str, dict[int, T]]] = {}
    for item in items:
        evaluation = evaluation_of(item)
        if not isinstance(run := evaluation.run, Run):
            continue
        seeds = found.setdefault(_setup_of(run), {}).setdefault(kind_of(run), {})
        if run.seed in seeds:
            raise ValueError(
                f"{name_of(seeds[run.seed])} and {name_of(item)} are both of {run.experiment}, "
                f"seed {run.seed}, step {run.step:,} on {evaluation.data.split}: the same run "
                "twice is no second sample; take one of them away"
            )
        seeds[run.seed] = item
    return {
        setup: {kind: dict(sorted(kinds[kind].items())) for kind in sorted(kinds, key=_rank_of)}
        for setup, kinds in sorted(found.items())
    }


def evaluations_by_kind(
    evaluations: Iterable[Evaluation],
) -> dict[Setup, dict[str, tuple[Evaluation, ...]]]:
    """Evaluations on one split by setup and kind, seeds rising; the same run twice is named by the
    commands that made both."""
    found = _by_kind(evaluations, lambda e: e, lambda e: f"`{e.command}`")
    return {
        setup: {kind: tuple(seeds.values()) for kind, seeds in kinds.items()}
        for setup, kinds in found.items()
    }


def results_by_kind(results: Iterable[Scored]) -> dict[Setup, dict[str, dict[int, Scored]]]:
    """Results on one split by setup, kind and rising seed."""
    return _by_kind(results, lambda result: result.evaluation, lambda result: result.name)
