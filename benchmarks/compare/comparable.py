"""Which runs may be compared, what they then differ in, and in which order they stand.

They may if they are of one experiment and its ablations, were trained alike and equally long and
are evaluated alike (`setup_of`); then they differ in what ablations change (`kind_of`) and by the
seed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar

from benchmarks.evaluation.result import Data, Evaluation, Method, Run
from deformer.experiments import FULL, STARTS, VARIANTS, base_of, variant_of


@dataclass(frozen=True)
class Kind:
    """What ablations differ in; the whole method where nothing is said."""

    fusion: str = "dynamic"
    point_loss: str = "max_mse"
    adversarial: bool = True

    def experiment(self, base: str) -> str:
        """The preset that trains it, as `tiny_mse_noadv`."""
        names = [base] if self.fusion == VARIANTS[FULL].fusion else [base, self.fusion]
        return "_".join(names if self._losses == FULL else [*names, self._losses])

    @property
    def label(self) -> str:
        """In a word or two, as Tables 4 and 5 name it."""
        whole = VARIANTS[FULL]
        fusion = variant_of(self.fusion, whole.point_loss, whole.adversarial).label
        if self._losses == FULL:
            return fusion
        known = VARIANTS.get(self._losses)
        return f"{fusion}, {known.label if known else self._losses}"

    @property
    def _losses(self) -> str:
        """The ablation with these losses; where none has them, what they are."""
        variant = variant_of(VARIANTS[FULL].fusion, self.point_loss, self.adversarial)
        if variant is not None:
            return variant.name
        return self.point_loss if self.adversarial else f"{self.point_loss}_noadv"

    @property
    def rank(self) -> tuple[bool, bool, bool, int]:
        """Kinds are ordered by it: the whole method, then other fusions, ending with none, then
        other losses."""
        place = [variant.fusion for variant in VARIANTS.values()].index(self.fusion)
        return (self.point_loss != "max_mse", not self.adversarial, place > 0, -place)


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


def kind_of(run: Run) -> Kind:
    return Kind(run.fusion, run.point_loss, run.adversarial)


def setup_of(run: Run) -> Setup:
    return Setup(
        base_of(run.experiment), run.step, run.hand, run.trained_on, run.precision, run.config
    )


def setup_differences(one: Setup, other: Setup) -> list[str]:
    """In what one differs from the other, as `step 300, not 600`."""
    names = [f.name for f in fields(Setup) if getattr(one, f.name) != getattr(other, f.name)]
    return [
        "another configuration"
        if name == "config"  # a hash tells nobody anything
        else f"{name.replace('_', ' ')} {getattr(one, name)}, not {getattr(other, name)}"
        for name in names
    ]


def run_label(run: Run | Method) -> str:
    """What a run is, in a word or two; a method by its name."""
    return run.method if isinstance(run, Method) else kind_of(run).label


def is_start(run: Run | Method) -> bool:
    """Others begin with its model, and nothing is compared with it."""
    return isinstance(run, Run) and run.experiment in STARTS


# ------------------------------------------------------------------------------- runs beside runs


class Result(Protocol):
    """An evaluation with its name, as `scored.Scored`."""

    name: str
    evaluation: Evaluation


R = TypeVar("R", bound=Result)
T = TypeVar("T")


def group_by_split(results: Iterable[R]) -> list[list[R]]:
    """Runs on the same split of the same build together, recordings first; in the order of their
    kinds, then of their seeds."""
    groups: dict[tuple, list[R]] = {}
    for result in results:
        data = result.evaluation.data
        groups.setdefault((data.synthetic, data.name, data.split, data.sha256), []).append(result)

    def place(result: R) -> tuple:
        run = result.evaluation.run
        return (kind_of(run).rank, run.seed, result.name)

    return [sorted(groups[key], key=place) for key in sorted(groups)]


def group_by_data(evaluations: Iterable[Evaluation]) -> list[list[Evaluation]]:
    """Evaluations of the same frames of the same build together, in the order in which they are
    found."""
    groups: dict[Data, list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(evaluation.data, []).append(evaluation)
    return list(groups.values())


def by_kind(
    items: Iterable[T], evaluation_of: Callable[[T], Evaluation], name_of: Callable[[T], str]
) -> dict[Setup, dict[Kind, dict[int, T]]]:
    """Runs on one split by what they have in common, by kind in the order of kinds, and by rising
    seed; methods without a checkpoint are left out.

    Raises `ValueError` for the same run twice, which is no second sample, by the names of both.
    """
    found: dict[Setup, dict[Kind, dict[int, T]]] = {}
    for item in items:
        evaluation = evaluation_of(item)
        if not isinstance(run := evaluation.run, Run):
            continue
        seeds = found.setdefault(setup_of(run), {}).setdefault(kind_of(run), {})
        if run.seed in seeds:
            twins = f"{name_of(seeds[run.seed])} and {name_of(item)}"
            raise ValueError(
                f"{twins} are both of {run.experiment}, seed {run.seed}, step {run.step:,} on "
                f"{evaluation.data.split}: the same run twice is no second sample; take one of "
                "them away"
            )
        seeds[run.seed] = item
    return {
        setup: {
            kind: dict(sorted(found[setup][kind].items()))
            for kind in sorted(found[setup], key=lambda kind: kind.rank)
        }
        for setup in sorted(found)
    }


def evaluations_by_kind(
    evaluations: Iterable[Evaluation],
) -> dict[Setup, dict[Kind, tuple[Evaluation, ...]]]:
    """`by_kind` of evaluations, which the commands that made them name; seeds rising."""
    found = by_kind(evaluations, lambda e: e, lambda e: f"`{e.command}`")
    return {
        setup: {kind: tuple(seeds.values()) for kind, seeds in kinds.items()}
        for setup, kinds in found.items()
    }


def results_by_kind(results: Iterable[R]) -> dict[Setup, dict[Kind, dict[int, R]]]:
    """`by_kind` of results, by their names."""
    return by_kind(results, lambda result: result.evaluation, lambda result: result.name)


def partner(result: R, group: Iterable[R], **changed: str) -> R | None:
    """The run of a group on the same split that differs from this one in these fields of `Kind`
    alone, as `fusion="center"`. None where there is none, and where this one is so itself."""
    run = result.evaluation.run
    if (kind := replace(kind_of(run), **changed)) == kind_of(run):
        return None
    for other in group:
        r = other.evaluation.run
        if (kind_of(r), r.seed, setup_of(r)) == (kind, run.seed, setup_of(run)):
            return other
    return None
