"""Which frames are shown: by rule, so that nobody chose them, and the same ones every time."""

from dataclasses import dataclass

import numpy as np

from benchmarks.evaluation.protocol import BINS, is_in_bin
from benchmarks.evaluation.scored import Scored

MIN_DISTINCT = 3
"""A window with fewer different frames has hardly anything to borrow from."""
GROUPS = {"seen": (0.0, 0.25), "hidden": (0.5, 1.0)}
"""Ranges of occlusion of the frames that are shown."""


@dataclass(frozen=True)
class Choice:
    """A frame that was chosen, and why."""

    at: int
    """Of the M frames of `Scored`."""
    reason: str
    """In words, for the caption."""


def typical_frames(scored: Scored, limits: tuple[float, float], count: int = 4) -> list[int]:
    """Frames of a range of occlusion whose error is next to the median of the range, least hidden
    first; `count` at most, of different recordings as far as there are enough."""
    can_show = is_in_bin(scored.occlusion, limits) & ~scored.is_borrowed
    if not can_show.any():
        return []
    distance = np.abs(scored.pa_mm - np.median(scored.pa_mm[can_show]))
    nearest = np.argsort(np.where(can_show, distance, np.inf), kind="stable")[: can_show.sum()]
    first: dict[str, int] = {}  # cameras and neighbouring frames of a recording look alike
    for at in nearest.tolist():
        first.setdefault(scored.comparison.sequence[at], at)
    chosen = list(dict.fromkeys([*first.values(), *nearest.tolist()]))[:count]
    return sorted(chosen, key=lambda at: scored.occlusion[at])


def largest_gain(scored: Scored) -> Choice | None:
    """The window that the fusion helps most; None where no window can show any.

    Nobody knows what the frame by itself would have given, so the gain is measured against frames
    that are hidden as much: (median error of its bin of `BINS` − error of the frame) × (share of
    the pose that comes from other frames). Frames of no bin but `all` need no help.
    """
    if scored.window_rows is None:
        return None
    rows = scored.window_rows
    is_own = rows == rows[:, scored.centre][:, None]  # a window may repeat the frame in the middle
    borrowed = 1 - (scored.window_weights * is_own).sum(1)
    less_mm = np.full(len(borrowed), np.nan)
    for limits in filter(None, BINS.values()):
        if (inside := is_in_bin(scored.occlusion, limits)).any():
            less_mm[inside] = np.median(scored.pa_mm[inside]) - scored.pa_mm[inside]
    distinct = 1 + (np.diff(rows, axis=1) != 0).sum(1)  # rows rise in a window
    can_show = (distinct >= MIN_DISTINCT) & ~scored.is_borrowed
    gain = np.nan_to_num(np.where(can_show, less_mm * borrowed, 0.0))
    at = int(gain.argmax())  # the first of equals
    if gain[at] <= 0:
        return None
    return Choice(
        at,
        f"{scored.occlusion[at]:.0%} hidden, {borrowed[at]:.0%} of the pose taken from other "
        f"frames, and still {less_mm[at]:.1f} mm less error than the median frame of its occlusion "
        "range",
    )
