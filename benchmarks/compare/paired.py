"""Two kinds of runs on the same frames: by how much one errs less, and how sure that is.

Pure numpy. A frame that is hard is hard for both kinds, so errors are subtracted frame by frame.
The 95 % interval has two parts: recordings are drawn with replacement, the same ones for both kinds
and for every seed (`metrics.bootstrap_means`); and each draw gets a draw of the chance in the
trainings, Student's t with S − 1 degrees of freedom times the standard error of S seeds. Of a
single seed that chance is not known, and the verdict says so.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.evaluation.metrics import bootstrap_means

HOLDS, FAILS, NOISY = "holds", "does not hold", "too noisy to say"


def mean_error(per_joint: np.ndarray) -> np.ndarray:
    """(…, J) → (…): the mean over joints."""
    return per_joint.mean(-1)


def unevenness(per_joint: np.ndarray) -> np.ndarray:
    """(…, J) → (…): standard deviation ÷ mean of the joints' errors, 0 where all err alike."""
    return per_joint.std(-1) / per_joint.mean(-1)


@dataclass(frozen=True)
class Estimate:
    """A difference, better − worse, with what is known of its chance. Per seed: S numbers."""

    better: tuple[float, ...]
    """Per seed: the statistic of the better kind, or the kinds' difference in the first part."""
    worse: tuple[float, ...]
    """Per seed: the statistic of the worse kind, or the kinds' difference in the other part."""
    interval: tuple[float, float] | None
    """95 %; None with fewer than two recordings."""
    num_frames: int

    @property
    def per_seed(self) -> tuple[float, ...]:
        """Negative where the claim is right."""
        return tuple(a - b for a, b in zip(self.better, self.worse, strict=True))

    @property
    def difference(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.per_seed))

    @property
    def verdict(self) -> str:
        """`HOLDS` where the interval is below 0, `FAILS` where it is above, else `NOISY`."""
        if self.interval is None:
            return f"{NOISY} (one recording)"
        low, high = self.interval
        word = HOLDS if high < 0 else FAILS if low > 0 else NOISY
        return f"{word} (one seed)" if len(self.better) == 1 else word


def paired_difference(
    better: np.ndarray,
    worse: np.ndarray,
    sequence: np.ndarray,
    part: np.ndarray,
    other_part: np.ndarray | None = None,
    statistic=mean_error,
    *,
    seed: int = 0,
    num_draws: int = 10_000,
) -> Estimate | None:
    """By how much the better kind of run differs from the worse one.

    better, worse: (S, M, J) errors of S seeds on the same M frames (J is 1 for a value per frame);
    sequence (M,) int: the recording of each frame; part (M,) bool: the frames that count.
    statistic: of the mean errors of the joints (…, J) → (…).

    other_part (M,) bool: asks instead for (better − worse in `part`) − (better − worse in
    `other_part`): negative where the better kind gains more in `part`.

    seed: of the draws. Returns None where a part has no frame. Raises `ValueError` for shapes that
    do not agree, and for errors that are not finite.
    """
    S, M, J = better.shape
    if worse.shape != better.shape or len(sequence) != M or S == 0:
        raise ValueError(
            f"errors {better.shape} and {worse.shape} of {len(sequence)} frames: both must be "
            "(seeds, frames, joints) of the same seeds and frames"
        )
    if not (np.isfinite(better).all() and np.isfinite(worse).all()):
        raise ValueError("a frame has no finite error: give those that every run has")
    parts = [part] if other_part is None else [part, other_part]
    if not all(p.any() for p in parts):
        return None
    both = np.stack([better, worse])
    columns = np.concatenate([np.where(p[:, None], both, np.nan) for p in parts])
    flat = columns.transpose(2, 0, 1, 3).reshape(M, -1)
    kept = np.logical_or.reduce(parts)

    def of_draws(times: np.ndarray) -> np.ndarray:
        """How often each recording counts (D, G) → what is compared (D, 2, S)."""
        means = bootstrap_means(flat[kept], sequence[kept], times)
        values = statistic(means.reshape(len(times), len(parts), 2, S, J))
        return values[:, 0] if other_part is None else values[:, :, 0] - values[:, :, 1]

    G = len(np.unique(sequence[kept]))
    one, other = of_draws(np.ones((1, G)))[0]
    interval = None
    if min(len(np.unique(sequence[p])) for p in parts) > 1:
        rng = np.random.default_rng(seed)
        drawn = of_draws(rng.multinomial(G, np.full(G, 1 / G), num_draws))
        differences = drawn[:, 0] - drawn[:, 1]
        differences = differences[~np.isnan(differences).any(1)]  # the others miss a part
        means = differences.mean(1)
        if S > 1:
            error = differences.std(1, ddof=1) / np.sqrt(S)
            means = means + rng.standard_t(S - 1, len(means)) * error
        low, high = np.percentile(means, [2.5, 97.5])
        interval = (float(low), float(high))
    return Estimate(tuple(one.tolist()), tuple(other.tolist()), interval, int(kept.sum()))
