"""The paper's claims, each judged by one paired comparison of the runs that exist.

A claim says that one variant has a smaller error than another. It is judged on the seeds that both
have, on the same frames.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks.compare.comparable import Setup, group_by_data, group_by_kind
from benchmarks.compare.frames import check_same_frames, compare_frames
from benchmarks.compare.paired import Estimate, mean_error, unevenness
from benchmarks.compare.published import read_published
from benchmarks.evaluation.result import Data
from benchmarks.evaluation.scored import Scored
from deformer.variants import FULL, VARIANTS


@dataclass(frozen=True)
class Claim:
    """The statement that one variant errs less than another."""

    source: str
    """Where the paper says it; or that it is ours."""
    sentence: str
    """In our words, with the better variant first."""
    better: str
    """A name in `VARIANTS`."""
    worse: str
    table: int | None = None
    """The table whose column `bin` has both numbers."""
    bin: str = "all"
    """A name in `BINS`: the frames that count."""
    is_of_joints: bool = False
    """Compare the unevenness of the joints' errors, not their mean."""

    @property
    def published(self) -> float | None:
        """better − worse, mm, from the paper's numbers; None if it prints none."""
        if self.table is None:
            return None
        rows = read_published()[self.table]
        one, other = (
            float(rows[VARIANTS[name].rows[self.table]][self.bin][0])
            for name in (self.better, self.worse)
        )
        return round(one - other, 2)


CLAIMS = (
    Claim("Table 4", "dynamic fusion errs less than no fusion", FULL, "center", 4),
    Claim("Table 4", "dynamic fusion errs less than no fusion on hands hidden by three quarters or "
          "more", FULL, "center", 4, "75-100"),
    Claim("Table 4", "dynamic fusion errs less than the plain average", FULL, "average", 4),
    Claim("Table 4", "dynamic fusion errs less than weights by occlusion", FULL, "occlusion", 4),
    Claim("Table 5", "maxMSE errs less than MSE", FULL, "mse", 5),
    Claim("Table 5", "the discriminator makes errors smaller", FULL, "noadv", 5),
    Claim("Table 5", "maxMSE and the discriminator err less than neither", FULL, "mse_noadv", 5),
    Claim("Fig. 3", "maxMSE makes the joints' errors more even than MSE (deviation ÷ mean over "
          "joints)", FULL, "mse", is_of_joints=True),
    Claim("not in the paper", "fusion that prefers near frames errs less than dynamic fusion",
          "nearby", FULL),
    Claim("not in the paper", "fusion by pairs of frames errs less than dynamic fusion",
          "pairwise", FULL),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Comparable:
    """Runs that may be compared: they share a setup and were evaluated on the same frames."""

    setup: Setup
    runs: dict[str, dict[int, Scored]]
    """Variant → seed → run."""

    @property
    def first(self) -> Scored:
        return next(iter(next(iter(self.runs.values())).values()))

    @property
    def data(self) -> Data:
        return self.first.evaluation.data

    @property
    def num_sequences(self) -> int:
        return len(np.unique(self.first.comparison.sequence))


@dataclass(frozen=True)
class Finding:
    """The judgement of a claim."""

    claim: Claim
    seeds: tuple[int, ...] = ()
    """The seeds that both variants have."""
    estimate: Estimate | None = None
    missing: str = ""
    """Why there is no estimate."""


def group_comparable(scored: Iterable[Scored]) -> list[Comparable]:
    """All runs in groups: recordings first, then by data, split and setup.

    Raises `ValueError` for the same run twice, and for a group whose runs have different frames.
    """
    by_setup = (group_by_kind(same_data) for same_data in group_by_data(scored))
    groups = [Comparable(setup, runs) for found in by_setup for setup, runs in found.items()]
    for group in groups:
        for s in (s for seeds in group.runs.values() for s in seeds.values()):
            check_same_frames(group.first, s)
    return groups


def judge_all(scored: Iterable[Scored]) -> list[tuple[Comparable, list[Finding]]]:
    """Every group in which a claim is measured, with the finding for each of `CLAIMS`."""
    judged = [(g, [judge(g, claim) for claim in CLAIMS]) for g in group_comparable(scored)]
    return [item for item in judged if any(f.estimate is not None for f in item[1])]


def judge(group: Comparable, claim: Claim) -> Finding:
    """Compare the two variants of a claim."""
    kinds = (claim.better, claim.worse)
    if absent := [kind for kind in kinds if kind not in group.runs]:
        names = " and of ".join(absent)
        return Finding(claim, missing=f"no run of {names} that was trained and evaluated alike")
    seeds = tuple(sorted(group.runs[claim.better].keys() & group.runs[claim.worse].keys()))
    if not seeds:
        return Finding(claim, missing=f"{claim.better} and {claim.worse} have no seed in common")
    better, worse = ([group.runs[kind][seed] for seed in seeds] for kind in kinds)
    statistic = unevenness if claim.is_of_joints else mean_error
    estimate = compare_frames(better, worse, "pa_mpjpe_mm", claim.bin, statistic)
    missing = "" if estimate else f"no frame is hidden by {claim.bin} %"
    return Finding(claim, seeds, estimate, missing)
