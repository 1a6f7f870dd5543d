"""Hands for tests of metrics: a bent hand of 21 joints, moved, turned, scaled at random."""

import numpy as np

from deformer.hand.conventions import NUM_JOINTS, NUM_VERTICES


def make_hand() -> np.ndarray:
    """(21, 3) m, dataset order: fingers of a right hand, each bent its own way."""
    joints = np.zeros((NUM_JOINTS, 3))
    bases = [(-0.03, 0.03), (-0.025, 0.09), (0.0, 0.092), (0.02, 0.086), (0.04, 0.075)]
    bones = [(0.035, 0.03, 0.025), (0.033, 0.022, 0.02), (0.032, 0.025, 0.02),
             (0.03, 0.024, 0.02), (0.026, 0.019, 0.018)]  # fmt: skip
    for finger, ((x, y), lengths) in enumerate(zip(bases, bones, strict=True)):
        at = np.array([x, y, 0.002 * finger])
        joints[1 + 4 * finger] = at
        for k, length in enumerate(lengths):
            angle = 0.3 * (k + 1) + 0.1 * finger
            at = at + length * np.array([0.1 * (finger - 2), np.cos(angle), np.sin(angle)])
            joints[2 + 4 * finger + k] = at
    return joints


def random_rotation(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3, 3) proper rotations."""
    Q, _ = np.linalg.qr(rng.normal(size=(count, 3, 3)))
    Q[..., 0] *= np.linalg.det(Q)[:, None]
    return Q


def random_hands(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 21, 3) m in front of a camera, each turned at random and slightly bent anew."""
    hands = make_hand() + rng.normal(scale=0.003, size=(count, NUM_JOINTS, 3))
    hands = hands @ random_rotation(rng, count)
    return hands + rng.uniform([-0.2, -0.2, 0.5], [0.2, 0.2, 1.0], (count, 1, 3))


def random_meshes(rng: np.random.Generator, joints_m: np.ndarray) -> np.ndarray:
    """(N, 778, 3): points around the joints, the same choice for every frame."""
    choice = rng.integers(0, NUM_JOINTS, NUM_VERTICES)
    offsets = rng.normal(scale=0.008, size=(NUM_VERTICES, 3))
    return joints_m[:, choice] + offsets
