"""Claims: effects between runs found, nothing compared that may not be, all of it told."""

import csv
import io
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.claims import __main__ as claims
from benchmarks.claims import findings
from benchmarks.claims import render as claims_page
from benchmarks.claims.claim_list import BEYOND, CLAIMS, RANGES
from benchmarks.claims.findings import judge, judge_all, judge_block, make_blocks
from benchmarks.compare.comparable import Kind
from benchmarks.compare.paired import FAILS, HOLDS, NOISY
from benchmarks.evaluation.protocol import BINS, is_in_bin
from benchmarks.evaluation.result import write_evaluation
from deformer.experiments import (
    VARIANTS,
    base_of,
    get_experiment,
)
from tests.benchmarks.drawn_results import write_result
from tests.benchmarks.evaluations import SYNTHETIC, make_evaluation
from tests.deformer.small_runs import build_dataset

G, F = 20, 10
"""Recordings, and frames of each."""
SEQUENCE = np.repeat(np.arange(G), F)


# ---------------------------------------------------------------------------------------- findings


def make_run(kind: Kind | None = None, seed=0, shift_mm=0.0, base="tiny", name="", **changed):
    """What is needed of a `Scored`; hands hidden by more than half err by the shift twice."""
    kind = kind or Kind()
    rng = np.random.default_rng([seed, *kind.experiment(base).encode()])
    occlusion = np.tile(np.linspace(0, 0.9, F), G)
    gain = shift_mm * np.where(occlusion >= 0.5, 2, 1) + rng.normal(0, 0.01, G * F)
    errors = 10 + np.random.default_rng(6).random((G * F, 21)) + gain[:, None]
    accel = errors.copy()
    accel[:: F - 1] = np.nan
    run = {
        "experiment": kind.experiment(base), "seed": seed, "hand": "standin", "fusion": kind.fusion,
        "point_loss": kind.point_loss, "adversarial": kind.adversarial, "step": 600,
    }  # fmt: skip
    return SimpleNamespace(
        name=name or f"{kind.experiment(base)}-seed{seed}",
        evaluation=make_evaluation(run | changed, SYNTHETIC),
        row=3 * np.arange(G * F),
        objects=("jar", "mug"),
        occlusion=occlusion,
        comparison=SimpleNamespace(sequence=np.array([f"recording {i}" for i in SEQUENCE])),
        values={"pa_mpjpe_mm": errors, "ra_mpjpe_mm": errors + 5, "accel_mm_per_frame2": accel},
    )


CENTER, MSE = Kind("center"), Kind(point_loss="mse")


def claim_of(source: str, worse: Kind, occlusion: str = "all", metric: str = "pa_mpjpe_mm"):
    """Of the whole method against another kind."""
    (found,) = (c for c in CLAIMS if (c.source, c.better, c.worse, c.occlusion, c.metric)
                == (source, Kind(), worse, occlusion, metric))  # fmt: skip
    return found


def judge_one(*runs) -> dict:
    (block,) = make_blocks(runs)
    return dict(zip(CLAIMS, judge_block(block), strict=True))


def test_the_claims_are_the_papers_then_ours():
    sources = [claim.source for claim in CLAIMS]
    assert set(sources) == {"Table 4", "Table 5", "Fig. 3", BEYOND}
    assert sources[3:] == sorted(sources[3:], key=lambda s: s == BEYOND)  # the paper's first
    lines = [replace(claim, sentence="", published=None, is_main=False) for claim in CLAIMS]
    assert len(set(lines)) == len(CLAIMS)  # each would count once more in the correction
    assert all(claim.better != claim.worse for claim in CLAIMS)


def test_every_ablation_is_compared_in_each_range_that_the_paper_prints():
    """With the whole method; ours, of which it prints nothing, with it and with no fusion."""
    for v in list(VARIANTS.values())[1:]:
        kind = Kind(v.fusion, v.point_loss, v.adversarial)
        found = {c.occlusion for c in CLAIMS if (c.better, c.worse) == (Kind(), kind)
                 and c.published is not None}  # fmt: skip
        assert found == (set(BINS) if v.in_paper else set()), v.name
    for ours in ("nearby", "pairwise"):
        assert {Kind(), CENTER} <= {c.worse for c in CLAIMS if c.better == Kind(ours)}


def test_one_claim_of_each_table_and_one_question_are_the_main_ones():
    main = [claim for claim in CLAIMS if claim.is_main]
    neither = Kind(point_loss="mse", adversarial=False)
    assert [(c.source, c.worse, c.occlusion) for c in main] == [
        ("Table 4", CENTER, "all"), ("Table 5", neither, "all"), (BEYOND, CENTER, "50-100"),
    ]  # fmt: skip
    assert {c.metric for c in main} == {"pa_mpjpe_mm"} and main == list(CLAIMS[:3])
    assert {c.family for c in main} == {"main"}
    assert {c.family for c in CLAIMS[3:]} == {"Table 4", "Table 5", "Fig. 3", BEYOND}


def test_a_claim_of_a_table_is_one_that_its_printed_numbers_make():
    """Differences by hand from the paper's Tables 4 and 5; all, 25-50, 50-75, 75-100."""
    for source, worse, differences in (
        ("Table 4", CENTER, (-0.50, -0.40, -0.44, -0.41)),
        ("Table 4", Kind("average"), (-0.18, -0.08, -0.14, -0.05)),
        ("Table 4", Kind("occlusion"), (-0.12, -0.07, -0.06, 0.01)),
        ("Table 5", MSE, (-0.41, -0.29, -0.22, -0.28)),
        ("Table 5", Kind(adversarial=False), (-0.21, -0.34, -0.30, -0.25)),
        ("Table 5", Kind(point_loss="mse", adversarial=False), (-0.50, -0.40, -0.44, -0.41)),
    ):
        for name, difference in zip(BINS, differences, strict=True):
            assert claim_of(source, worse, name).published == difference
    contrary = [c.label for c in CLAIMS if c.label != c.source]  # 6.34 against 6.33
    assert contrary == ["Table 4, printed the other way"]
    assert all((c.published is not None) == c.source.startswith("Table") for c in CLAIMS)
    edges = {(c.better, c.worse): c.published for c in CLAIMS
             if c.source == "Table 5" and c.occlusion == "all"}  # fmt: skip
    neither, noadv = Kind(point_loss="mse", adversarial=False), Kind(adversarial=False)
    assert len(edges) == 5
    assert (edges[noadv, neither], edges[MSE, neither]) == (-0.29, -0.09)


def test_kinds_are_the_ablations():
    kinds = {kind for claim in CLAIMS for kind in (claim.better, claim.worse)}
    names = {kind.experiment("tiny_ho3d"): kind for kind in kinds}
    base = get_experiment("tiny_ho3d")
    assert names.keys() <= {variant.of(base).name for variant in VARIANTS.values()}
    for name, kind in names.items():
        e = get_experiment(name)
        assert Kind(e.model.fusion, e.point_loss, e.adversarial) == kind
        assert base_of(name) == "tiny_ho3d"


def test_bins_are_those_of_the_protocol():
    occlusion = np.array([0, 0.25, 0.5, 0.75, 1, np.nan])
    inside = {
        name: np.flatnonzero(is_in_bin(occlusion, RANGES[name])).tolist()
        for name in (*BINS, "0-25")
    }
    assert inside == {
        "all": [0, 1, 2, 3, 4, 5], "25-50": [1], "50-75": [2], "75-100": [3, 4], "0-25": [0],
    }  # fmt: skip
    assert np.flatnonzero(is_in_bin(occlusion, RANGES["50-100"])).tolist() == [2, 3, 4]


def test_effects_between_runs_are_found():
    seeds = (0, 1, 2)
    runs = [make_run(seed=s) for s in seeds] + [make_run(CENTER, s, 0.5) for s in seeds]
    found = judge_one(*runs, make_run(CENTER, 7))  # of which there is no whole method
    in_bin = found[claim_of("Table 4", CENTER, "50-75")]
    assert (in_bin.seeds, in_bin.verdict) == (seeds, HOLDS)
    assert in_bin.estimate.difference == pytest.approx(-1.0, abs=0.02)
    assert in_bin.estimate.num_frames == 3 * G  # occlusion 0.5, 0.6, 0.7
    gain = found[claim_of(BEYOND, CENTER, "50-100")]
    assert gain.estimate.difference == pytest.approx(-0.5, abs=0.02)
    assert gain.verdict == HOLDS
    accel = found[claim_of(BEYOND, CENTER, metric="accel_mm_per_frame2")]
    assert accel.verdict == HOLDS
    assert accel.estimate.num_frames < G * F
    (reversed_block,) = make_blocks([make_run(shift_mm=0.5), make_run(CENTER)])
    assert judge(reversed_block, claim_of("Table 4", CENTER)).verdict == f"{FAILS} (one seed)"


def test_of_many_lines_one_alone_does_not_hold_by_its_interval():
    """An effect of 2.3 standard errors in each range of Table 4, against one other fusion."""
    whole, average = make_run(), make_run(Kind("average"))
    recordings = np.random.default_rng(3).normal(0, 0.1, G)
    recordings += -recordings.mean() - 2.3 * recordings.std() / np.sqrt(G)
    whole.values["pa_mpjpe_mm"] = average.values["pa_mpjpe_mm"] + recordings[SEQUENCE, None]
    (block,) = make_blocks([whole, average])
    for name in BINS:
        claim = claim_of("Table 4", Kind("average"), name)
        assert judge(block, claim).verdict == f"{HOLDS} (one seed)"
        finding = judge_one(whole, average)[claim]
        assert finding.estimate.interval[1] < 0 and finding.estimate.p < 0.05 < finding.p
        assert finding.verdict == f"{NOISY} (one seed)"


def test_even_joints_are_found():
    even, uneven = make_run(), make_run(MSE)
    even.values["pa_mpjpe_mm"] = np.full((G * F, 21), 8.0)
    uneven.values["pa_mpjpe_mm"] = np.tile(np.linspace(4, 12, 21), (G * F, 1))
    finding = judge_one(even, uneven)[claim_of("Fig. 3", MSE)]
    assert finding.estimate.one + finding.estimate.other == pytest.approx(
        (0, np.linspace(4, 12, 21).std() / 8)
    )
    assert finding.verdict == f"{HOLDS} (one seed)"


def test_an_empty_bin_and_missing_runs():
    found = judge_one(make_run(), make_run(CENTER), make_run(MSE, seed=1))
    assert found[claim_of("Table 4", CENTER)].verdict.endswith(" (one seed)")
    absent = found[claim_of("Table 4", Kind("average"))]
    assert absent.verdict == "not measured: no run of tiny_average"
    assert found[claim_of("Table 5", MSE)].verdict == (
        "not measured: no seed in common, tiny has seed 0, tiny_mse has seed 1"
    )
    runs = [make_run(), make_run(CENTER)]
    for run in runs:
        run.occlusion[:] = np.nan
    found = judge_one(*runs)
    assert found[claim_of("Table 4", CENTER, "75-100")].verdict == "–"
    assert found[claim_of(BEYOND, CENTER, "50-100")].verdict == "–"
    assert found[claim_of("Table 4", CENTER)].estimate.num_frames == G * F


def test_only_like_is_compared_with_like():
    others = [{"step": 300}, {"base": "small"}, {"precision": "bf16"}, {"trained_on": "else"},
              {"config": "1"}]  # fmt: skip
    blocks = make_blocks([make_run(), *(make_run(CENTER, **other) for other in others)])
    assert len(blocks) == 6
    for block in blocks:
        assert all(judge(block, claim).missing for claim in CLAIMS)


def test_a_run_that_stands_apart_is_named_with_what_differs():
    apart = make_run(CENTER, step=300, precision="bf16", config="1")
    farther = make_run(CENTER, name="farther", step=9, precision="bf16", config="1", hand="mano")
    results = judge_all([make_run(), make_run(MSE), apart, farther])
    ((_, found),) = results
    assert found[0].verdict == (
        "not measured: no run of tiny_center that compares (tiny_center-seed0 differs: step 300, "
        "not 600, precision bf16, not float32, another configuration)"
    )
    other = make_run(CENTER)
    other.evaluation = make_evaluation(
        vars(other.evaluation.run), {**SYNTHETIC, "split": "s1_test"}
    )
    ((_, found),) = judge_all([make_run(), make_run(MSE), other])
    assert "(tiny_center-seed0 differs: of demo s1_test, not demo s0_test)" in found[0].verdict
    other.evaluation = make_evaluation(vars(other.evaluation.run), {**SYNTHETIC, "sha256": "0"})
    ((_, found),) = judge_all([make_run(), make_run(MSE), other])
    assert "(tiny_center-seed0 differs: of another build of demo)" in found[0].verdict


def test_blocks_in_which_nothing_is_compared_are_left_out_where_another_has_something():
    start, pair = make_run(base="tiny_occluded_windows"), (make_run(), make_run(CENTER))
    assert [block.base for block, _ in judge_all([start, *pair])] == ["tiny"]
    (alone,) = judge_all([start])
    assert alone[0].base == "tiny_occluded_windows"
    assert not any(finding.is_measured for finding in alone[1])
    assert len(alone[1]) == len(CLAIMS)


def test_the_common_start_of_a_block_is_named_once(monkeypatch):
    starts = {"tiny": "runs/start", "tiny_center": "runs/start", "tiny_mse": None}
    monkeypatch.setattr(findings, "start_of", lambda run: starts[run.experiment])
    pair = (make_run(), make_run(CENTER))
    (block,) = make_blocks(pair)
    assert claims_page.runs_text(block) == (
        "20 recordings, of jar, mug only. Runs: tiny (seed 0), tiny_center (seed 0). All began "
        "with the model of runs/start."
    )
    text = claims_page.to_markdown(judge_all(pair))
    assert text.count("runs/start") == 1
    (block,) = make_blocks([*pair, make_run(MSE)])
    assert claims_page.runs_text(block).endswith(". Some began with the model of runs/start.")
    (block,) = make_blocks([*pair, make_run(seed=1)])
    assert claims_page.runs_text(block).endswith(
        "tiny_center (seed 0). All seeds began with one and the same model, that of runs/start: ± "
        "tells of chance in the training from there on, and nothing of chance before."
    )
    (block,) = make_blocks([make_run(MSE)])
    assert claims_page.runs_text(block).endswith("jar, mug only. Runs: tiny_mse (seed 0).")
    block.first.objects = tuple("abcdefg")
    assert claims_page.runs_text(block).startswith("20 recordings, of 7 objects. Runs")
    block.first.objects = ()
    assert claims_page.runs_text(block).startswith("20 recordings. Runs")


def test_other_frames_and_the_same_run_twice_are_refused_by_name():
    other = make_run(CENTER)
    other.row = other.row + 1
    with pytest.raises(ValueError, match="tiny-seed0 and tiny_center-seed0 are of different frame"):
        make_blocks([make_run(), other])
    with pytest.raises(ValueError, match="here and there are both of tiny, seed 0, step 600"):
        make_blocks([make_run(name="here"), make_run(name="there")])


# ----------------------------------------------------------------------------------------- command


def run_command(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["claims", *map(str, arguments)])
    return claims.main()


def test_csv_and_markdown_say_what_was_compared():
    runs = [make_run(seed=s) for s in (0, 1)] + [make_run(CENTER, s, 0.5) for s in (0, 1)]
    runs += [make_run(base="small", seed=s) for s in (0, 1)]
    runs.append(make_run(MSE, base="small"))
    results = judge_all(runs)
    lines = list(csv.DictReader(io.StringIO(claims_page.to_csv(results))))
    assert len(lines) == 2 * len(CLAIMS)
    assert tuple(lines[0]) == claims_page.CSV_COLUMNS
    (line,) = (x for x in lines if x["source"] == "Table 4" and x["difference"]
               and x["occlusion"] == "75-100")  # fmt: skip
    assert line["published"] == "-0.41"
    assert {x["published"] for x in lines if x["source"] == BEYOND} == {""}
    assert float(line["p"]) <= float(line["p_corrected"]) and line["main"] == "no"
    assert float(line["difference"]) == pytest.approx(-1, abs=0.02)
    assert float(line["low"]) < float(line["difference"]) < float(line["high"])
    assert len(line["per_seed"].split()) == 2
    assert line["first_results"] == "tiny-seed0 tiny-seed1"
    assert line["second_results"] == "tiny_center-seed0 tiny_center-seed1"
    assert (line["seeds"], line["frames"], line["sequences"]) == ("0 1", "40", "20")
    assert (line["synthetic"], line["data"], line["unit"], line["step"], line["config"]) == (
        "yes", "demo", "mm", "600", "0",
    )  # fmt: skip
    missing = [x for x in lines if x["verdict"].startswith("not measured")]
    assert missing and not any(x["difference"] + x["frames"] for x in missing)

    text = claims_page.to_markdown(results)
    assert text == claims_page.to_markdown(judge_all(runs))
    assert text.count(claims_page.LEGEND) == 1
    small, tiny = text.split("\n## ")[1:]
    assert small.startswith("small, step 600 · SYNTHETIC data · demo, s0_test · 40 frames")
    assert "Runs: small (seeds 0, 1), small_mse (seed 0)." in small
    alone = claims_page.to_markdown(judge_all([make_run()]))
    assert "Nothing to compare yet" in alone and "|" not in alone
    assert "Runs: tiny (seeds 0, 1), tiny_center (seeds 0, 1)." in tiny
    (row,) = (x for x in tiny.splitlines() if x.startswith("| Table 4 |") and "75-100" in x
              and "than no fusion" in x)  # fmt: skip
    words = [word.strip() for word in row.strip("|").split(" | ")]
    assert words[2] == "PA-MPJPE in mm, 75-100 %"
    assert words[4].startswith("−1.0") and words[9].startswith("0: −")
    assert (words[8], words[10]) == ("−0.41", "40 (20)")
    assert re.fullmatch(r"0\.\d{3}|1\.000|< 0\.001", words[5])
    assert "not measured: no run of tiny_average" in tiny


def test_the_command_without_results(tmp_path, monkeypatch, capsys):
    assert run_command(monkeypatch, "--results", tmp_path / "none") == 0
    assert (
        "python -m benchmarks.ablations --preset tiny --data shards/NAME" in capsys.readouterr().err
    )
    folder = tmp_path / "none" / "tables"
    assert "Nothing to compare yet" in (folder / "claims.md").read_text(encoding="utf-8")
    assert (folder / "claims.csv").read_text(encoding="utf-8") == ",".join(
        claims_page.CSV_COLUMNS
    ) + "\n"


def test_evaluations_that_are_of_no_use_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where `make demo` was run there is a dataset of this name
    path = tmp_path / "lost" / "evaluation.json"
    write_evaluation(path, make_evaluation(data=SYNTHETIC))
    assert run_command(monkeypatch, "--results", tmp_path) == 1
    assert (
        "lost: the dataset demo is not here: name its folder by --data" in capsys.readouterr().err
    )
    write_evaluation(path, make_evaluation({"method": "constant hand", "predictions": "a mean"}))
    assert run_command(monkeypatch, "--results", tmp_path) == 0  # it has no frames to compare
    assert "lost" not in capsys.readouterr().err.replace(str(tmp_path), "")
    path.write_text("{}")
    assert run_command(monkeypatch, "--results", tmp_path) == 1
    assert f"error: {path} is no evaluation" in capsys.readouterr().err


def test_the_command_on_a_built_dataset(raw_root, tmp_path, monkeypatch, capsys):
    data = build_dataset(raw_root)
    for name, seed, changed in (
        ("full", 0, {}),
        ("again", 1, {}),
        ("center", 0, {"experiment": "tiny_center", "fusion": "center"}),
    ):
        write_result(tmp_path / name, data, Path("runs") / name, seed, **changed)
    out = tmp_path / "out"
    command = ["--results", tmp_path, "--data", data, "--out", out]
    assert run_command(monkeypatch, *command) == 0
    printed = capsys.readouterr().err
    assert f"{out / 'claims.md'} and claims.csv, of 3 runs" in printed
    assert "tiny, step 40 · SYNTHETIC data" in printed
    text = (out / "claims.md").read_text(encoding="utf-8")
    # both have the same noise, so the same errors
    row = next(x for x in text.splitlines() if x.startswith("| Table 4 |"))
    assert f"| {NOISY} (one seed) | +0.000 [+0.000, +0.000] |" in row
    assert "| −0.50 | 0: +0.000" in row
