"""Clips that are parts of recordings: how far they reach, and that nobody goes beyond."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from deformer.data.store import open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.data.windows import WindowConfig
from deformer.files.sealed import write_json
from pipelines.build_shards import Options, build
from pipelines.building.repair import repair
from pipelines.datasets import dexycb, ho3d
from pipelines.datasets.source import UnusableInputError
from tests.pipelines.ho3d_root import add_frame, evaluation_meta

N, CENTRES = 12, 4


@pytest.fixture(scope="module")
def root(tmp_path_factory, hands) -> Path:
    """HO-3D's evaluation split without its truth: one sequence of N frames."""
    root = tmp_path_factory.mktemp("raw")
    for number in range(N):
        add_frame(root, "evaluation", f"MC1/{number:04d}", evaluation_meta(number))
    mark = {"hand": hands.name, "hand_sha256": hands.sha256}
    (root / "synthetic.json").write_text(json.dumps(mark))
    return root


@pytest.fixture(autouse=True)
def _short_clips(monkeypatch):
    monkeypatch.setattr(ho3d, "CENTRE_FRAMES", CENTRES)


def built(
    root: Path, out: Path, halo_frames: int | None, dataset: str = "ho3d", hand: str | None = None
) -> Path:
    build(Options(dataset, root=root, out=out, workers=0, halo_frames=halo_frames, hand=hand))
    return out


@pytest.fixture(scope="module")
def shards(root, tmp_path_factory) -> Callable[[int], Path]:
    """Of so wide a halo, built once; nobody changes them."""
    folder = tmp_path_factory.mktemp("shards")

    @cache
    def of_halo(halo_frames: int) -> Path:
        return built(root, folder / str(halo_frames), halo_frames)

    return of_halo


def stream_of(data: Path, window: WindowConfig) -> Stream:
    config = StreamConfig(split="evaluation", size=32, window=window)
    return Stream(config.for_evaluation("evaluation"), *open_store(data))


def test_dataset_json_says_how_far_clips_reach(shards, root, raw_root, tmp_path):
    default = built(root, tmp_path / "default", None)
    for data, reach, halo in ((default, 30, 24), (shards(3), 3, 12), (shards(0), 0, 0)):
        info = json.loads((data / "dataset.json").read_text())
        assert (info["parameters"]["halo_frames"], info["counts"]["halo"]) == (reach, halo)
        assert info["parameters"]["tips"] == "ho3d"
    data = built(raw_root, tmp_path / "dexycb", None, "dexycb")
    parameters = json.loads((data / "dataset.json").read_text())["parameters"]
    assert (parameters["halo_frames"], parameters["tips"]) == (None, "dexycb")


@pytest.mark.parametrize("window", [(3, 3), (7, 1), (2, 3), (6, 1)])
def test_windows_as_wide_as_the_halo_are_those_of_the_whole_recording(shards, window):
    window = WindowConfig(*window)
    frames = {}
    for halo_frames in (3, 40):
        stream = stream_of(shards(halo_frames), window)
        rows = stream.index.numbers["frame"][stream.windows.rows]
        frames[halo_frames] = rows[np.argsort(rows[:, window.centre])]
    assert len(frames[3]) == N
    np.testing.assert_array_equal(frames[3], frames[40])


@pytest.mark.parametrize("window", [(3, 4), (9, 1), (8, 1), (7, 10)])
@pytest.mark.parametrize("edge", ["hold", "skip"])
def test_wider_windows_are_refused_with_the_option_that_builds_for_them(shards, window, edge):
    window, data = WindowConfig(*window, edge=edge), shards(3)
    message = (
        f"the window reaches {window.reach} frames from its centre, clips of {data} have a halo of "
        f"3: .*--stream.window.num-frames .* or build the shards with --halo-frames {window.reach}"
    )
    with pytest.raises(ValueError, match=message):
        stream_of(data, window)


def test_a_build_with_a_halo_that_does_not_say_how_far_is_refused(shards, tmp_path):
    data = Path(shutil.copytree(shards(3), tmp_path / "shards"))
    info = json.loads((data / "dataset.json").read_text())
    del info["parameters"]["halo_frames"]
    write_json(data / "dataset.json", info)
    with pytest.raises(ValueError, match="dataset.json does not say how far .* build it again"):
        stream_of(data, WindowConfig(3, 1))
    assert len(stream_of(data, WindowConfig(1)).windows) == N


def test_a_widened_build_is_taken_up_and_repaired_as_such(shards, root, tmp_path):
    data = Path(shutil.copytree(shards(40), tmp_path / "shards"))
    with pytest.raises(UnusableInputError, match="halo_frames: 40 → 30"):
        built(root, data, None)
    before = {path.name: path.read_bytes() for path in data.glob("*.tar")}
    for path in data.glob("*.tar"):
        path.unlink()
    repair(data, root, set(before))
    assert {path.name: path.read_bytes() for path in data.glob("*.tar")} == before


def own_module(monkeypatch, **names) -> str:
    """A dataset module of one's own: DexYCB's with other names in it."""
    module = ModuleType("my_package.my_hands")
    vars(module).update(vars(dexycb) | names)
    monkeypatch.setitem(sys.modules, "my_package", ModuleType("my_package"))
    monkeypatch.setitem(sys.modules, "my_package.my_hands", module)
    return "my_package.my_hands"


def test_a_module_of_ones_own_says_how_far_its_clips_reach(raw_root, tmp_path, monkeypatch):
    def list_clips(root: Path, halo_frames: int = 2) -> list:
        refs = dexycb.list_clips(root)
        # other fingertips than the joints', so without the hand that would tell
        return [replace(r, halo=frozenset(r.frames[:halo_frames]), tips="ho3d") for r in refs]

    name = own_module(monkeypatch, list_clips=list_clips)
    with pytest.raises(UnusableInputError, match="does not say how far it reaches: give it HALO"):
        built(raw_root, tmp_path / "out", None, name)
    name = own_module(monkeypatch, list_clips=list_clips, HALO_FRAMES=2)
    data = built(raw_root, tmp_path / "out", None, name, "none")
    info = json.loads((data / "dataset.json").read_text())
    assert (info["parameters"]["halo_frames"], info["parameters"]["tips"]) == (2, "ho3d")
    data = built(raw_root, tmp_path / "other", 1, name, "none")
    assert json.loads((data / "dataset.json").read_text())["parameters"]["halo_frames"] == 1
    assert info["counts"]["halo"] == 14


def test_what_a_build_refuses(raw_root, tmp_path, monkeypatch):
    def list_clips(root: Path) -> list:
        first, *others = dexycb.list_clips(root)
        return [replace(first, tips="ho3d"), *others]

    name = own_module(monkeypatch, list_clips=list_clips)
    with pytest.raises(UnusableInputError, match="fingertips of dexycb and of ho3d, and a network"):
        built(raw_root, tmp_path / "out", None, name)
    with pytest.raises(UnusableInputError, match="--halo-frames 40: clips of dexycb are whole"):
        built(raw_root, tmp_path / "out", 40, "dexycb")
    with pytest.raises(ValueError, match="--halo-frames -1 must be 0 or more"):
        Options("ho3d", halo_frames=-1)
