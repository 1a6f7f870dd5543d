"""The report: one file that needs nothing else, says what is synthetic, and works without parts."""

from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.compare.versus import compare_rivals
from benchmarks.evaluation.result import write_evaluation
from benchmarks.report import __main__ as report
from benchmarks.report.content import read_measured, results_grids, trainings_grid
from benchmarks.report.pages import (
    LEGEND,
    draw_training,
    kept_page,
    report_page,
    training_groups,
)
from benchmarks.report.rivals import commands_of_costs
from benchmarks.rivals import RIVALS
from benchmarks.speed.networks import Cost, Costs
from tests.benchmarks.drawn_results import write_result, write_run
from tests.benchmarks.evaluations import SYNTHETIC, make_evaluation, make_metrics
from tests.commands import call

_VOID = {"meta", "img", "br", "hr", "link", "input"}


class Reader(HTMLParser):
    """Collects what a page refers to; raises where tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: dict[str, list[str]] = {"id": [], "src": [], "href": []}
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in self.found:
                self.found[name].append(value)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def check_self_contained(text: str) -> Reader:
    reader = Reader(text)
    ids, sources, links = reader.found.values()
    assert all(s.startswith("data:image/") for s in sources)
    assert all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= set(ids)
    assert len(set(ids)) == len(ids)
    assert not reader.tags & {"script", "link", "iframe", "object", "base"}
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    return reader


def section(text: str, key: str) -> str:
    start = text.index(f'<section id="{key}">')
    return text[start : text.index("</section>", start)]


@pytest.fixture(scope="module")
def written(tmp_path_factory, data, result) -> Path:
    """The folder of a report of one run, with its parts."""
    root = tmp_path_factory.mktemp("report")
    run = write_run(root / "runs" / "full")
    write_run(root / "runs" / "other")
    write_result(root / "results" / "a" / "full", result, run)
    sheet = root / "results" / data.name / "shards.png"
    sheet.parent.mkdir()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(sheet)
    report.run(report.Options(root / "results", root / "runs", (data,)))
    return root


@pytest.fixture(scope="module")
def text(written) -> str:
    return (written / "results" / "report.html").read_text()


# ---------------------------------------------------------------------------------- a whole report


def test_it_needs_nothing_but_itself(text):
    reader = check_self_contained(text)
    assert len(reader.found["src"]) == 5  # 2 of the split, hands, trainings, contact sheet
    keys = {"about", "data", "training", "tables", "claims", "figures", "how", "missing"}
    assert keys == set(reader.found["id"])
    assert 'name="viewport"' in text and "@media print" in text


def test_it_says_first_what_was_measured_and_that_it_is_synthetic(text):
    top = text[text.index("<header>") : text.index("</header>")]
    assert "On synthetic data (built_for_training, s0_train, 25 frames)" in top
    assert "SYNTHETIC data" in top
    assert "which this does not compare with" in top
    assert "Model: Dynamic, trained for 40 steps as tiny." in top
    assert 'alt="Predicted hands, seen and hidden. SYNTHETIC data' in top


def test_it_holds_the_parts_that_a_reader_looks_for(written, text):
    for words in (
        "the stand-in hand (not MANO)", "Valid frames by how much", "20.00 → 12.00",
        "<td>other</td>", "Published (Fu et al., ICCV 2023)",
        "† Measured on synthetic data: these say", "torch", "cores to use",
        "2 × NVIDIA H100, float32", f"train {written / 'runs' / 'full'}\n",
    ):  # fmt: skip
        assert words in text.replace("</code>", "\n"), words
    claims = section(text, "claims")
    assert "Nothing to compare yet" in claims and "<table" not in claims
    assert "benchmarks.ablations --preset tiny --data shards/built_for_training<" in claims


def test_recordings_are_called_recordings(tmp_path, result):
    none = tmp_path / "none"
    write_result(tmp_path / "full", result, write_run(tmp_path / "run"), synthetic=False)
    report.run(report.Options(tmp_path, none, (none,)))  # draws nothing
    top = (tmp_path / "report.html").read_text().split("</header>")[0]
    assert "Everything measured here is of recordings." in top
    assert "synthetic" not in top.split("<body>")[1].lower()


def test_predicted_clips_are_linked(tmp_path):
    page = tmp_path / "clip" / "a & b.hands.html"
    page.parent.mkdir()
    page.write_text("")
    report.run(report.Options(tmp_path, tmp_path / "none"))
    html = (tmp_path / "report.html").read_text()
    assert '<a href="clip/a%20%26%20b.hands.html">a &amp; b.hands.html</a>' in html
    assert '<a href="clip/a%20%26%20b.hands.mp4">the overlay</a>' in html


# -------------------------------------------------------------------------------- runs that compare


def test_the_claims_are_judged_where_runs_can_be_compared(tmp_path, data, result):
    for name, changed in (
        ("full", {}),
        ("mse", {"experiment": "tiny_mse", "point_loss": "mse"}),
        ("frames", {"experiment": "lite_frames", "fusion": "center"}),
    ):
        run = write_run(tmp_path / "runs" / name, start="runs/<start>")
        write_result(tmp_path / name, result, run, **changed)
    measured = read_measured(tmp_path, tmp_path / "runs", (data,))
    page = report_page(measured, tmp_path, None, "this")
    assert "runs/&lt;start&gt;</td>" in page  # text is escaped
    html = section(page, "claims")
    assert "tiny, step 40 · SYNTHETIC data · built_for_training, s0_train · 25 frames of" in html
    rows = [row for row in html.split("<tr>") if row.startswith("<td>")]
    assert [row[len("<td>") : row.index("</td>")] for row in rows] == ["Table 5", "Fig. 3"]
    assert ">−0.41<" in rows[0] and "maxMSE errs less than MSE" in rows[0]
    assert "no run of center that was trained" in html
    assert "lite_frames" not in html  # nothing is ever compared with it
    kept = kept_page(measured, [], "this")
    assert LEGEND in kept and "## Rivals" not in kept and 'id="rivals"' not in page


def test_rivals_stand_beside_the_whole_method_with_what_they_cost(tmp_path, data, result):
    for name, changed in (
        ("full", {}),
        ("vibe", {"experiment": "tiny_vibe", "network": "benchmarks.rivals:vibe"}),
    ):
        write_result(tmp_path / name, result, write_run(tmp_path / "runs" / name), **changed)
    path = tmp_path / "mp" / "evaluation.json"
    data_of = read_measured(tmp_path, tmp_path).evaluations["full"].data
    method = make_evaluation({"method": "MediaPipe", "predictions": "found: 62%"}, asdict(data_of))
    write_evaluation(path, method)
    measured = read_measured(tmp_path, tmp_path / "runs", (data,))
    missing = "python -m benchmarks.speed networks --base tiny --out results/speed/tiny"
    versus = compare_rivals(measured.items)
    assert commands_of_costs(versus, measured.costs, "results") == [missing]

    costs = Costs("tiny", "a processor, one thread", "2", 8, (
        Cost("benchmarks.rivals:vibe", 128, 7, 1.304, 0.0902, 23.1),
    ))  # fmt: skip
    measured = replace(measured, costs={"tiny": costs})
    page = report_page(measured, tmp_path, None, "this")
    check_self_contained(page)
    html = section(page, "rivals")
    assert "Ours is tiny, step 40. Frames/s: a processor, one thread<" in html
    assert "benchmarks.speed" not in html
    lines = [line for line in kept_page(measured, [], "this").splitlines() if "PA" not in line]
    (vibe,) = (line for line in lines if line.startswith("| VIBE † | 22."))
    assert "| +0.00 [+0.00, +0.00]: too noisy to say (one seed) | – | +0.00" in vibe
    costs, about = "1.30 | 0.0902 | 23.1", "VIBE [29] (Tables 1, 2, 3) | tiny_vibe, step 40 | 0"
    assert vibe.endswith(f"| {costs} | {about} | {RIVALS['vibe'].differs} |")
    (row,) = (line for line in lines if line.startswith("| MediaPipe † | 6.54 /"))
    assert row.endswith("| – | – | – | – | – | – | found: 62% |") and ": too noisy" not in row
    assert html.index("Dynamic †") < html.index("MediaPipe †") < html.index("VIBE †")


def test_results_of_a_split_stand_in_one_grid_seeds_together():
    runs = [make_evaluation({"seed": seed}, SYNTHETIC, make_metrics(seed)) for seed in (0, 1)]
    runs.append(make_evaluation({"experiment": "dexycb_center", "fusion": "center"}, SYNTHETIC,
                                make_metrics(empty=("75-100",))))  # fmt: skip
    runs.append(make_evaluation({"method": "constant hand", "predictions": "x"}, SYNTHETIC))
    recorded, grid = results_grids([*runs, make_evaluation()])
    assert [row[0] for row in recorded.rows] == ["Dynamic"]
    assert grid.title == "SYNTHETIC data · demo, s0_test · 40 frames"
    by_label = {row[0]: row[1:] for row in grid.rows}
    assert list(by_label) == ["constant hand †", "Dynamic †", "Center †"]
    assert by_label["Dynamic †"][:2] == ("dexycb, step 1,234", "7.04 ± 0.71 / 14.57 ± 0.00")
    assert by_label["Dynamic †"][-1] == "0, 1" and by_label["constant hand †"][-1] == "–"
    assert by_label["Center †"][4] == "– / –"


def test_a_figure_of_trainings_is_of_one_experiment_one_seed_and_one_length(tmp_path):
    for seed in (0, 1):
        for name in ("tiny", "tiny_center"):
            write_run(tmp_path / f"{name}-seed{seed}", 20, name, seed)
    write_run(tmp_path / "tiny_nearby-seed0", 30, "tiny_nearby")
    (tmp_path / "tiny_nearby-seed0" / "checkpoints").rename(tmp_path / "away")
    measured = read_measured(tmp_path / "none", tmp_path, (tmp_path,))
    groups = training_groups(measured.logs)
    titles = [draw_training(group, measured).figure.get_suptitle() for group in groups]
    assert titles == [f"Training\n{name}\ndata not known" for name in (
        "2 runs of tiny, seed 0", "2 runs of tiny, seed 1", "tiny_nearby-seed0",
    )]  # fmt: skip
    rows = {row[0]: row for row in trainings_grid(measured.logs).rows}
    assert rows["tiny_nearby-seed0"][1:] == ("not known", "–", "30", "–", "–", "20.00 → 12.00")


# ------------------------------------------------------------------------------------ parts missing


def test_with_nothing_at_all_it_says_what_to_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(report.main) == 0
    said = capsys.readouterr().err
    assert "results/report.html" in said and "nothing is measured yet: python -m benchm" in said
    text = (tmp_path / "results" / "report.html").read_text()
    check_self_contained(text)
    assert "Nothing is measured yet" in text
    for program in ("pipelines.synthesize", "pipelines.build_shards", "deformer.train",
                    "benchmarks.evaluate", "benchmarks.ablations --preset tiny"):  # fmt: skip
        assert f"python -m {program}" in text
    assert text.count("Published (Fu et al., ICCV 2023)") == 6


def test_without_dataset_and_runs_the_tables_are_there_and_figures_say_why(written, tmp_path):
    empty, out = tmp_path / "empty", tmp_path / "r.html"
    report.run(report.Options(written / "results", empty, (empty,), out))
    text = out.read_text()
    check_self_contained(text)
    assert "† Measured on synthetic data: these say" in text
    assert "name its folder by --data" in text
    assert "is no built dataset" in text
    assert "No run is in" in text


def test_tables_keep_kinds_apart_and_an_empty_bin_is_a_dash(tmp_path):
    evaluations = {
        "a": make_evaluation(),
        "b": make_evaluation({"hand": "standin"}, SYNTHETIC, make_metrics(empty=("75-100",))),
    }
    measured = replace(read_measured(tmp_path, tmp_path), evaluations=evaluations, datasets=[])
    html = report_page(measured, tmp_path, None, "this")
    check_self_contained(html)
    assert "Some of what is measured here is of SYNTHETIC data, marked †" in html
    table = section(html, "tables").split("<h3>Table ")[1]
    published, recorded, synthetic = table.split("<tbody ")[1:]
    assert 'class="published"' in published and "5.22\u00a0(89.6)" in published
    assert 'class="recorded"' in recorded and "SYNTHETIC" not in recorded
    assert "Ours †" in synthetic and '<td class="number">–</td>' in synthetic
