"""The score of a prediction that never looks at the image: one hand for all frames.

    python -m benchmarks.constant_hand --data shards/occluded --train s3_train --split s3_test \\
        --out results/occluded/constant

The hand is the mean of a training split after Procrustes alignment, in the mean orientation, and
mirrored for left hands. A model whose Procrustes-aligned error is no smaller has not learned to see
fingers, and differences between such models say nothing about seeing them.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.evaluation.protocol import score
from benchmarks.evaluation.result import (
    EVALUATION_FILE,
    Counts,
    Evaluation,
    Method,
    write_evaluation,
)
from benchmarks.evaluation.truth import Truth, compare, data_of, read_truth
from deformer.data.store import open_store
from deformer.hand.align import align_procrustes, align_root
from deformer.program.console import PlainConsole, run_program, this_command

NAME = "constant hand"
_MIRROR = np.array([-1.0, 1.0, 1.0])
_ROUNDS = 10
"""How often hands are aligned to their mean, which changes each time; far more than needed."""


@dataclass(frozen=True)
class Options:
    """Which hand, scored on what."""

    data: str
    """A built dataset: a folder, or any fsspec URL."""
    train: str
    """The split to take the mean hand from: s0_train, train, …"""
    split: str
    """The split to score: s0_test, evaluation, …"""
    out: Path
    """The folder of the result."""


def constant_hand(joints_m: np.ndarray, is_left: np.ndarray) -> np.ndarray:
    """The mean right hand (21, 3) of hands (N, 21, 3), camera frame, m, at the mean wrist.

    is_left (N,) bool: these are mirrored first. Shape: the mean after generalized Procrustes
    alignment (Gower 1975), in the mean size. Orientation: the one nearest to the plain mean of the
    hands relative to their wrists.
    """
    right = np.where(is_left[:, None, None], joints_m * _MIRROR, joints_m)
    rooted = align_root(right)
    plain = shape = rooted.mean(0)
    for _ in range(_ROUNDS):
        aligned = align_procrustes(rooted, np.broadcast_to(shape, rooted.shape))
        shape = _resized(aligned.mean(0), _size(rooted).mean())
    turned = align_procrustes(shape[None], plain[None])[0]
    return align_root(_resized(turned, _size(rooted).mean())) + right[:, 0].mean(0)


def of_sides(hand_m: np.ndarray, is_left: np.ndarray) -> np.ndarray:
    """A right hand (21, 3) of `constant_hand` for frames is_left (N,): (N, 21, 3), left ones
    mirrored."""
    return np.where(is_left[:, None, None], hand_m * _MIRROR, hand_m)


def _size(points_m: np.ndarray) -> np.ndarray:
    """Root of the mean squared distance from the centroid: (..., P, 3) → (...)."""
    centred = points_m - points_m.mean(-2, keepdims=True)
    return np.sqrt((centred**2).sum(-1).mean(-1))


def _resized(points_m: np.ndarray, size_m: float) -> np.ndarray:
    """Points (P, 3) scaled about their centroid to a size."""
    centre = points_m.mean(0)
    return (points_m - centre) * (size_m / _size(points_m)) + centre


def evaluate(options: Options) -> Evaluation:
    """Score the constant hand on all labelled frames of a split. Raises `ValueError` for splits
    without labelled hands."""
    store, _ = open_store(options.data)
    train = _labelled(store.folder, options.train)[0]
    hand = constant_hand(train.joints_m[train.is_labelled], train.is_left[train.is_labelled])
    truth, at = _labelled(store.folder, options.split)
    joints = of_sides(hand, truth.is_left[at])
    data = data_of(store, truth, options.split, len(at))
    method = Method(NAME, f"the mean hand of {options.train}")
    command = this_command("benchmarks.constant_hand")
    metrics = score(compare(truth, at, joints, None, None))
    return Evaluation(method, data, Counts(len(at)), command, metrics)


def _labelled(folder: Path, split: str) -> tuple[Truth, np.ndarray]:
    """A split's ground truth, and the positions of its labelled hands."""
    truth = read_truth(folder, split)
    if not truth.is_labelled.any():
        raise ValueError(f"no frame of {split} has labelled joints: choose another split")
    return truth, np.flatnonzero(truth.is_labelled)


def run(options: Options) -> None:
    """Score, write the evaluation, and print its headline."""
    evaluation, path = evaluate(options), options.out / EVALUATION_FILE
    write_evaluation(path, evaluation)
    PlainConsole().print(f"{evaluation.headline} → {path}", soft_wrap=True)


def main() -> int:
    return run_program(run, Options, "benchmarks.constant_hand", __doc__)


if __name__ == "__main__":
    sys.exit(main())
