"""Two kinds of runs on the same frames: by how much one errs less, and how sure that is.

Pure numpy. A hard frame is hard for both kinds, so errors are subtracted frame by frame. The 95 %
interval has two parts. Recordings are drawn with replacement, the same ones for both kinds and for
every seed (`metrics.bootstrap_means`). Each draw adds a draw of the chance in training: Student's t
with S − 1 degrees of freedom times the standard error of S seeds. With a single seed that chance is
not known, and the verdict says so.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.evaluation.metrics import bootstrap_means

HOLDS, FAILS, NOISY = "holds", "does not hold", "too noisy to say"


def mean_error(per_joint: np.ndarray) -> np.ndarray:
    """(…, J) → (…): the mean over joints."""
    return per_joint.mean(-1)


def unevenness(per_joint: np.ndarray) -> np.ndarray:
    """(…, J) → (…): standard deviation ÷ mean of the joints' errors; 0 if all are equal."""
    return per_joint.std(-1) / per_joint.mean(-1)


@dataclass(frozen=True)
class Estimate:
    """The difference better − worse, with its interval."""

    better: tuple[float, ...]
    """The statistic of the better kind, per seed."""
    worse: tuple[float, ...]
    """The statistic of the worse kind, per seed."""
    interval: tuple[float, float] | None
    """95 %; None with fewer than two recordings."""

    @property
    def per_seed(self) -> tuple[float, ...]:
        """The difference per seed; negative supports the claim."""
        return tuple(a - b for a, b in zip(self.better, self.worse, strict=True))

    @property
    def difference(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.per_seed))

    @property
    def verdict(self) -> str:
        """`HOLDS` if the interval is below 0, `FAILS` if it is above, else `NOISY`."""
        return self.verdict_as(HOLDS, FAILS)

    def verdict_as(self, below: str, above: str) -> str:
        """One of these words if the interval is below or above 0, else `NOISY`."""
        if self.interval is None:
            return f"{NOISY} (one recording)"
        low, high = self.interval
        word = below if high < 0 else above if low > 0 else NOISY
        return f"{word} (one seed)" if len(self.better) == 1 else word


def paired_difference(
    better: np.ndarray,
    worse: np.ndarray,
    sequence: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray] = mean_error,
    *,
    seed: int = 0,
    num_draws: int = 10_000,
) -> Estimate:
    """By how much the better kind of run differs from the worse one.

    better, worse: (S, M, J) errors of S seeds on the same M frames (J is 1 for a value per frame);
    sequence (M,) int: the recording of each frame. statistic: mean errors of the joints (…, J) →
    (…). seed: seeds the draws. Raises `ValueError` for shapes that disagree and for errors that are
    not finite.
    """
    S, M, J = better.shape
    if worse.shape != better.shape or len(sequence) != M or not M or not S:
        raise ValueError(
            f"errors {better.shape} and {worse.shape} of {len(sequence)} frames: both must be "
            "(seeds, frames, joints) of the same seeds and frames"
        )
    if not (np.isfinite(better).all() and np.isfinite(worse).all()):
        raise ValueError("a frame has no finite error: give those that every run has")
    flat = np.stack([better, worse]).transpose(2, 0, 1, 3).reshape(M, -1)

    def of_draws(times: np.ndarray) -> np.ndarray:
        """How often each recording counts (D, G) → the statistic of both kinds (D, 2, S)."""
        means = bootstrap_means(flat, sequence, times)
        return statistic(means.reshape(len(times), 2, S, J))

    G = len(np.unique(sequence))
    one, other = of_draws(np.ones((1, G)))[0]
    interval = None
    if G > 1:
        rng = np.random.default_rng(seed)
        drawn = of_draws(rng.multinomial(G, np.full(G, 1 / G), num_draws))
        differences = drawn[:, 0] - drawn[:, 1]
        means = differences.mean(1)
        if S > 1:
            error = differences.std(1, ddof=1) / np.sqrt(S)
            means = means + rng.standard_t(S - 1, len(means)) * error
        low, high = np.percentile(means, [2.5, 97.5])
        interval = (float(low), float(high))
    return Estimate(tuple(one.tolist()), tuple(other.tolist()), interval)
