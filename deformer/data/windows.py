"""Windows as indices: the frames of a clip around each centre frame.

Windows are chosen when they are used and never stored, because they share frames.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from deformer.program.least import check_least

EdgeRule = Literal["hold", "skip"]


@dataclass(frozen=True)
class WindowConfig:
    """The shape of a window: T frames, every `gap`-th, around a centre frame."""

    num_frames: int = 7
    gap: int = 10
    edge: EdgeRule = "hold"
    """How missing frames are filled. Both rules walk outwards from the centre and repeat the last
    frame found. `hold`: the walk ends at the first missing frame. `skip`: it goes on, and uses
    later frames that exist."""

    def __post_init__(self) -> None:
        check_least(self, num_frames=1, gap=1)
        if self.edge not in get_args(EdgeRule):
            raise ValueError(f"edge is {self.edge!r}, must be one of {get_args(EdgeRule)}")

    @property
    def centre(self) -> int:
        """Position of the centre frame in the window: T // 2, so a window of even length has one
        more frame before the centre than after it."""
        return self.num_frames // 2

    @property
    def reach(self) -> int:
        """Frame numbers from the centre frame to the farther end of the window."""
        return max(self.centre, self.num_frames - 1 - self.centre) * self.gap


def clip_windows(
    valid: np.ndarray,
    config: WindowConfig,
    frame: np.ndarray | None = None,
    is_centre: np.ndarray | None = None,
) -> np.ndarray:
    """The windows of a clip, one around each valid centre frame, in order.

    valid (N,) bool: frames that windows may use; all others count as missing.
    frame (N,): frame numbers in the source, increasing; `gap` counts these. Default: 0 … N−1.
    is_centre (N,) bool: frames that may be centres; those of a halo may not. Default: all.

    Returns (W, T) int64: positions in the clip; column `config.centre` holds the centres.
    Raises `ValueError` when frame numbers do not increase.
    """
    valid = np.asarray(valid, bool)
    (N,) = valid.shape
    frame = np.arange(N) if frame is None else np.asarray(frame, np.int64)
    is_centre = np.ones(N, bool) if is_centre is None else np.asarray(is_centre, bool)
    if (np.diff(frame) <= 0).any():
        raise ValueError(f"frame numbers must increase, got {frame.tolist()}")

    centres = np.flatnonzero(valid & is_centre)
    T = config.num_frames
    offsets = (np.arange(T) - config.centre) * config.gap
    wanted = frame[centres][:, None] + offsets  # (W, T) frame numbers
    found = np.minimum(np.searchsorted(frame, wanted), max(N - 1, 0))
    exists = (frame[found] == wanted) & valid[found]

    middle = config.centre
    before = _walk(found[:, middle::-1], exists[:, middle::-1], config.edge)[:, ::-1]
    after = _walk(found[:, middle:], exists[:, middle:], config.edge)[:, 1:]
    return np.concatenate([before, after], 1)


def _walk(found: np.ndarray, exists: np.ndarray, edge: EdgeRule) -> np.ndarray:
    """Fill missing frames along axis 1, which runs away from the centre; column 0 exists."""
    if edge == "hold":
        exists = np.logical_and.accumulate(exists, axis=1)
    steps = np.where(exists, np.arange(exists.shape[1]), 0)
    return np.take_along_axis(found, np.maximum.accumulate(steps, axis=1), 1)
