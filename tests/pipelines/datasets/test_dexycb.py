"""The DexYCB reader: official splits, the genuine frame, and what may be wrong with a folder."""

import shutil

import numpy as np
import pytest
import yaml

from deformer.hand.camera import project
from pipelines.datasets import dexycb
from pipelines.datasets.source import GRASPED_OBJECT, HAND, OTHER_OBJECT, UnusableInputError
from tests.pipelines.dexycb_root import edit_labels


def test_the_genuine_frame(recorded_root):
    """Reads as published: joints reproject to joint_2d, the hand is almost outside the image."""
    (ref,) = dexycb.list_clips(recorded_root)
    assert (ref.side, ref.object) == ("right", "006_mustard_bottle")
    assert ref.subject == "20200709-subject-01"
    frame = next(dexycb.read_clip(recorded_root, ref))
    assert frame.reason == ""
    label = recorded_root / ref.subject / ref.sequence / ref.camera / "labels_000000.npz"
    joint_2d = np.load(label)["joint_2d"][0]
    reprojected = project(frame.joints_cam_m, frame.K)
    assert np.abs(reprojected - joint_2d).max() < 1e-3
    inside = ((reprojected >= 0) & (reprojected <= [639, 479])).all(-1)
    assert 0 < inside.sum() < 11
    assert np.count_nonzero(frame.segmentation == HAND) > 100
    assert set(np.unique(frame.segmentation)) == {0, OTHER_OBJECT, GRASPED_OBJECT, HAND}


def test_python_tuples_in_calibration_files_load_safely(raw_root, tmp_path):
    path = next(raw_root.glob("calibration/intrinsics/*.yml"))
    assert "!!python/tuple" in path.read_text()
    assert dexycb.read_intrinsics(raw_root, path.name.split("_")[0])[0, 0] == 616.0
    evil = tmp_path / "calibration" / "intrinsics" / f"{dexycb.SERIALS[0]}_640x480.yml"
    evil.parent.mkdir(parents=True)
    evil.write_text("color: !!python/object/apply:os.system ['echo this must not run']")
    with pytest.raises(UnusableInputError, match="no readable YAML"):
        dexycb.read_intrinsics(tmp_path, dexycb.SERIALS[0])


def test_clips_of_a_partial_copy(raw_root):
    refs = dexycb.list_clips(raw_root)
    assert len(refs) == 7
    assert {ref.side for ref in refs} == {"left", "right"}
    assert dict(refs[2].splits) == {"s0": "test", "s1": "train", "s2": "train", "s3": "train"}
    assert len({ref.key for ref in refs}) == 7
    assert "." not in "".join(ref.key for ref in refs)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def _clip_folder(root):
    return min(root.glob("20200709-subject-01/*/8*"))


def _segmentation(dtype, value) -> np.ndarray:
    seg = np.zeros((480, 640), dtype)
    seg[100, 100] = value
    return seg


def _replace_by_folder(path):
    path.unlink()
    path.mkdir()


def _save_npy(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda p: p.with_name("color_000003.jpg").unlink(), "image_missing"),
        (lambda p: p.unlink(), "labels_missing"),
        (lambda p: p.write_bytes(p.read_bytes()[:500]), "labels_corrupt"),
        (lambda p: p.write_bytes(b""), "labels_corrupt"),
        (lambda p: edit_labels(p, seg=None), "labels_corrupt"),
        (lambda p: edit_labels(p, joint_3d=np.zeros((1, 20, 3))), "labels_corrupt"),
        (lambda p: edit_labels(p, joint_3d=np.array([{}])), "labels_corrupt"),
        (lambda p: edit_labels(p, joint_3d=np.full((1, 21, 3), "0.5")), "labels_corrupt"),
        (lambda p: edit_labels(p, pose_m=np.full((1, 51), "1")), "labels_corrupt"),
        (lambda p: edit_labels(p, seg=_segmentation(np.float32, 6)), "labels_corrupt"),
        (lambda p: edit_labels(p, seg=_segmentation(np.int32, 300)), "labels_corrupt"),
        (lambda p: edit_labels(p, seg=_segmentation(np.int32, -1)), "labels_corrupt"),
        (lambda p: edit_labels(p, seg=_segmentation(np.uint8, 22)), "labels_corrupt"),
        (_save_npy, "labels_corrupt"),
        (_replace_by_folder, "labels_missing"),
        (lambda p: _replace_by_folder(p.with_name("color_000003.jpg")), "image_missing"),
        (lambda p: edit_labels(p, pose_m=np.zeros((1, 51))), "no_hand"),
        (lambda p: edit_labels(p, joint_3d=np.full((1, 21, 3), -1.0)), "no_hand"),
    ],
)
def test_a_bad_frame_is_a_reason(own_root, damage, reason):
    damage(_clip_folder(own_root) / "labels_000003.npz")
    ref = dexycb.list_clips(own_root)[0]
    frames = list(dexycb.read_clip(own_root, ref))
    assert [frame.frame for frame in frames] == list(range(6))
    assert [frame.reason for frame in frames] == ["no_hand", "", "", reason, "", ""]


def test_a_camera_that_is_not_there_is_left_out_and_said(own_root, caplog):
    shutil.rmtree(_clip_folder(own_root))
    assert len(dexycb.list_clips(own_root)) == 6
    assert "1 camera folders that meta.yml names are not there" in caplog.text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: next(r.glob("2*/*/meta.yml")).unlink(), r"meta\.yml is missing"),
        (lambda r: next(r.glob("2*/*/meta.yml")).write_text(""), "holds no mapping"),
        (lambda r: next(r.glob("2*/*/meta.yml")).write_text("serials: []"), "lacks num_frames"),
        (lambda r: next(r.glob("2*")).joinpath("20990101_000000").mkdir(), "none of DexYCB's 1000"),
        (lambda r: [shutil.rmtree(p) for p in r.glob("2*")], "holds no subject folder"),
        (lambda r: next(r.glob("2*/*/meta.yml")).write_bytes(LFS), r"meta\.yml.*`git lfs pull`"),
        (lambda r: next(r.glob("2*/*/meta.yml")).write_text("<html>"), r"meta\.yml.* web page"),
        (lambda r: next(r.glob("calibration/intrinsics/8362*")).unlink(), "0x480.yml is missing"),
        (lambda r: next(r.glob("calibration/mano_*/*")).unlink(), "mano.yml is missing"),
    ],
)
def test_an_unusable_root_says_what_to_do(own_root, damage, message):
    damage(own_root)
    with pytest.raises(UnusableInputError, match=message) as raised:
        dexycb.list_clips(own_root)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("serials", ["000000000000"], "names camera 000000000000"),
        ("serials", "836212060125", "not a list of cameras"),
        ("serials", ["836212060125"] * 2, "without repetition"),
        ("num_frames", "72", "num_frames is '72', not 1 to 1000000"),
        ("num_frames", 0, "num_frames is 0"),
        ("num_frames", True, "num_frames is True"),
        ("ycb_ids", [5, 0, 13], r"ycb_ids is \[5, 0, 13\], not a list of numbers 1 to 21"),
        ("ycb_ids", [5, 22, 13], "ycb_ids is"),
        ("ycb_ids", None, "ycb_ids is None"),
        ("ycb_grasp_ind", 3, "ycb_grasp_ind is 3, not an index into ycb_ids, which has 3"),
        ("ycb_grasp_ind", -1, "ycb_grasp_ind is -1"),
        ("ycb_grasp_ind", None, "ycb_grasp_ind is None"),
        ("mano_sides", [], r"mano_sides is \[\], not a list of right or left"),
        ("mano_sides", ["both"], "mano_sides is"),
        ("mano_calib", [], "mano_calib is"),
        ("mano_calib", ["../elsewhere"], "mano_calib is"),
    ],
)
def test_meta_that_is_damaged_names_file_value_and_rule(own_root, key, value, message):
    path = min(own_root.glob("2*/*/meta.yml"))
    path.write_text(yaml.dump({**yaml.safe_load(path.read_text()), key: value}))
    with pytest.raises(UnusableInputError, match=message) as error:
        dexycb.list_clips(own_root)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_meta_files_in_any_encoding(own_root, encoding):
    refs = dexycb.list_clips(own_root)
    for path in own_root.rglob("*.yml"):
        text = "# geprüft\n" + path.read_text()
        path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert dexycb.list_clips(own_root) == refs


def test_names_that_look_like_no_sequence_are_ignored(own_root):
    subject = min(own_root.glob("2*"))
    (subject / ".ipynb_checkpoints").mkdir()
    (subject / "notes").mkdir()
    (own_root / "20990101-subject-11").write_text("a file")
    assert len(dexycb.list_clips(own_root)) == 7


@pytest.mark.parametrize(
    ("pattern", "text", "message"),
    [
        ("intrinsics/8362*", "color:", "color is None, not four numbers"),
        ("intrinsics/8362*", "color: {fx: a, fy: 1, ppx: 1, ppy: 1}", "not four numbers"),
        ("intrinsics/8362*", "color: {fx: .nan, fy: 1, ppx: 1, ppy: 1}", "not four numbers"),
        ("intrinsics/8362*", "color: {fx: 1, fy: 1, ppx: 1}", "lacks color: 'ppy'"),
        ("mano_*/*", "betas: [1, 2]", r"betas is \[1, 2\], not 10 finite numbers"),
        ("mano_*/*", "betas: here", "betas is 'here'"),
        ("mano_*/*", "other: 1", "betas is None"),
        ("mano_*/*", "betas: 2020-13-45", "no readable YAML"),
    ],
)
def test_damaged_calibration_is_found_by_listing(own_root, pattern, text, message):
    path = next(own_root.glob(f"calibration/{pattern}"))
    path.write_text(text)
    with pytest.raises(UnusableInputError, match=message) as error:
        dexycb.list_clips(own_root)
    assert str(path) in str(error.value)
