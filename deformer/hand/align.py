"""Alignment of predicted points with true ones, and their distance. Numpy only.

Training's validation and the benchmarks' metrics measure by these same three functions.
Source: FreiHAND's evaluation (`align_w_scale`), which DexYCB's and HO-3D's share.
"""

import numpy as np

MM_PER_M = 1000.0


def align_root(points_m: np.ndarray) -> np.ndarray:
    """Subtract the wrist, point 0: (..., P, 3) → (..., P, 3)."""
    return points_m - points_m[..., :1, :]


def align_procrustes(
    predicted_m: np.ndarray, truth_m: np.ndarray, *, may_mirror: bool = False
) -> np.ndarray:
    """The predicted points, moved by the similarity that brings them nearest to the truth.

    predicted_m, truth_m: (N, P, 3) metres → (N, P, 3) float64. Per frame,

        min over s ≥ 0, R in SO(3), t of Σ_p ‖s R x_p + t − y_p‖²

    in closed form (Umeyama 1991): with X, Y centred, Xᵀ Y = U S Vᵀ, D = diag(1, 1, det(U Vᵀ)),
    xᵀ R = xᵀ U D Vᵀ and s = tr(S D) / ‖X‖². Points that all coincide go to the truth's centroid.

    may_mirror: R in O(3) instead, D the identity, as in FreiHAND's `align_w_scale`, by which the
    evaluators of DexYCB and HO-3D align. It gives another result only where a mirrored hand fits
    better, as for a hand of the wrong side; so it is for numbers beside published ones alone.
    """
    predicted = np.asarray(predicted_m, np.float64)
    truth = np.asarray(truth_m, np.float64)
    centre = truth.mean(-2, keepdims=True)
    x = predicted - predicted.mean(-2, keepdims=True)
    U, S, Vt = np.linalg.svd(x.swapaxes(-1, -2) @ (truth - centre))
    if not may_mirror:
        sign = np.where(np.linalg.det(U) * np.linalg.det(Vt) < 0, -1.0, 1.0)
        S[..., 2] *= sign
        U[..., 2] *= sign[..., None]
    size = (x**2).sum((-2, -1))
    scale = np.divide(S.sum(-1), size, out=np.zeros_like(size), where=size > 0)
    return scale[..., None, None] * (x @ (U @ Vt)) + centre


def point_errors_mm(predicted_m: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """‖x_p − y_p‖ in millimetres: (..., P, 3) metres twice → (..., P) float64.

    Its mean over joints, then over frames, is MPJPE; over vertices and frames, MPVPE. With the
    points as they are it is the absolute error, after `align_root` the root-aligned one, after
    `align_procrustes` the Procrustes-aligned (PA) one.
    """
    difference = np.asarray(predicted_m, np.float64) - truth_m
    return MM_PER_M * np.linalg.norm(difference, axis=-1)
