"""Every command of README, docs and Makefile is one that its program takes.

The quick ones are run as they stand; those of `TOO_LONG` are run by the tests of their programs.
"""

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from benchmarks.speed import __main__ as speed
from deformer import train
from deformer.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "shards" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
TOO_LONG = {
    "pipelines.build_shards", "pipelines.synthesize", "pipelines.predict_videos",
    "deformer.train", "deformer.encode", "deformer.weights",
    "deformer.export", "deformer.export_onnx", "deformer.predict",
    "deformer.draw", "deformer.doctor", "benchmarks.evaluate",
    "benchmarks.ablations", "benchmarks.figures", "benchmarks.report",
    "benchmarks.real_video", "benchmarks.mediapipe_hands", "benchmarks.speed",
}  # fmt: skip
OF_OTHER_PROGRAMS = {"export", "dask", "srun", "pip"}
"""What else a page may show: first words."""


def _lines_of(page: Path) -> list[str]:
    """The commands of a page: all lines of code blocks without a language."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    commands = "".join(block for language, block in blocks if not language)
    lines = commands.replace("\\\n", " ").splitlines()
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


def _makefile_lines() -> list[str]:
    targets = ["demo", "ablations", "rivals", "weights", "MOTIONS=motions.npz", "PRESET=lite"]
    recipes = _dry_run("--always-make", *targets).replace("\\\n", " ")
    recipes = re.sub(r"\$\(\((\d+) \* (\d+)\)\)", lambda m: str(int(m[1]) * int(m[2])), recipes)
    return re.findall(r"^.*-m (?:pipelines|deformer|benchmarks)\..*$", recipes, re.MULTILINE)


def _dry_run(*arguments: str) -> str:
    make = ["make", "--dry-run", *arguments]
    return subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout


LINES = list(dict.fromkeys(line for page in PAGES for line in _lines_of(page)))
OURS = [line for line in LINES if re.match(r"(\.venv/bin/)?(python|torchrun|deformer) ", line)]


def _words(line: str) -> tuple[str, list[str]]:
    """The program and its arguments."""
    words = shlex.split(line)
    if words[0] == "deformer":
        assert words[1] in COMMANDS
        return f"deformer.{words[1].replace('-', '_')}", words[2:]
    words = words[words.index("-m") + 1 :]
    return words[0], words[1:]


QUICK = [line for line in OURS if _words(line)[0] not in TOO_LONG and "--repair" not in line]


@pytest.mark.parametrize("line", OURS + _makefile_lines())
def test_a_command_parses(line, capsys):
    program, arguments = _words(line)
    if program == "deformer.train" and "help" not in arguments:
        train.parse(arguments)
    elif program == "deformer.train":
        with pytest.raises(SystemExit, match="0"):
            train.parse(arguments)
        assert "dexycb_fast" in capsys.readouterr().out
    elif program == "deformer.doctor":
        assert arguments == []
    elif program == "benchmarks.speed":
        speed.parse(arguments)
    else:
        tyro.cli(_options_of(program), args=arguments)


def _options_of(program: str) -> type:
    module = importlib.import_module(program)
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{program}.__main__")
    return module.SynthesisConfig if program == "pipelines.synthesize" else module.Options


def test_every_other_line_is_a_target_of_make_or_known():
    others = [line for line in LINES if line not in OURS]
    targets = [line for line in others if line.startswith("make ")]
    assert [line for line in others if line not in targets and line.split()[0] not in
            OF_OTHER_PROGRAMS] == []  # fmt: skip
    assert {"make demo", "make test"} <= set(targets)
    for line in targets:
        _dry_run(*shlex.split(line)[1:])


@pytest.fixture(scope="module")
def workspace(raw_root, tmp_path_factory) -> Path:
    """A folder where the datasets that pages name are, and a result."""
    from tests.deformer.small_runs import build_dataset

    folder = tmp_path_factory.mktemp("workspace")
    for name in ("demo", "dexycb"):
        shutil.copytree(build_dataset(raw_root), folder / "shards" / name)
    return folder


@pytest.mark.parametrize("line", QUICK)
def test_a_quick_command_runs(line, workspace, monkeypatch):
    program, arguments = _words(line)
    module = importlib.import_module(program)
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{program}.__main__")
    monkeypatch.chdir(workspace)
    (workspace / "results").mkdir(exist_ok=True)
    if program == "pipelines.verify":
        arguments += ["--workers", "0"]  # saves the start of processes
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    assert module.main() == 0


def test_there_are_commands_to_check():
    assert len(OURS) > 30 and len(QUICK) > 4 and len(_makefile_lines()) > 20


def test_options_named_in_the_text_exist():
    page = (ROOT / "docs" / "training.md").read_text("utf-8")
    (text,) = re.findall(r"`(--optim\.lr 3e-5 .*?)`", page, re.DOTALL)
    options = train.parse(["--data", "x", *shlex.split(text.replace("\n", " "))])
    assert options.config.validation.split == "s1_val"
