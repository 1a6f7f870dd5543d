"""Conventions of the hand: names and orders of joints, sides, fingertip vertices.

Two orders of joints exist in the field. Mixing them up shows only in bad numbers:

- **MANO order**: 16 joints (wrist, index, middle, little, ring, thumb), then five tips thumb to
  little.
- **dataset order** (DexYCB's, and this project's everywhere): wrist, then thumb, index, middle,
  ring, little with four joints each, from the palm to the tip.

Source: MANO v1.2 and the label formats of DexYCB and HO-3D.
"""

from typing import Literal, get_args

import numpy as np

NUM_VERTICES = 778
NUM_FACES = 1538
NUM_MANO_JOINTS = 16
NUM_JOINTS = 21

SIDES = ("right", "left")
FINGERS = ("thumb", "index", "middle", "ring", "little")
FINGERS_RGB = ((255, 82, 82), (255, 221, 51), (64, 224, 208), (74, 144, 255), (232, 80, 255))
"""Their colours wherever a hand is drawn."""

MANO_JOINT_NAMES = (
    "wrist",
    *(
        f"{finger}_{k}"
        for finger in ("index", "middle", "little", "ring", "thumb")
        for k in (1, 2, 3)
    ),
)
MANO_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)

JOINT_NAMES = (
    "wrist",
    *(f"{finger}_{part}" for finger in FINGERS for part in ("1", "2", "3", "tip")),
)
"""The 21 joints in dataset order."""

JOINT_PARENTS = (-1, *(0 if k == 0 else 4 * f + k for f in range(5) for k in range(4)))
"""Parent of each of the 21 joints in dataset order."""

MANO_TO_DATASET = np.array(
    [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
)
"""`joints_dataset = joints_mano[..., MANO_TO_DATASET, :]`."""

DATASET_TO_MANO = np.argsort(MANO_TO_DATASET)
"""`joints_mano = joints_dataset[..., DATASET_TO_MANO, :]`."""

Tips = Literal["dexycb", "ho3d"]
TIPS = get_args(Tips)
"""Names of the fingertip conventions: each dataset chose its own vertices."""
TIP_VERTICES: dict[tuple[Tips, str], tuple[int, ...]] = {
    ("dexycb", "right"): (745, 317, 444, 556, 673),
    ("dexycb", "left"): (745, 317, 445, 556, 673),
    ("ho3d", "right"): (728, 353, 442, 576, 694),
    # HO-3D has no left hands; the mirrored mesh keeps its vertex numbers.
    ("ho3d", "left"): (728, 353, 442, 576, 694),
}
"""Vertices that serve as tips: thumb, index, middle, ring, little."""

OPENGL_TO_OPENCV = np.array([1.0, -1.0, -1.0])
"""Diagonal of the change from OpenGL's camera frame (y up, z towards the viewer) to this
project's (x right, y down, z forward), a rotation by π about x; it is its own inverse."""
