"""True motion, from which the discriminator learns what hands do."""

import numpy as np
import torch
from torch import Tensor

from deformer.data.dataset import read_table
from deformer.data.index import FrameIndex, WindowTable
from deformer.network.discriminator import NUM_FEATURES


class RealMotion:
    """Windows of true motion, drawn at random from the training set."""

    def __init__(self, index: FrameIndex, windows: WindowTable, seed: int) -> None:
        self.windows, self.is_left, self.seed = windows, index.is_left, seed
        used, self.rows = np.unique(windows.rows, return_inverse=True)
        path = index.folder / "annotations.parquet"
        column = read_table(path, ["pose_rotvec"])["pose_rotvec"].combine_chunks()
        # `check_labels` refuses a set in which one is null
        self.poses = column.take(used).flatten().to_numpy().reshape(len(used), 48)
        self.rows = self.rows.reshape(windows.rows.shape)

    def draw(self, step: int, num: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the discriminator needs at a step that has `num` windows over all processes.

        Returns pose_rotvec (num, T, 48), is_left (num,), and standard normal noise for the features
        of predicted and of real windows, (2, num, T, 91). It depends on seed and step alone, so it
        is the same for any number of processes and for a run that was taken up again.
        """
        rng = np.random.default_rng([self.seed, step, 1])
        chosen = rng.integers(len(self.windows), size=num)
        is_left = self.is_left[self.windows.centre_rows[chosen]]
        poses = self.poses[self.rows[chosen]]
        noise = rng.standard_normal((2, *poses.shape[:2], NUM_FEATURES), np.float32)
        return torch.from_numpy(poses), torch.from_numpy(is_left), torch.from_numpy(noise)
