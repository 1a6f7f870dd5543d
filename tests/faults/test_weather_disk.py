"""A disk that is late and fails for a moment: nothing good is lost, and an error names the file."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.faults.weather import compiled, python, weather
from tests.faults.weather_jobs import JOBS, prepare

GUSTS, STORM = 100, 50
"""One call in so many fails: reading gets through it; writing stops the program, every so often."""
SEEDS = [pytest.param(range(k, k + 5), marks=pytest.mark.soak) for k in (1, 6)]
FEW = ("build of DexYCB", "stream")


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return compiled(tmp_path_factory.mktemp("weather"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Callable[[tuple[str, ...]], Path]:
    """What jobs read; it is not changed."""

    @cache
    def folder(jobs: tuple[str, ...]) -> Path:
        folder = tmp_path_factory.mktemp("storm") / "disk"
        prepare(folder, jobs)
        return folder

    return folder


def _check(
    library: Path, folder: Path, out: Path, one_in: int, most: int, jobs, seeds, count_faults
):
    """Every job makes the same under each seed as in fair weather."""
    kind = "input fails for a moment" if most == 1 else "input and output fail, run again"
    env = weather(library, folder, one_in, folder.with_name("count"))
    ran = python(
        "-m",
        "tests.faults.weather_jobs",
        folder,
        out,
        most,
        ",".join(jobs),
        "fair",
        *seeds,
        env=env,
    )
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [line[:2] for line in lines] == [[str(s), j] for s in ("fair", *seeds) for j in jobs]
    fair = {job: made for seed, job, _, _, made in lines if seed == "fair"}
    assert all(isinstance(made, dict) and made for made in fair.values()), fair
    stormy, wrong = lines[len(jobs) :], []
    for seed, job, faults, _, made in stormy:
        count_faults(f"{kind}: {job}", faults, faults if made == fair[job] else 0)
        wrong += [(f"seed {seed}", job, made)] * (made != fair[job])
    assert sum(faults for _, _, faults, _, _ in stormy) > len(seeds)
    assert not wrong, wrong[0]


@pytest.mark.parametrize("seeds", SEEDS)
def test_reading_gets_through(library, prepared, tmp_path, seeds, count_faults):
    folder, jobs = prepared(tuple(JOBS)), tuple(JOBS)
    _check(library, folder, tmp_path / "out", GUSTS, 1, jobs, seeds, count_faults)


@pytest.mark.parametrize("seeds", SEEDS)
def test_what_stops_names_the_file_and_goes_on(library, prepared, seeds, count_faults):
    folder, jobs = prepared(tuple(JOBS)), tuple(JOBS)
    _check(library, folder, folder / "out", STORM, 100, jobs, seeds, count_faults)


@pytest.mark.parametrize(
    "jobs", [FEW, pytest.param(("build of videos",), marks=pytest.mark.slow)], ids=",".join
)
def test_a_few(library, prepared, count_faults, jobs):
    folder = prepared(jobs)
    _check(library, folder, folder / "out", STORM, 100, jobs, range(1), count_faults)
