"""Evaluations made up for tests: every number is known."""

from typing import Any

from benchmarks.evaluation.protocol import METRICS
from benchmarks.evaluation.result import Counts, Data, Evaluation, Method, Run
from deformer.data.occlusion_bins import BINS

VALUES = {
    "mpjpe_mm": 30.0, "mpjpe_auc": 0.4, "ra_mpjpe_mm": 14.567, "ra_mpjpe_auc": 0.7111,
    "official_pa_mpjpe_mm": 6.4321, "official_pa_mpjpe_auc": 0.8812,
    "official_pa_mpvpe_mm": 7.77, "official_pa_mpvpe_auc": 0.85,
    "official_f5": 0.5432, "official_f15": 0.9555, "pa_mpjpe_mm": 6.5432, "pa_mpjpe_auc": 0.87654,
    "pa_mpvpe_mm": 7.9, "pa_mpvpe_auc": 0.84, "f5": 0.53, "f15": 0.95,
    "accel_mm_per_frame2": 2.222, "accel_m_per_s2": 1.9998,
}  # fmt: skip


def make_metrics(shift_mm: float = 0.0, empty: tuple[str, ...] = (), mesh: bool = True) -> dict:
    """`VALUES` in every bin, PA-MPJPE shifted; bins of `empty` have no frames."""
    metrics: dict[str, Any] = {}
    for name in BINS:
        metrics[name] = {"num_frames": 0 if name in empty else 10, "num_sequences": 3}
        for metric in METRICS:
            is_of_mesh = metric.endswith(("mpvpe_mm", "mpvpe_auc", "f5", "f15"))
            is_none = name in empty or (not mesh and is_of_mesh)
            mean = VALUES[metric] + shift_mm * metric.endswith("pa_mpjpe_mm")
            summary = {"mean": mean, "interval": [0.9 * mean, 1.1 * mean]}
            metrics[name][metric] = None if is_none else summary
    return metrics


def make_evaluation(
    run: dict | None = None, data: dict | None = None, metrics: dict | None = None
) -> Evaluation:
    """A run of the full method on recordings of DexYCB, where nothing else is said."""
    full = {
        "experiment": "dexycb", "checkpoint": "runs/dexycb", "step": 1234, "seed": 0,
        "hand": "mano", "fusion": "dynamic", "motion": "frame", "point_loss": "max_mse",
        "adversarial": True, "trained_on": "dexycb s0_train", "precision": "float32", "config": "0",
        "network": "deformer",
    }  # fmt: skip
    recordings = {
        "name": "dexycb", "dataset": "dexycb", "split": "s0_test", "synthetic": False,
        "frames": 40, "sha256": "ab" * 32,
    }  # fmt: skip
    of = Data(**recordings | (data or {}))
    return Evaluation(
        Method(**run) if run and "method" in run else Run(**full | (run or {})),
        of,
        Counts(of.frames),
        "python -m benchmarks.evaluate --checkpoint runs/dexycb",
        make_metrics() if metrics is None else metrics,
    )


SYNTHETIC = {"name": "demo", "synthetic": True}
HO3D = {"name": "ho3d", "dataset": "ho3d_v2", "split": "evaluation"}
