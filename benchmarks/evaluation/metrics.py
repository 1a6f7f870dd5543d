"""The formulas: errors of predicted hands, each a value per frame, vectorised over frames.

Pure numpy; nothing here knows a split or a model. This file gives a value per frame, or per frame
and joint, and every metric of the tables is its mean over frames. So means over any choice of
frames, and their bootstrap intervals, come from the same values (`benchmarks.evaluation.protocol`).
Distances and alignments are in `deformer.hand.align`, which validation in training uses too.

Sources, from their published code: FreiHAND's evaluation (`align_w_scale`, `EvalUtil`), which the
evaluators of DexYCB (`hpe_eval.py`) and HO-3D (`eval.py`) share; VIBE's acceleration error.
"""

import numpy as np

from deformer.data.clip import FRAMES_PER_SECOND
from deformer.hand.align import MM_PER_M, align_root, point_errors_mm

AUC_THRESHOLDS_MM = np.linspace(0.0, 50.0, 100)
_F_THRESHOLDS_MM = (5.0, 15.0)


def auc_shares(errors_mm: np.ndarray) -> np.ndarray:
    """What each error adds to the area under the PCK curve, 0 to 1: any shape → the same shape.

    PCK(t) is the share of errors ≤ t at the 100 thresholds linspace(0, 50 mm). AUC is its integral
    by the trapezoid rule over 50 mm. The integral of a mean is the mean of integrals, so AUC is the
    mean of these shares. Every frame has every joint, so the order of averaging does not matter.
    Tables show it ×100.
    """
    last = len(AUC_THRESHOLDS_MM) - 1
    first_reached = np.searchsorted(AUC_THRESHOLDS_MM, errors_mm, side="left")
    # a step that begins at threshold k fills the segments after it, and half of the one before
    shares = np.append((last - np.arange(last + 1) + 0.5) / last, 0.0)
    shares[0] = 1.0
    return shares[first_reached]


def pck(errors_mm: np.ndarray) -> np.ndarray:
    """The PCK curve: (100,) shares of errors ≤ each of `AUC_THRESHOLDS_MM`, from errors of any
    shape; NaN without any error."""
    first_reached = np.searchsorted(AUC_THRESHOLDS_MM, np.ravel(errors_mm), side="left")
    reached = np.bincount(first_reached, minlength=len(AUC_THRESHOLDS_MM) + 1)[:-1].cumsum()
    return reached / first_reached.size if first_reached.size else np.full(len(reached), np.nan)


def f_scores(predicted_m: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """F at 5 and 15 mm, 0 to 1: vertices (N, V, 3), (N, W, 3) metres → (N, 2) float64.

    Per frame: precision is the share of predicted vertices whose nearest true vertex is nearer than
    the threshold, recall the share of true vertices whose nearest predicted one is; F is their
    harmonic mean, 0 if both are 0. "Nearest" is among vertices, not on the surface. HO-3D counts
    F@5 and F@15 on vertices aligned by `align_procrustes` with `may_mirror`.
    """
    limits = (np.asarray(_F_THRESHOLDS_MM) / MM_PER_M) ** 2
    scores = np.empty((len(predicted_m), len(limits)))
    # Frame by frame, because the V×V distances of one frame fit the cache; several are slower
    for i, (x, y) in enumerate(zip(predicted_m, truth_m, strict=True)):
        squared = _squared_distances(x, y)
        precision = (squared.min(1)[:, None] < limits).mean(0)
        recall = (squared.min(0)[:, None] < limits).mean(0)
        total = precision + recall
        scores[i] = np.divide(
            2 * precision * recall, total, out=np.zeros_like(total), where=total > 0
        )
    return scores


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """‖x_i − y_j‖² (V, W) as one product of matrices: |x|² − 2 x·y + |y|²."""
    centre = y.mean(0, dtype=np.float64)  # near the origin the three terms cancel without loss
    x, y = x - centre, y - centre
    left = np.column_stack([x, (x**2).sum(1), np.ones(len(x))])
    right = np.column_stack([-2 * y, np.ones(len(y)), (y**2).sum(1)])
    return left @ right.T


def acceleration_errors(
    predicted_m: np.ndarray,
    truth_m: np.ndarray,
    camera_sequence: np.ndarray,
    frame: np.ndarray,
) -> np.ndarray:
    """‖Δ²x − Δ²y‖ per joint in mm/frame², at the middle of three consecutive frames.

    predicted_m, truth_m: (N, J, 3) metres, root-aligned here; camera_sequence (N,): which camera of
    which recording; frame (N,): its frame numbers, each once; rows in any order → (N, J) float64,
    NaN if frame − 1 or frame + 1 is absent: gaps are not bridged. Δ²x = x[t+1] − 2 x[t] + x[t−1].
    As in VIBE, the mean is over all joints (including the wrist, whose error is 0), then over
    frames.
    """
    N = len(frame)
    _, stream = np.unique(camera_sequence, return_inverse=True)
    order = np.lexsort((frame, stream))
    follows = (np.diff(stream[order]) == 0) & (np.diff(frame[order]) == 1)
    middle = np.flatnonzero(follows[:-1] & follows[1:]) + 1 if N > 2 else np.empty(0, int)
    before, now, after = order[middle - 1], order[middle], order[middle + 1]

    def second_difference(points_m: np.ndarray) -> np.ndarray:
        points = align_root(np.asarray(points_m, np.float64))
        return points[after] - 2 * points[now] + points[before]

    errors = np.full(np.shape(predicted_m)[:2], np.nan)
    errors[now] = point_errors_mm(second_difference(predicted_m), second_difference(truth_m))
    return errors


def to_m_per_s2(mm_per_frame2: np.ndarray | float) -> np.ndarray | float:
    """mm/frame² → m/s² at `FRAMES_PER_SECOND`."""
    return mm_per_frame2 * FRAMES_PER_SECOND**2 / MM_PER_M


def bootstrap_interval(
    values: np.ndarray, group: np.ndarray, seed: int, num_draws: int = 1000
) -> tuple[float, float] | None:
    """95 % interval of the mean of values (N,), groups (N,) int ≥ 0 drawn with replacement.

    Frames of one recording resemble each other, so recordings are drawn, not frames. Each draw is
    the mean over all frames of the drawn recordings. The interval runs from the 2.5th to the 97.5th
    percentile of the draws. None with fewer than two groups.
    """
    G = len(np.unique(group))
    if G < 2:
        return None
    times_drawn = np.random.default_rng(seed).multinomial(G, np.full(G, 1 / G), num_draws)
    means = bootstrap_means(values[:, None], group, times_drawn)[:, 0]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_means(values: np.ndarray, group: np.ndarray, times_drawn: np.ndarray) -> np.ndarray:
    """Means (D, K) of values (N, K) over D draws; times_drawn (D, G): how often each of the G
    groups in `group` (N,), sorted, counts."""
    _, group = np.unique(group, return_inverse=True)
    sums = np.stack([np.bincount(group, column) for column in values.T], 1)  # (G, K)
    return times_drawn @ sums / (times_drawn @ np.bincount(group))[:, None]
