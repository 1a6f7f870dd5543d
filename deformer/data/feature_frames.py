"""Features of frames, which stand in place of images, as batches of windows."""

import numpy as np
import torch

from deformer.data.batch import Batch

FIELDS_PER_WINDOW = ("is_left", "betas")
"""Fields of `Batch` that hold one value per window, not per frame."""


class FeatureFrames:
    """Features of a split in memory: one or several copies of the same frames."""

    def __init__(self, copies: list[dict[str, np.ndarray]]) -> None:
        """copies: arrays by name, of `deformer.training.features.encode_stream`."""
        self.num_copies = len(copies)
        rows = copies[0]["rows"]
        order = np.argsort(rows)
        self.rows = rows[order]
        if any(not np.array_equal(np.sort(copy["rows"]), self.rows) for copy in copies):
            raise ValueError("the copies of a split hold different frames: encode them again")
        self._arrays = {
            name: np.stack([copy[name][np.argsort(copy["rows"])] for copy in copies])
            for name in copies[0]
        }
        self._arrays["images"] = self._packed()

    def _packed(self) -> np.ndarray:
        """In place of images: maps (copies, N, C, s, s), or hand with 2D joints (copies, N, C +
        42)."""
        if "maps" in self._arrays:
            return self._arrays.pop("maps")
        hand, joints = self._arrays.pop("hand"), self._arrays.pop("joints_2d")
        return np.concatenate([hand, joints.reshape(*hand.shape[:2], 42)], -1)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Positions of rows of the index. Raises `ValueError` where some have no features."""
        found = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        if missing := np.unique(rows[self.rows[found] != rows]).size:
            raise ValueError(
                f"{missing} frames of the windows have no features: another split, filter or "
                "window, or images that are corrupt; encode them by python -m deformer.encode"
            )
        return found

    def batch(
        self, rows: np.ndarray, centre: int, copies: np.ndarray, is_padding: np.ndarray
    ) -> Batch:
        """Windows of rows (B, T), each from its copy (B,)."""
        found = self.places(rows)
        at = copies[:, None], found
        of_centre = copies, found[:, centre]
        values = {
            name: torch.from_numpy(array[of_centre if name in FIELDS_PER_WINDOW else at])
            for name, array in self._arrays.items()
        }
        return Batch(
            **values,
            photometric=torch.empty(len(rows), 0),
            is_repeat=torch.from_numpy(rows[:, 1:] == rows[:, :-1]),
            is_padding=torch.from_numpy(is_padding),
            skipped=(),
        )
