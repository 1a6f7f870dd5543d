"""The report: one file that needs nothing else, says what is synthetic, and works without parts."""

import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from benchmarks.claims.render import LEGEND
from benchmarks.material import gather
from benchmarks.report.html_parts import Section, escape, page, table
from benchmarks.report.sections import claims_section
from benchmarks.report.tables import paper_table
from PIL import Image

from benchmarks.evaluation.training_log import find_logs
from benchmarks.report import __main__ as report
from benchmarks.report import runs
from benchmarks.tables.rows import fill_tables
from tests.benchmarks.drawn_results import write_result, write_run
from tests.benchmarks.evaluations import SYNTHETIC, make_evaluation, make_metrics
from tests.deformer.small_runs import build_dataset

_VOID = {"meta", "img", "br", "hr", "link", "input"}


class Reader(HTMLParser):
    """Collects what a page refers to; raises where tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.sources += [found["src"]] if "src" in found else []
        self.links += [found["href"]] if "href" in found else []
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def check_self_contained(text: str) -> Reader:
    reader = Reader(text)
    assert all(s.startswith("data:image/") for s in reader.sources)
    assert all(link.startswith("#") for link in reader.links)
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert len(set(reader.ids)) == len(reader.ids)
    assert not reader.tags & {"script", "link", "iframe", "object", "base"}
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    return reader


@pytest.fixture(scope="module")
def written(tmp_path_factory, raw_root) -> Path:
    """The folder of a report of one run, with its parts."""
    root = tmp_path_factory.mktemp("report")
    data = build_dataset(raw_root)
    run = write_run(root / "runs" / "full")
    write_run(root / "runs" / "other")
    write_result(root / "results" / "full", data, run)
    sheet = root / "results" / data.name / "shards.png"
    sheet.parent.mkdir()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(sheet)
    report.write_report(report.Options(root / "results", root / "runs", (data,)))
    return root


@pytest.fixture(scope="module")
def text(written) -> str:
    return (written / "results" / "report.html").read_text()


# ---------------------------------------------------------------------------------- a whole report


def test_it_needs_nothing_but_itself(text):
    reader = check_self_contained(text)
    assert len(reader.sources) == 14  # 3 of the split, 9 of the run, training, contact sheet
    assert text.count("data:image/svg+xml") + text.count("data:image/png") == 13
    keys = {"about", "data", "training", "tables", "claims", "figures", "how", "missing"}
    assert keys <= set(reader.ids)
    assert 'name="viewport"' in text and "@media print" in text


def test_it_says_first_what_was_measured_and_that_it_is_synthetic(text):
    top = text[text.index("<header>") : text.index("</header>")]
    assert "On synthetic data (built_for_training, s0_train, 25 frames)" in top
    assert "SYNTHETIC data" in top
    assert "which this does not compare with" in top


def test_it_holds_the_parts_that_a_reader_looks_for(text):
    for words in (
        "the stand-in hand (not MANO)", "Valid frames by how much", "best validation",
        "12.00 at step 40", "Also there, not evaluated: other.", "Published (Fu et al., ICCV 2023)",
        "† Measured on synthetic data: these say", "The worst failures", "torch", "cores to use",
        "python -m benchmarks.ablations --preset tiny --data shards/built_for_training --only "
        "full mse", "Seeds: 0.",
    ):  # fmt: skip
        assert words in text, words


def test_its_commands_repeat_its_own_options(written, text, raw_root):
    results, data = f"--results {written / 'results'}", f"--data {build_dataset(raw_root)}"
    for options in (
        f"tables {results}\n", f"claims {results} {data}\n", f"figures {results} {data}\n",
        f"report {results} --runs {written / 'runs'} {data}<",
    ):  # fmt: skip
        assert f"python -m benchmarks.{options}" in text


def test_the_claims_are_judged_where_runs_can_be_compared(tmp_path, raw_root):
    data = build_dataset(raw_root)
    for name, changed in (
        ("full", {}),
        ("mse", {"experiment": "tiny_mse", "point_loss": "mse"}),
        ("frames", {"experiment": "tiny_occluded_frames", "fusion": "center"}),
    ):
        write_result(tmp_path / name, data, Path("runs") / name, **changed)
    material = gather(tmp_path, tmp_path / "none", (data,))
    html = claims_section(material)
    Reader(html)
    assert "tiny, step 40 · SYNTHETIC data · built_for_training, s0_train · 25 frames" in html
    assert "Runs: tiny (seed 0), tiny_mse (seed 0)." in html
    rows = [row for row in html.split("<tr>") if row.startswith("<td>")]
    sources = [row[len("<td>") : row.index("</td>")] for row in rows]
    assert sources == ["Table 5", "Fig. 3"]  # no frame is in a bin of occlusion
    assert ">−0.41<" in rows[0] and ">−0" not in rows[1]  # what the paper prints
    assert "maxMSE errs less than MSE" in rows[0] and "PA-MPJPE in mm, all" in rows[0]
    errors = material.scored[0].values["pa_mpjpe_mm"].mean()  # both have the same noise
    assert rows[0].count(f">{errors:.2f}<") == 2
    assert ">+0.000 [+0.000, +0.000]<" in rows[0] and ">too noisy to say (one seed)<" in rows[0]
    assert html.count(escape(LEGEND)) == 1
    assert "no run of tiny_center; " in html
    assert "benchmarks.ablations --preset tiny --data shards/built_for_training</code>" in html
    assert "tiny_occluded_frames" not in html  # nothing is ever compared with it
    again = replace(material.scored[0], name="again")
    twice = claims_section(replace(material, scored=[*material.scored, again]))
    assert "the same run twice is no second sample" in twice


def test_without_runs_to_compare_it_says_what_makes_them(text):
    section = text[text.index('<section id="claims">') : text.index('<section id="figures">')]
    assert "What the paper claims, on these runs" in section
    assert "Nothing to compare yet" in section and "<table" not in section
    command = "python -m benchmarks.ablations --preset tiny --data shards/built_for_training<"
    assert command in section


def test_recordings_are_called_recordings(tmp_path, raw_root):
    data, none = build_dataset(raw_root), tmp_path / "none"
    write_result(tmp_path / "full", data, write_run(tmp_path / "run"), synthetic=False)
    out = report.write_report(report.Options(tmp_path, none, (none,)))  # draws nothing
    top = out.read_text().split("</header>")[0]
    assert "Everything measured here is of recordings." in top
    assert "synthetic" not in top.split("<body>")[1].lower()


# ------------------------------------------------------------------------------------ parts missing


def test_with_nothing_at_all_it_says_what_to_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["report"])
    assert report.main() == 0
    assert "results/report.html" in capsys.readouterr().err
    text = (tmp_path / "results" / "report.html").read_text()
    check_self_contained(text)
    assert "Nothing is measured yet" in text
    for program in ("pipelines.synthesize", "pipelines.build_shards", "deformer.train",
                    "benchmarks.evaluate", "benchmarks.ablations --preset tiny"):  # fmt: skip
        assert f"python -m {program}" in text
    assert text.count("Published (Fu et al., ICCV 2023)") == 6


def test_without_dataset_and_runs_the_tables_are_there_and_figures_say_why(written, tmp_path):
    empty = tmp_path / "empty"
    out = tmp_path / "r.html"
    report.write_report(report.Options(written / "results", empty, (empty,), out))
    text = out.read_text()
    check_self_contained(text)
    assert "† Measured on synthetic data: these say" in text
    assert "name its folder by --data" in text
    assert "is no built dataset" in text
    assert "No run is in" in text


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "evaluation.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["report", "--results", str(tmp_path)])
    assert report.main() == 1
    assert "is no evaluation" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "report.html").exists()


# ------------------------------------------------------------------------------------- the pieces


def test_tables_keep_kinds_apart_and_an_empty_bin_is_a_dash():
    metrics = make_metrics(empty=("75-100",))
    filled = fill_tables(
        [make_evaluation(), make_evaluation({"hand": "standin"}, SYNTHETIC, metrics)]
    )
    html = paper_table(filled[0])
    Reader(html)
    published, recorded, synthetic = html.split("<tbody ")[1:]
    assert 'class="published"' in published and "5.22\u00a0(89.6)" in published
    assert 'class="recorded"' in recorded and "SYNTHETIC" not in recorded
    assert "Ours †" in synthetic and '<td class="number">–</td>' in synthetic


def test_a_figure_of_trainings_is_of_one_experiment_one_seed_and_one_length(tmp_path, monkeypatch):
    for seed in (0, 1):
        for name in ("tiny_occluded", "tiny_occluded_center"):
            write_run(tmp_path / f"{name}-seed{seed}", 20, name, seed)
    write_run(tmp_path / "tiny_occluded_frames-seed0", 40, "tiny_occluded_frames")
    write_run(tmp_path / "tiny_occluded_nearby-seed0", 30, "tiny_occluded_nearby")
    (tmp_path / "tiny_occluded_nearby-seed0" / "checkpoints").rename(tmp_path / "away")
    drawn = []
    monkeypatch.setattr(
        runs, "training_curves", lambda part, origin: drawn.append((len(part), origin))
    )
    monkeypatch.setattr(runs, "figure", lambda *_: "")
    runs.curves(find_logs(tmp_path), {})
    unknown = "data not known: no evaluation is of these runs"
    assert drawn == [
        (2, f"2 runs of tiny_occluded, seed 0 · {unknown}"),
        (2, f"2 runs of tiny_occluded, seed 1 · {unknown}"),
        (1, f"run tiny_occluded_frames-seed0 · {unknown}"),
        (1, f"run tiny_occluded_nearby-seed0 · {unknown}"),
    ]


def test_what_is_written_is_escaped():
    html = table(["<b>"], [["a & b"]])
    assert "&lt;b&gt;" in html and "a &amp; b" in html
    Reader(page("<t>", "", [Section("x", "1 < 2", "<p>y</p>")], "&"))
