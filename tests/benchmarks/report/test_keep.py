"""What is kept in the repository: whole, small, the same twice, and of no machine."""

import csv
import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tyro

from benchmarks.evaluation.result import EVALUATION_FILE, read_evaluation, write_evaluation
from benchmarks.report import __main__ as report
from benchmarks.report.content import read_measured
from benchmarks.report.keep import FIRST_LINE, check_is_ours, write_kept_folder
from deformer.data.dataset import dataset_sha256
from deformer.files.whole import write_whole
from tests.benchmarks.drawn_results import write_result, write_run
from tests.benchmarks.evaluations import make_evaluation
from tests.commands import call

NAME = "built_for_training"
RUNS = {
    "lite_frames-seed0": {"fusion": "center", "point_loss": "huber", "adversarial": False},
    "tiny-seed0": {},
    "tiny-seed1": {},
    "tiny_center-seed0": {"fusion": "center"},
}
START = "runs/tried/lite_frames-seed0"
COMMAND = ("--results", "results/tried", "--runs", "runs/tried", "--keep", "kept/tried")


@pytest.fixture(scope="module")
def root(tmp_path_factory, data, result) -> Path:
    """A repository's root with runs, their results, the dataset, and what is kept of them."""
    root = tmp_path_factory.mktemp("keep")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(root)
        shutil.copytree(data, root / "shards" / NAME)
        for name, changed in RUNS.items():
            experiment, _, seed = name.rpartition("-seed")
            start = None if name in START else START
            run = write_run(Path("runs/tried") / name, 40, experiment, int(seed), start)
            fields = {"experiment": experiment, "seed": int(seed), **changed}
            write_result(Path("results/tried") / name, result, run, **fields)
        costs = {"base": "tiny", "machine": "a processor", "torch": "2", "batch": 8, "rows": []}
        write_whole(Path("results/tried/speed/networks.json"), json.dumps(costs))
        monkeypatch.setattr(report, "report_page", lambda *_: "drawn elsewhere")
        assert call(report.main, *COMMAND) == 0
    return root


@pytest.fixture
def here(root, monkeypatch) -> Path:
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def kept(here) -> Path:
    return here / "kept" / "tried"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes()
            for p in sorted(folder.rglob("*")) if p.is_file()}  # fmt: skip


# ----------------------------------------------------------------------------------- what is there


def test_the_files_are_few(kept):
    figures = {f"figures/{name}.png" for name in ("error_by_occlusion", "pck", "training")}
    tables = {f"tables/table{number}.csv" for number in (1, 2, 4, 5)}
    few = {"README.md", "evaluations.csv", "speed/tiny.json"}
    assert contents(kept).keys() == few | figures | tables


def test_an_evaluation_is_a_line_for_each_range_of_occlusion(kept):
    lines = list(csv.DictReader((kept / "evaluations.csv").open(newline="")))
    ranges = ["all", "25-50", "50-75", "75-100"]
    assert [(x["name"], x["occlusion"]) for x in lines] == [(n, o) for n in sorted(RUNS)
                                                            for o in ranges]  # fmt: skip
    (line,) = (x for x in lines if (x["name"], x["occlusion"]) == ("tiny-seed1", "all"))
    path = Path("results/tried/tiny-seed1") / EVALUATION_FILE
    scores = read_evaluation(path).metrics["all"]
    for metric in ("pa_mpjpe_mm", "ra_mpjpe_mm", "official_pa_mpjpe_auc"):
        assert line[metric] == f"{scores[metric]['mean']:.6g}"
    assert line["pa_mpjpe_mm_low"] == f"{scores['pa_mpjpe_mm']['interval'][0]:.6g}"
    assert (line["pa_mpvpe_mm"], line["frames"]) == ("", "25")  # no vertices
    expected = {
        "what": "Dynamic", "experiment": "tiny", "seed": "1", "step": "40",
        "began_with": START, "trained_in": "2 × NVIDIA H100, float32",
        "data_name": NAME, "data_split": "s0_train", "data_synthetic": "True",
        "data_sha256": dataset_sha256(Path("shards") / NAME),
        "evaluated_by": "python -m benchmarks.evaluate --out tiny-seed1",
        "trained_by": "train runs/tried/tiny-seed1",
    }  # fmt: skip
    assert {name: line[name] for name in expected} == expected


def test_the_page_is_short_and_says_what_was_measured(kept):
    text = (kept / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"{FIRST_LINE}\n\n# Measured on {NAME}\n\n**Everything here is measured")
    assert len(text.splitlines()) < 100
    sections = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert sections == [
        "Results", "What the paper claims, on these runs", "Figures", "Data and runs",
    ]  # fmt: skip
    (dynamic,) = (line for line in text.splitlines() if line.startswith("| Dynamic † |"))
    assert dynamic.count(" ± ") == 3 and dynamic.endswith("| 0, 1 |")
    (claim,) = (line for line in text.splitlines() if line.startswith("| Table 4 | dynamic"))
    assert "| too noisy to say (one seed) | +0.000 [+0.000, +0.000] | −0.50 |" in claim
    assert "\n\nNot measured: no frame is hidden by 75-100 %; no run of average that" in text
    shown = re.findall(r"!\[.+?\]\((.+?)\)\n\n\*.+\.\* \S", text)
    assert sorted(shown) == [n for n in contents(kept) if n.startswith("figures/")]
    assert "Trained on: 2 × NVIDIA H100, float32." in text
    *_, trained, evaluated, command = text.split("```")[1].strip().splitlines()
    assert trained == "train runs/tried/tiny-seed0"
    assert evaluated == "python -m benchmarks.evaluate --out tiny-seed0"
    assert command == f"python -m benchmarks.report {shlex.join(COMMAND)}"
    options = tyro.cli(report.Options, args=command.split()[3:])
    assert options.keep == Path("kept/tried")


def test_the_same_again_gives_the_same_bytes_and_takes_away_what_is_gone(kept):
    before = contents(kept)
    (kept / "evaluations.csv").write_text("changed")
    (kept / "tables" / "table4.csv").unlink()
    (kept / "stale.json").write_text("{}")
    command = f"python -m benchmarks.report {shlex.join(COMMAND)}"
    measured = read_measured(Path("results/tried"), Path("runs/tried"))
    write_kept_folder(measured, Path("kept/tried"), command)
    assert contents(kept) == before
    assert list(kept.parent.iterdir()) == [kept]


# ------------------------------------------------------------------------------------ what is not


def test_a_folder_that_is_not_ours_is_refused_and_left_alone(here, monkeypatch, capsys):
    out = here / "mine"
    check_is_ours(out)
    out.mkdir()
    check_is_ours(out)  # empty
    (out / "notes.md").write_text("mine")
    assert call(report.main, *COMMAND[:-1], "mine") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "mine holds files and no README.md that this program wrote" in said
    (out / "README.md").write_text(f"# Mine\n{FIRST_LINE}\n")  # not at its beginning
    assert call(report.main, *COMMAND[:-1], "mine") == 1
    assert contents(out).keys() == {"README.md", "notes.md"}
    (out / "README.md").write_text(f"{FIRST_LINE}\n")
    check_is_ours(out)
    (here / "link").symlink_to(out, target_is_directory=True)
    for path in (here / "link", out / "README.md"):
        with pytest.raises(FileExistsError, match="is no folder"):
            check_is_ours(path)


def test_absolute_paths_are_refused(here, result, tmp_path, capsys):
    assert call(report.main, *COMMAND, "--data", here / "shards" / NAME) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"this command names {here}/shards/{NAME}, an absolute path" in said
    path = Path("results/tried/constant") / EVALUATION_FILE
    method = make_evaluation({"method": "[36]", "predictions": "~me/pred.json"})
    by_command = replace(
        make_evaluation({"method": "x", "predictions": "y"}),
        command="python x --data=/data/dexycb",
    )
    for evaluation, word in ((method, "~me/pred.json"), (by_command, "--data=/data/dexycb")):
        write_evaluation(path, evaluation)
        assert call(report.main, *COMMAND[:-1], "elsewhere") == 1
        said = " ".join(capsys.readouterr().err.split())
        assert f"evaluation constant names {word}, an absolute path" in said
    shutil.rmtree(path.parent)
    for change in ({"start": "/elsewhere/start"}, {}):
        name = tmp_path / "runs" if not change else Path("runs/tried")
        run = write_run(name / "new", 40, "tiny", **change)
        write_result(Path("results/tried/new"), result, run)
        assert call(report.main, *COMMAND[:-1], "elsewhere") == 1
        said = " ".join(capsys.readouterr().err.split())
        assert f"evaluation new names {change.get('start', run)}, an absolute path" in said
        shutil.rmtree(run)
        shutil.rmtree("results/tried/new")
    assert not Path("elsewhere").exists()


def test_nothing_and_frames_that_are_not_here_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(report.main, "--keep", "kept") == 1
    assert "results holds no evaluation.json" in capsys.readouterr().err
    write_evaluation(Path("results/one") / EVALUATION_FILE, make_evaluation())
    assert call(report.main, "--keep", "kept") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "one cannot be compared frame by frame (the dataset dexycb is not here" in said
    assert not Path("kept").exists()
