"""The wheel holds every file and works elsewhere; what the project needs has a wheel for every
Python it names."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deformer.video.detect import INSTALL
from deformer.video.hands_file import read_hands
from tests.processes import start_python

REPOSITORY = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ONLY_TRAINING = sorted({Requirement(line).name for line in EXTRAS["train"]} - {"pyyaml"})
"""Packages that predict does without; timm needs pyyaml."""


def requirements(python: str) -> list[str]:
    """What pyproject.toml asks for with that Python, markers evaluated, extras `train` and `dev`
    included, as `make install` takes them.

    pip would evaluate the markers for the Python that it runs in.
    """
    stated = [*PROJECT["dependencies"], *EXTRAS["train"], *EXTRAS["dev"]]
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


def test_the_commands_that_people_use_need_only_what_a_plain_install_brings():
    others = [*ONLY_TRAINING, "onnx", "onnxruntime", "mediapipe", "pipelines", "benchmarks"]
    code = f"""
import pkgutil, sys
sys.modules.update(dict.fromkeys({others}))
import deformer.video
from deformer.__main__ import COMMANDS
names = [f"deformer.{{name.replace('-', '_')}}" for name in COMMANDS]
names += [found.name for found in pkgutil.walk_packages(deformer.video.__path__, "deformer.video.")]
for name in names:
    __import__(name)
print(len(names))
"""
    process = start_python(code)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert int(out) > 20


AWAY = f"""
import socket, sys

def refuse(*_):
    raise OSError("this machine has no network")

socket.socket.connect = socket.getaddrinfo = refuse
sys.modules.update(dict.fromkeys({ONLY_TRAINING}))  # importing them fails
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder of programs of an environment with the wheel, the packages that the tests run
    with, no checkout, no network, and nothing that only building and training need."""
    folder = tmp_path_factory.mktemp("elsewhere")
    command = ["git", "-C", REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run([*command, "-z"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git clone, so the files of the wheel are not known")
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / "source" / name)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    run([sys.executable, "-c", build], folder / "source")
    shutil.rmtree(folder / "source")
    (wheel,) = folder.glob("deformer_hands-*.whl")
    assert wheel.stat().st_size < 60e6
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / "bin"
    install = [programs / "python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    run([*install, wheel], folder)
    # the packages by their folder alone, so that the link to the checkout in it is not followed
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "away.py").write_text(AWAY)
    (site / "packages.pth").write_text(f"import away\n{sysconfig.get_path('purelib')}\n")
    return programs


def run(command: list[object], folder: Path) -> str:
    """What a command prints, in an environment without GPU and MANO; it must succeed."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TMPDIR")}
    environment = kept | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_predicts_in_another_folder(installed, tmp_path):
    from tests.deformer.test_predict import NUM_FRAMES, make_boxes, make_video

    code = "import deformer; print(deformer.__file__)"
    place = run([installed / "python", "-c", code], tmp_path).strip()
    assert Path(place).is_relative_to(installed.parent)
    deformer = installed / "deformer"
    assert "usage: deformer COMMAND" in run([deformer, "--help"], tmp_path)
    make_video(tmp_path / "clip.mp4")
    boxes = make_boxes(tmp_path / "boxes.csv")
    run([deformer, "predict", "clip.mp4", "--boxes", boxes], tmp_path)
    files = {path.name for path in (tmp_path / "hands").iterdir()}
    assert files == {f"clip.hands.{kind}" for kind in ("parquet", "mp4", "html")}
    rows, info = read_hands(tmp_path / "hands" / "clip.hands.parquet")
    assert rows.frame.tolist() == list(range(NUM_FRAMES))
    assert info.hand_model == "standin" and info.licence == "Apache-2.0"
    run([deformer, "draw", "hands/clip.hands.parquet", "--out", "again.mp4"], tmp_path)
    assert (tmp_path / "again.mp4").stat().st_size > 1000


@pytest.mark.slow
def test_the_wheel_finds_hands_in_another_folder(installed, tmp_path):
    pytest.importorskip("mediapipe", reason=f"MediaPipe is not installed: {INSTALL}")
    from tests.deformer.test_predict import make_video

    found = run([installed / "deformer", "doctor"], tmp_path)
    assert "predict can run" in found and re.search(r"^note +train .*dask", found, re.MULTILINE)
    make_video(tmp_path / "clip.mp4")
    run([installed / "deformer", "predict", "clip.mp4"], tmp_path)
    rows, info = read_hands(tmp_path / "hands" / "clip.hands.parquet")
    assert len(rows.frame) == 0 and info.detector.startswith("mediapipe")


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
