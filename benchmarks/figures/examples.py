"""Which frames are shown: by rule, so that nobody chose them, and the same ones every time."""

from dataclasses import dataclass

import numpy as np

from benchmarks.evaluation.protocol import BINS
from benchmarks.evaluation.scored import Scored

MIN_DISTINCT = 3
"""A window with fewer different frames has hardly anything to borrow from."""
MIN_OCCLUSION = 0.25
"""Of the frame in the middle: where it is less hidden, it needs no help."""
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
    low, high = limits
    can_show = (scored.occlusion >= low) & (scored.occlusion <= high) & ~scored.is_borrowed
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
    that are hidden as much: (median error of the occlusion's range − error of the frame) × (share
    of the pose that comes from other frames). Only windows of at least `MIN_DISTINCT` different
    frames around a frame hidden by `MIN_OCCLUSION` or more take part; where there is none, around
    any frame of known occlusion.
    """
    if scored.window_rows is None:
        return None
    borrowed = _borrowed_share(scored)
    distinct = 1 + (np.diff(scored.window_rows, axis=1) != 0).sum(1)  # rows rise in a window
    can_show = (distinct >= MIN_DISTINCT) & ~scored.is_borrowed
    can_show &= np.isfinite(borrowed) & ~np.isnan(scored.occlusion)
    if (can_show & (scored.occlusion >= MIN_OCCLUSION)).any():
        can_show &= scored.occlusion >= MIN_OCCLUSION
    if not can_show.any():
        return None
    less = _expected_mm(scored) - scored.pa_mm
    gain = np.where(can_show, less * borrowed, -np.inf)
    at = int(gain.argmax())  # the first of equals
    if gain[at] <= 0:
        return None
    return Choice(
        at,
        f"{scored.occlusion[at]:.0%} hidden, {borrowed[at]:.0%} of the pose taken from other "
        f"frames, and still {less[at]:.1f} mm less error than the median frame of its occlusion "
        "range",
    )


def _borrowed_share(scored: Scored) -> np.ndarray:
    """(M,) share of the pose that comes from other frames than the one in the middle; a window that
    repeats that one counts it wherever it stands."""
    rows = scored.window_rows
    own = rows == rows[:, scored.centre][:, None]
    return 1 - (scored.window_weights * own).sum(1)


def _expected_mm(scored: Scored) -> np.ndarray:
    """(M,) median error of the frames in the same range of occlusion as each; NaN if not known."""
    low = [limits[0] for limits in BINS.values() if limits]
    which = np.digitize(scored.occlusion, low)  # 0: below the first range
    expected = np.full(len(which), np.nan)
    for k in np.unique(which):
        inside = (which == k) & ~np.isnan(scored.occlusion)
        if inside.any():
            expected[inside] = np.median(scored.pa_mm[inside])
    return expected
