"""Values by hand, and every formula against a plain one written here from its definition."""

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.evaluation.metrics import (
    acceleration_errors,
    auc_shares,
    bootstrap_interval,
    f_scores,
    pck,
    to_m_per_s2,
)
from deformer.hand.align import align_procrustes, align_root, point_errors_mm
from tests.benchmarks.hands_in_motion import (
    make_hand,
    random_hands,
    random_meshes,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


# ------------------------------------------------------------------------------------- by hand


def test_auc_by_hand():
    # thresholds 0, 50/99, …: an error of 25 mm is reached first at threshold 50 (25.25 mm), so the
    # curve is 0 up to 49, 1 from 50, and the trapezoids are half a segment and 49 whole ones
    assert auc_shares(np.array([25.0])) == pytest.approx(49.5 / 99)
    assert auc_shares(np.array([50.0])) == pytest.approx(0.5 / 99)
    assert auc_shares(np.array([50.001, 1e9])).tolist() == [0, 0]
    assert auc_shares(np.zeros(3)).tolist() == [1, 1, 1]
    assert auc_shares(np.array([1e-9])) == pytest.approx(98.5 / 99)


def test_f_by_hand():
    truth = np.array([[[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [0.3, 0, 0]]])
    # one predicted point lies 4 mm from a true one, a second 10 mm, two are nowhere near
    predicted = np.array([[[0, 0, 0.004], [0.1, 0, 0.010], [0.5, 0, 0], [0.6, 0, 0]]])
    assert f_scores(predicted, truth)[0] == pytest.approx([0.25, 0.5])
    assert f_scores(truth, truth).tolist() == [[1, 1]]
    assert f_scores(truth + 10, truth).tolist() == [[0, 0]]


def test_acceleration_by_hand():
    frame = np.arange(5)
    truth = np.repeat(make_hand()[None], 5, 0)
    predicted = truth.copy()
    predicted[2, 8] += [0.003, 0, 0]  # the index tip jumps by 3 mm for one frame
    errors = acceleration_errors(predicted, truth, np.zeros(5, int), frame)
    assert errors[:, 8] == pytest.approx([np.nan, 3, 6, 3, np.nan], nan_ok=True)
    assert np.nansum(errors) == pytest.approx(12)
    assert to_m_per_s2(6.0) == pytest.approx(0.006 * 30**2)


def test_acceleration_bridges_no_gap_and_no_two_cameras(rng):
    frame = np.array([0, 1, 2, 4, 5, 3, 4, 5, 9])
    camera = np.array(["a", "a", "a", "a", "a", "b", "b", "b", "b"])
    predicted, truth = random_hands(rng, 9), random_hands(rng, 9)
    errors = acceleration_errors(predicted, truth, camera, frame)
    assert np.flatnonzero(np.isfinite(errors[:, 0])).tolist() == [1, 6]
    shuffled = rng.permutation(9)
    again = acceleration_errors(
        predicted[shuffled], truth[shuffled], camera[shuffled], frame[shuffled]
    )
    np.testing.assert_array_equal(again, errors[shuffled])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_acceleration_of_fewer_than_three_frames(count, rng):
    hands = random_hands(rng, count)
    errors = acceleration_errors(hands, hands, np.zeros(count, int), np.arange(count))
    assert errors.shape == (count, 21)
    assert np.isnan(errors).all()


# -------------------------------------------------------------- against independent implementations


def plain_auc(errors_mm: np.ndarray) -> float:
    """As FreiHAND's EvalUtil states it: a curve per joint, its trapezoid, the mean over joints."""
    thresholds = np.linspace(0, 50, 100)
    areas = []
    for joint in errors_mm.T:
        curve = [float(np.mean(joint <= t)) for t in thresholds]
        area = sum((p + q) / 2 * (50 / 99) for p, q in pairwise(curve))
        areas.append(area / 50)
    return float(np.mean(areas))


def plain_f(x: np.ndarray, y: np.ndarray, threshold_mm: float) -> float:
    distances_mm = 1e3 * np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))
    precision = np.mean([row.min() < threshold_mm for row in distances_mm])
    recall = np.mean([column.min() < threshold_mm for column in distances_mm.T])
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def test_against_independent_implementations(rng):
    truth = random_hands(rng, 400)
    predicted = truth + rng.normal(scale=0.012, size=truth.shape)
    predicted[::7] = random_hands(rng, 58)  # and some that have nothing to do with the truth
    errors = point_errors_mm(align_procrustes(predicted, truth), truth)
    assert 5 < errors.mean() < 50
    assert auc_shares(errors).mean() == pytest.approx(plain_auc(errors))
    shares = [np.mean(errors <= t) for t in np.linspace(0, 50, 100)]
    assert pck(errors) == pytest.approx(shares)

    truth_mesh = random_meshes(np.random.default_rng(0), truth[:4])
    mesh = truth_mesh + rng.normal(scale=0.006, size=truth_mesh.shape)
    plain_fs = [[plain_f(x, y, t) for t in (5, 15)] for x, y in zip(mesh, truth_mesh, strict=True)]
    assert 0.2 < np.mean(plain_fs) < 0.9
    np.testing.assert_allclose(f_scores(mesh, truth_mesh), plain_fs)

    x, y = align_root(predicted), align_root(truth)
    plain_accelerations = [
        np.linalg.norm((x[t + 1] - 2 * x[t] + x[t - 1]) - (y[t + 1] - 2 * y[t] + y[t - 1]), axis=1)
        for t in range(1, 399)
        if t // 40 == (t - 1) // 40 == (t + 1) // 40
    ]
    found = acceleration_errors(predicted, truth, np.arange(400) // 40, np.arange(400))
    assert np.nanmean(found) == pytest.approx(1e3 * np.mean(plain_accelerations))


# --------------------------------------------------------------------------------- the bootstrap


def test_bootstrap_interval_covers_the_mean_and_is_repeatable(rng):
    group = np.repeat(np.arange(40), 25)
    values = 5 + rng.normal(size=40)[group] + rng.normal(size=1000)
    low, high = bootstrap_interval(values, group, seed=0)
    # groups are what varies: the interval is that of 40 values, not of 1000
    expected = 1.96 * values.reshape(40, 25).mean(1).std() / np.sqrt(40)
    assert low < values.mean() < high
    assert (high - low) / 2 == pytest.approx(expected, rel=0.15)
    assert bootstrap_interval(values, group, seed=0) == (low, high)
    assert bootstrap_interval(values, group, seed=1) != (low, high)


def test_bootstrap_of_one_group_is_none():
    assert bootstrap_interval(np.ones(5), np.full(5, 3), seed=0) is None
