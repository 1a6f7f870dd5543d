"""A disk that is late and fails for a moment: nothing good is lost, and an error names the file."""

import json
from pathlib import Path

import pytest

from tests.faults.storm import JOBS, prepare
from tests.faults.weather import compiled, python, weather

GUSTS, STORM = 25, 50
"""One call in so many fails: reading gets through it; writing stops the program, every so often."""
SEEDS = [
    pytest.param(range(1), id="fast"),
    *(pytest.param(range(k, k + 5), marks=pytest.mark.soak) for k in range(1, 50, 5)),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return compiled(tmp_path_factory.mktemp("weather"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the jobs read; it is not changed."""
    folder = tmp_path_factory.mktemp("storm") / "disk"
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def fair(library, folder, tmp_path_factory) -> dict[str, dict[str, str]]:
    """What the jobs make in fair weather, hashes of files by job."""
    lines = _run(library, folder, tmp_path_factory.mktemp("fair"), 0, 1, range(1), is_below=False)
    return {job: made for _, job, _, _, made in lines}


def _run(
    library: Path, folder: Path, tmp_path: Path, one_in: int, most: int, seeds, is_below: bool
):
    out = (folder if is_below else tmp_path) / "out"
    env = weather(library, folder, one_in, tmp_path / "count")
    ran = python("-m", "tests.faults.storm", folder, out, most, *seeds, env=env)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(lines) == len(JOBS) * len(seeds)
    return lines


def _check(lines, fair, count_faults, kind: str) -> None:
    wrong = [(f"seed {seed}", job, made) for seed, job, _, _, made in lines if made != fair[job]]
    for _, job, faults, _, made in lines:
        count_faults(f"{kind}: {job}", faults, faults if made == fair[job] else 0)
    assert sum(faults for _, _, faults, _, _ in lines) > len(lines)
    assert not wrong, wrong[0]


@pytest.mark.parametrize("seeds", SEEDS)
def test_reading_gets_through(library, folder, fair, tmp_path, seeds, count_faults):
    lines = _run(library, folder, tmp_path, GUSTS, 1, seeds, is_below=False)
    _check(lines, fair, count_faults, "input fails for a moment")


@pytest.mark.parametrize("seeds", SEEDS)
def test_what_stops_names_the_file_and_goes_on(
    library, folder, fair, tmp_path, seeds, count_faults
):
    lines = _run(library, folder, tmp_path, STORM, 100, seeds, is_below=True)
    _check(lines, fair, count_faults, "input and output fail for a moment, run again")
