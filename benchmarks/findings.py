"""The paper's claims as data, the runs that may be compared, and what becomes of a claim.

A claim says that one kind of run has less of something than another kind. It is judged on all seeds
that both kinds have, on the same frames; how sure that is, `benchmarks.paired` says.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from benchmarks.evaluation import Data, Run
from benchmarks.figures.drawings import group_by_split
from benchmarks.figures.scored import Scored
from benchmarks.paired import Estimate, mean_error, paired_difference, unevenness
from benchmarks.protocol import BINS, is_in_bin
from benchmarks.rows import DASH
from deformer.experiments import ABLATIONS

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
    accel, discriminator = "accel_mm_per_frame2", "training with the discriminator"
    yield Claim("Table 2", f"{discriminator} jitters less than without", whole, without, accel)
    yield Claim("Table 2", "dynamic fusion jitters less than no fusion", whole, center, accel)
    yield Claim("Table 2", "dynamic fusion errs less than no fusion", whole, center, "ra_mpjpe_mm")
    for source, sentence, worse in (
        ("Table 4", "dynamic fusion errs less than no fusion", center),
        ("Table 4", "dynamic fusion errs less than the plain average", Kind("average")),
        ("Table 4", "dynamic fusion errs less than weights by occlusion", Kind("occlusion")),
        ("Table 5", "maxMSE errs less than MSE", mse),
        ("Table 5", f"{discriminator} errs less than without", without),
        ("Table 5", "maxMSE with the discriminator errs less than MSE without", neither),
    ):
        for name in BINS:
            yield Claim(source, sentence, whole, worse, occlusion=name)
    sentence = "dynamic fusion gains more, over no fusion, on hidden hands than on seen ones"
    for source, metric in (("Table 4, Fig. 5", "pa_mpjpe_mm"), (BEYOND, "ra_mpjpe_mm")):
        yield Claim(source, sentence, whole, center, metric, "50-100", "0-25")
    sentence = "maxMSE makes the joints' errors more even than MSE"
    yield Claim("Fig. 3", sentence, whole, mse, statistic="unevenness")
    nearby, ra = Kind("nearby"), "ra_mpjpe_mm"
    for name in BINS:
        if name != "all":  # that is Table 2's
            yield Claim(BEYOND, "dynamic fusion errs less than no fusion", whole, center, ra, name)
    for metric in (ra, "pa_mpjpe_mm"):
        for name in BINS:
            sentence = "dynamic fusion that prefers near frames errs less than"
            yield Claim(BEYOND, f"{sentence} without", nearby, whole, metric, occlusion=name)
            yield Claim(BEYOND, f"{sentence} no fusion", nearby, center, metric, occlusion=name)


CLAIMS = tuple(_claims())


# ----------------------------------------------------------------------------------------- blocks


@dataclass(frozen=True, eq=False)
class Block:
    """Runs that may be compared: of one experiment and its ablations, trained equally long,
    evaluated on the same M frames."""

    data: Data
    base: str
    """The experiment's name without an ablation."""
    like: Run
    """One of the runs; all have its step, hand, training data and precision."""
    runs: dict[Kind, dict[int, Scored]] = field(default_factory=dict)
    """Kind → seed → run."""

    @cached_property
    def first(self) -> Scored:
        return next(iter(next(iter(self.runs.values())).values()))

    @cached_property
    def sequence(self) -> np.ndarray:
        """(M,) int: recordings."""
        return np.unique(self.first.comparison.sequence, return_inverse=True)[1]

    def add(self, scored: Scored) -> None:
        """Raises `ValueError` for a run that is there already, and for one of other frames."""
        run = scored.evaluation.run
        seeds = self.runs.setdefault(Kind(run.fusion, run.point_loss, run.adversarial), {})
        if (twin := seeds.setdefault(run.seed, scored)) is not scored:
            raise ValueError(
                f"{twin.name} and {scored.name} are both of {run.experiment}, seed {run.seed}, "
                f"step {run.step:,} on {self.data.split}: the same run twice is no second sample; "
                "take one of them away"
            )
        if not np.array_equal(self.first.row, scored.row):
            raise ValueError(
                f"{self.first.name} and {scored.name} are of different frames of {self.data.name} "
                f"{self.data.split}, {len(self.first.row):,} and {len(scored.row):,}: evaluate "
                "both again"
            )


def base_of(experiment: str) -> str:
    """`tiny_mse_noadv` → `tiny`."""
    for ablation in sorted(ABLATIONS, key=len, reverse=True):
        if experiment.endswith(f"_{ablation}"):
            return experiment.removesuffix(f"_{ablation}")
    return experiment


def make_blocks(scored: Iterable[Scored]) -> list[Block]:
    """All runs of this project, in blocks: recordings first, then by data, split and experiment.

    Raises `ValueError` as `Block.add` does.
    """
    blocks = []
    for group in group_by_split(list(scored)):
        inside: dict[tuple, Block] = {}
        for s in group:
            run = s.evaluation.run
            if not isinstance(run, Run):
                continue
            key = (base_of(run.experiment), run.step, run.hand, run.trained_on, run.precision)
            inside.setdefault(key, Block(s.evaluation.data, key[0], run)).add(s)
        blocks += [inside[key] for key in sorted(inside)]
    return blocks


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
    def verdict(self) -> str:
        if self.missing:
            return f"not measured: {self.missing}"
        return DASH if self.estimate is None else self.estimate.verdict


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
