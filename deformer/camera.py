"""The pinhole camera: x right, y down, z forward; metres in, pixels out.

A pixel's centre has integer coordinates, as in DexYCB, HO-3D and OpenCV.
"""

import numpy as np


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
