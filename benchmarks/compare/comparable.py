"""Which runs may be compared, and their order.

Comparable runs are an experiment and its ablations, trained and evaluated in the same way and for
the same number of steps (`_setup_of`). They differ only in their variant (`kind_of`) and their
seed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.evaluation.result import Data, Evaluation, Method, Run
from benchmarks.evaluation.scored import Scored
from benchmarks.rivals import RIVALS, rival_of
from deformer.experiments import EXPERIMENTS, base_of
from deformer.variants import VARIANTS, choices_of, variant_of

T = TypeVar("T", bound=Evaluation | Scored)


@dataclass(frozen=True, order=True)
class Setup:
    """What comparable runs have in common."""

    base: str
    """The experiment's name without the ablation."""
    step: int
    hand: str
    trained_on: str
    precision: str
    config: str
    """Hash of everything else that shaped them."""


def _setup_of(run: Run) -> Setup:
    return Setup(
        base_of(run.experiment), run.step, run.hand, run.trained_on, run.precision, run.config
    )


def kind_of(run: Run) -> str:
    """The name of the rival or variant. A run that is neither gets its experiment's name, with the
    choices that were changed by hand: `dexycb, motion step`."""
    if (rival := rival_of(run.network)) is not None:
        return rival.name
    if (variant := variant_of(run.choices)) is not None:
        return variant.name
    known = EXPERIMENTS.get(run.experiment)
    usual = run.choices if known is None else choices_of(known)
    changed = [f"{name} {value}" for name, value in run.choices.items() if value != usual[name]]
    return ", ".join([run.experiment, *changed])


def _rank_of(kind: str) -> int:
    """Sort key: the whole method first, rivals after the variants."""
    names = [*VARIANTS, *RIVALS]
    return names.index(kind) if kind in names else len(names)


def label_of(run: Run | Method) -> str:
    """A short label of a run; a method's label is its name."""
    if isinstance(run, Method):
        return run.method
    kind = kind_of(run)
    known = VARIANTS | RIVALS
    return known[kind].label if kind in known else kind


# ------------------------------------------------------------------------------- runs beside runs


def evaluation_of(item: Evaluation | Scored) -> Evaluation:
    return item if isinstance(item, Evaluation) else item.evaluation


def group_by_data(items: Iterable[T]) -> list[list[T]]:
    """Groups on the same frames of the same build, recordings first."""
    groups: dict[Data, list[T]] = {}
    for item in items:
        groups.setdefault(evaluation_of(item).data, []).append(item)
    ordered = sorted(groups, key=lambda data: (data.synthetic, data.name, data.split))
    return [groups[data] for data in ordered]


def group_by_kind(items: Iterable[T]) -> dict[Setup, dict[str, dict[int, T]]]:
    """Runs on the same data by setup, then by kind in `_rank_of`'s order, then by seed; methods
    without a checkpoint are left out.

    Raises `ValueError` for the same run twice; the message names both evaluations' commands.
    """
    found: dict[Setup, dict[str, dict[int, T]]] = {}
    for item in items:
        evaluation = evaluation_of(item)
        if not isinstance(run := evaluation.run, Run):
            continue
        seeds = found.setdefault(_setup_of(run), {}).setdefault(kind_of(run), {})
        if run.seed in seeds:
            raise ValueError(
                f"`{evaluation_of(seeds[run.seed]).command}` and `{evaluation.command}` are both "
                f"of {run.experiment}, seed {run.seed}, step {run.step:,} on "
                f"{evaluation.data.split}: the same run twice is no second sample; take one of "
                "them away"
            )
        seeds[run.seed] = item
    return {
        setup: {kind: dict(sorted(kinds[kind].items())) for kind in sorted(kinds, key=_rank_of)}
        for setup, kinds in sorted(found.items())
    }
