"""The six tables: published beside measured, each labelled, synthetic never mistaken."""

import csv
import io

import pytest

from benchmarks.evaluation.result import write_evaluation
from benchmarks.tables import __main__ as tables
from benchmarks.tables.render import to_csv, to_latex, to_markdown
from benchmarks.tables.rows import fill_tables
from tests.benchmarks.evaluations import HO3D, SYNTHETIC, make_evaluation, make_metrics
from tests.commands import call

OCCLUDED = SYNTHETIC | {"split": "s3_test"}


def table_of(number: int, *evaluations):
    return fill_tables(evaluations)[number - 1]


def markdown_row(filled, name: str, block: str = "Measured") -> list[str]:
    """The words of a row of the first block whose title holds `block`."""
    text = to_markdown(filled).split(block, 1)[1]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return next([w.strip() for w in words] for words in lines if words[0].strip() == name)


# ------------------------------------------------------------------------------ no results at all


def test_without_results_every_row_is_published_and_names_its_command():
    for filled in fill_tables([]):
        assert (filled.recorded, filled.synthetic) == ((), ())
        text = to_markdown(filled)
        assert "**Measured" not in text
        names = [name for names in filled.unmeasured.values() for name in names]
        assert sorted(names) == sorted(row.name for row in filled.published)
        for command in filled.unmeasured:
            assert f"`{command}`" in text
    assert markdown_row(table_of(1), "Ours", "Published")[:4] == [
        "Ours", "Sequence", "5.22 (89.6)", "5.71 (88.6)",
    ]  # fmt: skip
    assert markdown_row(table_of(2), "Ours", "Published") == [
        "Ours", "13.64 (74.0)", "31.7", "published",
    ]  # fmt: skip
    assert "benchmarks.ablations --preset paper --data shards/ho3d" in to_markdown(table_of(6))


# ------------------------------------------------------------------------------------ measured rows


def test_a_measured_row_says_what_it_is_of():
    filled = table_of(1, make_evaluation())
    assert len(filled.recorded) == 1
    assert markdown_row(filled, "Ours", "Measured on recordings") == [
        "Ours", "Sequence", *["6.43 (88.1)"] * 4, "6.54 (87.7)",
        "measured: dexycb (dexycb) s0_test, 40 frames; experiment dexycb, checkpoint runs/dexycb, "
        "step 1,234; trained on dexycb s0_train; hand mano; float32; seed 0",
    ]  # fmt: skip
    assert "Ours" not in [name for names in filled.unmeasured.values() for name in names]


def test_accelerations_are_in_both_units_and_the_papers_is_commented():
    filled = table_of(2, make_evaluation())
    assert markdown_row(filled, "Ours")[1:3] == ["14.57 (71.1)", "2.22 (2.00)"]
    assert "Accel in mm/frame² (m/s²)" in to_markdown(filled).split("Measured on recordings")[1]
    for text in (to_markdown(filled), to_latex(filled)):
        assert "cannot be meant literally" in text


@pytest.mark.parametrize("number", [1, 3, 4, 5, 6])
def test_both_alignments_are_named_where_they_are_read(number):
    filled = table_of(number, make_evaluation(data=HO3D if number in (3, 6) else None))
    for text in (to_markdown(filled), to_latex(filled)):
        assert "align" in text and "mirrors a hand where that fits better" in text
        assert "never mirrored" in text
    lines = list(csv.DictReader(io.StringIO(to_csv(filled))))
    kinds = {line["kind"] for line in lines if line["column"].endswith("_unmirrored")}
    assert kinds == {"recorded"}  # nobody published such numbers


def test_mesh_columns_and_what_is_not_known():
    row = markdown_row(table_of(3, make_evaluation(data=HO3D)), "Ours")
    assert row[2:8] == ["6.4", "7.8", "54.3", "95.5", "6.5", "7.9"]
    evaluation = make_evaluation(metrics=make_metrics(empty=("75-100",)))
    assert markdown_row(table_of(1, evaluation), "Ours")[2:6] == [*["6.43 (88.1)"] * 3, "–"]
    without_mesh = make_evaluation(data=HO3D, metrics=make_metrics(mesh=False))
    assert markdown_row(table_of(3, without_mesh), "Ours")[2:6] == ["6.4", "–", "–", "–"]
    lines = csv.DictReader(io.StringIO(to_csv(table_of(1, evaluation))))
    empty = [x for x in lines if x["kind"] == "recorded" and x["column"] == "75-100"]
    assert [x["value"] for x in empty] == [""]


def test_seeds_become_mean_and_deviation():
    evaluations = [
        make_evaluation({"seed": i, "checkpoint": f"runs/{i}"}, metrics=make_metrics(shift_mm))
        for i, shift_mm in enumerate((-0.5, 0.0, 0.5))
    ]
    row = markdown_row(table_of(1, *evaluations), "Ours")
    assert row[2] == "6.43 ± 0.50 (88.1 ± 0.0)"
    assert row[-1].endswith(
        "runs/0, runs/1, runs/2, step 1,234; trained on dexycb s0_train; hand mano; float32; "
        "seeds (mean ± standard deviation) 0, 1, 2"
    )


def test_what_differs_by_more_than_the_seed_is_not_averaged():
    one = make_evaluation()
    for other in (
        make_evaluation({"seed": 1, "step": 99}),
        make_evaluation({"seed": 1, "hand": "standin"}),
        make_evaluation({"seed": 1}, {"split": "s1_test"}),
    ):
        assert len(table_of(1, one, other).recorded) == 2
    with pytest.raises(ValueError, match="the same run twice is no second sample"):
        table_of(1, one, make_evaluation({"checkpoint": "runs/again"}))


# ----------------------------------------------------------------------------------- synthetic data


def test_synthetic_rows_stand_apart_and_are_marked_in_every_format():
    filled = table_of(1, make_evaluation({"hand": "standin"}, SYNTHETIC), make_evaluation())
    assert (len(filled.recorded), len(filled.synthetic)) == (1, 1)
    markdown, latex, text = to_markdown(filled), to_latex(filled), to_csv(filled)
    published, recorded, synthetic = markdown.split("\n**")[1:]
    assert "synthetic" not in (published + recorded).lower()
    assert synthetic.startswith("† Measured on synthetic data: these say that the program runs")
    row = markdown_row(filled, "Ours †", "synthetic data")
    assert "demo (dexycb) s0_test, 40 frames, SYNTHETIC" in row[-1]
    assert r"Ours $\dagger$ & Sequence" in latex
    assert "SYNTHETIC" in latex
    lines = [x for x in csv.DictReader(io.StringIO(text)) if "demo (dexycb)" in x["source"]]
    assert {x["kind"] for x in lines} == {"synthetic"} and len(lines) == 10


@pytest.mark.parametrize(
    ("number", "run", "data"),
    [
        (1, {}, SYNTHETIC),
        (1, {}, {"split": "s1_test"}),
        (1, {"experiment": "tiny"}, {}),
        (3, {"experiment": "ho3d"}, HO3D | {"dataset": "ho3d_v3"}),
    ],
)
def test_what_is_not_as_in_the_paper_leaves_its_row_unmeasured(number, run, data):
    filled = table_of(number, make_evaluation(run, data))
    assert len(filled.recorded + filled.synthetic) == 1
    assert "Ours" in [name for names in filled.unmeasured.values() for name in names]


# ------------------------------------------------------------------------ which row of which table


def names_in_tables(evaluation) -> dict[int, str]:
    filled = fill_tables([evaluation])
    return {f.table.number: row.name for f in filled for row in (*f.recorded, *f.synthetic)}


@pytest.mark.parametrize(
    ("run", "data", "expected"),
    [
        ({}, {}, {1: "Ours", 2: "Ours", 4: "Dynamic", 5: "✓ ✓"}),
        ({"fusion": "center"}, {}, {4: "Center"}),
        ({"fusion": "average"}, {}, {4: "Average"}),
        ({"fusion": "occlusion"}, {}, {4: "Weighted (Occlusion Level)"}),
        ({"point_loss": "mse", "adversarial": False}, {}, {5: "✗ ✗"}),
        ({"point_loss": "mse"}, {}, {5: "✗ ✓"}),
        ({"adversarial": False}, {}, {5: "✓ ✗"}),
        ({"fusion": "center", "point_loss": "mse"}, {}, {}),
        ({}, HO3D, {3: "Ours", 6: "Dynamic"}),
        ({"fusion": "average"}, HO3D, {6: "Average"}),
        ({"method": "[36]", "predictions": "hpe.txt"}, {}, {1: "[36]", 2: "[36]"}),
        ({"method": "New", "predictions": "p.json"}, HO3D, {3: "New"}),
        # the rows of HO-3D alone are measured on the benchmark as well
        ({"method": "[20]", "predictions": "p"}, OCCLUDED, dict.fromkeys((1, 2, 3), "[20]")),
        ({"method": "[20]", "predictions": "p"}, SYNTHETIC, dict.fromkeys((1, 2), "[20]")),
        ({"fusion": "average"}, OCCLUDED, {4: "Average"}),
    ],
)
def test_the_row_follows_from_the_fields(run, data, expected):
    assert names_in_tables(make_evaluation(run, data)) == expected


def test_methods_stand_in_the_papers_order_with_their_input_then_others():
    methods = [
        make_evaluation({"method": name, "predictions": f"{i}.txt"})
        for i, name in enumerate(("New", "[36]", "A2J [55]"))
    ]
    rows = table_of(1, *methods, make_evaluation()).recorded
    assert [(row.name, row.input) for row in rows] == [
        ("A2J [55]", "Depth"), ("[36]", "Monocular"), ("Ours", "Sequence"), ("New", "–"),
    ]  # fmt: skip
    assert rows[0].source.endswith("40 frames; predictions: 2.txt")


# -------------------------------------------------------------------------------------- the formats


def test_csv_says_of_every_number_where_it_comes_from():
    lines = list(csv.DictReader(io.StringIO(to_csv(table_of(2, make_evaluation())))))
    published, measured, missing = (
        [x for x in lines if x["kind"] == kind]
        for kind in ("published", "recorded", "not measured")
    )
    assert len(published) == 21
    assert [x["column"] for x in measured] == [
        "root_aligned", "root_aligned_auc", "accel", "accel_m_per_s2",
    ]  # fmt: skip
    first = measured[0]
    assert (first["value"], first["low"], first["high"]) == ("14.567", "13.1103", "16.0237")
    assert first["command"].startswith("python -m benchmarks.evaluate")
    assert first["source"].endswith(
        "step 1,234; trained on dexycb s0_train; hand mano; float32; seed 0"
    )
    assert [x["unit"] for x in measured] == ["mm", "%", "mm/frame²", "m/s²"]
    assert len(missing) == 6
    assert all(x["command"] and not x["value"] for x in missing)


def test_latex_is_whole():
    for filled in fill_tables([make_evaluation(), make_evaluation(data=SYNTHETIC)]):
        text = to_latex(filled)
        body = "\n".join(x for x in text.splitlines() if not x.startswith("% "))
        assert body.isascii()
        assert body.count("{") == body.count("}")
        assert "\n[" not in body  # it would be the argument of the line break before it
        columns = 1 + filled.table.has_input + len(filled.table.columns)
        rows = [x for x in body.splitlines() if x.endswith(r"\\") and " & " in x]
        assert {x.count(" & ") for x in rows} == {columns - 1}


def test_files_are_written_and_a_bad_one_is_named(tmp_path, capsys):
    assert call(tables.main, "--results", tmp_path / "none") == 0
    said = capsys.readouterr()
    assert "holds no evaluation.json: the tables show the published rows only" in said.err
    assert said.out.count("## Table ") == 6
    names = {f"table{i}{suffix}" for i in range(1, 7) for suffix in (".md", ".csv", ".tex")}
    assert {path.name for path in (tmp_path / "none" / "tables").iterdir()} == names
    path = tmp_path / "demo" / "evaluation.json"
    write_evaluation(path, make_evaluation(data=SYNTHETIC))
    assert call(tables.main, "--results", tmp_path) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "tables" / "table1.md").read_text() in printed
    assert "Ours †" in printed
    path.write_text("{}")
    assert call(tables.main, "--results", tmp_path) == 1
    assert f"{path} is no evaluation" in capsys.readouterr().err.replace("\n", "")
