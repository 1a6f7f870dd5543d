"""Every command of the README is one that the programs understand."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import tyro

from benchmarks import constant_hand, evaluate, real_video
from benchmarks.ablations import presets as ablations
from benchmarks.figures import __main__ as figures
from benchmarks.report import __main__ as report
from benchmarks.speed.model import ModelSpeed
from benchmarks.speed.pipeline import Pipeline
from benchmarks.speed.stream import StreamSpeed
from benchmarks.tables import __main__ as tables
from deformer import encode, train
from pipelines import build_shards, inspect, synthesize, verify

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
_BLOCKS = [block for block in README.split("```")[1::2] if block.startswith("\n")]
_LINES = [
    line.partition("  #")[0]
    for block in _BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if " -m " in line and "help" not in line
]
_MAKE = [
    "make",
    "--dry-run",
    "--always-make",
    "demo",
    "ablations",
    "MOTIONS=motions.npz",
    "PRESET=temporal",
]
_RECIPES = subprocess.run(_MAKE, cwd=ROOT, capture_output=True, text=True, check=True).stdout
_LINES += [
    line for line in _RECIPES.replace("\\\n", " ").splitlines()
    if re.search(r"-m (pipelines|deformer|benchmarks)\.", line)
]  # fmt: skip
PROGRAMS = {
    "pipelines.build_shards": build_shards.Options,
    "pipelines.verify": verify.Options,
    "pipelines.inspect": inspect.Options,
    "pipelines.synthesize": synthesize.SynthesisConfig,
    "deformer.encode": encode.Options,
    "benchmarks.evaluate": evaluate.Options,
    "benchmarks.ablations": ablations.Options,
    "benchmarks.constant_hand": constant_hand.Options,
    "benchmarks.real_video": real_video.Options,
    "benchmarks.tables": tables.Options,
    "benchmarks.figures": figures.Options,
    "benchmarks.report": report.Options,
}
SPEEDS = {"pipeline": Pipeline, "stream": StreamSpeed, "model": ModelSpeed}


def test_there_are_commands_to_check():
    assert len(_LINES) > 30


@pytest.mark.parametrize("line", _LINES)
def test_a_command_parses(line):
    words = shlex.split(line)
    words = words[words.index("-m") + 1 :]
    program, arguments = words[0], words[1:]
    if program == "deformer.train":
        train.parse(arguments)
    elif program == "benchmarks.speed":
        tyro.cli(SPEEDS[arguments[0]], args=arguments[1:])
    else:
        tyro.cli(PROGRAMS[program], args=arguments)


def test_options_named_in_the_text_exist():
    (text,) = re.findall(r"`(--optim\.lr 3e-5 .*?)`", README, re.DOTALL)
    options = train.parse(["--data", "x", *shlex.split(text.replace("\n", " "))])
    assert options.config.validation.split == "s1_val"


def test_the_stream_by_itself(raw_root, monkeypatch, capsys):
    from tests.deformer.small_runs import build_dataset

    (snippet,) = [
        b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "Stream(" in b
    ]
    snippet = snippet.replace("shards/demo", str(build_dataset(raw_root)))
    exec(snippet.replace("workers=2", "workers=0"), {})
    assert "torch.Size([8, 7, 3, 256, 256])" in capsys.readouterr().out
