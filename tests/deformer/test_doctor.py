"""The doctor finds what is missing, says what to do, and never fails itself."""

import re
import shutil
import sys
from types import SimpleNamespace

import av
import pytest
import torch

from deformer import doctor
from deformer.hand import mano
from deformer.training import weights_file
from deformer.video import detect
from tests.processes import start_python


class _Detector:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        print("a library in C++ would speak here")


@pytest.fixture
def seen(monkeypatch, capsys):
    """Runs the doctor on a machine where all is well; gives its status and its lines by subject."""
    monkeypatch.delenv("MANO_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", ["deformer doctor"])
    monkeypatch.setattr(detect, "HandDetector", _Detector)
    version = doctor._version
    pinned = {"mediapipe": "0.10.33"}
    monkeypatch.setattr(doctor, "_version", lambda name: pinned.get(name) or version(name))

    def run() -> tuple[int, dict[str, list[str]]]:
        status = doctor.main()
        *lines, last = capsys.readouterr().out.splitlines()
        lines = [line for line in lines if "C++" not in line]
        assert last.startswith("predict cannot run" if status else "predict can run")
        assert status == any(line.startswith("missing ") for line in lines)
        found: dict[str, list[str]] = {}
        for line in lines:
            assert line.split()[0] in ("ok", "note", "missing")
            found.setdefault(line.split()[1], []).append(line)
        return status, found

    return run


def test_all_is_well(seen):
    status, found = seen()
    assert status == 0
    assert {"deformer", "packages", "weights", "hand", "detector", "video", "GPU", "cores", "disk",
            "onnx", "train"} == set(found)  # fmt: skip
    assert f"torch {torch.__version__.partition('+')[0]}" in found["packages"][0]
    (used,) = [line for line in found["weights"] if "which predict uses" in line]
    assert f" {_default()}, " in used and "Apache-2.0, whole" in used
    assert "libx264" in found["video"][0]
    assert found["hand"][1].startswith("note") and "$MANO_DIR is not set" in found["hand"][1]


def test_without_mediapipe_it_gives_the_line_that_installs_it(seen, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", ["deformer doctor"])
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    status, found = seen()
    assert status == 1
    (line,) = found["detector"]
    assert line.startswith("missing") and detect.INSTALL in line and "--boxes" in line


def test_another_mediapipe_is_noted(seen, monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "0.10.40")
    status, found = seen()
    assert status == 0
    assert found["detector"][0].startswith("note") and "0.10.40" in found["detector"][0]


@pytest.mark.parametrize("how", ["changed", "cut", "no card", "gone"])
def test_damaged_weights_are_named(how, seen, monkeypatch, tmp_path):
    shutil.copytree(weights_file.FOLDER, tmp_path / "weights")
    monkeypatch.setattr(weights_file, "FOLDER", tmp_path / "weights")
    file = tmp_path / "weights" / f"{_default()}.safetensors"
    data = bytearray(file.read_bytes())
    if how == "changed":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif how == "cut":
        file.write_bytes(data[:100])
    elif how == "no card":
        file.with_suffix(".md").unlink()
    else:
        file.unlink()
    status, found = seen()
    assert status == 1
    (line,) = [line for line in found["weights"] if line.startswith("missing")]
    assert str(file) in line and "install deformer-hands again" in line


def test_other_weights_that_are_damaged_are_a_note(seen, monkeypatch, tmp_path):
    shutil.copytree(weights_file.FOLDER, tmp_path / "weights")
    monkeypatch.setattr(weights_file, "FOLDER", tmp_path / "weights")
    (tmp_path / "weights" / "other.safetensors").write_bytes(b"")
    status, found = seen()
    assert status == 0
    assert sum(line.startswith("note") for line in found["weights"]) == 1


def _default() -> str:
    from deformer.predict import Options

    return Options.checkpoint


def test_mano_is_found_where_the_variable_says(seen, monkeypatch, mano_folder):
    monkeypatch.setenv("MANO_DIR", str(mano_folder))
    assert f"MANO in {mano_folder}" in seen()[1]["hand"][1]
    (mano_folder / "MANO_LEFT.pkl").write_bytes(b"no pickle")
    status, found = seen()
    assert status == 0 and found["hand"][1].startswith("note")
    assert "MANO_LEFT.pkl" in found["hand"][1]
    monkeypatch.setenv("MANO_DIR", str(mano_folder / "nowhere"))
    status, found = seen()
    assert status == 0 and "nowhere does not exist" in found["hand"][1]


def test_a_stand_in_that_is_gone_is_missing(seen, monkeypatch, tmp_path):
    monkeypatch.setattr(mano, "STANDIN_DIR", tmp_path)
    status, found = seen()
    assert status == 1 and "STANDIN_RIGHT.npz" in found["hand"][0]


@pytest.mark.parametrize("others", [[], ["opencv-contrib-python"]])
def test_a_library_that_cannot_be_loaded_is_a_line_with_its_mend(others, seen, monkeypatch):
    load = doctor.import_module

    def without_gl(name: str):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return load(name)

    monkeypatch.setattr(doctor, "import_module", without_gl)
    names = [SimpleNamespace(metadata={"Name": name}) for name in others]
    monkeypatch.setattr(doctor, "distributions", lambda: names)
    status, found = seen()
    assert status == 1
    install = "pip install --force-reinstall --no-deps opencv-python-headless"
    mend = f"pip uninstall {others[0]}, then {install}" if others else install
    assert (
        f"cv2 cannot be imported (libGL.so.1: cannot open shared object file): {mend}"
        in (found["packages"][0])
    )


def test_what_a_library_needs_is_named_when_it_is_not_installed(seen, monkeypatch):
    load = doctor.import_module

    def without_filelock(name: str):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'no_filelock'", name="no_filelock")
        return load(name)

    monkeypatch.setattr(doctor, "import_module", without_filelock)
    status, found = seen()
    assert status == 1
    assert found["packages"][0].endswith("not installed: no_filelock: pip install no_filelock")


def test_ffmpeg_without_the_encoder(seen, monkeypatch):
    def refuse(name: str, mode: str):
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av.codec, "Codec", refuse)
    status, found = seen()
    assert status == 1 and "libx264" in found["video"][0]


def test_gpus_are_named(seen, monkeypatch):
    device = SimpleNamespace(name="Big GPU", total_memory=80e9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda k: device)
    found = seen()[1]["GPU"]
    assert len(found) == 2 and found[0].startswith("ok") and "Big GPU, 80 GB" in found[0]


def test_little_room_is_noted(seen, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5e7))
    status, found = seen()
    assert status == 0 and found["disk"][0].startswith("note") and "0.1 GB" in found["disk"][0]


def test_extras_that_are_not_installed_are_noted(seen, monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    status, found = seen()
    assert status == 0
    assert "pip install 'deformer-hands[onnx]'" in found["onnx"][0]
    assert "pip install 'deformer-hands[train]'" in found["train"][0]


def test_with_no_package_at_all_there_is_still_no_traceback():
    code = f"""
import sys
sys.modules.update(dict.fromkeys({list(doctor._NEEDED)}))
sys.argv = ["deformer", "doctor"]
from deformer.__main__ import main
sys.exit(main())
"""
    process = start_python(code)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "")
    lines = out.splitlines()
    (line,) = [line for line in lines if "not installed: torch" in line]
    assert line.startswith("missing")
    assert line.endswith(f": pip install {' '.join(doctor._NEEDED.values())}")
    for subject in ("weights", "hand", "detector", "video", "GPU"):
        assert any(re.match(f"missing +{subject} +cannot be looked at: ", line) for line in lines)
    assert lines[-1].startswith("predict cannot run")
