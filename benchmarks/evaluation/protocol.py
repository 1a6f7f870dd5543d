"""The protocol: which frames, bins and metrics count; predictions and truth → one result.

`score` returns plain data for JSON:

    {"all": {"num_frames": 95, "num_sequences": 2,
             "pa_mpjpe_mm": {"mean": 5.2, "interval": [5.0, 5.4], "per_joint": [3.1, …]}, …},
     "25-50": …, "50-75": …, "75-100": …}

A metric is None if no frame has it: in an empty bin, without vertices, without consecutive frames.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.evaluation.metrics import (
    acceleration_errors,
    auc_shares,
    bootstrap_interval,
    f_scores,
    to_m_per_s2,
)
from deformer.data.occlusion_bins import BINS, is_in_bin
from deformer.experiments import OCCLUDED_HANDS
from deformer.hand.align import align_procrustes, align_root, point_errors_mm

EVALUATION_SPLITS = {"dexycb": "s0_test", "ho3d": "evaluation", OCCLUDED_HANDS: "s3_test"}
"""By dataset, or by the name of a synthetic benchmark: the split that results are of."""

ALIGNMENTS = {"": False, "official_": True}
"""Prefix of a metric → whether its alignment may mirror a hand.

Training, claims and figures use `pa_…`, which turns a hand and never mirrors it. The evaluators of
DexYCB and HO-3D, and so published numbers, use FreiHAND's `align_w_scale`, here `official_pa_…`,
which mirrors a hand if that fits better.
"""
METRICS = (
    "mpjpe_mm", "mpjpe_auc", "ra_mpjpe_mm", "ra_mpjpe_auc",
    *(
        prefix + name
        for prefix in ALIGNMENTS
        for name in ("pa_mpjpe_mm", "pa_mpjpe_auc", "pa_mpvpe_mm", "pa_mpvpe_auc", "f5", "f15")
    ),
    "accel_mm_per_frame2", "accel_m_per_s2",
)  # fmt: skip
"""Every metric of a result. mpjpe: error of joints in the camera frame, unaligned, which newer
papers call CS-MPJPE; ra: after the wrist is subtracted; pa: after Procrustes alignment (rotation,
translation, scale). mpvpe: error of vertices, aligned by themselves; f5, f15: their F-scores at 5
and 15 mm. auc: area under the PCK curve of these errors, 0-1. accel: acceleration error of the
root-aligned joints, also in m/s² at 30 frames/s. Formulas and averaging:
`benchmarks.evaluation.metrics`."""

HEADLINE = {
    "pa_mpjpe_mm": ("PA-MPJPE", "mm"),
    "official_pa_mpjpe_mm": ("as the official evaluators align", "mm"),
    "mpjpe_mm": ("CS-MPJPE", "mm"),
    "ra_mpjpe_mm": ("root-aligned MPJPE", "mm"),
    "accel_mm_per_frame2": ("acceleration error", "mm/frame²"),
}
"""Headline metrics: name and unit."""

_FRAMES_AT_ONCE = 1024
"""Bounds the memory: the vertices of 1024 frames take 18 MiB, and are copied several times."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Predicted hands beside true ones: every frame that counts, once, in any order.

    A frame counts if its hand is labelled, with or without a usable image. Halo frames count
    only in the clip where they are no halo. Raises `ValueError`.
    """

    joints_m: np.ndarray
    """(N, 21, 3) predicted, dataset order, camera frame, m."""
    truth_joints_m: np.ndarray
    """(N, 21, 3)."""
    sequence: np.ndarray
    """(N,) str or int: the recording. The bootstrap draws recordings with all their cameras."""
    camera_sequence: np.ndarray
    """(N,) str or int: which camera of which recording; frames are consecutive within it."""
    frame: np.ndarray
    """(N,) int: frame number in the camera's recording."""
    occlusion: np.ndarray
    """(N,) share of the hand that objects hide, 0-1; NaN if not known: such frames are only in the
    bin `all`."""
    vertices_m: np.ndarray | None = None
    """(N, 778, 3) predicted, camera frame, m; None: no mesh metrics."""
    truth_vertices_m: np.ndarray | None = None
    """(N, 778, 3)."""

    def __post_init__(self) -> None:
        for name in ("joints_m", "truth_joints_m", "vertices_m", "truth_vertices_m"):
            points = getattr(self, name)
            if points is not None and (bad := _first_not_finite(points)) is not None:
                raise ValueError(
                    f"{name} is not finite at frame {self.frame[bad]} of "
                    f"{self.camera_sequence[bad]}: every frame that is scored needs a hand; leave "
                    "out frames that have none in the labels, and predict all others"
                )
        if np.nanmin(self.occlusion, initial=0) < 0 or np.nanmax(self.occlusion, initial=0) > 1:
            raise ValueError("occlusion has values outside 0 to 1: it is a share, not per cent")
        _, stream = np.unique(self.camera_sequence, return_inverse=True)
        order = np.lexsort((self.frame, stream))
        twice = (np.diff(stream[order]) == 0) & (np.diff(self.frame[order]) == 0)
        if twice.any():
            row = order[twice.argmax()]
            raise ValueError(
                f"frame {self.frame[row]} of {self.camera_sequence[row]} is there twice: leave "
                "halo rows out"
            )


def frame_values(comparison: Comparison) -> dict[str, np.ndarray]:
    """Each metric per frame, (N,), or per frame and joint, (N, 21); a result is the mean of these.

    The names are those of `METRICS`, without mesh metrics if there are no vertices. NaN if a frame
    has no value (acceleration at the ends of a run of consecutive frames).
    """
    c = comparison
    N = len(c.frame)
    starts = range(0, N, _FRAMES_AT_ONCE) if N else [0]
    parts = [_values_of(c, slice(a, a + _FRAMES_AT_ONCE)) for a in starts]
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    accel = acceleration_errors(c.joints_m, c.truth_joints_m, c.camera_sequence, c.frame)
    return values | {"accel_mm_per_frame2": accel, "accel_m_per_s2": to_m_per_s2(accel)}


def score(comparison: Comparison, *, seed: int = 0, num_draws: int = 1000) -> dict[str, Any]:
    """The result as shown at the top of this file: by bin, every metric with its interval.

    Mean: over joints (vertices) of a frame, then over frames; `per_joint` (21 numbers, if a metric
    has a value per joint) over frames only. Interval: 95 % bootstrap over sequences, None with
    fewer than two. A metric without any frame is None, never 0.
    """
    values = frame_values(comparison)
    _, sequence = np.unique(comparison.sequence, return_inverse=True)
    result = {}
    for name, limits in BINS.items():
        rows = np.flatnonzero(is_in_bin(comparison.occlusion, limits))
        result[name] = {
            "num_frames": len(rows),
            "num_sequences": len(np.unique(sequence[rows])),
            **{
                metric: _summary(values[metric][rows], sequence[rows], seed, num_draws)
                if metric in values
                else None
                for metric in METRICS
            },
        }
    return result


def _values_of(c: Comparison, part: slice) -> dict[str, np.ndarray]:
    """The metrics of single frames, for a slice of the frames."""
    x, y = c.joints_m[part], c.truth_joints_m[part]
    moved = {"mpjpe": (x, y), "ra_mpjpe": (align_root(x), align_root(y))}
    for prefix, may_mirror in ALIGNMENTS.items():
        moved[f"{prefix}pa_mpjpe"] = align_procrustes(x, y, may_mirror=may_mirror), y
    values = {}
    for name, (predicted, truth) in moved.items():
        values[f"{name}_mm"] = point_errors_mm(predicted, truth)
        values[f"{name}_auc"] = auc_shares(values[f"{name}_mm"])
    if c.vertices_m is None:
        return values
    mesh, true_mesh = c.vertices_m[part], c.truth_vertices_m[part]
    turned = align_procrustes(mesh, true_mesh)
    official = align_procrustes(mesh, true_mesh, may_mirror=True)
    values |= _values_of_mesh(turned, true_mesh)
    differs = (turned != official).any((1, 2))  # was mirrored; F-scores are slow, so only here
    of_official = _values_of_mesh(official[differs], true_mesh[differs])
    for name, few in of_official.items():
        values[f"official_{name}"] = values[name].copy()
        values[f"official_{name}"][differs] = few
    return values


def _values_of_mesh(aligned: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """aligned, truth: vertices (N, 778, 3) m."""
    errors = point_errors_mm(aligned, truth)
    f5, f15 = f_scores(aligned, truth).T
    mesh = {"pa_mpvpe_mm": errors.mean(1), "pa_mpvpe_auc": auc_shares(errors).mean(1)}
    return mesh | {"f5": f5, "f15": f15}


def _summary(
    values: np.ndarray, sequence: np.ndarray, seed: int, num_draws: int
) -> dict[str, Any] | None:
    """Mean, interval and, for values (N, 21), means per joint; None if no frame has a value."""
    per_frame = values.mean(1) if values.ndim == 2 else values
    known = ~np.isnan(per_frame)
    if not known.any():
        return None
    interval = bootstrap_interval(per_frame[known], sequence[known], seed, num_draws)
    summary = {
        "mean": float(per_frame[known].mean()),
        "interval": None if interval is None else list(interval),
    }
    if values.ndim == 2:
        summary["per_joint"] = values[known].mean(0).tolist()
    return summary


def _first_not_finite(points: np.ndarray) -> int | None:
    """The first row with a number that is not finite; searched in pieces to bound the memory."""
    for start in range(0, len(points), _FRAMES_AT_ONCE):
        finite = np.isfinite(points[start : start + _FRAMES_AT_ONCE]).all((1, 2))
        if not finite.all():
            return start + int(finite.argmin())
    return None
