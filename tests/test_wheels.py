"""Everything that the project needs has a wheel for every Python that it names."""

import json
import subprocess
import sys
import tomllib
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
        named = {Requirement(line).name for line in requirements(python)}
        assert "simplejpeg" in named and "jpeglib" in named  # the tests need the latter anywhere
        assert ("turbojpeg" in named) == (python != "3.14")


def pinned() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_has_a_wheel(python, tmp_path):
    """Resolved, not installed: pip reads metadata of the pinned versions and all they need."""
    pytest.importorskip("pip", reason="pip is not installed, which looks wheels up")
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--only-binary=:all:", "--python-version", python, "--target", str(tmp_path / "t")]
    command += ["--constraint", str(REPOSITORY / "constraints.txt"), "--report", str(report)]
    command += ["--retries", "0", "--timeout", "30", *requirements(python)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode and not is_index_reachable(tmp_path):
        pytest.skip("no package index can be reached, so wheels cannot be looked up")
    assert run.returncode == 0, run.stderr
    found = {
        item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"]
        for item in json.loads(report.read_text())["install"]
    }
    assert found.keys() >= {Requirement(line).name for line in requirements(python)}
    assert {name: pinned().get(name) for name in found} == found  # constraints.txt names them all


def is_index_reachable(tmp_path: Path) -> bool:
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--no-deps", "--retries", "0", "--timeout", "30", "iniconfig"]
    return subprocess.run(command, capture_output=True).returncode == 0
