"""The wheel holds every file; what the project needs has a wheel for every Python it names."""

import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def requirements(python: str) -> list[str]:
    """What pyproject.toml asks for with that Python, markers evaluated, extra `dev` included.

    pip would evaluate the markers for the Python that it runs in.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    stated = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    wanted = []
    for requirement in map(Requirement, stated):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            requirement.marker = None
            wanted.append(str(requirement))
    return wanted


def test_turbojpeg_is_asked_for_where_it_has_a_wheel():
    for python in PYTHONS:
        assert {"simplejpeg", "jpeglib"} <= names(python)  # the tests need the latter anywhere
        assert ("turbojpeg" in names(python)) == (python != "3.14")


def pins(python: str) -> dict[str, str]:
    """The versions that constraints.txt names, without what is not asked for with that Python."""
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    elsewhere = {name for other in PYTHONS for name in names(other)} - names(python)
    return {name: version for name, version in pinned.items() if name not in elsewhere}


def names(python: str) -> set[str]:
    return {Requirement(line).name for line in requirements(python)}


def test_everything_asked_for_is_pinned():
    for python in PYTHONS:
        assert names(python) <= pins(python).keys()


def versions_with_wheels(name: str, python: str) -> list[str]:
    """What the package index has for that Python on this system; empty where it has nothing."""
    command = [sys.executable, "-m", "pip", "index", "versions", name, "--only-binary=:all:"]
    command += ["--python-version", python, "--retries", "1", "--timeout", "30"]
    run = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"^Available versions: (.*)$", run.stdout, re.MULTILINE)
    return found[1].split(", ") if found else []


def test_package_data_names_every_file_that_is_no_code():
    """benchmarks/results are this repository's results, which no wheel carries."""
    tools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]
    packed = {
        path.relative_to(REPOSITORY).as_posix()
        for package, patterns in tools["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in REPOSITORY.joinpath(*package.split(".")).glob(pattern)
    }
    command = ["git", "-C", REPOSITORY, "ls-files", "deformer", "pipelines", "benchmarks"]
    tracked = subprocess.run(command, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("this is no git clone, so the tracked files are not known")
    files = {path for path in tracked.stdout.splitlines() if not path.endswith(".py")}
    assert {path for path in files if not path.startswith("benchmarks/results/")} - packed == set()


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_every_pinned_version_has_a_wheel(python):
    """Looked up, neither fetched nor installed."""
    pytest.importorskip("pip", reason="pip is not installed, which looks wheels up")
    if not versions_with_wheels("packaging", python):
        pytest.skip("no package index can be reached, so wheels cannot be looked up")
    wanted = pins(python)
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda name: versions_with_wheels(name, python), wanted)
    pairs = zip(wanted.items(), found, strict=True)
    assert {name: has for (name, version), has in pairs if version not in has} == {}
