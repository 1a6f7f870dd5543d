"""What is kept in the repository: whole, small, the same twice, and of no machine."""

import contextlib
import csv
import io
import json
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro
from benchmarks.claims.render import LEGEND
from benchmarks.keep import __main__ as keep
from benchmarks.keep import checks, figures
from benchmarks.keep.checks import check_paths
from benchmarks.keep.figures import draw_trainings, small_png
from benchmarks.keep.folder import check_is_ours
from benchmarks.keep.page import FIRST_LINE
from benchmarks.material import gather
from PIL import Image

from benchmarks.evaluation.result import EVALUATION_FILE, read_evaluation, write_evaluation
from benchmarks.figures.style import figure_bytes, new_figure
from deformer.data.dataset import dataset_sha256
from deformer.train import parse
from tests.benchmarks.drawn_results import write_result
from tests.benchmarks.evaluations import make_evaluation
from tests.benchmarks.keep.test_runs import MINUTES, train
from tests.benchmarks.test_repeat import MARK
from tests.deformer.small_runs import build_dataset

NAME = "built_for_training"
WINDOWS, FRAMES = "tiny_occluded_windows-seed0", "tiny_occluded_frames-seed0"
"""What the others start from, and what that starts from."""
RUNS = {
    WINDOWS: {"fusion": "center", "point_loss": "mse", "adversarial": False},
    "tiny_occluded-seed0": {},
    "tiny_occluded-seed1": {},
    "tiny_occluded_center-seed0": {"fusion": "center"},
    "tiny_occluded_mse-seed0": {"point_loss": "mse"},
}
COMMAND = ("--results", "results/tried", "--runs", "runs/tried", "--out", "kept/tried")


def call(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["keep", *map(str, arguments)])
    return keep.main()


@pytest.fixture(scope="module")
def root(tmp_path_factory, raw_root) -> Path:
    """A repository's root with runs of the whole method, two of them, of two ablations, and of
    what all start from; their results, the dataset, and what is kept of them in kept/tried."""
    root = tmp_path_factory.mktemp("keep")
    shutil.copytree(build_dataset(raw_root), root / "shards" / NAME)
    path = root / "shards" / NAME / "dataset.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"synthetic": info["synthetic"] | MARK}))
    with contextlib.chdir(root), pytest.MonkeyPatch.context() as monkeypatch:
        train(Path("runs/tried") / FRAMES, "tiny_occluded_frames", 0, None)
        for name, changed in RUNS.items():
            experiment, _, seed = name.rpartition("-seed")
            run, start = Path("runs/tried") / name, FRAMES if name == WINDOWS else WINDOWS
            train(run, experiment, int(seed), f"runs/tried/{start}", **changed)
            write_result(Path("results/tried") / name, Path("shards") / NAME, run, int(seed),
                         experiment=experiment, **changed)  # fmt: skip
        assert call(monkeypatch, *COMMAND) == 0
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


def test_the_files_are_those_that_a_reader_needs_and_small(kept):
    files = contents(kept)
    figures = {name for name in files if name.startswith("figures/")}
    split = {"error_by_occlusion", "gain_by_occlusion", "pck"}
    run = {"joint_errors", "confidence", "borrowing", "borrowed_error", "headroom"}
    assert figures == {
        *(f"figures/{NAME}-s0_train/{name}.png" for name in split),
        *(f"figures/tiny_occluded-seed0/{name}.png" for name in run),
        f"figures/training-{NAME}-tiny_occluded-step40.png",
        f"figures/training-{NAME}-tiny_occluded_windows-step40.png",
    }  # fmt: skip
    assert files.keys() - figures == {
        "README.md", "claims.csv", "runs.csv", "figures.csv",
        "tables/ablations.csv", *(f"tables/table{number}.csv" for number in (1, 2, 4, 5)),
        *(f"evaluations/{name}.json" for name in RUNS),
    }  # fmt: skip
    assert max(len(files[name]) for name in figures) < 150_000
    assert sum(map(len, files.values())) < 1_500_000
    for name in RUNS:
        written = (Path("results/tried") / name / EVALUATION_FILE).read_bytes()
        assert files[f"evaluations/{name}.json"] == written


def test_a_run_is_a_line(kept):
    lines = {line["name"]: line for line in csv.DictReader((kept / "runs.csv").open(newline=""))}
    assert lines.keys() == RUNS.keys()
    center = Path("results/tried/tiny_occluded_center-seed0")
    scores = read_evaluation(center / EVALUATION_FILE).metrics
    means = {name: f"{scores['all'][name]['mean']:.6g}" for name in
             ("pa_mpjpe_mm", "ra_mpjpe_mm", "accel_mm_per_frame2")}  # fmt: skip
    assert lines["tiny_occluded_center-seed0"] == {
        "name": "tiny_occluded_center-seed0", "experiment": "tiny_occluded_center", "seed": "0",
        "steps": "40", "fusion": "center", "point_loss": "max_mse", "adversarial": "yes",
        "start_from": f"runs/tried/{WINDOWS}", "trained_steps": "40",
        "minutes": "1.83333", "windows_per_s": "2", "saturation": "0.75",
        "start_pa_mpjpe_mm": "20", "start_mpjpe_mm": "120", "validation_pa_mpjpe_mm": "11.5",
        "validation_mpjpe_mm": "60", "trained_in": "bf16", "device": "NVIDIA H100",
        "processes": "2", "threads": "4", "processor": "a processor", "torch": "2.9",
        "synthetic": "yes", "data": NAME, "split": "s0_train",
        "frames": "25", "test_pa_mpjpe_mm": means["pa_mpjpe_mm"],
        "test_ra_mpjpe_mm": means["ra_mpjpe_mm"],
        "test_accel_mm_per_frame2": means["accel_mm_per_frame2"],
        "dataset_sha256": dataset_sha256(Path("shards") / NAME),
    }  # fmt: skip
    assert float(lines["tiny_occluded-seed1"]["minutes"]) == pytest.approx(MINUTES, rel=1e-5)
    start = lines[WINDOWS]
    assert (start["start_from"], start["adversarial"]) == (f"runs/tried/{FRAMES}", "no")


def test_numbers_of_the_figures_are_lines(kept):
    lines = list(csv.DictReader((kept / "figures.csv").open(newline="")))
    assert {x["name"] for x in lines if x["figure"] == "borrowed_error"} == RUNS.keys()
    assert all(float(x["low"]) <= float(x["value"]) <= 1 for x in lines if "share" in x["what"])
    assert len({(x["name"], x["what"]) for x in lines if x["figure"] == "confidence"}) == 6 * 3


def test_the_page_says_what_was_measured_and_shows_it(kept):
    text = (kept / "README.md").read_text(encoding="utf-8")
    assert text.startswith("<!-- written by python -m benchmarks.keep -->\n\n# Measured on ")
    sections = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert sections == [
        "The data", "What the paper claims, on these runs", "The ablations", "The runs", "Figures",
        "How to repeat it", "Versions and hardware",
    ]  # fmt: skip
    assert "**Everything here is measured on SYNTHETIC data**" in text
    assert f"`{dataset_sha256(Path('shards') / NAME)}`" in text
    for words in (
        "# Measured on occluded-hands", "| benchmark | occluded-hands, version 2 |",
        "pipelines.synthesize, version 1, seed 0", "200 sequences × 2 cameras × 72 frames",
        f"sha256 `{'ab' * 32}`", "mean 4.9, p90 8.3, left 5.1", "the stand-in hand (not MANO)",
        "--sequences 200 --cameras 2",
    ):  # fmt: skip
        assert words in text, words
    assert "| evaluated | s0_train: 25 frames |" in text
    claims = text[text.index("## What the paper") : text.index("## The ablations")]
    assert (
        "Runs: tiny_occluded (seeds 0, 1), tiny_occluded_center (seed 0), tiny_occluded_mse "
        "(seed 0). All seeds began with one and the same model, that of "
        f"runs/tried/{WINDOWS}: ± tells of chance in the training from there on, and nothing of "
        "chance before. Verdicts: "
    ) in claims
    assert LEGEND in claims
    assert "too noisy to say (one seed): " in claims and "no run of tiny_occluded_average" in claims
    row = next(x for x in claims.splitlines() if x.startswith("| Table 4 | dynamic fusion errs"))
    assert "| too noisy to say (one seed) | +0.000 [+0.000, +0.000] |" in row
    assert row.endswith("| −0.50 |")
    assert "**tiny_occluded_windows" not in claims  # no block: nothing is compared with it
    tables = text[text.index("## The ablations") : text.index("## The runs")]
    first, row = (line for line in tables.splitlines() if line.startswith("| Dynamic † |"))
    assert first.count(" ± ") == 3 and first.endswith("| 0, 1 |")
    assert row.endswith(
        "| tiny_occluded, step 40, seeds 0, 1 (mean ± standard deviation after a common start); "
        f"{NAME} s0_train, 25 frames |"
    )
    assert f"**tiny_occluded, step 40 · SYNTHETIC data · {NAME} s0_train**" in tables
    assert f"All seeds began with one and the same model, that of runs/tried/{WINDOWS}: " in tables
    row = next(line for line in tables.splitlines() if line.startswith("| Center † |"))
    assert row.endswith("| 0 |")  # its seed
    assert "as the row ✗ ✗ of this table" in tables  # what there is to say of Table 5
    assert "Table 5." in tables and "5.22" not in tables  # what was measured, and no published row
    assert (
        f"| tiny_occluded-seed1 | 40 | 1 | runs/tried/{WINDOWS} | 2 × NVIDIA H100, bf16 | 1.8 | "
        "2.0 | 0.75 | 20.00 → 11.50 | 120.00 → 60.00 |"
    ) in text
    shown = re.findall(r"!\[.+?\]\((.+?)\)\n\n\*.+\.\* \S", text)
    assert sorted(shown) == sorted(n for n in contents(kept) if n.startswith("figures/"))
    assert "*Confidence against occlusion and blur, tiny_occluded-seed0.*" in text
    assert "| 5 | 2 × NVIDIA H100, bf16 | a processor | 4 | 2.9 |" in text
    assert "| processor |" in text and "| commit |" not in text


def test_the_commands_are_ones_that_the_programs_take_in_their_order(kept):
    text = (kept / "README.md").read_text(encoding="utf-8")
    text = text[text.index("## How to repeat it") :]
    lines = [line for block in text.split("```")[1::2] for line in block.strip().splitlines()]
    assert lines[0] == 'make ablations PRESET=tiny MOTIONS=FILE SEEDS="0 1" STEPS=40'
    trainings = [line for line in lines if "deformer.train" in line]
    names = [re.search("--experiment ([a-z_]+) ", line)[1] for line in trainings]
    assert names[:2] == ["tiny_occluded_frames", "tiny_occluded_windows"]
    assert sorted(names[2:]) == ["tiny_occluded", "tiny_occluded_center", "tiny_occluded_mse"]
    loop = next(line for line in trainings if line.startswith("for "))
    assert loop.startswith(
        "for s in 0 1; do torchrun --nproc-per-node 2 -m deformer.train --experiment "
        f"tiny_occluded --data shards/{NAME} --out runs/tried/tiny_occluded-seed$s --steps 40 "
    )
    assert f"--start-from runs/tried/{WINDOWS} " in loop
    assert loop.endswith(" --precision bf16 --stream.seed $s; done")
    options = parse(shlex.split(loop[loop.index("-m") : -len("; done")].replace("$s", "1"))[2:])
    assert (options.config.stream.seed, options.out) == (1, Path("runs/tried/tiny_occluded-seed1"))
    evaluations = "python -m benchmarks.evaluate --out tiny_occluded-seed$s"
    assert f"for s in 0 1; do {evaluations}; done" in lines
    assert lines[-1] == f"python -m benchmarks.keep {' '.join(COMMAND)}"
    assert tyro.cli(keep.Options, args=lines[-1].split()[3:]).command == lines[-1]


def test_no_text_names_a_place_of_this_machine(kept, root):
    absolute = re.compile(r"(?<![\w.$:/-])(?:/[\w.-]+/|~/|[A-Za-z]:\\)")
    assert absolute.search(f"--data {root}") and absolute.search("`/home/me/x`")
    for name, data in contents(kept).items():
        if not name.endswith(".png"):
            found = absolute.search(data.decode())
            assert found is None, f"{name}: {data.decode()[found.start() - 40 : found.end() + 40]}"


def test_the_same_again_gives_the_same_bytes_and_takes_away_what_is_gone(kept, monkeypatch, capsys):
    before = contents(kept)
    (kept / "runs.csv").write_text("changed")
    (kept / "tables" / "table4.csv").unlink()
    (kept / "evaluations" / "stale.json").write_text("{}")
    assert call(monkeypatch, *COMMAND) == 0
    assert contents(kept) == before
    assert list(kept.parent.iterdir()) == [kept]
    assert f"kept/tried/README.md and {len(before) - 1} other files" in capsys.readouterr().err


# ------------------------------------------------------------------------------------ what is not


def test_a_folder_that_is_not_ours_is_refused_and_left_alone(here, monkeypatch, capsys):
    out = here / "mine"
    check_is_ours(out)
    out.mkdir()
    check_is_ours(out)  # empty
    (out / "notes.md").write_text("mine")
    assert call(monkeypatch, *COMMAND[:-1], "mine") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "mine holds files and no README.md that this program wrote" in told
    (out / "README.md").write_text(f"# Mine\n{FIRST_LINE}\n")  # not at its beginning
    assert call(monkeypatch, *COMMAND[:-1], "mine") == 1
    assert contents(out).keys() == {"README.md", "notes.md"}
    (out / "README.md").write_text(f"{FIRST_LINE}\n")
    check_is_ours(out)
    (here / "link").symlink_to(out, target_is_directory=True)
    for path in (here / "link", out / "README.md"):
        with pytest.raises(FileExistsError, match="is no folder"):
            check_is_ours(path)


def test_no_training_is_left_out_in_silence(here):
    material = gather(Path("results/tried"), Path("runs/tried"))
    logs = [log for log in material.logs if log.name != "tiny_occluded_center-seed0"]
    drawn = {d.name: d for d in draw_trainings(replace(material, logs=logs))}
    assert drawn.keys() == {
        f"training-{NAME}-tiny_occluded-step40", f"training-{NAME}-tiny_occluded_windows-step40",
    }  # fmt: skip
    tiny = drawn[f"training-{NAME}-tiny_occluded-step40"]
    assert tiny.heading == "Training of tiny_occluded, seed 0"
    assert tiny.caption.endswith(" Not drawn: tiny_occluded_center-seed0.")
    shown = [text.get_text() for text in tiny.figure.legends[0].get_texts()]
    assert shown == ["tiny_occluded-seed0", "tiny_occluded_mse-seed0"]


@pytest.mark.parametrize(
    ("option", "value"), [("results", "/results"), ("out", "~/kept"), ("data", "C:\\shards")]
)
def test_absolute_options_are_refused(option, value):
    paths = {"out": Path("kept"), option: Path(value)}
    if option == "data":
        paths["data"] = (Path("shards/a"), Path(value))
    with pytest.raises(ValueError, match="root with relative paths") as error:
        keep.Options(**paths)
    assert str(error.value).startswith(f"--{option} names {value}, an absolute path")


def test_absolute_paths_in_an_evaluation_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = Path("results/one") / EVALUATION_FILE
    for evaluation, word in (
        (make_evaluation({"checkpoint": "/home/me/runs/one"}), "/home/me/runs/one"),
        (make_evaluation({"method": "[36]", "predictions": "~me/pred.json"}), "~me/pred.json"),
        (replace(make_evaluation(), command="python x --data=/data/dexycb"), "--data=/data/dexycb"),
    ):
        write_evaluation(path, evaluation)
        assert call(monkeypatch, "--out", "kept") == 1
        told = " ".join(capsys.readouterr().err.split())
        assert f"evaluation one names {word}, an absolute path" in told
    assert not Path("kept").exists()


def test_an_absolute_start_is_refused(here, monkeypatch):
    material = gather(Path("results/tried"), Path("runs/tried"))
    check_paths(material)
    log = next(log for log in material.logs if log.name == "tiny_occluded-seed1")
    experiment = replace(log.experiment, start_from="/elsewhere/start")
    logs = [replace(log, checkpoint=replace(log.checkpoint, experiment=experiment))]
    told = "training of tiny_occluded, seed 1, names /elsewhere/start"
    with pytest.raises(ValueError, match=told):
        check_paths(replace(material, logs=logs))


def test_an_absolute_start_without_a_log_is_refused_too(here, monkeypatch):
    material = replace(gather(Path("results/tried"), Path("runs/tried")), logs=[])
    check_paths(material)
    monkeypatch.setattr(checks, "start_of", lambda _: "/elsewhere/start")
    with pytest.raises(ValueError, match="evaluation .* names /elsewhere/start, an absolute path"):
        check_paths(material)


def test_nothing_and_frames_that_are_not_here_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "--out", "kept") == 1
    assert "results holds no evaluation.json" in capsys.readouterr().err
    write_evaluation(Path("results/one") / EVALUATION_FILE, make_evaluation())
    assert call(monkeypatch, "--out", "kept") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "one cannot be compared frame by frame (the dataset dexycb is not here" in told
    assert not Path("kept").exists()


def test_a_figure_is_made_small(monkeypatch):
    figure = new_figure()
    figure.subplots().imshow(np.random.default_rng(0).random((9, 9)))
    png = figure_bytes(figure, "png")
    assert small_png(figure) == png
    monkeypatch.setattr(figures, "MAX_FIGURE_BYTES", len(png))
    smaller = small_png(figure)
    assert 100 < len(smaller) < len(png)
    image = Image.open(io.BytesIO(smaller))
    assert (image.mode, image.size) == ("P", Image.open(io.BytesIO(png)).size)
    monkeypatch.setattr(figures, "MAX_FIGURE_BYTES", 100)
    with pytest.raises(ValueError, match="at 60 dpi .* must be below 100 to be kept"):
        small_png(figure)
