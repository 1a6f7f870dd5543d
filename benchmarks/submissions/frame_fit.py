"""Are the rows of a prediction file those of the frames that they stand for?

A file that is shifted by a row, or sorted otherwise, still gives numbers, bad ones. Nothing in it
names its frames, so the hands are laid on other frames than their own; where they fit these far
better, that is told. It is no ground for a refusal: a method may be late by itself.
"""

import numpy as np

from deformer.hand.align import align_root, point_errors_mm

_MAX_SHIFT = 3
_SHIFT_BETTER = 0.6
"""Of the error in its own frame: so much must be left in the frame some rows on."""
_NEARLY_BEST = 2.0
"""And no more than so many times what is left in the best of all frames."""
_OTHER_BETTER = 0.25
"""Of the error in its own frame, left in the best of all: among many there is always a good one."""
_MIN_SPREAD = 0.5
"""Of how far true hands are from their mean."""
_SAMPLES = 200
_MIN_FRAMES = 3


def misplaced(joints_m: np.ndarray, truth_joints_m: np.ndarray, number: np.ndarray) -> str:
    """What is wrong with the order of the rows, in words; empty where nothing is to be seen.

    joints_m, truth_joints_m: (M, 21, 3) camera frame, truth NaN where not known. number (M,): which
    row of the file each is. Compared as they are and after the wrist is subtracted, since a method
    may know nothing of the wrist's place.
    """
    known = np.flatnonzero(np.isfinite(truth_joints_m).all((1, 2)))
    known = known[np.argsort(number[known])]
    if len(known) < _MIN_FRAMES:
        return ""
    number = number[known]
    for move in (np.asarray, align_root):
        joints, truth = move(joints_m[known]), move(truth_joints_m[known])
        if _spread(joints) < _MIN_SPREAD * _spread(truth):
            continue  # who always says the same fits some frames better than others
        rows, best = best_frames(joints, truth)
        told = _shifted(joints, truth, number, point_errors_mm(joints[rows], truth[best]).mean())
        if told := told or _elsewhere(joints, truth, rows, best):
            return told
    return ""


def _spread(joints: np.ndarray) -> float:
    return float(np.linalg.norm(joints - joints.mean(0), axis=-1).mean())


def best_frames(joints: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some rows, spread evenly, and the frame that each fits best."""
    M = len(joints)
    rows = np.unique(np.linspace(0, M - 1, min(_SAMPLES, M)).astype(int))
    x, y = joints[rows].reshape(len(rows), -1), truth.reshape(M, -1)
    centre = y.mean(0)  # near the origin the three terms cancel without loss
    x, y = x - centre, y - centre
    return rows, ((x**2).sum(1)[:, None] - 2 * x @ y.T + (y**2).sum(1)).argmin(1)


def _shifted(joints: np.ndarray, truth: np.ndarray, number: np.ndarray, best_mm: float) -> str:
    """best_mm: what is left in the best of all frames."""
    best, told = _SHIFT_BETTER, ""
    for shift in (s for s in range(-_MAX_SHIFT, _MAX_SHIFT + 1) if s):
        there = np.searchsorted(number, number + shift)
        there = np.minimum(there, len(number) - 1)
        here = np.flatnonzero(number[there] == number + shift)
        if 2 * len(here) <= len(number):  # too few to speak for the file
            continue
        there = there[here]
        moved_mm = point_errors_mm(truth[here], truth[there]).mean(1)
        moving = moved_mm >= np.median(moved_mm)  # a hand at rest is the same in either frame
        here, there = here[moving], there[moving]
        own_mm = point_errors_mm(joints[here], truth[here]).mean()
        other_mm = point_errors_mm(joints[here], truth[there]).mean()
        if other_mm < best * own_mm and other_mm < _NEARLY_BEST * best_mm:
            best = other_mm / own_mm
            rows = f"{abs(shift)} row{'s' * (abs(shift) > 1)} {'later' if shift > 0 else 'earlier'}"
            told = (
                f"its hands fit the frames {rows} far better than their own ({other_mm:.1f} mm "
                f"against {own_mm:.1f} where the hand moves): are its rows shifted?"
            )
    return told


def _elsewhere(joints: np.ndarray, truth: np.ndarray, rows: np.ndarray, best: np.ndarray) -> str:
    own_mm = np.median(point_errors_mm(joints[rows], truth[rows]).mean(1))
    best_mm = np.median(point_errors_mm(joints[rows], truth[best]).mean(1))
    if best_mm >= _OTHER_BETTER * own_mm or 2 * len(np.unique(best)) < len(rows):
        return ""
    return (
        f"its hands fit other frames far better than their own ({best_mm:.1f} mm against "
        f"{own_mm:.1f}; {(best != rows).sum()} of {len(rows)} looked at): are its rows in another "
        "order?"
    )
