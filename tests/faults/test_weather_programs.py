"""Machines that are short of something, or odd: programs end as anywhere else, or say why not."""

import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deformer.small_runs import arguments, build_dataset, records
from tests.faults.kept_files import small_dataset
from tests.faults.weather import compiled, python, weather
from tests.full_disk import can_mount
from tests.pipelines.test_predict_videos import make_video

IS_ROOT = os.geteuid() == 0
NO_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Before a command of root's: it may no more than another user may."""
AS_NOBODY_KNOWN = (
    "setpriv", "--reuid=12345", "--regid=12345", "--clear-groups",
    "--inh-caps=+dac_override,+dac_read_search", "--ambient-caps=+dac_override,+dac_read_search",
)  # fmt: skip
"""A user without a name, as containers have; who may read where Python lies."""
LITTLE_SHM = (
    "unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"', "sh"
)  # fmt: skip
ODD_HOST = ("unshare", "-u", "sh", "-c", "hostname 'ä/b c'; exec \"$@\"", "sh")


def skip_unless_possible(command: str | None = None) -> None:
    """Here, a program that runs another with other rights, or on other mounts."""
    is_possible = {"setpriv": IS_ROOT and shutil.which("setpriv"), "unshare": can_mount()}
    if not is_possible.get(command, True):
        pytest.skip(f"needs {command}, and the rights of root")


def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


PLACES: dict[str, tuple[str, dict]] = {
    "64 open files": ("train", {"preexec_fn": few_files}),
    "/dev/shm of 64 MB": ("train", {"before": LITTLE_SHM}),
    "only rights to read the input, no home": (
        "build", {"before": NO_RIGHTS, "env": {"HOME": "/proc/none"}},
    ),
    "a user without a name or home": (
        "train", {"before": (*AS_NOBODY_KNOWN, "env", "-u", "HOME")},
    ),
    "locale C, another time zone": ("build", {"env": {"LC_ALL": "C", "TZ": "Pacific/Kiritimati"}}),
    "no folder for temporary files": ("build", {"env": {"TMPDIR": "/proc/none"}}),
    "an odd host name": ("train", {"before": ODD_HOST}),
    "clocks days apart, which step back": ("build", {"clock_s": 300_000}),
}  # fmt: skip
"""Each with the program that leans on it most."""


@pytest.fixture(scope="module")
def there(tmp_path_factory, raw_root) -> Path:
    """The input of the programs, in a folder with an odd name; nobody may write there."""
    there = tmp_path_factory.mktemp("weather") / 'it\'s an "odd" *[n]ame?\nü'
    shutil.copytree(raw_root, there / "root")
    shutil.copytree(build_dataset(raw_root), there / "shards")
    make_video(there / "videos" / "deep" / "a.mp4")
    for path in (there, *there.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
        if path.name[0] in "0c":
            os.utime(path, (0, 0) if len(path.name) % 2 else (2.2e9, 2.2e9))
    yield there
    for path in (there, *there.rglob("*")):
        path.chmod(0o777)


def build_args(there: Path, out: Path) -> list[str]:
    more = ["--workers", "1", "--frames-per-shard", "12"]
    paths = ["--root", str(there / "root"), "--out", str(out)]
    return ["pipelines.build_shards", "--dataset", "dexycb", *paths, *more]


def train_args(there: Path, out: Path) -> list[str]:
    return ["deformer.train", *arguments(there / "shards", out, "--workers", "1")]


def predict_args(there: Path, out: Path) -> list[str]:
    paths = ["--root", str(there / "videos"), "--out", str(out)]
    more = ["--workers", "1", "--device", "cpu", "--checkpoint", "lite", "--no-render"]
    return ["pipelines.predict_videos", *paths, *more]


PROGRAMS: dict[str, Callable[[Path, Path], list[str]]] = {
    "build": build_args,
    "train": train_args,
    "predict": predict_args,
}


def run(arguments: list[str], out: Path, before=(), clock_s: int = 0, env=None, **more):
    env = {"HOME": str(out.parent)} | (env or {})
    if clock_s:
        env |= wrong_clock(out.parent, clock_s)
    return python("-m", *arguments, before=before, env=env, **more)


def wrong_clock(folder: Path, clock_s: int) -> dict[str, str]:
    """Environment of a program whose clock is off by up to so many seconds."""
    env = weather(compiled(folder), folder, 0, folder / "count")
    return env | {"WEATHER_CLOCK_S": str(clock_s)}


def made(out: Path) -> dict:
    """What a program has made, but for what depends on time and machine."""
    if (out / "log.jsonl").exists():
        tensors = {p: p.read_bytes() for p in out.glob("checkpoints/*/*.safetensors")}
        return {"log": records(out)} | {str(p.relative_to(out)): b for p, b in tensors.items()}
    files = (path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def fair(there, tmp_path_factory) -> Callable[[str], dict]:
    """What a program makes where nothing is amiss."""
    known = {}

    def made_by(program: str) -> dict:
        if program not in known:
            out = tmp_path_factory.mktemp("fair") / "out"
            ran = run(PROGRAMS[program](there, out), out)
            assert ran.returncode == 0, ran.stderr
            known[program] = made(out)
        return known[program]

    return made_by


def test_a_clock_is_off(tmp_path):
    """So that "clocks days apart" tests something."""
    ran = python("-c", "import time; print(time.time())", env=wrong_clock(tmp_path, 300_000))
    assert abs(float(ran.stdout) - time.time()) > 10


def test_verify_gets_by_with_few_open_files(tmp_path, hands, layer, count_faults):
    _, built = small_dataset(tmp_path, hands, layer)
    place, arguments = "64 open files", ["pipelines.verify", str(built), "--workers", "0"]
    ran = run(arguments, tmp_path / "out", **PLACES[place][1])
    count_faults(f"odd machine: {place}", 1, int(ran.returncode == 0))
    assert ran.returncode == 0, ran.stderr


@pytest.mark.soak
@pytest.mark.parametrize("place", PLACES)
def test_a_program_ends_as_anywhere_else(there, fair, tmp_path, place, count_faults):
    program, settings = PLACES[place]
    skip_unless_possible(*settings.get("before", ())[:1])
    tmp_path.chmod(0o777)
    out = tmp_path / "out"
    ran = run(PROGRAMS[program](there, out), out, **settings)
    is_same = ran.returncode == 0 and made(out) == fair(program)
    count_faults(f"odd machine: {place}", 1, int(is_same))
    assert ran.returncode == 0, ran.stderr
    assert is_same, f"{program} made something else"


# ------------------------------------------------------------------------------- what cannot be


def seal(path: Path) -> Path:
    path.chmod(0)
    return path


def ours(there: Path, tmp_path: Path, name: str) -> Path:
    """A copy of a part of the input that may be changed."""
    copy = Path(shutil.copytree(there / name, tmp_path / name))
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755)
    return copy


CASES = {
    "an image": ("build", "root", "*/*/*/color_000001.jpg", r"Permission denied: '{}'.*give this"),
    "a sequence": ("build", "root", "*/*", r"Permission denied: '{}.*give this user the right"),
    "a shard": ("train", "shards", "000001.tar", r"Permission denied: '{}'.*give this user"),
    "an index": ("train", "shards", "frames.parquet", r"Permission denied: '{}'.*give this user"),
    "a folder of videos": ("predict", "videos", "deep", r"Permission denied: '{}'.*give this user"),
}
"""Sealed: by which program it is read, below what, and what is said."""


@pytest.mark.soak
@pytest.mark.parametrize("sealed", CASES)
def test_what_may_not_be_read_is_named(there, tmp_path, sealed, count_faults):
    skip_unless_possible("setpriv")
    program, part, pattern, message = CASES[sealed]
    copy = ours(there, tmp_path, part)
    path = seal(sorted(copy.glob(pattern))[0])
    out = tmp_path / "out"
    ran = run(PROGRAMS[program](tmp_path, out), out, NO_RIGHTS)
    path.chmod(0o755)
    _assert_one_line(ran, message.format(path), count_faults, "an input may not be read")


def _assert_one_line(ran: subprocess.CompletedProcess, message: str, count_faults, kind) -> None:
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    is_said = ran.returncode == 1 and len(errors) == 1 and re.search(message, errors[0])
    count_faults(kind, 1, int(bool(is_said)))
    assert is_said and "Traceback" not in ran.stderr, ran.stderr


@pytest.mark.soak
@pytest.mark.parametrize("program", ["build", "train", "predict"])
def test_an_output_of_another_user(there, tmp_path, program, count_faults):
    skip_unless_possible("setpriv")
    out = tmp_path / "out"
    out.mkdir()
    os.chown(out, 65534, 65534)
    ran = run(PROGRAMS[program](there, out), out, NO_RIGHTS)
    message = rf"folder {out} cannot be written \(.*Permission denied\); give another by --out"
    _assert_one_line(ran, message, count_faults, "the output is another user's")


@pytest.mark.soak
@pytest.mark.parametrize("program", ["build", "train", "predict"])
def test_no_inode_is_left(there, tmp_path, program, count_faults):
    skip_unless_possible("unshare")
    out = tmp_path / "disk" / "out"
    out.parent.mkdir()
    mount = f'mount -t tmpfs -o nr_inodes=6 tmpfs {out.parent} && exec "$@"'
    ran = run(PROGRAMS[program](there, out), out, ("unshare", "-m", "sh", "-c", mount, "sh"))
    message = rf"no space left on the disk of {out.parent}.*make room"
    _assert_one_line(ran, message, count_faults, "no inode is left")
