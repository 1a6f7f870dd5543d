"""Alignment of predicted with true points, and their distance. Numpy only.

Validation during training and the benchmarks' metrics both use these functions.
Source: FreiHAND's evaluation (`align_w_scale`), which DexYCB and HO-3D also use.
"""

import numpy as np

MM_PER_M = 1000.0


def align_root(points_m: np.ndarray) -> np.ndarray:
    """Subtract the wrist, point 0: (..., P, 3) → (..., P, 3)."""
    return points_m - points_m[..., :1, :]


def align_procrustes(
    predicted_m: np.ndarray, truth_m: np.ndarray, *, may_mirror: bool = False
) -> np.ndarray:
    """Align predicted points with the truth by the best similarity transform.

    predicted_m, truth_m: (N, P, 3) metres → (N, P, 3) float64. Per frame,

        min over s ≥ 0, R in SO(3), t of Σ_p ‖s R x_p + t − y_p‖²

    in closed form (Umeyama 1991): with X, Y centred, Xᵀ Y = U S Vᵀ, D = diag(1, 1, det(U Vᵀ)),
    xᵀ R = xᵀ U D Vᵀ and s = tr(S D) / ‖X‖². Points that all coincide move to the truth's centroid.

    may_mirror: R in O(3) and D the identity, as in FreiHAND's `align_w_scale`, which the evaluators
    of DexYCB and HO-3D use. The result differs only if a mirrored hand fits better, for example a
    hand of the wrong side. Use it only for numbers next to published ones.
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

    The mean over joints, then over frames, is MPJPE; over vertices and frames, MPVPE. Without
    alignment it is the absolute error, after `align_root` the root-aligned error, and after
    `align_procrustes` the Procrustes-aligned (PA) error.
    """
    difference = np.asarray(predicted_m, np.float64) - truth_m
    return MM_PER_M * np.linalg.norm(difference, axis=-1)
