"""Tolerances between two labels that say the same, and the size of a hand.

The tolerances stand between rounding and the smallest fault worth a name. Labels in float32 agree
to 0.00003 px and 0.001 mm, both on a genuine frame of DexYCB and on synthesized ones. The smallest
fault is another person's shape: between DexYCB's ten people the joints of a flat hand differ by 0.9
mm at least (the next: 1.7 mm). The other choice of fingertips makes 3 mm, another of DexYCB's
cameras or its depth sensor 1 to 30 px, everything else far more. Whole pixels, to which some
datasets round, are 0.5 px off along either axis.
"""

import numpy as np

from deformer.hand.camera import project
from deformer.hand.conventions import JOINT_PARENTS

MAX_OFF_M = 0.0005
"""Between a joint of the posed hand and the stated joint."""
MAX_OFF_PX = 0.5
"""The same in the image."""
ROUNDED_PX = 0.51
"""Between K's image of a joint and the stated 2D joint, along either axis: these may be rounded to
whole pixels."""
BONE_LENGTH_M = (0.008, 0.08)
"""Range of the median of a hand's 20 bones: 0.026 to 0.030 m for the people of DexYCB, about 0.010
for a newborn, 0.053 for the longest hand ever measured. Wrong units are off by more."""
MIN_BENDING = 1.5
"""Bending beyond this identifies the side: of the frames of DexYCB's 1000 sequences (83 % bend so
far) 3 in 10,000 bend the wrong way, in the worst sequence 18 %."""


def bone_length_m(joints_cam_m: np.ndarray) -> np.ndarray:
    """Joints (..., 21, 3) in dataset order → the median length of their bones (...), m."""
    bones = joints_cam_m[..., 1:, :] - joints_cam_m[..., JOINT_PARENTS[1:], :]
    return np.median(np.linalg.norm(bones, axis=-1), axis=-1)


def is_no_hand(bone_length_m: np.ndarray) -> np.ndarray:
    """Whether a median bone length is known and not a hand's."""
    least, most = BONE_LENGTH_M
    return (bone_length_m < least) | (bone_length_m > most)


def bending_to_the_right(joints_cam_m: np.ndarray) -> np.ndarray:
    """Joints (..., 21, 3) in dataset order → how far the four fingers bend as a right hand's do,
    (...), the sum of 8 sines; below 0 they bend as a left hand's.
    """
    fingers = joints_cam_m[..., 5:, :].reshape(*joints_cam_m.shape[:-2], 4, 4, 3)
    bones = _directions(np.diff(fingers, axis=-2))
    across = _directions(joints_cam_m[..., 5, :] - joints_cam_m[..., 17, :])  # index ← little
    axis = np.cross(bones[..., :-1, :], bones[..., 1:, :]).sum((-2, -3))
    return (axis * across).sum(-1)


def _directions(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, np.nan)


def off_m_and_px(
    posed_cam_m: np.ndarray, joints_cam_m: np.ndarray, K: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far posed joints (F, 21, 3) are from the stated ones, at most: (F,) m, (F,) px.

    NaN where they are not known; px is infinite where only one of the two has an image.
    """
    off_m = np.linalg.norm(posed_cam_m - joints_cam_m, axis=-1).max(-1)
    posed_px, joints_px = project(posed_cam_m, K), project(joints_cam_m, K)
    off_px = np.linalg.norm(posed_px - joints_px, axis=-1)
    off_px[np.isnan(posed_px[..., 0]) != np.isnan(joints_px[..., 0])] = np.inf
    off_px = np.where(np.isnan(off_px), 0, off_px).max(-1)
    return off_m, np.where(np.isnan(off_m), np.nan, off_px)
