"""Hands moved onto the detector's landmarks, a separate step on finished rows.

The network says how a hand is turned and bent in space; a detector trained on photographs says more
exactly where its joints are in the image. Each track's rotations and places are changed a little,
so that the joints project near the landmarks. Least squares weigh three things: distances in the
image, changes of the network's pose, and changes of these changes from frame to frame, without
which the landmarks' noise would become jitter. Source: SMPLify (Bogo et al., ECCV 2016), for hands.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deformer.hand.camera import NEAREST_M, fit_translation, project
from deformer.hand.conventions import MANO_JOINT_NAMES, NUM_MANO_JOINTS, Tips
from deformer.hand.mano import HandLayer
from deformer.hand.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from deformer.video.hands_file import HandRows
from deformer.video.track import Track

_LANDMARK = 0.02
"""Standard deviation of a landmark, in sides of the hand box; errors beyond it count linearly."""
_TURN_RAD, _BEND_RAD, _TWIST_RAD = 0.5, 0.35, 0.08
"""Standard deviations of the network's errors: of the whole hand, of finger joints, and of finger
joints about the bone, which no landmark shows."""
_CHANGE = 0.25
"""The same from one frame to the next, as a share of these."""
_THUMB = MANO_JOINT_NAMES.index("thumb_1")
_DEPTH = 0.003
"""How much the speed in depth changes from one frame to the next, as a share of the depth: 30 m/s²
at 1 m and 30 frames/s. The size of a hand in the image says little of its depth."""
_STEPS = 80
_AT_ONCE = 4096
"""More hands are fitted in pieces, between which there is a small step."""


def fit_to_landmarks(
    hands: HandRows, tracks: Iterable[Track], K: np.ndarray, hand_layer: HandLayer, tips: Tips
) -> HandRows:
    """Change pose and place of all hands with landmarks; other rows, those that the fusion filled
    in among them, follow the changes of their neighbours in time. Shapes and scales stay as they
    are; `joints_px` becomes the projection of the fitted joints.

    K (3, 3) of the image; tips: the fingertip convention of the joints.
    """
    columns = {name: value.copy() for name, value in hands._asdict().items()}
    for track in tracks:
        if track.landmarks_px is None:
            continue
        rows = np.flatnonzero(hands.track == track.track)
        at = np.searchsorted(track.frames, hands.frame[rows])
        for i in range(0, len(rows), _AT_ONCE):
            part, of_track = rows[i : i + _AT_ONCE], at[i : i + _AT_ONCE]
            landmarks = track.landmarks_px[of_track]
            if not np.isfinite(landmarks).any():
                continue
            fitted = _fit(hands.at(part), landmarks, K, hand_layer, tips)
            columns["pose_rotvec"][part], columns["joints_cam_m"][part] = fitted
            columns["joints_px"][part] = project(fitted[1].astype(np.float64), K)
    return HandRows(**columns)


class _Problem(NamedTuple):
    """N consecutive hands of a track, and what they should look like."""

    rotmats: Tensor
    """(N, 16, 3, 3), of the network."""
    betas: Tensor
    scale: Tensor
    is_left: Tensor
    wrist_m: Tensor
    """(N, 3): where the network's pose fits the landmarks best."""
    landmarks_px: Tensor
    """(N, 21, 2); 0 where `is_seen` (N,) is 0."""
    is_seen: Tensor
    side_px: Tensor
    """(N,) of the hand box."""
    gap: Tensor
    """(N − 1,) frames from one hand to the next."""
    K: Tensor


def _fit(
    hands: HandRows, landmarks_px: np.ndarray, K: np.ndarray, layer: HandLayer, tips: Tips
) -> tuple[np.ndarray, np.ndarray]:
    """Consecutive hands (N) of one track → poses (N, 48), joints (N, 21, 3) in the camera frame."""
    problem = _problem(hands, landmarks_px, K, layer.weights.device)
    spread = _spread_rad().to(problem.K)
    turn = torch.zeros_like(problem.rotmats[..., 0]).requires_grad_()  # in standard deviations
    shift = torch.zeros_like(problem.wrist_m).requires_grad_()  # in shares of the depth

    def posed() -> tuple[Tensor, Tensor]:
        rotmats = problem.rotmats @ rotvec_to_rotmat(turn * spread)
        _, joints = layer(rotmats, problem.betas, problem.is_left, tips)
        place = problem.wrist_m + shift * problem.wrist_m[:, 2:]
        return rotmats, (joints - joints[:, :1]) * problem.scale + place[:, None]

    optimizer = torch.optim.Adam([{"params": [turn], "lr": 0.3}, {"params": [shift], "lr": 0.06}])
    slower = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(1.0, 2 - 2 * k / _STEPS))
    with torch.enable_grad():
        for _ in range(_STEPS):
            optimizer.zero_grad()
            _misfit(problem, posed()[1], turn).backward()
            optimizer.step()
            slower.step()
    with torch.no_grad():
        rotmats, joints = posed()
    return rotmat_to_rotvec(rotmats).flatten(1).cpu().numpy(), joints.cpu().numpy()


def _problem(
    hands: HandRows, landmarks_px: np.ndarray, K: np.ndarray, device: torch.device
) -> _Problem:
    N = len(hands.frame)
    is_seen = np.isfinite(landmarks_px).all((1, 2))
    landmarks_px = np.where(is_seen[:, None, None], landmarks_px, 0)
    wrist_m = hands.wrist_cam_m.astype(np.float64)
    placed = fit_translation(
        hands.joints_cam_m - wrist_m[:, None], landmarks_px, np.broadcast_to(K, (N, 3, 3))
    )
    # Hands without landmarks move as the nearest ones with landmarks do
    seen = np.flatnonzero(is_seen)
    nearest = seen[np.abs(np.subtract.outer(np.arange(N), seen)).argmin(1)]
    wrist_m += (placed - wrist_m)[nearest]

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)

    pose = tensor(hands.pose_rotvec).unflatten(-1, (NUM_MANO_JOINTS, 3))
    return _Problem(
        rotvec_to_rotmat(pose), tensor(hands.betas), tensor(hands.scale)[:, None, None],
        torch.from_numpy(hands.is_left).to(device), tensor(wrist_m), tensor(landmarks_px),
        tensor(is_seen), tensor(hands.box_px[:, 2] - hands.box_px[:, 0]),
        tensor(np.diff(hands.frame)), tensor(K),
    )  # fmt: skip


def _misfit(problem: _Problem, joints_cam_m: Tensor, turn: Tensor) -> Tensor:
    """Minus the log-likelihood of changes `turn`, (N, 16, 3) in standard deviations."""
    rays = joints_cam_m / joints_cam_m[..., 2:].clamp(min=NEAREST_M)
    away_px = (rays @ problem.K.T)[..., :2] - problem.landmarks_px
    away = away_px / (_LANDMARK * problem.side_px[:, None, None])
    distance = functional.huber_loss(away, torch.zeros_like(away), reduction="none").sum((1, 2))
    change = turn.diff(dim=0) / _CHANGE / problem.gap.sqrt()[:, None, None]
    speed = joints_cam_m[:, 0, 2].clamp(min=NEAREST_M).log().diff() / problem.gap
    changes = ((change**2).sum(), ((speed.diff() / _DEPTH) ** 2).sum())
    return (distance * problem.is_seen).sum() + ((turn**2).sum() + sum(changes)) / 2


def _spread_rad() -> Tensor:
    """(16, 3): standard deviations of the network's errors, about each joint's own axes."""
    spread = torch.full((NUM_MANO_JOINTS, 3), _BEND_RAD)
    spread[0] = _TURN_RAD
    spread[1:_THUMB, 0] = _TWIST_RAD  # MANO's x axis runs along the fingers of the flat hand
    return spread
