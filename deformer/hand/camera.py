"""The pinhole camera: x right, y down, z forward, metres → pixels.

Pixel centres have integer coordinates, as in DexYCB, HO-3D and OpenCV.
"""

import numpy as np

from deformer.hand.box import BOX_SCALE

NEAREST_M = 0.1
"""No point of a hand is put nearer to the camera's plane: there a hand fills the whole image."""
_ROUNDING = 1.001
"""Of places that were stored as float32."""
_BOX_WEIGHT = 2.0
"""Of the box's row beside a joint's, in `fit_translation`. Chosen on validation frames, where the
errors in the camera frame differ by 3 % between 1.5 and 3."""


def project(points_cam_m: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Project points (..., N, 3), camera frame, metres, by K (..., 3, 3) → (..., N, 2) pixels.

    Points at or behind the camera's plane (z ≤ 0) have no image: NaN.
    """
    points_cam_m, K = np.asarray(points_cam_m), np.asarray(K)
    homogeneous = points_cam_m @ np.swapaxes(K, -1, -2)
    z = homogeneous[..., 2:]
    return homogeneous[..., :2] / np.where(z > 0, z, np.nan)


def crop_intrinsics(K: np.ndarray, origin_px: np.ndarray) -> np.ndarray:
    """Intrinsics (..., 3, 3) of the crop whose first pixel is `origin_px` (..., 2) = (x, y)."""
    K_crop = np.array(np.broadcast_to(K, (*np.shape(origin_px)[:-1], 3, 3)))
    K_crop[..., :2, 2] -= origin_px
    return K_crop


def fit_translation(
    points_m: np.ndarray, points_px: np.ndarray, K: np.ndarray, boxes_px: np.ndarray | None = None
) -> np.ndarray:
    """The translation with which points project best onto given pixels.

    points_m (N, P, 3): in the camera's axes, from any origin; points_px (N, P, 2); K (N, 3, 3),
    which may have a skew. Returns t (N, 3), metres: the linear least-squares solution of
    x + t_x = u (z + t_z), y + t_y = v (z + t_z) over the points, where (u, v, 1) = K⁻¹ (pixel, 1).
    A hand is only centimetres deep, so t_z is the weakest part: 1 % error in the size of the hand
    is 1 % error in t_z. Pixels guessed for a hidden hand say little of its size, and their errors
    pull t_z towards 0. boxes_px (N, 4), the hand boxes of all points, know it: one row more asks
    for the depth at which the points fill the tight box (`_depth_in_box`). The less the pixels
    spread, the more this row decides.

    Impossible pixels, such as mirrored ones, can put the hand behind the camera. So the solution
    keeps every point at least `NEAREST_M` in front of it.
    """
    ones = np.ones((*points_px.shape[:-1], 1))
    rays = np.concatenate([points_px, ones], -1) @ np.swapaxes(np.linalg.inv(K), -1, -2)
    uv = rays[..., :2] / rays[..., 2:]  # (N, P, 2)
    x, z = points_m[..., :2], points_m[..., 2:]
    N, P, _ = uv.shape
    # Rows t_x − u t_z = u z − x, and the same for y
    rows = np.zeros((N, P, 2, 3))
    rows[..., 0, 0] = rows[..., 1, 1] = 1
    rows[..., 2] = -uv
    A, b = rows.reshape(N, 2 * P, 3), (uv * z - x).reshape(N, 2 * P, 1)
    if boxes_px is not None:
        size = _BOX_WEIGHT * _tight_sides_px(boxes_px) / K[:, 0, 0]
        of_box = np.zeros((N, 1, 3))
        of_box[:, 0, 2] = size
        A = np.concatenate([A, of_box], 1)
        depth = _depth_in_box(points_m, boxes_px, K)
        b = np.concatenate([b, (size * depth)[:, None, None]], 1)
    At = A.swapaxes(-1, -2)
    t = np.linalg.solve(At @ A, At @ b)[..., 0]
    nearest = NEAREST_M - z.min((1, 2))
    # The problem is convex with one bound; where the optimum violates it, the solution is on it
    bounded = (uv * (z + nearest[:, None, None]) - x).mean(1)
    is_in_front = t[:, 2] >= nearest
    return np.where(is_in_front[:, None], t, np.column_stack([bounded, nearest]))


def _tight_sides_px(boxes_px: np.ndarray) -> np.ndarray:
    """(N,): the longer sides of the tight boxes that square hand boxes (N, 4) were made of."""
    return (boxes_px[:, 2] - boxes_px[:, 0]) / BOX_SCALE


def _depth_in_box(points_m: np.ndarray, boxes_px: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(N,) the t_z at which points (N, P, 3) fill the longer side of their tight box, metres.

    With p = K point and τ = K t, all points are between the sides lo and hi of the box where
    p_x + τ_x ≤ hi (z + t_z) and p_x + τ_x ≥ lo (z + t_z). Some τ_x does that from
    t_z = (max(p_x − hi z) − min(p_x − lo z)) / (hi − lo) on. y likewise; the later one counts.
    """
    points = points_m @ np.swapaxes(K, -1, -2)
    xy, z = points[..., :2], points[..., 2:]
    side = _tight_sides_px(boxes_px)
    centre = (boxes_px[:, None, :2] + boxes_px[:, None, 2:]) / 2  # (N, 1, 2)
    half = side[:, None, None] / 2
    needed = (xy - (centre + half) * z).max(1) - (xy - (centre - half) * z).min(1)  # (N, 2)
    return needed.max(1) / side


def is_at_nearest(points_cam_m: np.ndarray) -> np.ndarray:
    """(N,) bool: points (N, P, 3) that fit best behind the camera, so that `fit_translation` put
    them `NEAREST_M` in front of it."""
    return points_cam_m[..., 2].min(1) < _ROUNDING * NEAREST_M
