"""Which windows are shown: by rule, so that nobody chose them, and the same ones every time."""

from dataclasses import dataclass

import numpy as np

from benchmarks.evaluation.protocol import BINS
from benchmarks.evaluation.scored import Scored

MIN_DISTINCT = 3
"""A window with fewer different frames has hardly anything to borrow from."""
MIN_OCCLUSION = 0.25
"""Of the frame in the middle: where it is less hidden, it needs no help."""


@dataclass(frozen=True)
class Choice:
    """A frame that was chosen, and why."""

    at: int
    """Of the M frames of `Scored`."""
    reason: str
    """In words, for the caption."""


def largest_gain(scored: Scored, unfused: Scored | None = None) -> Choice | None:
    """The window that the fusion helps most; None where no window can show any.

    With a run without fusion on the same frames (`unfused`), the gain is how much larger its error
    is. Without one nobody knows what the frame by itself would have given, so it is measured
    against frames that are hidden as much: (median error of the occlusion's range − error of the
    frame) × (share of the pose that comes from other frames). Only windows of at least
    `MIN_DISTINCT` different frames around a frame hidden by `MIN_OCCLUSION` or more take part;
    where there is none, around any frame of known occlusion.
    """
    if scored.window_rows is None:
        return None
    borrowed = borrowed_share(scored)
    can_show = (count_distinct(scored.window_rows) >= MIN_DISTINCT) & ~scored.is_borrowed
    can_show &= np.isfinite(borrowed) & ~np.isnan(scored.occlusion)
    if (can_show & (scored.occlusion >= MIN_OCCLUSION)).any():
        can_show &= scored.occlusion >= MIN_OCCLUSION
    if not can_show.any():
        return None
    if unfused is not None:
        gain = _same_frames(unfused, scored) - scored.pa_mm
        reason = "{error:.1f} mm off, and {gain:.1f} mm more without fusion"
    else:
        gain = (_expected_mm(scored) - scored.pa_mm) * borrowed
        reason = (
            "{occlusion:.0%} hidden, {borrowed:.0%} of the pose taken from other frames, and still "
            "{less:.1f} mm less error than the median frame of its occlusion range"
        )
    gain = np.where(can_show & np.isfinite(gain), gain, -np.inf)
    at = int(gain.argmax())  # the first of equals
    if not np.isfinite(gain[at]) or gain[at] <= 0:
        return None
    less = float(_expected_mm(scored)[at] - scored.pa_mm[at])
    words = reason.format(
        error=scored.pa_mm[at],
        gain=gain[at],
        occlusion=scored.occlusion[at],
        borrowed=borrowed[at],
        less=less,
    )
    return Choice(at, words)


def worst_failures(scored: Scored, count: int = 3) -> list[int]:
    """The frames, of the M of `Scored`, with the largest error that have an image, worst first; one
    per recording, whose cameras and neighbouring frames fail alike."""
    recordings = scored.comparison.sequence.tolist()
    chosen: list[int] = []
    seen: set[str] = set()
    for at in np.argsort(-scored.pa_mm, kind="stable").tolist():
        if scored.is_borrowed[at] or recordings[at] in seen:
            continue
        seen.add(recordings[at])
        chosen.append(at)
        if len(chosen) == count:
            break
    return chosen


def steadiest_sequence(scored: Scored) -> str | None:
    """The camera-sequence with the most frames whose neighbours are both there; of equals the first
    by name. None where there is none."""
    has_value = ~np.isnan(scored.values["accel_mm_per_frame2"].mean(1))
    names, counts = np.unique(scored.comparison.camera_sequence[has_value], return_counts=True)
    return str(names[counts.argmax()]) if len(names) else None


def borrowed_share(scored: Scored) -> np.ndarray:
    """(M,) share of the pose that comes from other frames than the one in the middle; a window that
    repeats that one counts it wherever it stands."""
    rows = scored.window_rows
    own = rows == rows[:, scored.centre][:, None]
    return 1 - (scored.window_weights * own).sum(1)


def count_distinct(rows: np.ndarray) -> np.ndarray:
    """Different frames of windows (M, T), whose rows rise → (M,)."""
    return 1 + (np.diff(rows, axis=1) != 0).sum(1)


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


def _same_frames(other: Scored, scored: Scored) -> np.ndarray:
    """(M,) errors of another run on the same frames, NaN where it has none."""
    order = np.argsort(other.row)
    place = np.searchsorted(other.row[order], scored.row)
    found = order[np.minimum(place, len(order) - 1)]
    return np.where(other.row[found] == scored.row, other.pa_mm[found], np.nan)
