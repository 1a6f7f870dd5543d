"""Dynamic fusion: every frame's pose is deformed to every other frame, then averaged by weight.

Poses and motions are rot6d and add as plain vectors; Gram-Schmidt follows the last sum. With exact
motions fw_t = θ_{t+1} − θ_t and bw_t = θ_{t−1} − θ_t, every deformed pose θ_{i→j} equals θ_j. (The
paper's Eq. 2 sums the backward motions k = j … i−1, one frame off; it is k = j+1 … i.) Source: the
paper's section 3.1 and the variants of its Tables 4 and 6; `nearby` and `pairwise` are ours.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

FusionVariant = Literal["center", "average", "occlusion", "dynamic", "nearby", "pairwise"]


def deform_poses(poses: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    """Deform each frame's pose to each frame.

    poses, forward, backward (B, T, 16, 6): θ_t, and the motions from t to t+1 and to t−1. The last
    forward and the first backward motion leave the window and are not used.

    Returns (B, T, T, 16, 6): [:, i, j] is frame i's pose deformed to frame j.
    """
    _, T, _, _ = poses.shape
    # Prefix sums of fw_k, k < t, and of bw_k, k ≤ t: the sum over any range is a difference of two
    ahead = torch.cumsum(forward, 1) - forward
    behind = torch.cumsum(backward, 1)
    to_later = ahead[:, None] - ahead[:, :, None]  # [:, i, j]: fw_i + … + fw_{j−1}
    to_earlier = behind[:, :, None] - behind[:, None]  # [:, i, j]: bw_{j+1} + … + bw_i
    frames = torch.arange(T, device=poses.device)
    is_later = (frames[None, :] > frames[:, None])[..., None, None]
    return poses[:, :, None] + torch.where(is_later, to_later, to_earlier)


def step_poses(poses: Tensor, forward: Tensor, backward: Tensor) -> tuple[Tensor, Tensor]:
    """Deform each frame's pose by one step.

    Arguments as in `deform_poses`. Returns θ_{t→t+1} for t = 0 … T−2 and θ_{t→t−1} for
    t = 1 … T−1, both (B, T−1, 16, 6).
    """
    return (poses + forward)[:, :-1], (poses + backward)[:, 1:]


def fusion_weights(
    variant: FusionVariant,
    confidence: Tensor,
    occlusion: Tensor | None = None,
    reach: float = 1.0,
    affinity: Tensor | None = None,
) -> Tensor:
    """Weights of frame i in the fused pose of frame j.

    - `center`: each frame alone. `average`: all frames equally.
    - `occlusion`: by the visible share, from occlusion (B, T), the hidden share in [0, 1].
    - `dynamic`: softmax of confidence (B, T), logits.
    - `nearby` (ours): `dynamic`, and a weight falls by a factor e per `reach` steps of the window:
      a pose deformed farther is worse, which one number per frame cannot express for every j.
    - `pairwise` (ours): `nearby` plus affinity (B, T, T), logits of how much frame i helps frame j.
      So a visible frame can keep its own pose while a hidden frame of its window adopts that pose.

    Returns (B, T, T): [:, i, j], which sums to 1 over i. Raises `ValueError` for an unknown
    variant, or `occlusion` without its input.
    """
    B, T = confidence.shape
    match variant:
        case "center":
            eye = torch.eye(T, dtype=confidence.dtype, device=confidence.device)
            return eye.expand(B, T, T)
        case "average":
            return torch.full_like(confidence, 1 / T)[..., None].expand(B, T, T)
        case "occlusion":
            if occlusion is None:
                raise ValueError("fusion 'occlusion' needs each frame's occlusion ratio (B, T)")
            seen = 1 - occlusion.to(confidence) + 1e-6  # equal weights if all frames are hidden
            return (seen / seen.sum(1, keepdim=True))[..., None].expand(B, T, T)
        case "dynamic":
            return confidence.softmax(1)[..., None].expand(B, T, T)
        case "nearby" | "pairwise":
            frames = torch.arange(T, dtype=confidence.dtype, device=confidence.device)
            steps = (frames[:, None] - frames).abs()
            logits = confidence[..., None] - steps / reach
            return (logits if variant == "nearby" else logits + affinity).softmax(1)
    variants = ", ".join(get_args(FusionVariant))
    raise ValueError(f"fusion is {variant!r}, must be one of {variants}")


def fuse_poses(deformed: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the poses deformed to each frame.

    deformed (B, T, T, 16, 6) from `deform_poses`, weights (B, T, T) from `fusion_weights` →
    (B, T, 16, 6), not orthonormal.
    """
    return torch.einsum("bij,bijkc->bjkc", weights, deformed)
