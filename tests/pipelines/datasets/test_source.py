"""What a dataset module may not deliver: each mistake is named where it is made."""

import numpy as np
import pytest

from pipelines.datasets.source import (
    BadFrameError,
    ClipRef,
    ManoPose,
    Mesh,
    RawFrame,
    UnusableInputError,
    load_dataset,
    read_bytes,
)

REF = {
    "key": "a-clip_0",
    "dataset": "mine",
    "subject": "unknown",
    "sequence": "a",
    "camera": "0",
    "side": "right",
    "object": "",
    "splits": (("split", "train"),),
    "frames": (0, 1, 5),
    "image_size": (640, 480),
}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("key", "a.b", "key is 'a.b': 1 to 80 letters"),
        ("key", "a/b", "key is 'a/b'"),
        ("key", "", "key is ''"),
        ("key", "a\n", "key is"),
        ("key", "ä", "key is"),
        ("key", "k" * 81, "1 to 80 letters"),
        ("side", "both", r"clip 'a-clip_0': side is 'both', not one of \('right', 'left'\)"),
        ("splits", (("s9", "train"),), "splits is .*s9.*, not pairs of a setup, of .*'s0'"),
        ("splits", (("s0", "train"), ("s0", "test")), "splits is"),
        ("tips", "mano", r"tips is 'mano', not one of \('dexycb', 'ho3d'\)"),
        ("image_size", (640, 0), "image_size is"),
        ("frames", (), r"frames is \(\), not one number at least, strictly rising"),
        ("frames", (0, 2, 2), "strictly rising"),
        ("frames", (1, 0), "strictly rising"),
        ("frames", (0, 4_000_000_000), r"frames is \(0, 4000000000\), not numbers of 32 bits"),
        ("halo", frozenset({4}), "halo is .*4.*, not numbers that are among frames"),
    ],
)
def test_a_clip_that_cannot_be(field, value, message):
    with pytest.raises(ValueError, match=message):
        ClipRef(**{**REF, field: value})


POSE = {
    "global_rotvec": np.zeros(3),
    "fingers": np.zeros(45),
    "fingers_are_pca": False,
    "betas": np.zeros(10),
    "trans_m": np.zeros(3),
}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RawFrame(0, "broken"), "reason is 'broken', not empty and none of .*no_hand"),
        (lambda: RawFrame(0, K=np.eye(4)), r"K is float64 of shape \(4, 4\), not .*\(3, 3\)"),
        (lambda: RawFrame(0, K=np.full((3, 3), "1")), "K is <U1 of shape"),
        (lambda: RawFrame(0, K=np.full((3, 3), None)), "K is object of shape"),
        (lambda: RawFrame(0, joints_cam_m=np.zeros((16, 3))), r"joints_cam_m .*\(21, 3\)"),
        (lambda: RawFrame(0, joints_cam_m=np.zeros((1, 21, 3))), "joints_cam_m"),
        (lambda: RawFrame(0, box_px=np.zeros((2, 2))), r"box_px .*\(4,\)"),
        (lambda: RawFrame(0, vertices_cam_m=np.zeros((779, 3))), r"vertices_cam_m .*\(778, 3\)"),
        (lambda: RawFrame(0, segmentation=np.zeros((4, 4, 3), np.uint8)), r"\('N', 'N'\)"),
        (lambda: RawFrame(0, segmentation=np.zeros((4, 4))), "segmentation is float64, not uint8"),
        (lambda: ManoPose(**{**POSE, "fingers": np.zeros(48)}), r"fingers .*\(48,\).*\(45,\)"),
        (lambda: ManoPose(**{**POSE, "betas": np.zeros((1, 10))}), "betas"),
        (lambda: Mesh(np.zeros((3, 2)), np.zeros((1, 3), int)), r"vertices_cam_m .*\('N', 3\)"),
        (lambda: Mesh(np.zeros((3, 3)), np.array([[0, 1, 3]])), "faces must name vertices 0 to 2"),
        (lambda: Mesh(np.zeros((3, 3)), np.array([[0, 1, -1]])), "faces must name vertices 0 to 2"),
    ],
)
def test_a_frame_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_folder_in_the_place_of_a_file_is_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BadFrameError, match="image_missing"):
            read_bytes(path, "image_missing")


@pytest.mark.parametrize("name", ["dexycp", "my_package.hands", "my.own.package.hands", "json.x"])
def test_a_module_that_is_not_there_is_named(name):
    message = f"--dataset '{name}': there is no module {name}; known are dexycb, ho3d, hands"
    with pytest.raises(UnusableInputError, match=message):
        load_dataset(name)


def test_a_plain_module_on_the_path(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dataset_of_my_own.py").write_text("ROOT_VARIABLE = 'MINE'; import json\n")
    with pytest.raises(UnusableInputError, match="dataset_of_my_own lacks list_clips, read_clip"):
        load_dataset("dataset_of_my_own")
    (tmp_path / "dataset_of_theirs.py").write_text("import no_such_module\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load_dataset("dataset_of_theirs")
