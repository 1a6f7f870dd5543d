"""Rivals beside the whole method: who errs less, on which seeds, against which of our trainings."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.compare.versus import COMPARED, OURS_LESS, RIVAL_LESS, compare_rivals
from benchmarks.rivals import RIVALS
from tests.benchmarks.evaluations import SYNTHETIC, make_evaluation, make_metrics

G, F = 20, 10
"""Recordings, and frames of each."""
RIVAL = next(iter(RIVALS))
PA, PA_HIDDEN, RA, RA_HIDDEN = COMPARED


def make_run(experiment="tiny", seed=0, shift_mm=0.0, hidden_mm=0.0, **changed):
    """What is needed of a `Scored`. Errors are the same but for the shift, for that of hands hidden
    by three quarters, and for chance; root-aligned ones are shifted the other way."""
    rng = np.random.default_rng([seed, *experiment.encode()])
    occlusion = np.tile(np.linspace(0, 0.9, F), G)
    gain = shift_mm + hidden_mm * (occlusion >= 0.75) + rng.normal(0, 0.01, G * F)
    hardness = 10 + np.random.default_rng(6).random((G * F, 21))
    run = {"experiment": experiment, "seed": seed, "config": experiment} | changed
    return SimpleNamespace(
        name=f"{experiment}-seed{seed}",
        evaluation=make_evaluation(run, SYNTHETIC),
        row=3 * np.arange(G * F),
        occlusion=occlusion,
        comparison=SimpleNamespace(sequence=np.repeat(np.arange(G), F)),
        values={
            "pa_mpjpe_mm": hardness + gain[:, None],
            "ra_mpjpe_mm": 2 * hardness - gain[:, None],
        },
    )


def make_rival(base="tiny", name=RIVAL, **changed):
    return make_run(f"{base}_{name}", network=f"benchmarks.rivals:{name}", **changed)


def differences(*items) -> dict:
    """Of the only rival."""
    (versus,) = compare_rivals(items)
    (opponent,) = versus.opponents
    return opponent.differences


def test_who_errs_less_is_said_in_both_directions():
    seeds = (0, 1, 2)
    ours = [make_run(seed=s) for s in seeds]
    found = differences(*ours, *(make_rival(seed=s, hidden_mm=0.5) for s in seeds))
    assert found[PA_HIDDEN].verdict == OURS_LESS and found[RA_HIDDEN].verdict == RIVAL_LESS
    assert found[PA_HIDDEN].mean == pytest.approx(0.5, abs=0.01)
    assert found[RA].mean == pytest.approx(-0.1, abs=0.01)  # 2 of 10 frames
    low, high = found[PA_HIDDEN].interval
    assert 0.4 < low < 0.5 < high < 0.6
    same = [make_run(seed=s) for s in seeds]
    for run in same:
        run.evaluation = make_rival(seed=run.evaluation.run.seed).evaluation
    assert differences(*ours, *same)[PA].verdict == "too noisy to say"


def test_seeds_are_paired_by_number_and_the_common_ones_count():
    """Each seed is 5 mm worse than the one before, for both sides alike."""
    ours = [make_run(seed=s, shift_mm=5 * s) for s in (0, 1, 2)]
    rivals = [make_rival(seed=s, shift_mm=5 * s + 0.2) for s in (1, 2)]
    found = differences(*ours, *reversed(rivals), make_rival(seed=7, shift_mm=100))
    assert found[PA].mean == pytest.approx(0.2, abs=0.01) and found[PA].verdict == OURS_LESS
    one = differences(ours[1], *rivals)
    assert one[PA].verdict == f"{OURS_LESS} (one seed)"
    assert differences(ours[0], *rivals) == {}


def test_a_rival_stands_beside_the_training_of_its_own_kind():
    names = list(RIVALS)[:2]
    bases = ("lite_temporal", "lite_maps", "lite_video", "tiny")
    ours = [make_run(name, step=1000) for name in bases]
    ours.append(make_run("lite_video", step=500, config="shorter"))
    rivals = [
        make_rival("lite_maps", names[0], step=500), make_rival("lite_video", names[1], step=700),
    ]  # fmt: skip
    found = compare_rivals([*ours, *reversed(rivals)])
    beside = {
        (v.run.experiment, v.run.step): [o.evaluations[0].run.experiment for o in v.opponents]
        for v in found
    }
    # as many steps, or else the longest
    assert beside == {
        ("lite_maps", 1000): [f"lite_maps_{names[0]}"],
        ("lite_video", 1000): [f"lite_video_{names[1]}"],
    }
    assert {v.base for v in found} == {"lite_maps", "lite_video"}


def test_rivals_come_in_the_order_of_the_tables():
    rivals = [make_rival(name=name) for name in sorted(RIVALS, reverse=True)]
    (versus,) = compare_rivals([make_run(), *rivals])
    networks = [o.evaluations[0].run.network for o in versus.opponents]
    assert networks == [f"benchmarks.rivals:{name}" for name in RIVALS]


@pytest.mark.parametrize(
    "change", [{"hand": "other"}, {"trained_on": "else"}, {"precision": "bf16"}], ids=str
)
def test_only_like_is_compared_with_like(change):
    assert len(compare_rivals([make_run(), make_rival()])) == 1
    assert compare_rivals([make_run(), make_rival(**change)]) == []


def test_without_a_rival_there_is_nothing():
    method = make_evaluation({"method": "MediaPipe", "predictions": "x"}, SYNTHETIC)
    others = [make_run("net", network="elsewhere:net"), make_run("tiny_center", fusion="center")]
    assert compare_rivals([make_run(), method, *others]) == []
    assert compare_rivals([make_run(network="elsewhere:net"), make_rival()]) == []


def test_without_frames_the_means_are_subtracted_and_nothing_is_judged():
    metrics = make_metrics(3.0, empty=("75-100",))
    method = make_evaluation({"method": "MediaPipe", "predictions": "x"}, SYNTHETIC, metrics)
    (versus,) = compare_rivals([make_run(), make_run(seed=1), make_rival(), method])
    first, second = versus.opponents
    assert first.evaluations == (method,) and first.differences.keys() == {PA, RA}
    assert first.differences[PA].mean == pytest.approx(3.0)
    assert (first.differences[PA].interval, first.differences[PA].verdict) == (None, "")
    assert second.differences[PA].verdict
    gone = make_rival().evaluation  # its frames are not here
    assert differences(make_run(), gone)[RA].interval is None


def test_other_frames_are_refused_by_name():
    other = make_rival()
    other.row = other.row + 1
    with pytest.raises(ValueError, match=f"tiny-seed0 and tiny_{RIVAL}-seed0 are of different fr"):
        compare_rivals([make_run(), other])
