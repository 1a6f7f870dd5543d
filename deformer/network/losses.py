"""The losses: one function each, returned unweighted in one dictionary.

Every term is a mean within each window, then over the windows of the batch. So the average over
ranks with equal batches equals the loss of one large batch, with or without masks.

Source: the paper's section 3.2. Its Eq. 6 and 10 are sums; means make the weights independent of T
and of the number of joints in the image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from math import isfinite
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from deformer.hand.conventions import Tips
from deformer.hand.mano import HandLayer
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.network.output import DeformerOutput, View
from deformer.network.posed_hands import HandMotion, pose_hands

PointLoss = Callable[[Tensor, Tensor], Tensor]
PointLossName = Literal["max_mse", "mse", "huber"]
_BEND = 0.01


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of `deformer_losses`; lengths are in metres."""

    vertices: float = 1e4
    joints: float = 1e4
    pose: float = 10.0
    shape: float = 0.1
    joints_2d: float = 1e2
    smooth: float = 10.0
    """Not in the paper. DexYCB's true windows have 3.1e-3 m² (T = 7, gap = 10), which costs 0.03,
    while a mesh error of 1 cm costs 1: it reduces jitter without slowing hands."""
    adversarial: float = 10.0
    monocular: float = 1.0
    """Factor on the monocular terms, which otherwise have the weights of the fused terms."""
    motion: float = 1.0
    """Likewise, for the terms of hands deformed by one step."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isfinite(value) and value >= 0):
                raise ValueError(f"weight {field.name} is {value}, must be 0 or more")

    def weight_of(self, term: str) -> float:
        """The weight of a term: "joints", "monocular_joints", "smooth", …"""
        head, _, rest = term.partition("_")
        if head in ("monocular", "motion") and rest:
            return getattr(self, head) * getattr(self, rest)
        return getattr(self, term)


class Targets(NamedTuple):
    """Ground truth of B windows of T frames; see `make_targets`."""

    hand: HandMotion
    joints_2d: Tensor
    """(B, T, 21, 2) x, y in [0, 1] of the hand box, dataset order."""
    joints_in_image: Tensor
    """(B, T, 21) bool: joints inside the image."""
    is_repeat: Tensor
    """(B, T−1) bool: window positions t and t+1 hold the same frame (`Batch.is_repeat`)."""
    joints_cam_m: Tensor
    """(B, T, 21, 3): camera frame, dataset order."""
    view: View


@torch.no_grad()
def make_targets(
    hand_layer: HandLayer,
    pose_rotvec: Tensor,
    betas: Tensor,
    is_left: Tensor,
    joints_px: Tensor,
    boxes_px: Tensor,
    joints_in_image: Tensor,
    is_repeat: Tensor,
    joints_cam_m: Tensor,
    K: Tensor,
    tips: Tips,
) -> Targets:
    """Turn labels into targets for the predictions.

    pose_rotvec (B, T, 48): axis-angle of the 16 joints, mean pose included, radians, turned with
    the image. betas (B, 10). is_left (B,) bool. joints_px (B, T, 21, 2) and boxes_px (B, T, 4):
    px of the network's input. joints_in_image (B, T, 21) bool, is_repeat (B, T−1) bool,
    joints_cam_m (B, T, 21, 3): as in `Targets`. K (B, T, 3, 3). tips: "dexycb" or "ho3d", as the
    model's configuration.
    """
    B, T, _ = pose_rotvec.shape
    with torch.autocast(pose_rotvec.device.type, enabled=False):
        rotmats = rotvec_to_rotmat(pose_rotvec.float().unflatten(-1, (16, 3)))
        hand = pose_hands(
            hand_layer, rotmats, betas.float()[:, None].expand(B, T, -1), is_left, tips
        )
    corner, opposite = boxes_px[..., None, :2], boxes_px[..., None, 2:]  # (B, T, 1, 2)
    joints_2d = (joints_px - corner) / (opposite - corner)
    view = View(boxes_px, K)
    return Targets(hand, joints_2d, joints_in_image, is_repeat, joints_cam_m, view)


# ------------------------------------------------------------------------------ losses of points


def max_mse(points: Tensor, target: Tensor) -> Tensor:
    """Squared errors, averaged with each point weighted by its own squared error.

    points, target (..., N, D) → (...): Σ‖e_i‖⁴ / Σ‖e_i‖². For a perfect prediction (0/0), value and
    gradient are 0. Source: the paper's Eq. 5.
    """
    squared = (points - target).square().sum(-1)  # (..., N)
    total = squared.sum(-1, keepdim=True)
    is_perfect = total < 1e-30
    shares = squared / torch.where(is_perfect, torch.ones_like(total), total)
    return (shares * squared).sum(-1)


def mse(points: Tensor, target: Tensor) -> Tensor:
    """Mean of squared errors: points, target (..., N, D) → (...), mean of ‖e_i‖².

    It never exceeds `max_mse`, and equals it if all points have the same error.
    """
    return (points - target).square().sum(-1).mean(-1)


def huber(points: Tensor, target: Tensor) -> Tensor:
    """Mean of errors that are squared up to 0.01 (1 cm for meshes) and linear beyond it, with a
    continuous slope: points, target (..., N, D) → (...).

    As in the metrics, one bad frame does not outweigh many good ones. Not in the paper; used to
    train single frames.
    """
    squared = (points - target).square().sum(-1)
    distances = squared.clamp(min=_BEND**2).sqrt()  # the gradient at 0 is infinite
    return torch.where(squared < _BEND**2, squared, 2 * _BEND * distances - _BEND**2).mean(-1)


POINT_LOSSES: dict[PointLossName, PointLoss] = {"max_mse": max_mse, "mse": mse, "huber": huber}


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of each window's values where `mask` is True (0 if nowhere), then over windows.

    values and mask (bool) (B, ...) → scalar.
    """
    values, counts = values.flatten(1), mask.flatten(1)
    sums = (values * counts).sum(1)
    return (sums / counts.sum(1).clamp(min=1)).mean()


# ----------------------------------------------------------------------------- terms of the model


def _mesh_losses(hand: HandMotion, target: HandMotion, point_loss: PointLoss) -> dict[str, Tensor]:
    """`vertices`, `joints` (metres²) and `pose` (a rotation matrix is a point of nine coordinates),
    (B, T) each."""
    return {
        "vertices": point_loss(hand.vertices_m, target.vertices_m),
        "joints": point_loss(hand.joints_m, target.joints_m),
        "pose": point_loss(hand.rotmats.flatten(-2), target.rotmats.flatten(-2)),
    }


def shape_loss(hand: HandMotion, target: HandMotion, point_loss: PointLoss) -> Tensor:
    """Error of β, with each coefficient as a point: (B, T)."""
    return point_loss(hand.betas[..., None], target.betas[..., None])


def hand_losses(
    hand: HandMotion, target: HandMotion, point_loss: PointLoss, prefix: str = ""
) -> dict[str, Tensor]:
    """The terms of a posed hand, scalars: `vertices`, `joints` (metres²), `pose` and `shape`, with
    the prefix before each name."""
    terms = _mesh_losses(hand, target, point_loss)
    terms["shape"] = shape_loss(hand, target, point_loss)
    return {prefix + name: value.mean() for name, value in terms.items()}


def joints_2d_loss(joints_2d: Tensor, target: Tensor, joints_in_image: Tensor) -> Tensor:
    """Mean squared distance of joints inside the image, in units of the box's side.

    joints_2d, target (B, T, 21, 2), joints_in_image (B, T, 21) bool → scalar.
    """
    return masked_mean((joints_2d - target).square().sum(-1), joints_in_image)


def motion_losses(
    output: DeformerOutput, target: HandMotion, is_repeat: Tensor, point_loss: PointLoss
) -> dict[str, Tensor]:
    """Errors of hands deformed by one step, forward and backward, in the frame they reach.

    Steps between repeated frames are excluded, because their motion is 0 by construction. Scalars
    named as in `_mesh_losses`; all 0 for T = 1.
    """
    both = [torch.cat(pair, 1) for pair in zip(output.forward, output.backward, strict=True)]
    reached = [torch.cat([value[:, 1:], value[:, :-1]], 1) for value in target]
    moves = ~torch.cat([is_repeat, is_repeat], 1)
    losses = _mesh_losses(HandMotion(*both), HandMotion(*reached), point_loss)
    return {name: masked_mean(value, moves) for name, value in losses.items()}


def smooth_loss(joints_m: Tensor) -> Tensor:
    """Mean squared first and second differences over time, metres²: joints_m (B, T, 21, 3)."""
    first = joints_m.diff(dim=1)
    squares = [d.square().sum(-1) for d in (first, first.diff(dim=1))]  # (B, T−1 and T−2, 21)
    return sum(square.sum() / max(1, square.numel()) for square in squares)


def deformer_losses(
    output: DeformerOutput, targets: Targets, point_loss: PointLoss = max_mse
) -> dict[str, Tensor]:
    """All terms except the adversarial one, as unweighted scalars.

    point_loss: `max_mse`, or `mse` for the ablation of Table 5. Keys: `vertices`, `joints`,
    `pose`, `shape`; the same with `monocular_`; the first three with `motion_`; `joints_2d`;
    `smooth`. `weighted_sum` adds them.
    """
    losses = hand_losses(output.fused, targets.hand, point_loss)
    losses |= hand_losses(output.monocular, targets.hand, point_loss, "monocular_")
    motion = motion_losses(output, targets.hand, targets.is_repeat, point_loss)
    losses |= {f"motion_{name}": value for name, value in motion.items()}
    losses["joints_2d"] = joints_2d_loss(
        output.joints_2d, targets.joints_2d, targets.joints_in_image
    )
    losses["smooth"] = smooth_loss(output.fused.joints_m)
    return losses


def weighted_sum(
    losses: dict[str, Tensor], weights: LossWeights, own: Mapping[str, float] = MappingProxyType({})
) -> Tensor:
    """Σ weight · loss. own: weights of terms that `LossWeights` does not have. Raises
    `AttributeError` for a term that has no weight."""
    return sum(
        (own[name] if name in own else weights.weight_of(name)) * value
        for name, value in losses.items()
    )


# --------------------------------------------------------------------------------- adversarial


def adversarial_loss(scores_predicted: Tensor) -> Tensor:
    """The generator's term, (D(pred) − 1)²: scores (B,) → scalar. Source: the paper's Eq. 7."""
    return (scores_predicted - 1).square().mean()


def discriminator_loss(scores_predicted: Tensor, scores_real: Tensor) -> Tensor:
    """D(pred)² + (D(real) − 1)²: scores (B,) each → scalar. Source: the paper's Eq. 8.

    0 if all windows are separated, 1/2 if every score is 1/2.
    """
    return scores_predicted.square().mean() + (scores_real - 1).square().mean()
