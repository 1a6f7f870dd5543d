"""The hand model as the build uses it: poses of a dataset → vertices and joints."""

from dataclasses import dataclass

import numpy as np
import torch

from deformer.hand.mano import HandLayer, Hands
from deformer.hand.rotations import rotvec_to_rotmat
from pipelines.datasets.source import ManoPose


@dataclass(frozen=True, eq=False)
class HandModel:
    """A loaded hand model and its layer, made once per worker."""

    hands: Hands
    layer: HandLayer

    @classmethod
    def from_hands(cls, hands: Hands) -> "HandModel":
        return cls(hands, HandLayer(hands).eval())

    def pose_rotvec(self, pose: ManoPose, side: str) -> np.ndarray:
        """The 48 axis-angle values of a pose, PCA coefficients expanded, mean pose included."""
        fingers = pose.fingers
        if pose.fingers_are_pca:
            fingers = getattr(self.hands, side).pca_to_rotvec(fingers)
        return np.concatenate([pose.global_rotvec, fingers])

    def hand_cam_m(
        self, pose_rotvec, betas, trans_m, side: str, tips: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (F, 778, 3) and joints (F, 21, 3) in dataset order, camera frame, m, of poses
        (F, 48), shapes (F, 10) and translations (F, 3)."""
        with torch.inference_mode():
            rotmats = rotvec_to_rotmat(torch.from_numpy(pose_rotvec).float().unflatten(1, (16, 3)))
            is_left = torch.full((len(rotmats),), side == "left")
            posed = self.layer(rotmats, torch.from_numpy(betas).float(), is_left, tips)
        vertices, joints = (points.numpy() + trans_m[:, None] for points in posed)
        return vertices, joints
