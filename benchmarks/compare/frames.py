"""Two kinds of runs, frame by frame: the errors that `paired_difference` compares."""

from collections.abc import Callable

import numpy as np

from benchmarks.compare.paired import Estimate, mean_error, paired_difference
from benchmarks.evaluation.scored import Scored
from deformer.data.occlusion_bins import BINS, is_in_bin


def check_same_frames(one: Scored, other: Scored) -> None:
    """Raises `ValueError` for runs on the same data that were scored on different frames."""
    if not np.array_equal(one.row, other.row):
        data = one.evaluation.data
        raise ValueError(
            f"{one.name} and {other.name} are of different frames of {data.name} {data.split}, "
            f"{len(one.row):,} and {len(other.row):,}: evaluate both again"
        )


def compare_frames(
    better: list[Scored], worse: list[Scored], metric: str, bin: str,
    statistic: Callable[[np.ndarray], np.ndarray] = mean_error,
) -> Estimate | None:  # fmt: skip
    """better − worse of runs of the same seeds, in that order, on the same frames; None where no
    frame is in the bin.

    metric: in `METRICS`, with a value per joint. bin: in `BINS`. statistic: as in
    `paired_difference`.
    """
    counts = is_in_bin(better[0].occlusion, BINS[bin])
    if not counts.any():
        return None

    def errors(runs: list[Scored]) -> np.ndarray:
        values = np.stack([run.values[metric][counts] for run in runs])  # (S, M, 21)
        return values.mean(-1, keepdims=True) if statistic is mean_error else values

    sequence = np.unique(better[0].comparison.sequence[counts], return_inverse=True)[1]
    return paired_difference(errors(better), errors(worse), sequence, statistic)
