"""Paired differences: known effects found, chance not taken for one, ratios by hand."""

import numpy as np
import pytest

from benchmarks.compare.paired import (
    FAILS,
    HOLDS,
    NOISY,
    holm,
    p_value,
    paired_difference,
    unevenness,
    with_tails,
)
from benchmarks.evaluation.metrics import bootstrap_interval

G, F = 20, 10
"""Recordings, and frames of each."""
SEQUENCE = np.repeat(np.arange(G), F)
ALL = np.ones(G * F, bool)


def estimate(difference: np.ndarray, part: np.ndarray = ALL, other=None, **more):
    """Of kinds that differ so (S, M) on frames that are hard in common."""
    hardness = 10 + 5 * np.random.default_rng(9).random(difference.shape[1])
    worse = np.broadcast_to(hardness, difference.shape)[..., None]
    return paired_difference(
        worse + difference[..., None], worse, SEQUENCE, part, other, **{"num_draws": 500} | more
    )


def noise(rng: np.random.Generator, S: int, seeds=0.0, recordings=0.0, frames=0.0) -> np.ndarray:
    """(S, M) differences around 0, with these standard deviations."""
    return (
        rng.normal(0, seeds, (S, 1))
        + rng.normal(0, recordings, G)[SEQUENCE]
        + rng.normal(0, frames, (S, G * F))
    )


def width(e) -> float:
    return e.interval[1] - e.interval[0]


def test_an_effect_is_found_with_its_sign():
    chance = noise(np.random.default_rng(0), 3, seeds=0.02, recordings=0.1, frames=0.3)
    better, worse, none = (estimate(chance + shift) for shift in (-0.5, 0.5, 0.0))
    assert (better.verdict(), worse.verdict(), none.verdict()) == (HOLDS, FAILS, NOISY)
    assert better.difference == pytest.approx(-0.5 + chance.mean())
    assert better.per_seed == pytest.approx((-0.5 + chance.mean(1)).tolist())
    assert better.difference == pytest.approx(np.mean(better.one) - np.mean(better.other))
    assert (better.num_frames, better.num_sequences) == (G * F, G)
    assert better.interval == estimate(chance - 0.5).interval  # the same draws each time


def test_one_seed_is_the_bootstrap_of_the_metrics_with_the_tails_of_few_recordings():
    """Student's t with 19 degrees of freedom: ± 2.09 standard errors, where the bootstrap has
    1.96 that are too small by √(19/20)."""
    difference = noise(np.random.default_rng(1), 1, recordings=0.5, frames=0.3)
    low, high = bootstrap_interval(difference[0], SEQUENCE, 4, 10_000)
    e = estimate(difference, seed=4, num_draws=10_000)
    assert width(e) == pytest.approx((high - low) * 2.09 / 1.96 * np.sqrt(20 / 19), rel=0.04)
    of_recordings = difference.reshape(G, F).mean(1)
    error = of_recordings.std(ddof=1) / np.sqrt(G)
    ends = of_recordings.mean() - 2.09 * error, of_recordings.mean() + 2.09 * error
    assert e.interval == pytest.approx(ends, abs=0.2 * error)


@pytest.mark.parametrize("num_recordings", [3, 10, 20])
def test_few_recordings_give_no_smaller_chances_than_there_are(num_recordings):
    """Of problems without an effect 0.5 % have p ≤ 0.005, as the correction for many lines
    needs; without the tails it is 1.1 % with 20 recordings and 3 % with 10."""
    num_problems, num_draws, found = 1000, 5000, []
    for part in range(6):
        rng = np.random.default_rng([part, num_recordings])
        errors = rng.normal(size=(num_recordings, num_problems))
        shares = np.full(num_recordings, 1 / num_recordings)
        times = rng.multinomial(num_recordings, shares, num_draws)
        draws = times @ errors / num_recordings
        found.append(p_value(with_tails(draws, errors.mean(0), num_recordings, rng)))
    rates = [(np.concatenate(found) <= p).mean() for p in (0.05, 0.005)]
    assert 0.042 <= rates[0] <= 0.058
    assert 0.003 <= rates[1] <= 0.007


@pytest.mark.parametrize(
    ("S", "chance"),
    [
        (1, {"recordings": 0.5, "frames": 0.3}),
        (1, {"frames": 0.3}),
        (3, {"seeds": 0.3, "frames": 0.3}),  # recordings alike: all chance is that of training
        (3, {"seeds": 0.1, "recordings": 0.5, "frames": 0.3}),
        (2, {"seeds": 0.3, "recordings": 0.3}),
    ],
)
def test_chance_is_seldom_taken_for_an_effect(S, chance):
    rng = np.random.default_rng(2)
    found = [estimate(noise(rng, S, **chance), num_draws=400).verdict() for _ in range(500)]
    wrong = sum(not verdict.startswith(NOISY) for verdict in found)
    # 5 % are 25; seeds drawn with replacement would give 100 and more. With several seeds it is
    # less: the chance of recordings and that of seeds both hold some of that of frames
    assert 5 <= wrong <= 35


def test_frames_of_a_recording_that_err_alike_widen_the_interval():
    rng = np.random.default_rng(3)
    alike = estimate(rng.normal(0, 1, G)[SEQUENCE][None])
    apart = estimate(rng.normal(0, 1, (1, G * F)))
    assert width(alike) > 2 * width(apart)  # √10 times


def test_seeds_that_disagree_widen_the_interval():
    chance = noise(np.random.default_rng(4), 3, recordings=0.1, frames=0.1)
    agree, disagree = estimate(chance), estimate(chance + np.array([[-1.0], [0.0], [1.0]]))
    assert agree.difference == pytest.approx(disagree.difference)
    assert width(disagree) > 5 * width(agree)
    # Student's t with two degrees of freedom: ± 4.30 standard errors of 1/√3
    assert width(disagree) == pytest.approx(2 * 4.30 / np.sqrt(3), rel=0.35)


def test_what_is_hard_for_both_kinds_does_not_count():
    easy = estimate(np.full((1, G * F), -0.01))
    assert width(easy) < 1e-9
    assert easy.verdict() == f"{HOLDS} (one seed)"


def test_unevenness_by_hand():
    """Two frames: joints of 1, 2 and 3, 6 on average, so 2 and 4, a third of their mean around it;
    and all alike."""
    better = np.full((1, 2, 2), 3.0)
    worse = np.array([[[1.0, 2.0], [3.0, 6.0]]])
    e = paired_difference(better, worse, np.arange(2), np.ones(2, bool), statistic=unevenness)
    assert (e.one, e.other) == ((0.0,), (pytest.approx(1 / 3),))
    assert unevenness(np.array([[1.0, 3.0], [2.0, 2.0]])).tolist() == [0.5, 0.0]
    # either frame alone has the same, so no draw differs
    assert e.interval == pytest.approx((-1 / 3, -1 / 3))
    uneven = np.array([[[1.0, 2.0], [4.0, 4.0]]])  # 1/3, 0, and 0.25 ÷ 2.75 together
    e = paired_difference(better, uneven, np.arange(2), np.ones(2, bool), statistic=unevenness)
    assert e.difference == pytest.approx(-1 / 11)


def test_chance_and_interval_agree():
    rng = np.random.default_rng(8)
    for S in (1, 3):
        for shift in np.linspace(-0.3, 0.3, 13):
            e = estimate(noise(rng, S, recordings=0.4, frames=0.1) + shift, num_draws=2000)
            low, high = e.interval
            if abs(e.p - 0.05) > 0.005:
                assert (e.p < 0.05) == (low > 0 or high < 0)


def test_holm_by_hand():
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_no_line_holds_that_the_correction_does_not_keep():
    e = estimate(np.full((1, G * F), -0.5) + noise(np.random.default_rng(0), 1, frames=0.1))
    assert e.verdict() == e.verdict(0.05) == f"{HOLDS} (one seed)"
    assert e.verdict(0.051) == f"{NOISY} (one seed)"


def test_a_gain_is_compared_between_two_parts():
    hidden = SEQUENCE % 2 == 0
    difference = np.where(hidden, -0.5, -0.2)[None] + noise(np.random.default_rng(5), 1, frames=0.1)
    e = estimate(difference, hidden, ~hidden)
    assert e.one == pytest.approx([difference[0, hidden].mean()])
    assert e.other == pytest.approx([difference[0, ~hidden].mean()])
    assert e.difference == pytest.approx(-0.3, abs=0.03)
    assert e.verdict() == f"{HOLDS} (one seed)"
    assert (e.num_frames, e.num_sequences) == (G * F, G)
    assert estimate(difference, ~hidden, hidden).verdict() == f"{FAILS} (one seed)"


def test_what_cannot_be_said():
    difference = np.full((2, G * F), -1.0)
    assert estimate(difference, ~ALL) is None
    assert estimate(difference, ALL, ~ALL) is None
    assert estimate(difference, SEQUENCE == 3).interval is None
    assert estimate(difference, SEQUENCE == 3).verdict() == f"{NOISY} (one recording)"
    assert estimate(difference, SEQUENCE > 3, SEQUENCE == 3).interval is None


def test_frames_without_a_value_are_those_of_all_runs():
    errors = np.ones((2, G * F, 1))
    errors[:, ::F] = np.nan
    e = paired_difference(errors, errors + 1, SEQUENCE, ALL)
    assert (e.num_frames, e.difference) == (G * (F - 1), -1.0)
    other = np.where(np.isnan(errors), 1.0, errors)
    with pytest.raises(ValueError, match="frame 0 of 200 has a value in some of the runs only"):
        paired_difference(errors, other, SEQUENCE, ALL)
    with pytest.raises(ValueError, match="of the same seeds and frames"):
        paired_difference(errors, other[:1], SEQUENCE, ALL)
