"""Figures: all of them in every format, labelled, of windows chosen by rule; missing parts told."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks.figures.diagnostics import confidence, image_motion, rank_correlation

from benchmarks.compare.comparable import partner
from benchmarks.evaluation.result import find_evaluations, write_evaluation
from benchmarks.evaluation.scored import load_scored, parse_split
from benchmarks.evaluation.training_log import find_logs
from benchmarks.figures import __main__ as figures
from benchmarks.figures.catalogue import draw_all, lines_of, loss_partner
from benchmarks.figures.curves import Line, error_by_occlusion, occlusion_histogram, pck_curves
from benchmarks.figures.draw_hand import draw_mesh, error_colours, rest_view
from benchmarks.figures.examples import largest_gain, worst_failures
from benchmarks.figures.style import binned, binned_intervals, figure_bytes, title_of
from benchmarks.figures.training_curves import training_curves
from tests.benchmarks.drawn_results import made_up, write_result, write_run
from tests.benchmarks.evaluations import make_evaluation
from tests.deformer.small_runs import build_dataset

OF_A_SPLIT = {"error_by_occlusion", "pck", "occlusion"}
OF_A_RUN = {"joint_errors", "window", "weights", "failures", "acceleration", "confidence",
            "borrowing", "borrowed_error", "headroom"}  # fmt: skip


@pytest.fixture(scope="module")
def data(raw_root) -> Path:
    return build_dataset(raw_root)


@pytest.fixture(scope="module")
def results(tmp_path_factory, data) -> Path:
    """One run of the full method, and one trained with MSE."""
    root = tmp_path_factory.mktemp("drawn")
    for name, loss in (("full", "max_mse"), ("mse", "mse")):
        run = write_run(root / "runs" / name)
        experiment = "tiny" if loss == "max_mse" else "tiny_mse"
        write_result(root / "results" / name, data, run, experiment=experiment, point_loss=loss)
    return root / "results"


@pytest.fixture(scope="module")
def drawn(results, data) -> dict:
    """Every figure, by name."""
    found = find_evaluations(results)
    scored, problems = load_scored(found, results, [data])
    assert problems == {}
    drawn = {d.name: d for d in draw_all(scored, None, problems)}
    assert problems == {}
    return drawn


def run_command(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["figures", *map(str, arguments)])
    return figures.main()


# ------------------------------------------------------------------------------------ all of them


def test_every_figure_is_drawn_and_says_that_data_are_synthetic(drawn, data):
    expected = {f"{data.name}-s0_train/{name}" for name in OF_A_SPLIT}
    expected |= {f"{run}/{name}" for run in ("full", "mse") for name in OF_A_RUN}
    assert set(drawn) == expected
    for d in drawn.values():
        assert "SYNTHETIC" in title_of(d.figure), d.name
        assert d.caption and d.heading


def test_files_are_written_in_all_formats(drawn, results, data, tmp_path, monkeypatch, capsys):
    stems = {f"{data.name}-s0_train/pck", "full/borrowing", "mse/weights"}
    some = [drawn[stem] for stem in sorted(stems)]
    monkeypatch.setattr(figures, "draw_all", lambda *_: iter(some))  # all of them take long
    out = tmp_path / "figures"
    assert run_command(monkeypatch, "--results", results, "--data", data, "--out", out) == 0
    names = {f.relative_to(out).as_posix() for f in out.rglob("*") if f.is_file()}
    assert names == {f"{stem}.{suffix}" for stem in stems for suffix in ("pdf", "svg", "png")}
    heads = {".pdf": b"%PDF", ".svg": b"<?xml", ".png": b"\x89PNG"}
    for path in out.rglob("*.*"):
        assert path.read_bytes().startswith(heads[path.suffix]), path
    assert "3 figures as pdf, svg, png, of 2 runs" in capsys.readouterr().err


def test_a_method_without_a_checkpoint_is_no_problem(data, tmp_path, monkeypatch, capsys):
    constant = make_evaluation({"method": "constant hand", "predictions": "a mean"})
    write_evaluation(tmp_path / "constant" / "evaluation.json", constant)
    assert load_scored(find_evaluations(tmp_path), tmp_path, [data]) == ([], {})
    assert run_command(monkeypatch, "--results", tmp_path, "--data", data) == 0
    assert "constant" not in capsys.readouterr().err.replace(str(tmp_path), "")


def test_the_same_figure_gives_the_same_bytes(drawn):
    figure = drawn["full/borrowing"].figure
    assert figure_bytes(figure, "svg") == figure_bytes(figure, "svg")


def test_recordings_are_not_called_synthetic(data, tmp_path):
    write_result(tmp_path / "r" / "full", data, write_run(tmp_path / "run"), synthetic=False)
    scored, _ = load_scored(find_evaluations(tmp_path / "r"), tmp_path / "r", [data])
    figure = pck_curves(lines_of(scored), scored[0].evaluation.data)
    assert "recordings" in title_of(figure)
    assert "SYNTHETIC" not in title_of(figure)


def test_maxmse_stands_beside_mse(drawn):
    texts = [ax.texts[-1].get_text() for ax in drawn["full/joint_errors"].figure.axes[:2]]
    assert [text.split("\n")[0] for text in texts] == ["MSE", "maxMSE"]


def test_a_partner_differs_by_the_loss_alone():
    mse_run = {"experiment": "dexycb_mse", "point_loss": "mse"}
    evaluations = {
        "full": make_evaluation(),
        "other seed": make_evaluation(mse_run | {"seed": 1}),
        "mse": make_evaluation(mse_run),
    }
    group = [SimpleNamespace(name=name, evaluation=e) for name, e in evaluations.items()]
    full, other_seed, mse = group
    assert loss_partner(full, group) is mse and loss_partner(mse, group) is full
    assert loss_partner(other_seed, group) is None
    assert partner(full, group, fusion="center") is None
    assert partner(full, group, fusion="dynamic") is None  # it is so itself
    for changed in ({"trained_on": "else"}, {"precision": "bf16"}, {"step": 9}, {"config": "1"}):
        other = SimpleNamespace(name="apart", evaluation=make_evaluation(mse_run | changed))
        assert loss_partner(full, [full, other]) is None


# ----------------------------------------------------------------------------------- empty bins


def test_bins_by_hand():
    x = np.array([0.0, 0.1, 0.5, 1.0, np.nan, 0.2])
    y = np.array([1.0, 3.0, 5.0, 7.0, 9.0, np.nan])
    mean, deviation, count = binned(x, y, np.array([0, 0.25, 0.5, 0.75, 1.0]))
    assert count.tolist() == [2, 0, 1, 1]
    assert np.isnan(mean[1]) and np.isnan(deviation[1])
    assert np.allclose(mean[[0, 2, 3]], [2, 5, 7])
    assert np.allclose(deviation[[0, 2, 3]], [1, 0, 0])


def test_an_empty_range_is_a_gap_and_not_zero():
    data = make_evaluation().data
    occlusion = np.array([0.05, 0.05, 0.95])
    line = Line("run", occlusion, np.full((3, 21), 6.0), np.full((3, 21), 9.0))
    (ax,) = error_by_occlusion([line], data).axes
    heights = ax.lines[0].get_ydata()
    assert np.isnan(heights[1:-1]).all()
    assert heights[[0, -1]].tolist() == [6.0, 6.0]


def test_intervals_of_bins_are_over_recordings():
    x, y = np.array([0.1, 0.2, 0.3, 0.9]), np.array([1.0, 1.0, 3.0, 5.0])
    low, high = binned_intervals(x, y, np.array([0, 0.5, 1.0]), np.array([0, 0, 1, 1]))
    assert (low[0], high[0]) == (1.0, 3.0)
    assert np.isnan([low[1], high[1]]).all()  # of one recording


def test_figures_without_any_known_occlusion_say_so():
    data, unknown = make_evaluation().data, np.full(3, np.nan)
    line = Line("run", unknown, np.full((3, 21), 6.0), np.full((3, 21), 9.0))
    for figure in (error_by_occlusion([line], data), occlusion_histogram(unknown, data)):
        assert "not known" in figure.axes[0].texts[0].get_text()


# --------------------------------------------------------------------------------- the examples


def test_the_window_with_the_largest_gain():
    # the median of the hidden frames is 10 mm: the third gains 6 · 0.9, the fourth 8 · 0.2
    scored = made_up(
        [1.0, 10.0, 4.0, 2.0, 11.0, 12.0],
        [0.0, 0.8, 0.8, 0.8, 0.8, 0.8],
        [0.1, 0.5, 0.1, 0.8, 0.5, 0.5],
    )
    choice = largest_gain(scored)
    assert choice == largest_gain(scored)
    assert choice.at == 2
    assert "80% hidden, 90% of the pose" in choice.reason
    assert "6.0 mm less error" in choice.reason
    # against a run without fusion the difference counts; the frame in the open never does
    unfused = made_up([90.0, 11.0, 5.0, 9.0, 11.0, 12.0], [0.0] + [0.8] * 5, [1.0] * 6)
    assert largest_gain(scored, unfused).at == 3
    assert "7.0 mm more without fusion" in largest_gain(scored, unfused).reason


def test_windows_that_can_show_no_gain_are_not_chosen():
    scored = made_up([12.0, 2.0, 8.0, 9.0], [0.8] * 4, [0.2] * 4)
    scored.is_borrowed[1] = True
    assert largest_gain(scored).at == 2
    scored.window_rows[2] = 21  # nothing to borrow from
    assert largest_gain(scored) is None
    scored.window_rows = None
    assert largest_gain(scored) is None


def test_failures_are_the_worst_of_different_recordings():
    scored = made_up([5.0, 30.0, 29.0, 1.0, 29.0, 7.0], [0.5] * 6, [0.5] * 6)
    assert worst_failures(scored) == [1, 2, 4]
    scored.is_borrowed[1] = True
    assert worst_failures(scored, 2) == [2, 4]


# ------------------------------------------------------------------------------ missing, damaged


def test_without_results_it_says_what_to_run(tmp_path, monkeypatch, capsys):
    assert run_command(monkeypatch, "--results", tmp_path) == 0
    assert "python -m benchmarks.evaluate" in capsys.readouterr().err


def test_what_cannot_be_drawn_is_told_by_name(results, data, tmp_path, monkeypatch, capsys):
    write_result(tmp_path / "a", data, results.parent / "runs" / "full")
    path = tmp_path / "a" / "evaluation.json"

    def message(**change) -> str:
        content = json.loads(path.read_text())
        content["data"] |= change
        content["counts"] |= {"predicted": content["data"]["frames"]}
        path.write_text(json.dumps(content))
        assert run_command(monkeypatch, "--results", tmp_path, "--data", data) == 1
        return " ".join(capsys.readouterr().err.split())

    assert "says 3: evaluate again" in message(frames=3)
    assert "another build" in message(sha256="00" * 32)
    assert "not here: name its folder by --data" in message(name="elsewhere")
    (tmp_path / "a" / "predictions.parquet").unlink()
    assert "predictions.parquet is not there" in message(name=data.name, sha256=_sha(results))


def test_names_with_brackets_are_told_as_they_are(data, tmp_path, monkeypatch, capsys):
    results = tmp_path / "[bold]"
    write_result(results / "[red]", data, write_run(tmp_path / "run"))
    (results / "[red]" / "predictions.parquet").unlink()
    assert run_command(monkeypatch, "--results", results, "--data", data) == 1
    told = "".join(capsys.readouterr().err.split())
    assert f"[red]:{results}/[red]/predictions.parquetisnotthere" in told
    assert f"{results}/figures:0figures" in told
    (results / "[red]" / "evaluation.json").write_text("{}")
    assert run_command(monkeypatch, "--results", results) == 1
    assert f"error:{results}/[red]/evaluation.json" in "".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("text", "name", "is_part"),
    [
        ("s0_test", "s0_test", False),
        ("s0_test where occlusion > 0.5", "s0_test", True),
        ("s0_test limit 100", "s0_test", True),
        ("s0_test where occlusion > 0.5 limit 100", "s0_test", True),
    ],
)
def test_the_split_of_an_evaluation_of_a_part(text, name, is_part):
    assert parse_split(text) == (name, is_part)


def test_a_part_of_a_split_is_drawn(data, tmp_path):
    write_result(tmp_path / "a", data, write_run(tmp_path / "run"))
    path = tmp_path / "a" / "evaluation.json"
    content = json.loads(path.read_text())
    content["data"]["split"] += " where occlusion >= 0 limit 100"
    path.write_text(json.dumps(content))
    scored, problems = load_scored(find_evaluations(tmp_path), tmp_path, [data])
    assert problems == {}
    assert not scored[0].is_borrowed.any()


def _sha(results: Path) -> str:
    return json.loads((results / "full" / "evaluation.json").read_text())["data"]["sha256"]


# ------------------------------------------------------------------------------------ the pieces


def test_nearer_triangles_hide_farther_ones():
    K = np.array([[100.0, 0, 31.5], [0, 100.0, 31.5], [0, 0, 1]])
    near = np.array([[-0.2, -0.2, 1], [0.2, -0.2, 1], [0, 0.2, 1.0]])
    vertices = np.concatenate([near, near * [4, 4, 2]])  # twice as far, twice as large on screen
    red, blue = (255, 0, 0), (0, 0, 255)
    image = draw_mesh(
        np.full((64, 64, 3), 255, np.uint8), vertices, np.arange(6).reshape(2, 3), K,
        np.array([red] * 3 + [blue] * 3),
    )  # fmt: skip
    assert image[31, 31].argmax() == 0 and image[31, 31, 2] == 0
    assert image[2, 5].argmax() == 2 and image[2, 5, 0] == 0
    assert (image[60, 2] == 255).all()
    with pytest.raises(ValueError, match="not in front of the camera"):
        draw_mesh(image, vertices - [0, 0, 3], np.arange(6).reshape(2, 3), K)


def test_the_rest_view_has_fingers_up_and_the_thumb_left(hands, layer):
    vertices, K = rest_view(hands.right.v_template)
    points = vertices @ K.T
    points = points[:, :2] / points[:, 2:]
    assert points.min() > 0 and points.max() < 480
    thumb, middle, wrist = points[745], points[444], points[hands.right.weights[:, 0].argmax()]
    assert middle[1] < wrist[1] and thumb[0] < middle[0]


def test_errors_are_coloured_up_to_the_top_of_the_scale():
    low, top, above = error_colours(np.array([0.0, 10.0, 99.0]), 10.0)
    assert np.array_equal(top, above)
    assert low.sum() > top.sum()  # light is good


def test_motion_in_the_image_by_hand():
    joints = np.zeros((5, 21, 2))
    joints[1:, :, 0] = [[3.0], [7.0], [50.0], [54.0]]
    clip, frame = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 2])
    motion = image_motion(joints, np.full(5, 10.0), clip, frame)
    assert np.allclose(motion, [0.3, 0.35, 0.4, np.nan, np.nan], equal_nan=True)


def test_rank_correlation_is_within_windows():
    rng = np.random.default_rng(0)
    x = np.array([[1.0, 2, 3, 4, np.nan], [11, 12, 13, 14, 15]])
    found = rank_correlation(x, -np.exp(x), np.array([0, 1]))
    assert (found.value, found.num_windows) == (pytest.approx(-1), 2)
    assert found.interval == pytest.approx((-1, -1))
    assert str(found) == "−1.00 [−1.00, −1.00]"
    # between windows all falls, within them it rises
    level = np.arange(40)[:, None]
    y = np.arange(5) - 10.0 * level
    found = rank_correlation(np.arange(5) + 10.0 * level, y, np.arange(40) // 4)
    assert found.value == pytest.approx(1)
    # windows that do not vary, or have too few frames, tell nothing
    assert np.isnan(rank_correlation(x, np.ones((2, 5)), np.zeros(2, int)).value)
    assert str(rank_correlation(x, np.ones((2, 5)), np.zeros(2, int))) == "not known"
    few = np.where(np.arange(5) < 2, x, np.nan)
    assert rank_correlation(few, few, np.zeros(2, int)).num_windows == 0
    noise = rank_correlation(*rng.normal(size=(2, 400, 7)), np.arange(400) // 10)
    assert noise.interval[0] < 0 < noise.interval[1] and abs(noise.value) < 0.1


def test_what_is_due_to_motion_is_taken_out():
    rng = np.random.default_rng(1)
    motion = rng.normal(size=(500, 7))
    occlusion, weight = (motion + rng.normal(size=motion.shape) for _ in range(2))
    recording = np.arange(500) // 25
    assert rank_correlation(occlusion, weight, recording).value > 0.4
    left = rank_correlation(occlusion, weight, recording, motion).value
    assert abs(left) < 0.12  # ranks of seven are coarse
    both = rank_correlation(occlusion, weight + occlusion, recording, motion)
    assert both.interval[0] > 0.3


def test_likeness_is_nearness_to_the_mean_pose(results, data):
    scored, _ = load_scored(find_evaluations(results), results, [data])
    c = confidence(scored[0])
    truth, rows = scored[0].truth, scored[0].window_rows[~scored[0].is_borrowed]
    rows = rows[(np.diff(rows, axis=1) != 0).all(1)]
    assert c.weight.shape == (len(rows), 3) and len(c.recording) == len(rows)
    joints = truth.joints_m[np.searchsorted(truth.row, rows[0])]
    joints = joints - joints[:, :1]
    distance = np.linalg.norm(joints - joints.mean(0), axis=-1).mean(1)
    assert c.likeness[0] == pytest.approx(-1000 * distance)
    assert np.nansum(c.weight, 1) == pytest.approx(3)
    assert c.place[0].tolist() == [0, 1, 2]


def test_the_curves_of_a_training(tmp_path):
    write_run(tmp_path / "runs" / "a")
    (log,) = find_logs(tmp_path / "runs")
    # there is no root-aligned error in the log
    assert len(training_curves([log, log], "SYNTHETIC data").axes) == 5
    axes = training_curves([log], "SYNTHETIC data").axes
    lines = next(ax for ax in axes if ax.get_title("left").startswith("discriminator")).lines
    assert [list(line.get_ydata()) for line in lines] == [[0.3] * 4, [0.5] * 4, [0.5, 0.5]]
    empty = replace(log, train={}, validation={})
    assert "nothing was logged" in training_curves([empty], "").axes[0].texts[0].get_text()
