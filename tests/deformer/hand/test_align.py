import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deformer.hand.align import align_procrustes, align_root, point_errors_mm


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def points(rng) -> np.ndarray:
    """(30, 21, 3) metres, a hand's size, half a metre away."""
    return rng.uniform(-0.1, 0.1, (30, 21, 3)) + [0, 0, 0.5]


def test_errors_are_distances_in_millimetres():
    truth = np.zeros((2, 1, 3))
    predicted = np.array([[[0.003, 0.0, 0.004]], [[0.0, -1.0, 0.0]]])
    assert point_errors_mm(predicted, truth).tolist() == [[5.0], [1000.0]]


def test_a_shift_of_the_whole_hand_is_gone_after_the_root_alignment(points):
    shifted = points + [0.01, -0.02, 0.3]
    assert point_errors_mm(shifted, points).min() > 300
    assert point_errors_mm(align_root(shifted), align_root(points)).max() < 1e-9
    assert (align_root(shifted)[:, 0] == 0).all()


def test_every_similarity_is_gone_after_the_procrustes_alignment(points, rng):
    turns = Rotation.random(30, random_state=1).as_matrix()
    moved = rng.uniform(0.2, 5, (30, 1, 1)) * points @ turns + rng.normal(size=(30, 1, 3))
    assert point_errors_mm(align_procrustes(moved, points), points).max() < 1e-9


def test_a_mirrored_hand_is_not_turned_into_the_true_one(points):
    mirrored = points * [-1, 1, 1]
    aligned = align_procrustes(mirrored, points)
    assert point_errors_mm(aligned, points).mean(1).min() > 10


def test_the_rotation_is_the_best_one_by_another_method(points, rng):
    for noisy, truth in zip(points + rng.normal(0, 0.02, points.shape), points, strict=True):
        x, y = noisy - noisy.mean(0), truth - truth.mean(0)
        turned = Rotation.align_vectors(y, x)[0].apply(x)
        scale = (turned * y).sum() / (turned**2).sum()  # least squares, given the rotation
        expected = scale * turned + truth.mean(0)
        np.testing.assert_allclose(align_procrustes(noisy[None], truth[None])[0], expected)


def test_points_that_coincide_go_to_the_centroid_of_the_truth(points):
    aligned = align_procrustes(np.full_like(points, 0.2), points)
    np.testing.assert_allclose(aligned, np.broadcast_to(points.mean(1, keepdims=True), (30, 21, 3)))
    assert np.isfinite(align_procrustes(np.zeros_like(points), points)).all()


def test_float32_is_aligned_in_float64(points):
    aligned = align_procrustes(points.astype(np.float32), points.astype(np.float32))
    assert aligned.dtype == np.float64
    assert point_errors_mm(aligned, points).max() < 1e-3
