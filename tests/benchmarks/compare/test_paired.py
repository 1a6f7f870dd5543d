"""Paired differences: known effects found, chance not taken for one, ratios by hand."""

import numpy as np
import pytest

from benchmarks.compare.paired import FAILS, HOLDS, NOISY, paired_difference, unevenness
from benchmarks.evaluation.metrics import bootstrap_interval

G, F = 20, 10
"""Recordings, and frames of each."""
SEQUENCE = np.repeat(np.arange(G), F)


def estimate(difference: np.ndarray, sequence: np.ndarray = SEQUENCE, **more):
    """Of kinds that differ so (S, M) on frames that are hard in common."""
    hardness = 10 + 5 * np.random.default_rng(9).random(difference.shape[1])
    worse = np.broadcast_to(hardness, difference.shape)[..., None]
    better = worse + difference[..., None]
    return paired_difference(better, worse, sequence, **{"num_draws": 500} | more)


def noise(rng: np.random.Generator, S: int, seeds=0.0, recordings=0.0, frames=0.0) -> np.ndarray:
    """(S, M) differences around 0, with these standard deviations."""
    return (
        rng.normal(0, seeds, (S, 1))
        + rng.normal(0, recordings, G)[SEQUENCE]
        + rng.normal(0, frames, (S, G * F))
    )


def test_an_effect_is_found_with_its_sign():
    chance = noise(np.random.default_rng(0), 3, seeds=0.02, recordings=0.1, frames=0.3)
    better, worse, none = (estimate(chance + shift) for shift in (-0.5, 0.5, 0.0))
    assert (better.verdict, worse.verdict, none.verdict) == (HOLDS, FAILS, NOISY)
    assert better.difference == pytest.approx(-0.5 + chance.mean())
    assert better.per_seed == pytest.approx((-0.5 + chance.mean(1)).tolist())
    assert better.interval == estimate(chance - 0.5).interval  # the same draws each time


def test_of_one_seed_it_is_the_bootstrap_of_the_metrics():
    difference = noise(np.random.default_rng(1), 1, recordings=0.5, frames=0.3)
    e = estimate(difference, seed=4, num_draws=1000)
    assert e.interval == pytest.approx(bootstrap_interval(difference[0], SEQUENCE, 4))


@pytest.mark.parametrize(
    ("S", "chance"),
    [
        (1, {"recordings": 0.5, "frames": 0.3}),
        (3, {"seeds": 0.3, "frames": 0.3}),  # recordings alike: all chance is that of training
        (3, {"seeds": 0.1, "recordings": 0.5, "frames": 0.3}),
        (2, {"seeds": 0.3, "recordings": 0.3}),
    ],
)
def test_chance_is_seldom_taken_for_an_effect(S, chance):
    rng = np.random.default_rng(2)
    found = [estimate(noise(rng, S, **chance), num_draws=400).verdict for _ in range(300)]
    # 5 % are 15, and 20 recordings make that some more; seeds drawn with replacement, or left out,
    # would give 60 and more
    assert 2 <= sum(not verdict.startswith(NOISY) for verdict in found) <= 32


def test_unevenness_by_hand():
    """Two frames: joints of 1, 2 and 3, 6 on average, so 2 and 4, a third of their mean around it;
    and all alike."""
    better = np.full((1, 2, 2), 3.0)
    worse = np.array([[[1.0, 2.0], [3.0, 6.0]]])
    e = paired_difference(better, worse, np.arange(2), unevenness)
    assert (e.better, e.worse) == ((0.0,), (pytest.approx(1 / 3),))
    # either frame alone has the same, so no draw differs
    assert e.interval == pytest.approx((-1 / 3, -1 / 3))
    uneven = np.array([[[1.0, 2.0], [4.0, 4.0]]])  # 1/3, 0, and 0.25 ÷ 2.75 together
    e = paired_difference(better, uneven, np.arange(2), unevenness)
    assert e.difference == pytest.approx(-1 / 11)


def test_what_cannot_be_said():
    e = estimate(np.full((2, G * F), -1.0), np.zeros(G * F, int))
    assert (e.interval, e.verdict) == (None, f"{NOISY} (one recording)")
    errors = np.ones((2, G * F, 1))
    with pytest.raises(ValueError, match="of the same seeds and frames"):
        paired_difference(errors, errors[:1], SEQUENCE)
    with pytest.raises(ValueError, match="no finite error"):
        paired_difference(errors, errors * np.nan, SEQUENCE)
