"""The synthesizer's varied sequences in the layout hands, their reader, and the way into shards."""

import io
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from deformer.data.dataset import read_info
from deformer.hand.camera import project
from pipelines.build_shards import Options, build
from pipelines.datasets import hands
from pipelines.datasets.source import HAND, UnusableInputError
from pipelines.synthesize import SynthesisConfig, synthesize
from pipelines.synthetic.benchmark import outside_test, setting
from pipelines.synthetic.hand.free_poses import draw_pose
from pipelines.synthetic.plans import hands_plan
from pipelines.synthetic.things.ycb import YCB_OBJECTS
from pipelines.verify import check_dataset, verify
from tests.pipelines.synthetic.roots import files_of

SEQUENCES, FRAMES = 4, 2


def config(out: Path, **changes) -> SynthesisConfig:
    options = {"sequences": SEQUENCES, "frames": FRAMES, "stride": 10, "seed": 7, "workers": 1}
    return SynthesisConfig("hands", out, **(options | changes))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "hands"
    synthesize(config(root))
    return root


@pytest.fixture
def own(tmp_path, root) -> Path:
    return shutil.copytree(root, tmp_path / "own")


def frames_of(root: Path):
    for ref in hands.list_clips(root):
        for raw in hands.read_clip(root, ref):
            yield ref, raw


def test_the_same_parameters_give_the_same_bytes(tmp_path, root):
    again = tmp_path / "again"
    synthesize(config(again))
    assert files_of(again) == files_of(root)


def test_further_sequences_do_not_change_the_first(tmp_path, root):
    few = tmp_path / "few"
    synthesize(config(few, sequences=1))
    mine = {k: v for k, v in files_of(few).items() if k.startswith("train")}
    assert mine
    assert all(files_of(root)[name] == content for name, content in mine.items())


def test_cameras_of_a_sequence_see_one_moment(tmp_path):
    synthesize(config(tmp_path / "two", sequences=1, cameras=2))
    clips = hands.list_clips(tmp_path / "two")
    assert {ref.camera for ref in clips} == {"0", "1"}
    poses = [np.load(p)["pose_rotvec"] for p in sorted((tmp_path / "two").rglob("*.npz"))]
    fingers = np.unique(np.round([pose[0, 3:] for pose in poses], 5), axis=0)
    assert len(fingers) == len({ref.side for ref in clips})  # one pose a hand, whatever the camera


def test_splits_are_a_few_percent_for_validation():
    splits = [plan.split for plan in hands_plan(200)]
    assert splits.count("val") == 8
    assert set(splits) == {"train", "val"}


def test_joints_lie_on_the_hand_where_it_is_seen(root):
    """Joints are inside flesh, so a joint that nothing hides projects to a pixel of the hand.

    The median: code 0 is also the own forearm, which hides all of the hand in some scene.
    """
    shares = []
    for _, raw in frames_of(root):
        if raw.reason:
            continue
        height, width = raw.segmentation.shape
        x, y = project(raw.joints_cam_m, raw.K).round().astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        code = raw.segmentation[y[inside], x[inside]]
        grown = cv2.dilate((raw.segmentation == HAND).astype(np.uint8), np.ones((5, 5), np.uint8))
        shown = (code == HAND) | (code == 0)  # the wrist may be counted to the arm
        if shown.any():
            shares.append(grown[y[inside], x[inside]][shown].mean())
    assert len(shares) >= SEQUENCES
    assert np.median(shares) > 0.9


def test_some_sequences_are_of_a_table_but_not_of_the_benchmark_s_test(root):
    kinds = set()
    test = {YCB_OBJECTS[class_id].name for class_id in setting("test").classes}
    for path in root.glob("*/*/meta.json"):
        meta = json.loads(path.read_text())
        kinds.add(meta["image_size"] == [640, 480])
        if meta["image_size"] == [640, 480]:
            (thing,) = meta["objects"].values()
            assert thing and thing not in test
            (labels,) = (dict(np.load(p)) for p in path.parent.glob("0/*.npz"))
            assert labels["valid"].any() and (labels["segmentation"] == HAND).any()
    assert kinds == {True, False}
    other = outside_test(piles=1)
    for name in ("classes", "table_hues", "table_woods", "walls", "clothes"):
        assert not set(getattr(other, name)) & set(getattr(setting("test"), name))


def test_it_builds_and_verifies(tmp_path, root):
    out = tmp_path / "shards"
    info = build(Options("hands", root, out, workers=0))
    assert info == read_info(out)
    assert info["counts"]["clips"] == len(hands.list_clips(root))
    assert info["counts"]["valid"] > 0
    assert check_dataset(out, verify(out, "standin", workers=1)) == []


def test_poses_keep_to_what_joints_can_do():
    rng = np.random.default_rng(0)
    poses = np.array([draw_pose(rng) for _ in range(300)])
    assert poses[:, 5:10].min() >= 0
    assert poses[:, 5:10].max() <= 1
    assert poses[:, 1:5].max() - poses[:, 1:5].min() > 1.5  # flat and fist


class TestReader:
    def labels(self, own: Path) -> tuple[Path, dict]:
        path = sorted(own.rglob("*.npz"))[0]
        return path, dict(np.load(path))

    def reasons(self, own: Path, path: Path) -> set[str]:
        side, camera, sequence = path.stem, path.parent.name, path.parents[1].name
        return {
            raw.reason
            for ref, raw in frames_of(own)
            if (ref.side, ref.camera, ref.sequence) == (side, camera, sequence)
        }

    def write(self, path: Path, labels: dict) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **labels)
        path.write_bytes(buffer.getvalue())

    def test_joints_and_a_camera_are_enough(self, own):
        path, labels = self.labels(own)
        labels["valid"][:] = True
        kept = {key: labels[key] for key in ("K", "joints_cam_m")}
        self.write(path, kept)
        assert self.reasons(own, path) == {""}
        raws = [r for ref, r in frames_of(own) if ref.side == path.stem and r.pose is None]
        assert len(raws) == FRAMES

    @pytest.mark.parametrize(
        ("key", "rows"),
        [("K", 0), ("joints_cam_m", 0), ("betas", 0), ("joints_cam_m", 1), ("segmentation", 1),
         ("valid", 1)],
    )  # fmt: skip
    def test_arrays_that_are_missing_or_cut_are_the_frames_reason(self, own, key, rows):
        path, labels = self.labels(own)
        array = labels.pop(key)
        self.write(path, labels | ({key: array[:rows]} if rows else {}))
        assert self.reasons(own, path) == {"labels_corrupt"}
        path.write_bytes(path.read_bytes()[:100])
        assert self.reasons(own, path) == {"labels_corrupt"}

    def test_an_absurd_number_of_frames_is_refused_at_once(self, own):
        path = min(own.rglob("meta.json"))
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"num_frames": 10_000_000}))
        message = (
            r"meta.json: num_frames is 10000000, and .* holds 2 .jpg images; correct num_frames"
        )
        with pytest.raises(UnusableInputError, match=message):
            hands.list_clips(own)

    def test_a_missing_image_is_the_frames_reason(self, own):
        path, labels = self.labels(own)
        labels["valid"][:] = True
        self.write(path, labels)
        (path.parent / "000001.jpg").unlink()
        assert self.reasons(own, path) == {"", "image_missing"}

    def test_an_empty_folder_is_told(self, tmp_path):
        with pytest.raises(UnusableInputError, match=r"holds no <split>/<sequence>/meta.json"):
            hands.list_clips(tmp_path)

    @pytest.mark.parametrize(
        ("key", "value"),
        [("num_frames", 0), ("num_frames", "8"), ("image_size", [352]), ("objects", "mug")],
    )
    def test_a_wrong_meta_names_file_and_value(self, own, key, value):
        path = sorted(own.glob("train/*/meta.json"))[0]
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
        with pytest.raises(UnusableInputError, match=rf"000000/meta.json: {key} is .*correct it"):
            hands.list_clips(own)

    @pytest.mark.parametrize(
        ("data", "fault"),
        [
            (b"version https://git-lfs.github.com/spec/v1", "it is a Git LFS pointer: fetch"),
            (b"<html>", "it is a web page"),
            (b"[" * 200_000, "this is not JSON"),
            (b"[]", "this is a JSON list, not an object"),
        ],
    )
    def test_another_file_in_the_place_of_meta_is_named(self, tmp_path, data, fault):
        path = tmp_path / "train" / "000000" / "meta.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        with pytest.raises(UnusableInputError, match=rf"meta.json is damaged: {fault}") as raised:
            hands.list_clips(tmp_path)
        assert "write it again" in str(raised.value) and "\n" not in str(raised.value)


def test_wrong_options_are_named(tmp_path):
    for changes, message in (
        ({"sequences": "all"}, "--sequences all"), ({"sequences": 0}, "--sequences 0"),
        ({"cameras": 9}, "--cameras 9"), ({"stride": 0}, "--stride 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            config(tmp_path / "new", **changes)
    with pytest.raises(ValueError, match="--stride 10"):
        SynthesisConfig("dexycb", tmp_path / "new", stride=10)
