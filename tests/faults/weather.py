"""Bad weather for programs: a folder whose disk is late and fails, by a library in C.

`weather.c` is put before the system's functions by LD_PRELOAD, so Python, pyarrow, FFmpeg and the
workers of a program meet it alike.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import REPOSITORY

_SOURCE = Path(__file__).with_name("weather.c")


def compiled(folder: Path) -> Path:
    """The library; skips the test where there is no compiler, or another system than Linux."""
    compiler, library = shutil.which("cc"), folder / "weather.so"
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"]
    subprocess.run(command, check=True)
    return library


def weather(library: Path, folder: Path, one_in: int, count: Path) -> dict[str, str]:
    """Environment of a program for which one call in `one_in` on paths below `folder` fails; 0:
    none does. The size of the file `count` tells how many did."""
    return {
        "LD_PRELOAD": str(library),
        "WEATHER_FOLDER": f"{folder}/",
        "WEATHER_ONE_IN": str(one_in),
        "WEATHER_COUNT": str(count),
    }


def python(*arguments: object, before: tuple[str, ...] = (), env: dict | None = None, **more):
    """A finished Python program of this repository; before: a command that runs it."""
    ours = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    settings = {"cwd": REPOSITORY, "capture_output": True, "text": True, "timeout": 300} | more
    command = [*before, sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=os.environ | ours | (env or {}), check=False, **settings)
