"""The Deformer beside its rivals: by how much each errs more or less, on the same frames.

Claims compare runs that differ in one choice. A rival is another network, with losses of its own,
compared with the Deformer's experiment of the same base, which has the same start and budget: on
kept features, rivals of single frames with the Deformer's spatial half alone. Both sides share
data, frames, hand model, what they were trained on and the precision of their evaluation.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks.compare.comparable import Setup, evaluation_of, group_by_data, group_by_kind
from benchmarks.compare.frames import check_same_frames, compare_frames
from benchmarks.evaluation.result import Data, Evaluation, Method, Run
from benchmarks.evaluation.scored import Scored
from benchmarks.rivals import RIVALS, rival_of
from deformer.experiments import base_of
from deformer.variants import FULL

COMPARED = tuple(
    (metric, bin) for metric in ("pa_mpjpe_mm", "ra_mpjpe_mm") for bin in ("all", "75-100")
)
"""Metric and range of occlusion of every comparison."""
OURS_LESS, RIVAL_LESS = "ours errs less", "the rival errs less"

Runs = dict[int, Evaluation | Scored]
"""By seed; `Scored` where the frames are known."""


@dataclass(frozen=True)
class Difference:
    """rival − ours, mm: above 0, ours errs less."""

    mean: float
    """Over frames and the seeds that both have."""
    interval: tuple[float, float] | None = None
    """95 %; None without errors per frame or with fewer than two recordings."""
    verdict: str = ""
    """`OURS_LESS`, `RIVAL_LESS` or too noisy to say, perhaps with a remark; empty without errors
    per frame."""


@dataclass(frozen=True, eq=False)
class Opponent:
    """A rival, or a method without a checkpoint."""

    evaluations: tuple[Evaluation, ...]
    """One per seed; one of a method without a checkpoint."""
    differences: dict[tuple[str, str], Difference]
    """By metric and bin of `COMPARED`; without those that no frame is in. Empty where a rival has
    no seed in common with the whole method."""


@dataclass(frozen=True, eq=False)
class Versus:
    """The whole method, and all that stands beside it on the same data."""

    ours: tuple[Evaluation, ...]
    """One per seed."""
    opponents: tuple[Opponent, ...]
    """Methods without a checkpoint, then rivals in the order of `RIVALS`; one rival at least."""

    @property
    def data(self) -> Data:
        return self.ours[0].data

    @property
    def run(self) -> Run:
        """The first seed of the whole method."""
        return self.ours[0].run

    @property
    def base(self) -> str:
        return base_of(self.run.experiment)


def compare_rivals(items: Iterable[Evaluation | Scored]) -> list[Versus]:
    """Every training of the whole method that rivals are compared with, recordings first. A rival
    that none stands beside is left out.

    Raises `ValueError` for the same run twice, and for runs on different frames.
    """
    found = []
    for same_data in group_by_data(items):
        methods = [item for item in same_data if isinstance(evaluation_of(item).run, Method)]
        runs = group_by_kind(same_data)
        found_ours = {setup: _ours(setup, kinds) for setup, kinds in runs.items()}
        ours = {setup: seeds for setup, seeds in found_ours.items() if seeds is not None}
        beside: dict[Setup, list[Runs]] = {setup: [] for setup in ours}
        for setup, kinds in runs.items():
            for seeds in kinds.values():
                if (chosen := _whole_method_for(setup, seeds, ours)) is not None:
                    beside[chosen].append(seeds)
        for setup, rivals in beside.items():
            if rivals:
                found.append(_compare(ours[setup], methods, rivals))
    return found


def _ours(setup: Setup, kinds: dict[str, Runs]) -> Runs | None:
    """The Deformer's runs of a base: the whole method, or on single frames its spatial half."""
    runs = kinds.get(FULL) or kinds.get(setup.base)
    return runs if runs and _first(runs).run.network == "deformer" else None


def _first(runs: Runs) -> Evaluation:
    return evaluation_of(next(iter(runs.values())))


def _place_among_rivals(runs: Runs) -> int:
    return list(RIVALS).index(rival_of(_first(runs).run.network).name)


def _whole_method_for(setup: Setup, seeds: Runs, ours: dict[Setup, Runs]) -> Setup | None:
    """Which of `ours` a rival is compared with: of those with its base, one of as many steps, or
    else the longest. None for no rival, and where there is none."""
    run = _first(seeds).run
    if (rival := rival_of(run.network)) is None:
        return None
    base = run.experiment.removesuffix(f"_{rival.name}")
    wanted = (base, run.hand, run.trained_on, run.precision)
    alike = [s for s in ours if (s.base, s.hand, s.trained_on, s.precision) == wanted]
    return max(alike, key=lambda s: (s.step == setup.step, s.step), default=None)


def _compare(ours: Runs, methods: list[Evaluation], rivals: list[Runs]) -> Versus:
    opponents = [
        Opponent((m,), _differences([m], [evaluation_of(o) for o in ours.values()]))
        for m in methods
    ]
    for rival in sorted(rivals, key=_place_among_rivals):
        seeds = sorted(rival.keys() & ours.keys())
        pairs = [rival[seed] for seed in seeds], [ours[seed] for seed in seeds]
        differences = _differences(*pairs) if seeds else {}
        opponents.append(Opponent(tuple(map(evaluation_of, rival.values())), differences))
    return Versus(tuple(map(evaluation_of, ours.values())), tuple(opponents))


def _differences(
    rival: list[Evaluation | Scored], ours: list[Evaluation | Scored]
) -> dict[tuple[str, str], Difference]:
    """Of runs of the same seeds, in that order, frame by frame where all frames are known."""
    has_frames = not any(isinstance(item, Evaluation) for item in (*rival, *ours))
    for item in (*rival, *ours) if has_frames else ():
        check_same_frames(ours[0], item)
    compare = _of_frames if has_frames else _of_means
    found = {of: compare(rival, ours, *of) for of in COMPARED}
    return {of: difference for of, difference in found.items() if difference is not None}


def _of_frames(rival: list[Scored], ours: list[Scored], metric: str, bin: str) -> Difference | None:
    if (e := compare_frames(rival, ours, metric, bin)) is None:
        return None
    return Difference(e.difference, e.interval, e.verdict_as(RIVAL_LESS, OURS_LESS))


def _of_means(
    rival: list[Evaluation | Scored], ours: list[Evaluation | Scored], metric: str, bin: str
) -> Difference | None:
    summaries = [
        [evaluation_of(item).metrics[bin][metric] for item in side] for side in (rival, ours)
    ]
    if any(summary is None for side in summaries for summary in side):
        return None
    one, other = (float(np.mean([summary["mean"] for summary in side])) for side in summaries)
    return Difference(one - other)
