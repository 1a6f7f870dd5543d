"""Smoothing of hands over time, a separate step on finished rows.

Each value of a hand becomes the value at its own time of a line fitted to its track around it, with
Gaussian weights in time. So a steady motion stays as it is and nothing lags. Rotations are smoothed
as rot6d, and the joints posed anew. A track has one shape, its mean.
"""

import numpy as np
import torch

from deformer.hand.mano import HandLayer
from deformer.hand.rotations import (
    rot6d_to_rotmat,
    rotmat_to_rot6d,
    rotmat_to_rotvec,
    rotvec_to_rotmat,
)
from deformer.video.hands_file import HandRows

SIGMA_S = 0.05
"""Standard deviation of the weights, s."""
_FARTHEST = 3.0
"""Frames farther away than this many deviations have no weight."""


@torch.no_grad()
def smooth(hands: HandRows, hand_layer: HandLayer, tips: str, sigma_s: float = SIGMA_S) -> HandRows:
    """Smooth pose, place and 2D joints of each track; its shape and scale become the track's mean.

    tips: the fingertip convention of the joints.
    """
    columns = {name: value.copy() for name, value in hands._asdict().items()}
    pose = torch.from_numpy(columns["pose_rotvec"]).double().unflatten(-1, (16, 3))
    rot6d = rotmat_to_rot6d(rotvec_to_rotmat(pose)).flatten(1).numpy()
    wrist = hands.wrist_cam_m.astype(np.float64)
    for track in np.unique(hands.track):
        rows = np.flatnonzero(hands.track == track)
        times = hands.time_s[rows]
        for values in (rot6d, wrist, columns["joints_px"]):
            values[rows] = fit_lines(times, values[rows], sigma_s)
        for name in ("betas", "scale"):
            columns[name][rows] = hands._asdict()[name][rows].mean(0)
    rotmats = rot6d_to_rotmat(torch.from_numpy(rot6d).unflatten(-1, (16, 6)))
    columns["pose_rotvec"] = rotmat_to_rotvec(rotmats).flatten(1).float().numpy()
    device = hand_layer.weights.device
    betas = torch.from_numpy(columns["betas"]).to(device)
    is_left = torch.from_numpy(hands.is_left).to(device)
    _, joints = hand_layer(rotmats.float().to(device), betas, is_left, tips)
    joints = (joints - joints[:, :1]).cpu().numpy() * columns["scale"][:, None, None]
    columns["joints_cam_m"] = (joints + wrist[:, None]).astype(np.float32)
    return HandRows(**columns)


def fit_lines(times_s: np.ndarray, values: np.ndarray, sigma_s: float) -> np.ndarray:
    """At each time (N,), rising, the value of the line that fits values (N, …) best around it."""
    N = len(times_s)
    fitted = np.empty(values.shape)
    first = np.searchsorted(times_s, times_s - _FARTHEST * sigma_s)
    last = np.searchsorted(times_s, times_s + _FARTHEST * sigma_s, "right")
    for i in range(N):
        near = slice(first[i], last[i])
        fitted[i] = np.tensordot(
            _line_weights(times_s[near] - times_s[i], sigma_s), values[near], 1
        )
    return fitted


def _line_weights(after_s: np.ndarray, sigma_s: float) -> np.ndarray:
    """Weights of values at times (n,) in the value at time 0 of the line fitted to them."""
    gauss = np.exp(-0.5 * (after_s / sigma_s) ** 2)
    s0, s1, s2 = gauss.sum(), gauss @ after_s, gauss @ after_s**2
    spread = s0 * s2 - s1**2
    if spread <= 1e-12 * s0 * s0 * sigma_s**2:  # one time only
        return gauss / s0
    return gauss * (s2 - s1 * after_s) / spread
