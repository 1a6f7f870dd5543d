"""The paper's claims as data, the runs that may be compared, and what becomes of a claim.

A claim says that one kind of run has less of something than another kind. Of Tables 4 and 5 it is
one of the paper's where their printed numbers say so, and a question of ours elsewhere. It is
judged on all seeds that both kinds have, on the same frames; how sure that is, `benchmarks.paired`
says.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from benchmarks.evaluation import Data, Run
from benchmarks.figures.drawings import group_by_split
from benchmarks.figures.scored import Scored, start_of
from benchmarks.layout import fusion_row, loss_row, read_published
from benchmarks.paired import Estimate, mean_error, paired_difference, unevenness
from benchmarks.protocol import BINS, is_in_bin
from benchmarks.rows import DASH
from deformer.experiments import base_of

RANGES = BINS | {"50-100": (0.5, 1.0), "0-25": (0.0, 0.25)}
"""Occlusion, with borders as `BINS` has them."""

METRICS = {
    "pa_mpjpe_mm": ("PA-MPJPE", "mm"),
    "ra_mpjpe_mm": ("root-aligned MPJPE", "mm"),
    "accel_mm_per_frame2": ("acceleration error", "mm/frame²"),
}
"""What claims are about: its name and its unit."""

BEYOND = "not in the paper"

# ----------------------------------------------------------------------------------------- claims


@dataclass(frozen=True)
class Kind:
    """What ablations differ in; the whole method where nothing is said."""

    fusion: str = "dynamic"
    point_loss: str = "max_mse"
    adversarial: bool = True

    def experiment(self, base: str) -> str:
        """The preset that trains it, as `tiny_mse_noadv`."""
        parts = [] if self.fusion == "dynamic" else [self.fusion]
        parts += [] if self.point_loss == "max_mse" else [self.point_loss]
        parts += [] if self.adversarial else ["noadv"]
        return "_".join([base, *parts])


@dataclass(frozen=True)
class Claim:
    """One thing that the paper says, or that we would know: the better kind has less of something
    than the worse one."""

    source: str
    """Where the paper says it, or `BEYOND`."""
    sentence: str
    """In our words; it names the better kind first."""
    better: Kind
    worse: Kind
    metric: str = "pa_mpjpe_mm"
    """Of `METRICS`."""
    occlusion: str = "all"
    """Of `RANGES`: the frames that count."""
    other_occlusion: str | None = None
    """Of `RANGES`. If given, the claim is that better − worse is less in `occlusion` than here."""
    statistic: Literal["mean", "unevenness"] = "mean"
    """Of the 21 joints' errors."""
    published: float | None = None
    """better − worse as the paper prints them, in mm, where it does."""

    @property
    def unit(self) -> str:
        return METRICS[self.metric][1] if self.statistic == "mean" else ""

    @property
    def measure(self) -> str:
        """What is compared, in words."""
        name, unit = METRICS[self.metric]
        words = f"{name} in {unit}"
        if self.statistic == "unevenness":
            words = f"{name} of the worst joint ÷ of the best"
        if self.other_occlusion is not None:
            return f"differences of {words}: {self.occlusion} % and {self.other_occlusion} %"
        return f"{words}, {'all' if self.occlusion == 'all' else f'{self.occlusion} %'}"


def _claims() -> Iterator[Claim]:
    whole, center, mse = Kind(), Kind("center"), Kind(point_loss="mse")
    without, neither = Kind(adversarial=False), Kind(point_loss="mse", adversarial=False)
    accel, ra, discriminator = (
        "accel_mm_per_frame2",
        "ra_mpjpe_mm",
        "training with the discriminator",
    )
    printed = read_published()
    for number, sentence, worse in (
        (4, "dynamic fusion errs less than no fusion", center),
        (4, "dynamic fusion errs less than the plain average", Kind("average")),
        (4, "dynamic fusion errs less than weights by occlusion", Kind("occlusion")),
        (5, "maxMSE errs less than MSE", mse),
        (5, f"{discriminator} errs less than without", without),
        (5, "maxMSE with the discriminator errs less than MSE without", neither),
    ):
        row_of = fusion_row if number == 4 else loss_row  # a kind has what it asks of a run
        for name in BINS:
            one, other = (float(printed[number][row_of(k)][name][0]) for k in (whole, worse))
            if (difference := round(one - other, 2)) < 0:
                yield Claim(f"Table {number}", sentence, whole, worse, occlusion=name,
                            published=difference)  # fmt: skip
            else:
                yield Claim(BEYOND, sentence, whole, worse, occlusion=name)
    sentence = "maxMSE makes the joints' errors more even than MSE"
    yield Claim("Fig. 3", sentence, whole, mse, statistic="unevenness")
    # Table 2 has the whole method alone
    yield Claim(BEYOND, f"{discriminator} jitters less than without", whole, without, accel)
    yield Claim(BEYOND, "dynamic fusion jitters less than no fusion", whole, center, accel)
    for name in BINS:
        yield Claim(BEYOND, "dynamic fusion errs less than no fusion", whole, center, ra, name)
    # The paper's motivation, but Table 4's gains are alike in all ranges
    sentence = "dynamic fusion gains more, over no fusion, on hidden hands than on seen ones"
    for metric in ("pa_mpjpe_mm", ra):
        yield Claim(BEYOND, sentence, whole, center, metric, "50-100", "0-25")
    nearby, sentence = Kind("nearby"), "dynamic fusion that prefers near frames errs less than"
    for metric in (ra, "pa_mpjpe_mm"):
        for name in BINS:
            yield Claim(BEYOND, f"{sentence} without", nearby, whole, metric, occlusion=name)
            yield Claim(BEYOND, f"{sentence} no fusion", nearby, center, metric, occlusion=name)


CLAIMS = tuple(sorted(_claims(), key=lambda claim: claim.source == BEYOND))
"""The paper's first, then the questions."""


# ----------------------------------------------------------------------------------------- blocks


@dataclass(frozen=True, eq=False)
class Block:
    """Runs that may be compared: of one experiment and its ablations, trained alike and equally
    long, evaluated on the same M frames."""

    runs: dict[Kind, dict[int, Scored]]
    """Kind → seed → run."""

    @cached_property
    def first(self) -> Scored:
        return next(iter(next(iter(self.runs.values())).values()))

    @property
    def data(self) -> Data:
        return self.first.evaluation.data

    @property
    def like(self) -> Run:
        """One of the runs; all have its step, hand, training data, configuration and precision."""
        return self.first.evaluation.run

    @property
    def base(self) -> str:
        """The experiment's name without an ablation."""
        return base_of(self.like.experiment)

    @cached_property
    def sequence(self) -> np.ndarray:
        """(M,) int: recordings."""
        return np.unique(self.first.comparison.sequence, return_inverse=True)[1]

    @cached_property
    def starts(self) -> set[str | None]:
        """What its runs began with: `scored.start_of`."""
        return {start_of(s.evaluation.run) for runs in self.runs.values() for s in runs.values()}


def make_blocks(scored: Iterable[Scored]) -> list[Block]:
    """All runs of this project, in blocks: recordings first, then by data, split and experiment.

    Raises `ValueError` for the same run twice, and for runs of a block that are of other frames.
    """
    blocks = []
    for group in group_by_split(list(scored)):
        inside: dict[tuple, list[Scored]] = {}
        for s in group:
            run = s.evaluation.run
            if isinstance(run, Run):
                key = (base_of(run.experiment), run.step, run.hand, run.trained_on, run.precision)
                inside.setdefault((*key, run.config), []).append(s)
        blocks += [_make_block(inside[key]) for key in sorted(inside)]
    return blocks


def _make_block(scored: list[Scored]) -> Block:
    first, runs = scored[0], {}
    for s in scored:
        run, data = s.evaluation.run, s.evaluation.data
        seeds = runs.setdefault(Kind(run.fusion, run.point_loss, run.adversarial), {})
        if (twin := seeds.setdefault(run.seed, s)) is not s:
            raise ValueError(
                f"{twin.name} and {s.name} are both of {run.experiment}, seed {run.seed}, step "
                f"{run.step:,} on {data.split}: the same run twice is no second sample; take one "
                "of them away"
            )
        if not np.array_equal(first.row, s.row):
            raise ValueError(
                f"{first.name} and {s.name} are of different frames of {data.name} {data.split}, "
                f"{len(first.row):,} and {len(s.row):,}: evaluate both again"
            )
    return Block(runs)


# --------------------------------------------------------------------------------------- findings


@dataclass(frozen=True)
class Finding:
    """What became of a claim."""

    claim: Claim
    seeds: tuple[int, ...] = ()
    """That both kinds have."""
    estimate: Estimate | None = None
    missing: str = ""
    """Why nothing is measured, where runs are missing."""

    @property
    def is_measured(self) -> bool:
        return self.estimate is not None

    @property
    def verdict(self) -> str:
        if self.missing:
            return f"not measured: {self.missing}"
        return DASH if self.estimate is None else self.estimate.verdict


Judged = list[tuple[Block, list[Finding]]]
"""Blocks with what became of each of `CLAIMS`."""


def judge_all(scored: Iterable[Scored]) -> Judged:
    """Every block; those where nothing is compared, such as what other runs start from, are left
    out where another has something. Raises `ValueError` as `make_blocks` does."""
    judged = [(block, [judge(block, claim) for claim in CLAIMS]) for block in make_blocks(scored)]
    return [item for item in judged if any(f.is_measured for f in item[1])] or judged


def judge(block: Block, claim: Claim) -> Finding:
    """Compare the two kinds of a claim. Without runs, or without frames, it is not measured."""
    kinds = (claim.better, claim.worse)
    names = [kind.experiment(block.base) for kind in kinds]
    absent = [name for kind, name in zip(kinds, names, strict=True) if kind not in block.runs]
    if absent:
        return Finding(claim, missing=f"no run of {' and of '.join(absent)}")
    better, worse = (block.runs[kind] for kind in kinds)
    seeds = tuple(sorted(better.keys() & worse.keys()))
    if not seeds:
        have = (
            f"{n} has {seeds_text(runs)}" for n, runs in zip(names, (better, worse), strict=True)
        )
        return Finding(claim, missing=f"no seed in common, {', '.join(have)}")

    def errors(runs: dict[int, Scored]) -> np.ndarray:
        values = np.stack([runs[seed].values[claim.metric] for seed in seeds])  # (S, M, 21)
        return values.mean(-1, keepdims=True) if claim.statistic == "mean" else values

    occlusion, other = block.first.occlusion, claim.other_occlusion
    estimate = paired_difference(
        errors(better),
        errors(worse),
        block.sequence,
        is_in_bin(occlusion, RANGES[claim.occlusion]),
        None if other is None else is_in_bin(occlusion, RANGES[other]),
        mean_error if claim.statistic == "mean" else unevenness,
    )
    return Finding(claim, seeds, estimate)


def seeds_text(seeds: Iterable[int]) -> str:
    numbers = sorted(seeds)
    return f"seed{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
