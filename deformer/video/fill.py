"""Hands in the gaps of a track, from the hands before and after.

A frame where the hand is not seen has no features of its own, so no window is decoded for it. The
network's motion deforms the fused pose of the nearest hand before towards the next position of the
window, and that of the nearest hand after back: by the share of a step that lies between, at most
one. The filled pose lies between both on the shortest turn, at the share of the gap that has
passed, so that it joins both ends. Networks of single frames know no motion: theirs is the turn
alone. Shape and wrist are interpolated on the line.
"""

import numpy as np
import torch
from torch import Tensor

from deformer.hand.camera import project
from deformer.hand.rotations import rot6d_to_rotmat, rotmat_to_rotvec, rotvec_to_rotmat
from deformer.network.model import Deformer
from deformer.video.stream import StreamHands


@torch.no_grad()
def fill_hands(
    model: Deformer, hands: StreamHands, frames: np.ndarray, is_left: bool, K: np.ndarray, gap: int
) -> StreamHands:
    """The hands of other frames of a track.

    hands: one track, at least one hand, frames rising; frames (M,): of the hands to fill in, before
    its first hand and after its last one held; K (3, 3); gap: of the window, in frames.

    `joints_px` are the projected joints, `weights` 0, and `spread_mm` says how far the pose from
    before and that from after disagree.
    """
    after = np.searchsorted(hands.frame, frames).clip(max=len(hands.frame) - 1)
    before = (np.searchsorted(hands.frame, frames) - 1).clip(min=0)
    since, until = frames - hands.frame[before], hands.frame[after] - frames
    is_between = (since > 0) & (until > 0)
    share = np.where(is_between, since / np.where(is_between, since + until, 1), 0)
    one, other = hands.at(before), hands.at(after)
    ends = (
        _moved(one.rot6d, one.ahead, is_between * since / gap),
        _moved(other.rot6d, other.back, is_between * until / gap),
    )
    rotmats = _between(*ends, share)
    betas = _mixed(one.betas, other.betas, share)
    joints = _joints(model, rotmats, betas, is_left)
    wrist = _mixed(one.wrist_cam_m, other.wrist_cam_m, share)
    square = [
        ((_joints(model, end, betas, is_left) - joints) ** 2).sum(-1).mean(-1) for end in ends
    ]
    zero = np.zeros((len(frames), *hands.rot6d.shape[1:]))
    return StreamHands(
        frame=np.asarray(frames, np.int64),
        joints_px=project(joints + wrist[:, None], K),
        joints_m=joints,
        wrist_cam_m=wrist,
        pose_rotvec=rotmat_to_rotvec(rotmats).flatten(1).numpy(),
        betas=betas,
        weights=np.zeros((len(frames), hands.weights.shape[1]), np.float32),
        spread_mm=np.sqrt(_mixed(*square, share)) * 1000,
        rot6d=zero,
        ahead=zero,
        back=zero,
    )


def _moved(rot6d: np.ndarray, motion: np.ndarray, steps: np.ndarray) -> Tensor:
    """Poses (M, 16, 6) by a number of steps (M,) of their motion, at most one → rotmats."""
    moved = rot6d + steps.clip(max=1)[:, None, None] * motion
    return rot6d_to_rotmat(torch.from_numpy(moved))


def _between(one: Tensor, other: Tensor, share: np.ndarray) -> Tensor:
    """Rotations (M, 16, 3, 3) on the shortest turn from one to other, shares (M,)."""
    turn = rotmat_to_rotvec(one.mT @ other)
    return one @ rotvec_to_rotmat(turn * torch.from_numpy(share)[:, None, None])


def _mixed(one: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share.reshape(-1, *[1] * (one.ndim - 1))
    return (1 - share) * one + share * other


def _joints(model: Deformer, rotmats: Tensor, betas: np.ndarray, is_left: bool) -> np.ndarray:
    """Joints (M, 21, 3) relative to the wrist, m."""
    device = next(model.parameters()).device
    sides = torch.full((len(betas),), is_left, device=device)
    betas = torch.from_numpy(betas).float().to(device)
    _, joints = model.hand_layer(rotmats.float().to(device), betas, sides, model.config.tips)
    return (joints - joints[:, :1]).double().cpu().numpy()
