"""Figures: all of them in every format, labelled, of frames chosen by rule; missing parts named."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.evaluation.result import find_evaluations, write_evaluation
from benchmarks.evaluation.scored import load_scored, parse_split
from benchmarks.evaluation.training_log import find_logs
from benchmarks.figures import __main__ as figures
from benchmarks.figures.catalogue import draw_all, draw_run, draw_split, lines_of
from benchmarks.figures.curves import (
    Line,
    error_by_occlusion,
    mean_by_occlusion,
    training_curves,
)
from benchmarks.figures.examples import largest_gain, typical_frames, view_window
from benchmarks.figures.hands import _predicted
from deformer.experiments import get_experiment
from deformer.files.sealed import write_json
from deformer.variants import VARIANTS, choices_of
from tests.benchmarks.drawn_results import made_up, write_result, write_run
from tests.benchmarks.evaluations import make_evaluation
from tests.commands import call


@pytest.fixture(scope="module")
def results(tmp_path_factory, result) -> Path:
    """One run of the full method."""
    root = tmp_path_factory.mktemp("drawn")
    write_result(root / "results" / "full", result, write_run(root / "runs" / "full"))
    return root / "results"


@pytest.fixture(scope="module")
def drawn(results, data) -> dict:
    """Every figure, by name, with all hands half hidden."""
    scored, problems = load_scored(find_evaluations(results), results, [data])
    scored[0].comparison.occlusion[:] = 0.6
    drawn = {d.name: d for d in draw_all(scored, None, problems)}
    assert problems == {}
    return drawn


# ------------------------------------------------------------------------------------ all of them


def test_every_figure_is_drawn_and_says_that_data_are_synthetic(drawn, data):
    of_split = {f"{data.name}-s0_train/{name}" for name in ("error_by_occlusion", "pck")}
    assert drawn.keys() == of_split | {"full/hands", "full/window"}
    for d in drawn.values():
        assert "SYNTHETIC" in d.figure.get_suptitle(), d.name
        assert d.caption and d.heading


def test_files_are_written_in_all_formats(drawn, results, data, tmp_path, monkeypatch, capsys):
    stem = f"{data.name}-s0_train/pck"
    monkeypatch.setattr(figures, "draw_all", lambda *_: iter([drawn[stem]]))
    out = tmp_path / "figures"
    assert call(figures.main, "--results", results, "--data", data, "--out", out) == 0
    found = {f.suffix: f.read_bytes()[:5] for f in (out / stem).parent.iterdir()}
    assert found == {".pdf": b"%PDF-", ".svg": b"<?xml", ".png": b"\x89PNG\r"}
    assert "1 figures as pdf, svg, png, of 1 runs" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- lines


def _errors(num_frames: int, occlusion=np.nan):
    full = np.full((num_frames, 21), 6.0)
    return np.full(num_frames, occlusion), full, 1.5 * full


def of(experiment: str, seed: int = 0, **changed) -> SimpleNamespace:
    """What is needed of a `Scored`, of three frames."""
    occlusion, pa_mm, ra_mm = _errors(3, 0.5)
    return SimpleNamespace(
        name=f"{experiment}-seed{seed}",
        evaluation=make_evaluation({"experiment": experiment, "seed": seed, **changed}),
        occlusion=occlusion,
        values={"pa_mpjpe_mm": pa_mm, "ra_mpjpe_mm": ra_mm},
    )


def test_all_kinds_have_a_line_of_their_own():
    base = "lite_temporal"
    runs = [of("lite_frames", fusion="center", adversarial=False), of(base, 1)]
    for name in VARIANTS:
        experiment = base if name == "full" else f"{base}_{name}"
        runs.append(of(experiment, **choices_of(get_experiment(experiment))))
    _, pck = draw_split(runs)
    lines = pck.figure.axes[0].lines
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(looks) == len(lines) == len(VARIANTS) + 1
    words = [text.get_text() for text in pck.figure.legends[0].get_texts()]
    assert sum(word.startswith("Dynamic (2 runs) · AUC ") for word in words) == 1


def test_seeds_are_taken_together_where_they_were_trained_alike():
    lines = lines_of([of("tiny", 0), of("tiny", 1), of("tiny", 2, step=9)])
    assert sorted((line.label, len(line.pa_mm)) for line in lines) == [
        ("Dynamic [tiny-seed0] (2 runs)", 6), ("Dynamic [tiny-seed2]", 3),
    ]  # fmt: skip


def test_ranges_of_occlusion_by_hand():
    occlusion = np.array([0.0, 0.05, 0.5, 1.0, np.nan])
    mean, deviation = mean_by_occlusion(occlusion, np.array([1.0, 3.0, 5.0, 7.0, 9.0]))
    known = np.flatnonzero(~np.isnan(mean))
    assert known.tolist() == np.flatnonzero(~np.isnan(deviation)).tolist() == [0, 5, 9]
    assert (mean[known].tolist(), deviation[known].tolist()) == ([2, 5, 7], [1, 0, 0])


def test_an_empty_range_is_a_gap_and_unknown_occlusion_is_named():
    data, (_, pa_mm, ra_mm) = make_evaluation().data, _errors(3)
    line = Line("run", np.array([0.05, 0.05, 0.95]), pa_mm, ra_mm)
    heights = error_by_occlusion([line], data).axes[0].lines[0].get_ydata()
    assert np.isnan(heights[1:-1]).all()
    assert heights[[0, -1]].tolist() == [6.0, 6.0]
    (ax,) = error_by_occlusion([Line("run", *_errors(3))], data).axes
    assert "not known" in ax.texts[0].get_text()


# --------------------------------------------------------------------------------- the examples


def test_typical_frames_are_near_the_median_and_of_different_recordings():
    errors_mm, occlusion = [1.0, 2.0, 5.0, 5.1, 9.0, 5.2, 4.0, 50.0], [*np.arange(7) / 100, 0.9]
    scored = made_up(errors_mm, occlusion, [0.5] * 8)
    # recordings are pairs; the median of the seen is 5: frames 2, 5, 6, then 1
    assert typical_frames(scored, (0, 0.25), 4) == [1, 2, 5, 6]
    assert typical_frames(scored, (0.5, 1.0), 4) == [7]
    scored.is_borrowed[7] = True
    assert typical_frames(scored, (0.5, 1.0)) == []


def test_the_window_with_the_largest_gain():
    # the median of the hidden frames is 10 mm: the third gains 6 · 0.9, the fourth 8 · 0.2
    scored = made_up(
        [1.0, 10.0, 4.0, 2.0, 11.0, 12.0],
        [0.0, 0.8, 0.8, 0.8, 0.8, 0.8],
        [0.1, 0.5, 0.1, 0.8, 0.5, 0.5],
    )
    choice = largest_gain(scored)
    assert choice.at == 2
    assert "80% hidden, 90% of the pose" in choice.reason
    assert "6.0 mm less error" in choice.reason


def test_windows_that_can_show_no_gain_are_not_chosen():
    scored = made_up([12.0, 2.0, 8.0, 9.0], [0.8] * 4, [0.2] * 4)
    scored.is_borrowed[1] = True
    assert largest_gain(scored).at == 2
    scored.window_rows[2] = 21  # nothing to borrow from
    assert largest_gain(scored) is None
    scored.window_rows = None
    assert largest_gain(scored) is None


# ------------------------------------------------------------------------------ missing, damaged


def test_without_frames_it_says_what_to_run_and_methods_are_no_problem(
    data, tmp_path, monkeypatch, capsys
):
    assert call(figures.main, "--results", tmp_path) == 0
    assert "python -m benchmarks.evaluate" in capsys.readouterr().err
    constant = make_evaluation({"method": "constant hand", "predictions": "a mean"})
    write_evaluation(tmp_path / "constant" / "evaluation.json", constant)
    assert load_scored(find_evaluations(tmp_path), tmp_path, [data]) == ([], {})
    assert call(figures.main, "--results", tmp_path, "--data", data) == 0
    assert "constant" not in capsys.readouterr().err.replace(str(tmp_path), "")


def test_what_cannot_be_drawn_is_named(results, result, data, tmp_path, capsys):
    folder = tmp_path / "[bold]" / "a"
    about = write_result(folder, result, results.parent / "runs" / "full")
    path = folder / "evaluation.json"

    def message(**change) -> str:
        content = json.loads(path.read_text())
        content["data"] |= change
        content["counts"] |= {"predicted": content["data"]["frames"]}
        write_json(path, content)
        assert call(figures.main, "--results", folder.parent, "--data", data) == 1
        return " ".join(capsys.readouterr().err.split())

    assert "says 3: evaluate again" in message(frames=3)
    assert "another build" in message(sha256="00" * 32)
    assert "not here: name its folder by --data" in message(name="elsewhere")
    (folder / "predictions.parquet").unlink()
    missing = message(name=data.name, sha256=about.sha256)
    assert "[bold]/a/predictions.parquet is not there" in missing.replace("- ", "-")
    path.write_text("{}")
    assert call(figures.main, "--results", folder.parent) == 1
    assert f"error: {path} is no evaluation" in " ".join(capsys.readouterr().err.split())


def test_a_part_of_a_split_is_drawn(data, result, tmp_path):
    write_result(tmp_path / "a", result, write_run(tmp_path / "run"))
    path = tmp_path / "a" / "evaluation.json"
    content = json.loads(path.read_text())
    content["data"]["split"] += " where occlusion >= 0 limit 100"
    write_json(path, content)
    scored, problems = load_scored(find_evaluations(tmp_path), tmp_path, [data])
    assert problems == {} and not scored[0].is_borrowed.any()
    assert parse_split("s0_test") == ("s0_test", False)
    for part in ("where occlusion > 0.5", "limit 100", "where occlusion > 0.5 limit 100"):
        assert parse_split(f"s0_test {part}") == ("s0_test", True)


def test_joints_alone_are_drawn_as_a_skeleton(data, result, hands, tmp_path):
    write_result(tmp_path / "a", result, write_run(tmp_path / "run"))
    path = tmp_path / "a" / "predictions.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["pose_rotvec", "betas", "weights"]), path)
    scored, problems = load_scored(find_evaluations(tmp_path), tmp_path, [data])
    (frame,) = view_window(scored[0], hands, 0)
    assert frame.predicted_m is None and not np.array_equal(_predicted(frame), frame.image)
    names = [drawn.name for drawn in draw_run(scored[0], None, problems)]
    assert problems == {} and names == ["a/hands"]


# ------------------------------------------------------------------------------------ the pieces


def test_the_curves_of_a_training(tmp_path):
    write_run(tmp_path / "runs" / "a")
    (log,) = find_logs(tmp_path / "runs")
    # there is no root-aligned error in the log
    axes = training_curves([log, replace(log, name="b")], "SYNTHETIC data").axes
    assert [ax.get_title("left") for ax in axes] == [
        "validation, PA-MPJPE, mm", "total loss", "loss of the discriminator",
    ]  # fmt: skip
    assert [list(line.get_ydata()) for line in axes[-1].lines] == [[0.3] * 4] * 2
    empty = replace(log, train={}, validation={})
    assert "nothing was logged" in training_curves([empty], "").axes[0].texts[0].get_text()
