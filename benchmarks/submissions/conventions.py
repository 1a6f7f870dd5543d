"""Does a prediction file follow the conventions of its format? Told by comparing it with the truth.

Only what differs grossly is refused, because a bad method's predictions are to be scored, not
refused: lengths a thousand times off are units, bones that fit another known order of joints much
better are that order, hands of a side that fit much better with other axes have these axes: turned
by π about x they are OpenGL's, with x negated they are mirrored.
"""

from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.submissions.frame_fit import best_frames
from deformer.hand.conventions import JOINT_PARENTS, MANO_TO_DATASET, NUM_JOINTS

_FINGERS = np.arange(1, NUM_JOINTS).reshape(5, 4)
_FINGERS_OF_MANO = _FINGERS[[4, 0, 1, 3, 2]]
"""Where MANO's fingers (index, middle, little, ring, thumb) stand, thumb to little."""

JOINT_ORDERS = {
    "thumb to little, palm to tip, as DexYCB": np.arange(NUM_JOINTS),
    "MANO's order, tips last, as HO-3D": MANO_TO_DATASET,
    "MANO's order of fingers, each with its tip": np.append(0, _FINGERS_OF_MANO),
    "thumb to little, tip to palm": np.append(0, _FINGERS[:, ::-1]),
    "thumb to little, tip to palm, wrist last, as InterHand": np.append(20, _FINGERS[:, ::-1] - 1),
    "little to thumb, palm to tip": np.append(0, _FINGERS[::-1]),
}
"""Orders in use: `joints_dataset = joints_file[..., order, :]`."""

AXES = tuple(
    np.eye(3)[list(order)] * np.array(signs)[:, None]
    for order in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
)
"""All 48 frames that axes can be named and pointed in: `points_read @ axes.T`; the first is as
read."""

_MUCH_BETTER = 0.5
"""A misfit is blamed on a convention when the other one leaves less than this share of it."""
_BETTER = 0.75
"""The same for how hands change from frame to frame, where noise is larger beside them."""
_MIN_MISFIT = 0.1
"""In the logarithm of lengths: bones that fit by 10 % are no ground for a refusal."""


def check_conventions(
    path: Path, joints_m: np.ndarray, truth_joints_m: np.ndarray, unit: str, order: np.ndarray,
    is_left: np.ndarray,
) -> None:  # fmt: skip
    """Raise `ValueError` when a file shows other units, another order or frame than its format has.

    joints_m: (M, 21, 3) as read by the format's conventions: metres, dataset order, camera frame.
    truth_joints_m: (M, 21, 3), NaN where not known. unit: the format's, "mm" or "m". order: the
    format's order of joints, a value of `JOINT_ORDERS`. is_left: (M,) bool.
    """
    if joints_m.shape != truth_joints_m.shape:
        raise ValueError(
            f"truth_joints_m has shape {truth_joints_m.shape}, not that of the required frames, "
            f"{joints_m.shape}"
        )
    is_known = np.isfinite(truth_joints_m).all((1, 2))
    if is_known.any():
        joints, truth = joints_m[is_known], truth_joints_m[is_known]
        _check_units(path, joints, truth, unit)
        _check_order(path, joints, truth, order)
        _check_axes(path, joints, truth, is_left[is_known])


def check_meshes(path: Path, scores: dict[str, Any]) -> None:
    """Raise `ValueError` when the vertices of a file are mirrored, its joints being right.

    scores: of `protocol.score`, which holds the mesh's error with and without mirroring.
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
    """Mean difference of the logarithms of lengths, the size of the hand left out."""
    tiny = 1e-6  # a method that puts all joints into one point has no bones, and no order
    difference = np.log(np.maximum(bones, tiny) / np.maximum(truth, tiny))
    return float(np.abs(difference - np.median(difference)).mean())


def _check_axes(path: Path, joints: np.ndarray, truth: np.ndarray, is_left: np.ndarray) -> None:
    """By side, because methods for right hands mirror the images of left ones."""
    sides = {side: part for side, part in (("left", is_left), ("right", ~is_left)) if part.any()}
    found = {side: _misfit_of_axes(joints[part], truth[part]) for side, part in sides.items()}
    misfit = next((m for m in found.values() if m is not None), None)
    if misfit is None:
        return
    whose = [side for side, other in found.items() if other and other.axes == misfit.axes]
    are_all = len(whose) == len(sides)
    told = (
        f"{path} has its {'hands' if are_all else f'{whose[0]} hands'} "
        f"{'mirrored' if misfit.is_mirrored else 'turned'} against its format's frame: after the "
        f"wrist is subtracted the joints are {misfit.as_read_mm:.1f} mm off, with {misfit.axes} "
        f"for (x, y, z) {misfit.best_mm:.1f} mm; "
    )
    if misfit.is_mirrored:
        raise ValueError(told + "mirror back what was predicted on mirrored images")
    raise ValueError(
        told + "turn them (DexYCB's files: y down, z forward; HO-3D's: OpenGL, y up, z towards the "
        "viewer)"
    )


class _Misfit(NamedTuple):
    """Hands that fit with other axes."""

    axes: str
    """Which, in the words of the axes as read: `(x, −y, −z)`."""
    is_mirrored: bool
    as_read_mm: float
    best_mm: float


def _misfit_of_axes(joints: np.ndarray, truth: np.ndarray) -> _Misfit | None:
    relative, truth = joints - joints[:, :1], truth - truth[:, :1]

    def errors_mm(x: np.ndarray, y: np.ndarray, axes: Sequence[np.ndarray]) -> list[float]:
        return [1e3 * np.linalg.norm(x @ a.T - y, axis=-1).mean() for a in axes]

    fits_mm = errors_mm(relative, truth, AXES)
    best = int(np.argmin(fits_mm))
    # Who always says the same may fit better turned, so what changes from frame to frame must too
    changes = relative - relative.mean(0), truth - truth.mean(0)
    as_read_mm, turned_mm = errors_mm(*changes, (AXES[0], AXES[best]))
    if fits_mm[best] >= _MUCH_BETTER * fits_mm[0] or turned_mm >= _BETTER * as_read_mm:
        return None
    rows, other = best_frames(relative, truth)
    if errors_mm(relative[rows], truth[other], AXES[:1])[0] < _MUCH_BETTER * fits_mm[best]:
        return None  # its axes are right, its rows are of other frames: `misplaced` tells
    signs = AXES[best].sum(1)
    names = ("xyz"[k] for k in np.abs(AXES[best]).argmax(1))
    words = ", ".join(("−" if s < 0 else "") + n for s, n in zip(signs, names, strict=True))
    is_mirrored = np.linalg.det(AXES[best]) < 0
    return _Misfit(f"({words})", bool(is_mirrored), fits_mm[0], fits_mm[best])
