"""Claims: effects between runs found, nothing compared that may not be."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.compare.claims import CLAIMS, group_comparable, judge, judge_all
from benchmarks.compare.comparable import kind_of, label_of
from benchmarks.compare.paired import FAILS, HOLDS
from benchmarks.tables.layout import TABLES
from deformer.experiments import get_experiment
from deformer.variants import FULL, VARIANTS, choices_of
from tests.benchmarks.evaluations import SYNTHETIC, make_evaluation

G, F = 20, 10
"""Recordings, and frames of each."""
SEQUENCE = np.repeat(np.arange(G), F)


def make_run(kind=FULL, seed=0, shift_mm=0.0, base="tiny", **changed):
    """What is needed of a `Scored`; hands hidden by more than half err by the shift twice."""
    experiment = base if kind == FULL else f"{base}_{kind}"
    rng = np.random.default_rng([seed, *experiment.encode()])
    occlusion = np.tile(np.linspace(0, 0.9, F), G)
    gain = shift_mm * np.where(occlusion >= 0.5, 2, 1) + rng.normal(0, 0.01, G * F)
    run = {
        "experiment": experiment, "seed": seed, "hand": "standin", "step": 600,
        **choices_of(get_experiment("tiny" if kind == FULL else f"tiny_{kind}")),
    }  # fmt: skip
    return SimpleNamespace(
        name=f"{experiment}-seed{seed}",
        evaluation=make_evaluation(run | changed, SYNTHETIC),
        row=3 * np.arange(G * F),
        occlusion=occlusion,
        comparison=SimpleNamespace(sequence=np.array([f"recording {i}" for i in SEQUENCE])),
        values={"pa_mpjpe_mm": 10 + np.random.default_rng(6).random((G * F, 21)) + gain[:, None]},
    )


def claim_of(source: str, worse: str, bin: str = "all"):
    """Of the whole method against another variant."""
    (found,) = (c for c in CLAIMS if (c.source, c.worse, c.bin) == (source, worse, bin))
    return found


def judge_one(*runs) -> dict:
    (group,) = group_comparable(runs)
    return {claim: judge(group, claim) for claim in CLAIMS}


def test_every_variant_is_compared_with_the_whole_method():
    others = {name for c in CLAIMS for name in (c.better, c.worse)} - {FULL}
    assert others == VARIANTS.keys() - {FULL}
    assert all(FULL in (c.better, c.worse) for c in CLAIMS)


def test_what_the_paper_prints_by_hand():
    """Differences of its Tables 4 and 5, over all frames."""
    printed = {(c.bin, c.worse): c.published for c in CLAIMS if c.published is not None}
    assert printed == {
        ("all", "center"): -0.50, ("75-100", "center"): -0.41, ("all", "average"): -0.18,
        ("all", "occlusion"): -0.12, ("all", "mse"): -0.41, ("all", "noadv"): -0.21,
        ("all", "mse_noadv"): -0.50,
    }  # fmt: skip


def test_effects_between_runs_are_found():
    seeds = (0, 1, 2)
    runs = [make_run(seed=s) for s in seeds] + [make_run("center", s, 0.5) for s in seeds]
    found = judge_one(*runs, make_run("center", 7))  # of which there is no whole method
    fusion = found[claim_of("Table 4", "center")]
    assert (fusion.seeds, fusion.estimate.verdict) == (seeds, HOLDS)
    assert fusion.estimate.difference == pytest.approx(-0.75, abs=0.02)
    hidden = found[claim_of("Table 4", "center", "75-100")].estimate
    assert (hidden.verdict, hidden.difference) == (HOLDS, pytest.approx(-1, abs=0.02))
    reversed_ = judge_one(make_run(shift_mm=0.5), make_run("center"))
    assert reversed_[claim_of("Table 4", "center")].estimate.verdict == f"{FAILS} (one seed)"


def test_even_joints_are_found():
    even, uneven = make_run(), make_run("mse")
    even.values["pa_mpjpe_mm"] = np.full((G * F, 21), 8.0)
    uneven.values["pa_mpjpe_mm"] = np.tile(np.linspace(4, 12, 21), (G * F, 1))
    e = judge_one(even, uneven)[claim_of("Fig. 3", "mse")].estimate
    assert e.better + e.worse == pytest.approx((0, np.linspace(4, 12, 21).std() / 8))
    assert e.verdict == f"{HOLDS} (one seed)"


def test_why_a_claim_is_not_measured():
    found = judge_one(make_run(), make_run("center"), make_run("mse", seed=1))
    assert found[claim_of("Table 4", "average")].missing == (
        "no run of average that was trained and evaluated alike"
    )
    assert found[claim_of("Table 5", "mse")].missing == "full and mse have no seed in common"
    runs = [make_run(), make_run("center")]
    for run in runs:
        run.occlusion[:] = np.nan
    found = judge_one(*runs)
    hidden = found[claim_of("Table 4", "center", "75-100")]
    assert (hidden.estimate, hidden.missing) == (None, "no frame is hidden by 75-100 %")
    assert found[claim_of("Table 4", "center")].estimate is not None


def test_only_like_is_compared_with_like():
    others = [{"step": 300}, {"base": "small"}, {"precision": "bf16"}, {"trained_on": "else"},
              {"config": "1"}]  # fmt: skip
    runs = [make_run(), *(make_run("center", **other) for other in others)]
    assert len(group_comparable(runs)) == 6
    assert judge_all(runs) == []


def test_runs_of_no_variant_go_by_their_experiment():
    start = {"experiment": "lite_frames", "fusion": "center", "point_loss": "huber",
             "adversarial": False}  # fmt: skip
    run = make_evaluation(start).run
    assert (kind_of(run), label_of(run)) == ("lite_frames",) * 2
    assert label_of(make_evaluation({"method": "[36]", "predictions": "x"}).run) == "[36]"
    for name in VARIANTS:
        choices = choices_of(get_experiment("tiny" if name == FULL else f"tiny_{name}"))
        assert kind_of(make_evaluation(choices).run) == name


@pytest.mark.parametrize("change", [{"motion": "step"}, {"fusion": "pairwise"}], ids=str)
def test_a_run_with_one_more_choice_is_not_the_variant_without_it(change):
    run = make_evaluation(change).run
    ((name, value),) = change.items()
    assert kind_of(run) == label_of(run) == f"dexycb, {name} {value}"
    assert all(table.row_of(run) is None for table in TABLES)
    (group,) = group_comparable([make_run(), make_run(**change)])  # not "the same run twice"
    assert list(group.runs) == [FULL, f"tiny, {name} {value}"]


def test_other_frames_and_the_same_run_twice_are_refused_by_name():
    other = make_run("center")
    other.row = other.row + 1
    with pytest.raises(ValueError, match="tiny-seed0 and tiny_center-seed0 are of different frame"):
        group_comparable([make_run(), other])
    with pytest.raises(ValueError, match="are both of tiny, seed 0, step 600"):
        group_comparable([make_run(), make_run()])
