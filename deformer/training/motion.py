"""True motion of hands, for the discriminator."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deformer.data.dataset import ANNOTATIONS_FILE, read_table
from deformer.data.index import FrameIndex, WindowTable
from deformer.network.discriminator import NUM_FEATURES


class MotionDraw(NamedTuple):
    """What the discriminator needs at one step, for N windows of all processes."""

    pose_rotvec: Tensor  # (N, T, 48), real windows
    is_left: Tensor  # (N,) bool
    noise: Tensor  # (2, N, T, 91), standard normal: for predicted, for real windows


class RealMotion:
    """Windows of true motion, drawn at random from the training set."""

    def __init__(self, index: FrameIndex, windows: WindowTable, seed: int) -> None:
        self.windows, self.is_left, self.seed = windows, index.is_left, seed
        used, self.rows = np.unique(windows.rows, return_inverse=True)
        path = index.folder / ANNOTATIONS_FILE
        column = read_table(path, ["pose_rotvec"])["pose_rotvec"].combine_chunks()
        # `check_labels` refuses a set in which one is null
        self.poses = column.take(used).flatten().to_numpy().reshape(len(used), 48)
        self.rows = self.rows.reshape(windows.rows.shape)

    def draw(self, step: int, num: int) -> MotionDraw:
        """Draw `num` windows. The draw depends only on seed and step, so it is the same for any
        number of processes and in a resumed run."""
        rng = np.random.default_rng([self.seed, step, 1])
        chosen = rng.integers(len(self.windows), size=num)
        is_left = self.is_left[self.windows.centre_rows[chosen]]
        poses = self.poses[self.rows[chosen]]
        noise = rng.standard_normal((2, *poses.shape[:2], NUM_FEATURES), np.float32)
        return MotionDraw(*map(torch.from_numpy, (poses, is_left, noise)))
