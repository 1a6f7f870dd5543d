"""What is installed here, and what to do about what is not.

    deformer doctor

A line per thing: `ok`; `note`, which says what works only with more; `missing`, without which
`deformer predict` cannot run. The exit status is 1 if something is missing, 0 otherwise.
"""

import argparse
import contextlib
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

# No library is imported here: each check imports its own, so that a broken one is a line

_NEEDED = {
    "torch": "torch", "torchvision": "torchvision", "timm": "timm", "numpy": "numpy",
    "scipy": "scipy", "cv2": "opencv-python-headless", "PIL": "pillow", "simplejpeg": "simplejpeg",
    "av": "av", "pyarrow": "pyarrow", "safetensors": "safetensors", "fsspec": "fsspec",
    "matplotlib": "matplotlib", "jinja2": "jinja2", "tyro": "tyro", "rich": "rich",
}  # fmt: skip
"""Modules that predict imports, and the packages that hold them."""
_OTHER_OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
_EXTRAS = {
    "onnx": ("deformer export-onnx", ("onnx", "onnxruntime")),
    "train": (
        "building, training and measuring",
        ("webdataset", "tensorboard", "dask", "distributed", "pycocotools", "embreex", "yaml"),
    ),
}
_ENOUGH_BYTES = 1e9


class Finding(NamedTuple):
    status: Literal["ok", "note", "missing"]
    subject: str
    text: str


def examine() -> Iterator[Finding]:
    """All findings, in order. No fault of a part is raised: it is that part's finding."""
    for subject, check in _CHECKS.items():
        try:
            yield from check()
        except Exception as error:
            yield Finding("missing", subject, f"cannot be looked at: {_line(error)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _packages() -> Iterator[Finding]:
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("ok", "deformer", f"{_version('deformer-hands')} in {_folder()}; {python}")
    found, absent = [], []
    for module, package in _NEEDED.items():
        try:
            import_module(module)
        except Exception as error:
            lacks = error.name.partition(".")[0] if isinstance(error, ModuleNotFoundError) else None
            if lacks and find_spec(lacks) is None:  # itself, or what it needs
                absent.append(_NEEDED.get(lacks, lacks))
            else:
                fault = f"{module} cannot be imported ({_line(error)}): {_reinstall(package)}"
                yield Finding("missing", "packages", fault)
        else:
            found.append(f"{package} {_version(package)}")
    if absent:
        names = dict.fromkeys(absent)
        fault = f"not installed: {', '.join(names)}: pip install {' '.join(names)}"
        yield Finding("missing", "packages", fault)
    if found:
        yield Finding("ok", "packages", ", ".join(found))


def _folder() -> Path:
    return Path(__file__).resolve().parent


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(of no package)"  # a checkout, or another package's module


def _reinstall(package: str) -> str:
    install = f"pip install --force-reinstall --no-deps {package}"
    names = {(found.metadata["Name"] or "").lower() for found in distributions()}
    others = [name for name in _OTHER_OPENCV if name in names]
    if package == _NEEDED["cv2"] and others:  # they write to the same folder, and need libGL
        return f"pip uninstall {' '.join(others)}, then {install}"
    return install


def _hand_models() -> Iterator[Finding]:
    from deformer.hand.mano import find_mano, load_hands

    standin = load_hands("standin")
    yield Finding("ok", "hand", f"the stand-in hand, {standin.sha256[:12]}")
    folder = os.environ.get("MANO_DIR")
    if not folder:
        only = "only networks trained with MANO need it, and none that ships"
        yield Finding("note", "hand", f"MANO: $MANO_DIR is not set; {only}")
        return
    try:
        mano = load_hands(folder)
        yield Finding("ok", "hand", f"MANO in {find_mano(folder)}, {mano.sha256[:12]}")
    except (ValueError, OSError) as error:
        yield Finding("note", "hand", f"MANO: {_line(error)}")


def _weights() -> Iterator[Finding]:
    from deformer.predict import Options
    from deformer.training.checkpoint import file_sha256
    from deformer.training.weights_file import FOLDER, SUFFIX, on_card, shipped

    default, again = Options.checkpoint, "install deformer-hands again"
    if default not in shipped():
        yield Finding("missing", "weights", f"{FOLDER / default}{SUFFIX} does not exist: {again}")
    for name in shipped():
        path = FOLDER / f"{name}{SUFFIX}"
        sha256, stated = file_sha256(path), on_card(path, "sha256")
        if stated != sha256:
            fault = f"{path} has sha256 {sha256[:12]}, its card says {(stated or 'none')[:12]}"
            status = "missing" if name == default else "note"
            yield Finding(status, "weights", f"{fault}: {again}")
            continue
        size, licence = f"{path.stat().st_size / 1e6:.1f} MB", on_card(path, "licence")
        used = ", which predict uses" if name == default else ""
        yield Finding("ok", "weights", f"{name}{used}: {size}, licence {licence}, whole")


def _detector() -> Iterator[Finding]:
    from deformer.video.detect import INSTALL, HandDetector

    try:
        with _quiet(), HandDetector():
            pass
    except (ImportError, OSError, ValueError) as error:
        text = f"{_line(error)}. Without it predict needs --boxes"
        yield Finding("missing", "detector", text)
        return
    name = f"MediaPipe {_version('mediapipe')} and its hand_landmarker.task"
    if f"mediapipe=={_version('mediapipe')} " in INSTALL:
        yield Finding("ok", "detector", name)
    else:
        text = f"{name}: other versions were not tried, and later ones report their use to Google"
        yield Finding("note", "detector", f"{text}: {INSTALL}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what libraries in C++ write to standard error."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _gpu() -> Iterator[Finding]:
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if there:
        for k in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(k)
            yield Finding("ok", "GPU", f"{device.name}, {device.total_memory / 1e9:.0f} GB")
    else:
        why = f" ({_line(caught[0].message)})" if caught else ""
        yield Finding("note", "GPU", f"none{why}: predict runs on the CPU")


def _ffmpeg() -> Iterator[Finding]:
    import av

    ffmpeg = f"FFmpeg {av.ffmpeg_version_info} of av"
    try:
        av.codec.Codec("libx264", "w")
    except ValueError:
        text = f"{ffmpeg} has no encoder libx264, which writes overlays: {_reinstall('av')}"
        yield Finding("missing", "video", text)
    else:
        yield Finding("ok", "video", f"{ffmpeg}, with the encoder libx264")


def _machine() -> Iterator[Finding]:
    from deformer.program.processor import processor, usable_cores

    yield Finding("ok", "cores", f"{usable_cores()} of {processor()}")
    free = shutil.disk_usage(".").free
    text = f"{free / 1e9:.1f} GB free in {Path.cwd()}"
    if not os.access(".", os.W_OK):
        yield Finding("note", "disk", f"{text}, which is not yours to write: give predict an --out")
    elif free < _ENOUGH_BYTES:
        yield Finding("note", "disk", f"{text}: make room, or give predict an --out elsewhere")
    else:
        yield Finding("ok", "disk", text)


def _extras() -> Iterator[Finding]:
    for extra, (purpose, modules) in _EXTRAS.items():
        lacking = [name for name in modules if find_spec(name) is None]
        if lacking:
            text = f"{', '.join(lacking)}: not installed, only {purpose} would use it"
            yield Finding("note", extra, f"{text}: pip install 'deformer-hands[{extra}]'")
        else:
            yield Finding("ok", extra, f"installed, for {purpose}")


_CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "packages": _packages, "weights": _weights, "hand": _hand_models, "detector": _detector,
    "video": _ffmpeg, "GPU": _gpu, "cores": _machine, "extras": _extras,
}  # fmt: skip


def _report() -> int:
    num_missing = 0
    for finding in examine():
        print(f"{finding.status:8} {finding.subject:9} {finding.text}", flush=True)
        num_missing += finding.status == "missing"
    if num_missing:
        print(f"predict cannot run: see what is missing above ({num_missing})")
        return 1
    print("predict can run: deformer predict clip.mp4")
    return 0


def main() -> int:
    name = sys.argv[0] if sys.argv[0] == "deformer doctor" else "python -m deformer.doctor"
    formatter = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(name, description=__doc__, formatter_class=formatter).parse_args()
    try:
        from deformer.program.console import run_command
    except ImportError:  # a package is missing, which is a finding
        return _report()
    return run_command(_report)


if __name__ == "__main__":
    sys.exit(main())
