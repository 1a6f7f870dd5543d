"""Two kinds of runs on the same frames: by how much one errs less, and whether chance explains it.

Pure numpy. A frame that is hard is hard for both kinds, so errors are subtracted frame by frame,
and only what the kinds differ in is left. Chance has a hand in it twice:

- in which recordings the split has: as in `metrics.bootstrap_interval`, each draw takes recordings
  with replacement, all their frames together, the same ones for both kinds and for every seed; and
  as they are few, its distance from the estimate gets the tails of Student's t (`with_tails`);
- in how the trainings went: each draw adds to the mean over S seeds their standard error times a
  draw of Student's t with S − 1 degrees of freedom. Seeds are too few to be taken with replacement
  too: of three, one draw in 27 is three times the smallest, so the 95 % interval would run from the
  smallest to the largest, and leave out the truth one time in four.

With a single seed there is nothing to tell the second from, and the verdict says so.

Of many lines some are beyond chance by chance; `holm` corrects for their number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

HOLDS, FAILS, NOISY = "holds", "does not hold", "too noisy to say"
ALPHA = 0.05

Statistic = Callable[[np.ndarray], np.ndarray]
"""Of the mean errors of the joints (…, J) → (…)."""


def mean_error(per_joint: np.ndarray) -> np.ndarray:
    """(…, J) → (…): the mean over joints."""
    return per_joint.mean(-1)


def unevenness(per_joint: np.ndarray) -> np.ndarray:
    """(…, J) → (…): standard deviation ÷ mean of the joints' errors, 0 where all err alike."""
    return per_joint.std(-1) / per_joint.mean(-1)


@dataclass(frozen=True)
class Estimate:
    """A difference, one − other, with what is known of its chance. Per seed: S numbers."""

    one: tuple[float, ...]
    """Per seed: the statistic of the better kind, or the difference of the kinds in one part."""
    other: tuple[float, ...]
    """Per seed: the statistic of the worse kind, or the difference of the kinds in the other."""
    interval: tuple[float, float] | None
    """95 %; None with fewer than two recordings."""
    p: float | None
    """How often chance alone would show a difference as large, of this line alone: the interval
    leaves out 0 where it is below 0.05. None where the interval is."""
    num_frames: int
    num_sequences: int

    @property
    def per_seed(self) -> tuple[float, ...]:
        """one − other: negative where the claim is right."""
        return tuple(a - b for a, b in zip(self.one, self.other, strict=True))

    @property
    def difference(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.per_seed))

    def verdict(self, p: float | None = None) -> str:
        """`HOLDS` if the difference is below 0 and not by chance, `FAILS` if above, else `NOISY`;
        and of how little that is known.

        p: corrected for the other lines; by default that of this line alone.
        """
        if self.interval is None:
            return f"{NOISY} (one recording)"
        low, high = self.interval
        is_kept = (self.p if p is None else p) <= ALPHA
        word = HOLDS if high < 0 and is_kept else FAILS if low > 0 and is_kept else NOISY
        return f"{word} (one seed)" if len(self.one) == 1 else word


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction: the chance of each line → the chance that, of all these lines, chance
    alone shows one as large. That of the smallest counts as often as there are lines, that of the
    next once less, and so on; none becomes smaller than one before it."""
    values = np.asarray(p, float)
    order = np.argsort(values, kind="stable")
    times = np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * times))
    return corrected.tolist()


def paired_difference(
    better: np.ndarray,
    worse: np.ndarray,
    sequence: np.ndarray,
    part: np.ndarray,
    other_part: np.ndarray | None = None,
    statistic: Statistic = mean_error,
    *,
    seed: int = 0,
    num_draws: int = 10_000,
) -> Estimate | None:
    """By how much the better kind of run differs from the worse one.

    better, worse: (S, M, J) errors of S seeds on the same M frames, NaN where a frame has no value
    in any run (J is 1 for a value per frame); sequence (M,) int: the recording of each frame; part
    (M,) bool: the frames that count. The statistic is of the means over frames, per seed; then
    comes the mean over seeds.

    other_part (M,) bool: asks instead for (better − worse in `part`) − (better − worse in
    `other_part`): negative where the better kind gains more in `part`. Recordings are drawn for
    both parts together; draws without a frame in one of them are left out.

    seed: of the draws. Returns None where a part has no frame with a value. Raises `ValueError`
    for shapes that do not agree, and where a frame has a value in some of the runs only.
    """
    S, M, _ = better.shape
    if worse.shape != better.shape or len(sequence) != M or S == 0:
        raise ValueError(
            f"errors {better.shape} and {worse.shape} of {len(sequence)} frames: both must be "
            "(seeds, frames, joints) of the same seeds and frames"
        )
    is_known = _known_frames(better, worse)
    parts = [p & is_known for p in (part, other_part) if p is not None]
    if not all(p.any() for p in parts):
        return None
    kept = np.logical_or.reduce(parts)
    names, group = np.unique(sequence[kept], return_inverse=True)
    G = len(names)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(G, np.full(G, 1 / G), num_draws)
    times = np.vstack([np.ones((1, G)), drawn])  # first the recordings as they are, then the draws

    def of_kind(errors: np.ndarray, p: np.ndarray) -> np.ndarray:
        """(1 + num_draws, S)"""
        return statistic(_drawn_means(errors[:, p], group[p[kept]], times))

    one, other = of_kind(better, parts[0]), of_kind(worse, parts[0])
    if other_part is not None:
        one, other = one - other, of_kind(better, parts[1]) - of_kind(worse, parts[1])
    fewest = min(len(np.unique(sequence[p])) for p in parts)
    interval = p = None
    if fewest > 1:
        estimate, draws = one[0] - other[0], one[1:] - other[1:]
        draws = draws[~np.isnan(draws).any(1)]  # others have no frame in a part
        chance_of_seeds = _chance_of_seeds(draws, rng)
        draws = with_tails(draws.mean(1), estimate.mean(), fewest, rng) + chance_of_seeds
        low, high = np.percentile(draws, [50 * ALPHA, 100 - 50 * ALPHA])
        interval, p = (float(low), float(high)), float(p_value(draws))
    numbers = (tuple(x[0].tolist()) for x in (one, other))
    return Estimate(*numbers, interval, p, int(kept.sum()), G)


def _known_frames(better: np.ndarray, worse: np.ndarray) -> np.ndarray:
    """(M,) bool: frames with a value, which is a matter of the frame and not of the run."""
    is_nan = np.concatenate([np.isnan(better), np.isnan(worse)])
    is_nan_in_some, is_nan_in_all = is_nan.any((0, 2)), is_nan.all((0, 2))
    if (is_nan_in_some != is_nan_in_all).any():
        at = int((is_nan_in_some != is_nan_in_all).argmax())
        raise ValueError(f"frame {at} of {len(is_nan_in_all)} has a value in some of the runs only")
    return ~is_nan_in_some


def _drawn_means(errors: np.ndarray, group: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Errors (S, N, J) of N frames in recordings `group` (N,) → their means (D, S, J) where the
    recordings count `times` (D, G). NaN where a draw has no frame."""
    S, N, J = errors.shape
    D, G = times.shape
    columns = errors.transpose(0, 2, 1).reshape(S * J, N)
    sums = np.stack([np.bincount(group, column, G) for column in columns], 1)  # (G, S*J)
    num_frames = times @ np.bincount(group, minlength=G)
    with np.errstate(invalid="ignore"):
        return (times @ sums / num_frames[:, None]).reshape(D, S, J)


def with_tails(
    draws: np.ndarray, estimate: float | np.ndarray, num_recordings: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws (D, …) of what is estimated as (…), G recordings each → with the tails that it takes.

    The distance from the estimate is multiplied by √(G ÷ χ²), with one draw of χ² with G − 1
    degrees of freedom for each: √((G − 1) ÷ χ²) makes Student's t of a normal number, and
    √(G ÷ (G − 1)) makes up for recordings drawn with replacement, which vary by (G − 1) ÷ G of
    what they should.
    """
    factor = np.sqrt(num_recordings / rng.chisquare(num_recordings - 1, len(draws)))
    return estimate + factor.reshape(-1, *[1] * (draws.ndim - 1)) * (draws - estimate)


def _chance_of_seeds(differences: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Differences (D, S) per draw of recordings → (D,) what chance in the trainings adds to their
    means; none of one seed."""
    D, S = differences.shape
    if S == 1:
        return np.zeros(D)
    return rng.standard_t(S - 1, D) * differences.std(1, ddof=1) / np.sqrt(S)


def p_value(draws: np.ndarray) -> np.ndarray:
    """Draws (D, …) → (…): twice the share on the other side of 0 than most; never 0, for draws are
    few."""
    tail = np.minimum((draws >= 0).sum(0), (draws <= 0).sum(0))
    return np.minimum(1, 2 * (tail + 1) / (len(draws) + 1))
