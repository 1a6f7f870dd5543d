"""The runs that may be compared, and what becomes of each claim on them.

A claim of `claim_list` is judged on all seeds that both kinds of run have, on the same frames; how
sure that is, `paired` says. Verdicts are corrected for the number of lines that a block has
measured, in each `Claim.family` apart: the main claims, and the others of each source.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from benchmarks.claims.claim_list import CLAIMS, RANGES, Claim
from benchmarks.compare.comparable import (
    Kind,
    Setup,
    group_by_split,
    results_by_kind,
    setup_differences,
    setup_of,
)
from benchmarks.compare.paired import Estimate, holm, mean_error, paired_difference, unevenness
from benchmarks.evaluation.protocol import is_in_bin
from benchmarks.evaluation.result import Data, Run
from benchmarks.evaluation.scored import Scored, start_of
from benchmarks.words import DASH, seeds_text

# ----------------------------------------------------------------------------------------- blocks


@dataclass(frozen=True, eq=False)
class Block:
    """Runs that may be compared: of one experiment and its ablations, trained alike and equally
    long, evaluated on the same M frames."""

    runs: dict[Kind, dict[int, Scored]]
    """Kind → seed → run, in the order of `comparable.by_kind`."""

    @cached_property
    def first(self) -> Scored:
        return next(iter(next(iter(self.runs.values())).values()))

    @property
    def data(self) -> Data:
        return self.first.evaluation.data

    @property
    def like(self) -> Run:
        """One of the runs."""
        return self.first.evaluation.run

    @property
    def setup(self) -> Setup:
        return setup_of(self.like)

    @property
    def base(self) -> str:
        """The experiment's name without an ablation."""
        return self.setup.base

    @cached_property
    def sequence(self) -> np.ndarray:
        """(M,) int: recordings."""
        return np.unique(self.first.comparison.sequence, return_inverse=True)[1]

    @cached_property
    def starts(self) -> set[str | None]:
        """What its runs began with: `scored.start_of`."""
        return {start_of(s.evaluation.run) for runs in self.runs.values() for s in runs.values()}


def make_blocks(scored: Iterable[Scored]) -> list[Block]:
    """All runs, in blocks: recordings first, then by data, split and experiment.

    Raises `ValueError` for the same run twice, and for runs of a block that are of other frames.
    """
    groups = (results_by_kind(group) for group in group_by_split(scored))
    blocks = [Block(runs) for group in groups for runs in group.values()]
    for block in blocks:
        _check_frames(block)
    return blocks


def _check_frames(block: Block) -> None:
    for s in (s for seeds in block.runs.values() for s in seeds.values()):
        if not np.array_equal(block.first.row, s.row):
            raise ValueError(
                f"{block.first.name} and {s.name} are of different frames of {block.data.name} "
                f"{block.data.split}, {len(block.first.row):,} and {len(s.row):,}: evaluate both "
                "again"
            )


# --------------------------------------------------------------------------------------- findings


@dataclass(frozen=True)
class Finding:
    """What became of a claim."""

    claim: Claim
    seeds: tuple[int, ...] = ()
    """That both kinds have."""
    estimate: Estimate | None = None
    p: float | None = None
    """`Estimate.p`, corrected for the number of lines; None: not corrected."""
    missing: str = ""
    """Why nothing is measured, where runs are missing."""

    @property
    def is_measured(self) -> bool:
        return self.estimate is not None

    @property
    def verdict(self) -> str:
        if self.missing:
            return f"not measured: {self.missing}"
        return DASH if self.estimate is None else self.estimate.verdict(self.p)


Judged = list[tuple[Block, list[Finding]]]
"""Blocks with what became of each of `CLAIMS`."""


def judge_all(scored: Iterable[Scored]) -> Judged:
    """Every block; those where nothing is compared, such as what other runs start from, are left
    out where another has something. Raises `ValueError` as `make_blocks` does."""
    blocks = make_blocks(scored)
    judged = [(block, judge_block(block, blocks)) for block in blocks]
    return [item for item in judged if any(f.is_measured for f in item[1])] or judged


def judge_block(block: Block, others: Iterable[Block] = ()) -> list[Finding]:
    """Each of `CLAIMS`, verdicts corrected for their number: of those that are measured in a
    family, by Holm. others: where a run may stand that is missing here."""
    findings = [judge(block, claim, others) for claim in CLAIMS]
    for family in {claim.family for claim in CLAIMS}:
        at = [
            i for i, f in enumerate(findings)
            if f.claim.family == family and f.estimate is not None and f.estimate.p is not None
        ]  # fmt: skip
        for i, p in zip(at, holm([findings[i].estimate.p for i in at]), strict=True):
            findings[i] = replace(findings[i], p=p)
    return findings


def judge(block: Block, claim: Claim, others: Iterable[Block] = ()) -> Finding:
    """Compare the two kinds of a claim, not corrected. Without runs, or without frames, it is not
    measured."""
    kinds = (claim.better, claim.worse)
    absent = [_absent(block, kind, others) for kind in kinds if kind not in block.runs]
    if absent:
        return Finding(claim, missing=f"no run of {' and of '.join(absent)}")
    seeds = common_seeds(block, *kinds)
    if not seeds:
        have = (
            f"{kind.experiment(block.base)} has {seeds_text(block.runs[kind])}" for kind in kinds
        )
        return Finding(claim, missing=f"no seed in common, {', '.join(have)}")
    occlusion, other = block.first.occlusion, claim.other_occlusion
    part = is_in_bin(occlusion, RANGES[claim.occlusion])
    other_part = None if other is None else is_in_bin(occlusion, RANGES[other])
    return Finding(claim, seeds, compare_kinds(
        block, *kinds, claim.metric, part, other_part, claim.statistic
    ))  # fmt: skip


def _absent(block: Block, kind: Kind, others: Iterable[Block]) -> str:
    """The name of what is missing; and of the run that is nearest to it, why it is none."""
    name = kind.experiment(block.base)
    nearest = min(
        ((_differences(other, block), other.runs[kind]) for other in others
         if other.base == block.base and kind in other.runs),
        key=lambda item: len(item[0]), default=None,
    )  # fmt: skip
    if nearest is None:
        return name
    differences, runs = nearest
    result = runs[min(runs)].name
    return f"{name} that compares ({result} differs: {', '.join(differences)})"


def _differences(one: Block, other: Block) -> list[str]:
    """In what the runs and the data of a block differ from another's, as far as evaluations
    tell."""
    words = setup_differences(one.setup, other.setup)
    a, b = one.data, other.data
    if (a.name, a.split) != (b.name, b.split):
        words.append(f"of {a.name} {a.split}, not {b.name} {b.split}")
    elif a != b:
        words.append(f"of another build of {a.name}")
    return words


def common_seeds(block: Block, better: Kind, worse: Kind) -> tuple[int, ...]:
    """That both kinds of a block have."""
    return tuple(sorted(block.runs[better].keys() & block.runs[worse].keys()))


def compare_kinds(
    block: Block,
    better: Kind,
    worse: Kind,
    metric: str,
    part: np.ndarray,
    other_part: np.ndarray | None = None,
    statistic: str = "mean",
) -> Estimate | None:
    """`paired_difference` of two kinds of a block on all seeds that both have. part, other_part:
    (M,) bool. None where a part has no frame with a value."""
    seeds = common_seeds(block, better, worse)

    def errors(kind: Kind) -> np.ndarray:
        values = np.stack([block.runs[kind][seed].values[metric] for seed in seeds])  # (S, M, 21)
        return values.mean(-1, keepdims=True) if statistic == "mean" else values

    return paired_difference(
        errors(better), errors(worse), block.sequence, part, other_part,
        mean_error if statistic == "mean" else unevenness,
    )  # fmt: skip
