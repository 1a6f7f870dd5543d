"""Rotations and shapes of windows → meshes and joints: predictions and labels are posed alike."""

from typing import NamedTuple

from torch import Tensor

from deformer.hand.conventions import Tips
from deformer.hand.mano import HandLayer


class HandMotion(NamedTuple):
    """Hands of B windows and T frames. A network that predicts no MANO parameters has no rotations
    and shapes, one without a mesh no vertices: None. Labels, and what `pose_hands` returns, have
    all of them."""

    rotmats: Tensor | None
    """(B, T, 16, 3, 3) joint rotations in MANO's order, the first from hand to camera frame."""
    betas: Tensor | None
    """(B, T, 10) MANO shape."""
    vertices_m: Tensor | None
    """(B, T, V, 3) metres from the wrist, in the camera's axes; V as in the `HandLayer`."""
    joints_m: Tensor
    """(B, T, 21, 3) metres from the wrist, dataset order; the wrist itself is 0."""


def pose_hands(
    hand_layer: HandLayer, rotmats: Tensor, betas: Tensor, is_left: Tensor, tips: Tips
) -> HandMotion:
    """Pose hands of windows: rotmats (B, T, 16, 3, 3), betas (B, T, 10), is_left (B,)."""
    B, T = rotmats.shape[:2]
    vertices, joints = hand_layer(
        rotmats.flatten(0, 1), betas.flatten(0, 1), is_left.repeat_interleave(T), tips
    )
    wrist = joints[:, :1]
    return HandMotion(
        rotmats, betas, *((points - wrist).unflatten(0, (B, T)) for points in (vertices, joints))
    )
