"""Check a file of predictions against the conventions of its format, by comparing it with the
truth.

A file with other units, axes or joint order would still be scored, with bad numbers. Only gross
differences are refused, because a bad method must still be scored: lengths that are a thousand
times off (units), bones that fit another known joint order much better, and hands of a side that
fit much better with other axes (turned by π about x: OpenGL's; x negated: mirrored).

Files do not name their frames, so a file with shifted or reordered rows also gives bad numbers. If
hands fit other frames far better than their own, there is a warning, not a refusal: a method may
lag.
"""

from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.submissions.file_order import FileOrder
from deformer.hand.align import align_root, point_errors_mm
from deformer.hand.conventions import JOINT_PARENTS, MANO_TO_DATASET, NUM_JOINTS

_FINGERS = np.arange(1, NUM_JOINTS).reshape(5, 4)
_FINGERS_OF_MANO = _FINGERS[[4, 0, 1, 3, 2]]
"""Places of MANO's fingers (index, middle, little, ring, thumb) in the order thumb to little."""

JOINT_ORDERS = {
    "thumb to little, palm to tip, as DexYCB": np.arange(NUM_JOINTS),
    "MANO's order, tips last, as HO-3D": MANO_TO_DATASET,
    "MANO's order of fingers, each with its tip": np.append(0, _FINGERS_OF_MANO),
    "thumb to little, tip to palm": np.append(0, _FINGERS[:, ::-1]),
    "thumb to little, tip to palm, wrist last, as InterHand": np.append(20, _FINGERS[:, ::-1] - 1),
    "little to thumb, palm to tip": np.append(0, _FINGERS[::-1]),
}
"""Known orders: `joints_dataset = joints_file[..., order, :]`."""

AXES = tuple(
    np.eye(3)[list(order)] * np.array(signs)[:, None]
    for order in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
)
"""All 48 ways to name and point three axes: `points_read @ axes.T`; the first leaves points as
read."""

_MUCH_BETTER = 0.5
"""A convention is blamed if another one leaves less than this share of the misfit."""
_BETTER = 0.75
"""The same for changes between frames, in which noise weighs more."""
_MIN_MISFIT = 0.1
"""In the logarithm of lengths: bones that are 10 % off or less are never refused."""

_MAX_SHIFT = 3
_SHIFT_BETTER = 0.6
"""Rows count as shifted if the shift leaves less than this share of the error."""
_NEARLY_BEST = 2.0
"""Warn only if the shifted error is at most this many times the best frame's error."""
_OTHER_BETTER = 0.25
"""Rows count as reordered if the best frame leaves less than this share of the error; the limit is
strict, because some frame always fits well by chance."""
_MIN_SPREAD = 0.5
"""Predictions that vary less than this share of the true hands' variation are not checked."""
_SAMPLES = 200
_MIN_FRAMES = 3


def check_conventions(
    path: Path, joints_m: np.ndarray, truth_joints_m: np.ndarray, unit: str,
    joint_order: np.ndarray, order: FileOrder,
) -> tuple[str, ...]:  # fmt: skip
    """Raise `ValueError` if the units, joint order or axes are not those of the format; return
    warnings if the rows seem to belong to other frames.

    joints_m: (M, 21, 3) of the required frames, read by the format's conventions: metres, dataset
    order, camera frame. truth_joints_m: (M, 21, 3), NaN if not known. unit: the format's, "mm" or
    "m". joint_order: the format's, a value of `JOINT_ORDERS`.
    """
    is_known = np.isfinite(truth_joints_m).all((1, 2))
    if not is_known.any():
        return ()
    joints, truth = joints_m[is_known], truth_joints_m[is_known]
    _check_units(path, joints, truth, unit)
    _check_order(path, joints, truth, joint_order)
    _check_axes(path, joints, truth, order.is_left[order.is_required][is_known])
    warning = describe_shifted_rows(joints, truth, order.index[order.is_required][is_known])
    return (warning,) if warning else ()


def check_meshes(path: Path, scores: dict[str, Any]) -> None:
    """Raise `ValueError` if the vertices are mirrored although the joints are right.

    scores: one bin of `protocol.score`, which has the mesh's error with and without mirroring.
    """
    turned, mirrored = (scores[f"{name}pa_mpvpe_mm"] for name in ("", "official_"))
    if turned is not None and mirrored["mean"] < _MUCH_BETTER * turned["mean"]:
        raise ValueError(
            f"{path} has its vertices mirrored against its format's frame: aligned, they are "
            f"{turned['mean']:.1f} mm off, mirrored {mirrored['mean']:.1f} mm; mirror them back"
        )


def _check_units(path: Path, joints: np.ndarray, truth: np.ndarray, unit: str) -> None:
    mistaken, factor, cure = ("metres", 1e-3, "multiply") if unit == "mm" else ("mm", 1e3, "divide")
    ratio = np.median(_sizes(joints)) / np.median(_sizes(truth))
    if 0.5 < ratio / factor < 2:
        raise ValueError(
            f"{path} is in {mistaken}, its format is in {unit}: its hands are {ratio:.3g} times as "
            f"large as the true ones; {cure} by 1000"
        )


def _sizes(joints: np.ndarray) -> np.ndarray:
    """Mean distance of the joints from their centroid, (M,)."""
    return np.linalg.norm(joints - joints.mean(1, keepdims=True), axis=-1).mean(1)


def _check_order(path: Path, joints: np.ndarray, truth: np.ndarray, order: np.ndarray) -> None:
    true_bones = _bones(truth)
    as_in_file = joints[:, np.argsort(order)]
    misfits = {
        name: _misfit(_bones(as_in_file[:, other]), true_bones)
        for name, other in JOINT_ORDERS.items()
    }
    expected = next(name for name, other in JOINT_ORDERS.items() if (other == order).all())
    best = min(misfits, key=misfits.get)
    stated = misfits[expected]
    if stated > _MIN_MISFIT and misfits[best] < _MUCH_BETTER * stated:
        raise ValueError(
            f"{path} has its joints in another order than its format ({expected}): its bones "
            f"fit the true ones as «{best}» ({misfits[best]:.0%} off, against {stated:.0%}); "
            "reorder them"
        )


def _bones(joints: np.ndarray) -> np.ndarray:
    """Mean length of each of the 20 bones, (20,)."""
    bones = joints[:, 1:] - joints[:, JOINT_PARENTS[1:]]
    return np.linalg.norm(bones, axis=-1).mean(0)


def _misfit(bones: np.ndarray, truth: np.ndarray) -> float:
    """Mean difference of the logarithms of lengths, regardless of the hand's size."""
    tiny = 1e-6  # a method that puts all joints into one point has bones of length 0
    difference = np.log(np.maximum(bones, tiny) / np.maximum(truth, tiny))
    return float(np.abs(difference - np.median(difference)).mean())


def _check_axes(path: Path, joints: np.ndarray, truth: np.ndarray, is_left: np.ndarray) -> None:
    """Check each side, because methods for right hands mirror the images of left hands."""
    sides = {side: part for side, part in (("left", is_left), ("right", ~is_left)) if part.any()}
    found = {side: _misfit_of_axes(joints[part], truth[part]) for side, part in sides.items()}
    misfit = next((m for m in found.values() if m is not None), None)
    if misfit is None:
        return
    affected = [side for side, other in found.items() if other and other.axes == misfit.axes]
    hands = "hands" if len(affected) == len(sides) else f"{affected[0]} hands"
    cure = (
        "mirror back what was predicted on mirrored images"
        if misfit.is_mirrored
        else "turn them (DexYCB's files: y down, z forward; HO-3D's: OpenGL, y up, z towards the "
        "viewer)"
    )
    raise ValueError(
        f"{path} has its {hands} {'mirrored' if misfit.is_mirrored else 'turned'} against its "
        f"format's frame: after the wrist is subtracted the joints are {misfit.as_read_mm:.1f} mm "
        f"off, with {misfit.axes} for (x, y, z) {misfit.best_mm:.1f} mm; {cure}"
    )


class _Misfit(NamedTuple):
    """Hands that fit better with other axes."""

    axes: str
    """The better axes in terms of the axes as read: `(x, −y, −z)`."""
    is_mirrored: bool
    as_read_mm: float
    best_mm: float


def _misfit_of_axes(joints: np.ndarray, truth: np.ndarray) -> _Misfit | None:
    relative, truth = align_root(joints), align_root(truth)

    def errors_mm(x: np.ndarray, y: np.ndarray, axes: Sequence[np.ndarray]) -> list[float]:
        return [point_errors_mm(x @ a.T, y).mean() for a in axes]

    fits_mm = errors_mm(relative, truth, AXES)
    best = int(np.argmin(fits_mm))
    # A constant prediction may fit better when turned, so changes between frames must fit too
    changes = relative - relative.mean(0), truth - truth.mean(0)
    as_read_mm, turned_mm = errors_mm(*changes, (AXES[0], AXES[best]))
    if fits_mm[best] >= _MUCH_BETTER * fits_mm[0] or turned_mm >= _BETTER * as_read_mm:
        return None
    rows, other = _best_frames(relative, truth)
    if errors_mm(relative[rows], truth[other], AXES[:1])[0] < _MUCH_BETTER * fits_mm[best]:
        return None  # the axes are right, the rows are shifted: see `describe_shifted_rows`
    signs, names = AXES[best].sum(1), ("xyz"[k] for k in np.abs(AXES[best]).argmax(1))
    words = ", ".join(("−" if s < 0 else "") + n for s, n in zip(signs, names, strict=True))
    is_mirrored = np.linalg.det(AXES[best]) < 0
    return _Misfit(f"({words})", bool(is_mirrored), fits_mm[0], fits_mm[best])


# -------------------------------------------------------------------------- rows of other frames


def describe_shifted_rows(
    joints_m: np.ndarray, truth_joints_m: np.ndarray, number: np.ndarray
) -> str:
    """Describe what is wrong with the order of the rows; empty if nothing is.

    joints_m, truth_joints_m: (M, 21, 3) camera frame. number (M,): each one's row in the file.
    Joints are compared in place and relative to the wrist, because a method may not predict the
    wrist's place.
    """
    if len(number) < _MIN_FRAMES:
        return ""
    by_number = np.argsort(number)
    number = number[by_number]
    for move in (np.asarray, align_root):
        joints, truth = move(joints_m[by_number]), move(truth_joints_m[by_number])
        if _spread(joints) < _MIN_SPREAD * _spread(truth):
            continue  # a constant prediction fits some frames better than others
        rows, best = _best_frames(joints, truth)
        best_mm = point_errors_mm(joints[rows], truth[best]).mean()
        fault = _shifted(joints, truth, number, best_mm) or _elsewhere(joints, truth, rows, best)
        if fault:
            return fault
    return ""


def _spread(joints: np.ndarray) -> float:
    return float(np.linalg.norm(joints - joints.mean(0), axis=-1).mean())


def _best_frames(joints: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evenly spread rows, and the frame that each row fits best."""
    M = len(joints)
    rows = np.unique(np.linspace(0, M - 1, min(_SAMPLES, M)).astype(int))
    x, y = joints[rows].reshape(len(rows), -1), truth.reshape(M, -1)
    centre = y.mean(0)  # near the origin the three terms cancel without loss
    x, y = x - centre, y - centre
    return rows, ((x**2).sum(1)[:, None] - 2 * x @ y.T + (y**2).sum(1)).argmin(1)


def _shifted(joints: np.ndarray, truth: np.ndarray, number: np.ndarray, best_mm: float) -> str:
    """best_mm: the error in the best frame."""
    best, fault = _SHIFT_BETTER, ""
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
            fault = (
                f"its hands fit the frames {rows} far better than their own ({other_mm:.1f} mm "
                f"against {own_mm:.1f} where the hand moves): are its rows shifted?"
            )
    return fault


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
