"""The reader of HO-3D, on roots made by hand in the layouts of v2 and v3."""

import os
import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from deformer.files.foreign import UnreadableFileError
from pipelines.datasets import ho3d, ho3d_files
from pipelines.datasets.source import (
    BACKGROUND,
    GRASPED_OBJECT,
    HAND,
    UnusableInputError,
)
from tests.pipelines.ho3d_root import (
    FLIP,
    IMAGES,
    OBJ,
    OBJECT,
    K,
    add_frame,
    add_model,
    encoded,
    evaluation_meta,
    evaluation_root,
    only_frame,
    train_meta,
    write_truth,
)
from tests.python2 import python2_pickle

BLUE, GREEN, RED = (255, 0, 0), (0, 255, 0), (0, 0, 255)  # as OpenCV has them


# ------------------------------------------------------------------------------------- the clips


@pytest.mark.parametrize(("suffix", "dataset"), [(".png", "ho3d_v2"), (".jpg", "ho3d_v3")])
def test_version_and_identity(tmp_path, suffix, dataset):
    add_frame(tmp_path, "train", "ABF14/0128", train_meta(), suffix)
    add_frame(tmp_path, "evaluation", "SM1/0007", evaluation_meta(), suffix)
    train, evaluation = ho3d.list_clips(tmp_path)
    assert train.key == f"{dataset}-train-ABF14-000128"
    assert evaluation.key == f"{dataset}-evaluation-SM1-000007"
    assert (train.subject, train.sequence, train.camera) == ("ABF", "ABF14", "4")
    assert (evaluation.subject, evaluation.sequence, evaluation.camera) == ("SM", "SM1", "0")
    assert train.splits == (("split", "train"),)
    assert evaluation.splits == (("split", "evaluation"),)
    for ref in (train, evaluation):
        assert (ref.dataset, ref.side, ref.object) == (dataset, "right", OBJECT)
        assert ref.image_size == (640, 480)
        (raw,) = ho3d.read_clip(tmp_path, ref)
        assert (raw.reason, raw.image) == ("", IMAGES[suffix])


def test_one_split_alone_is_enough(tmp_path):
    add_frame(tmp_path, "train", "MC1/0000", train_meta())
    (tmp_path / "evaluation.txt").write_text("MC1/0001\n")  # listed, its folder was not unpacked
    assert [ref.splits[0][1] for ref in ho3d.list_clips(tmp_path)] == ["train"]


def test_folder_that_is_not_ho3d(tmp_path):
    with pytest.raises(UnusableInputError) as error:
        ho3d.list_clips(tmp_path)
    message = str(error.value)
    assert "\n" not in message
    for part in (str(tmp_path), "train.txt", "evaluation.txt", "github.com", "$HO3D_DIR"):
        assert part in message


def test_unusable_list_and_images(tmp_path):
    add_frame(tmp_path, "train", "MC1/0000", train_meta())
    with (tmp_path / "train.txt").open("a") as file:
        file.write("../MC1/0001\n")
    with pytest.raises(UnreadableFileError, match="line 2"):
        ho3d.list_clips(tmp_path)
    (tmp_path / "train.txt").write_text("MC1/0055\n")
    with pytest.raises(UnusableInputError, match="none of the 1 images"):
        ho3d.list_clips(tmp_path)


def listed_root(root: Path, sequences: dict[str, list[int]]) -> None:
    """A root of which only lists are wanted: one image and one label per sequence."""
    for sequence, numbers in sequences.items():
        add_frame(root, "train", f"{sequence}/{numbers[0]:04d}", train_meta())
    lines = [f"{s}/{n:04d}" for s, numbers in sequences.items() for n in numbers]
    np.random.default_rng(0).shuffle(lines)
    (root / "train.txt").write_text("\n".join(lines) + "\n")


def test_every_listed_frame_is_a_centre_once_and_its_windows_are_inside(tmp_path):
    numbers = [n for n in range(700) if n % 7 and not 300 <= n < 420]
    sequences = {"ABF10": numbers, "ABF11": list(range(5, 140)), "SM2": [3]}
    listed_root(tmp_path, sequences)
    refs = ho3d.list_clips(tmp_path)
    assert len({ref.key for ref in refs}) == len(refs)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", ref.key) for ref in refs)
    centres = []
    for ref in refs:
        frames, listed = set(ref.frames), set(sequences[ref.sequence])
        assert list(ref.frames) == sorted(frames) and ref.halo < frames <= listed
        assert len(frames - ref.halo) <= ho3d.CENTRE_FRAMES
        for centre in frames - ref.halo:
            window = {centre + 10 * k for k in range(-3, 4)}
            assert window & listed <= frames
            centres.append((ref.sequence, centre))
    assert sorted(centres) == sorted((s, n) for s, ns in sequences.items() for n in ns)


def test_listing_opens_one_label_per_sequence(tmp_path, monkeypatch):
    listed_root(tmp_path, {"ABF10": list(range(400)), "SM2": list(range(300))})
    opened = []
    monkeypatch.setattr(ho3d, "read_meta", lambda p: opened.append(p) or ho3d_files.read_meta(p))
    assert {ref.object for ref in ho3d.list_clips(tmp_path)} == {OBJECT}
    assert len(opened) == 2


def test_object_is_that_of_the_first_label_that_names_it(tmp_path):
    add_frame(tmp_path, "train", "ND2/0000", dict.fromkeys(train_meta()))
    add_frame(tmp_path, "train", "ND2/0001", train_meta())
    (tmp_path / "train" / "ND2" / "meta" / "0000.pkl").write_bytes(b"")
    (ref,) = ho3d.list_clips(tmp_path)
    assert ref.object == OBJECT
    (tmp_path / "train" / "ND2" / "meta" / "0001.pkl").unlink()
    assert ho3d.list_clips(tmp_path)[0].object == ""


# ------------------------------------------------------------------------------------- bad input


class Malicious:
    def __reduce__(self):
        return (os.getenv, ("HOME",))


def label(**change) -> bytes:
    """A pickled training label with other values; without the keys that are `ABSENT`."""
    meta = {k: v for k, v in (train_meta() | change).items() if v is not ABSENT}
    return pickle.dumps(meta, 2)


ABSENT = object()
BAD_LABELS = {
    "labels_missing": [None],
    "labels_corrupt": [
        label()[:-40],
        pickle.dumps([1, 2, 3], 2),
        label(handBeta=ABSENT),
        label(handJoints3D=np.zeros((3, 21))),
        label(handTrans="here"),
        label(handTrans=[10**400, 0, 0]),
        label(handTrans=[[1, 2], [3]]),
        label(objName="../../etc"),
        label(camMat=np.eye(4)),
    ],
    "labels_none": [label(**dict.fromkeys(train_meta())), label(handPose=None)],
    "labels_not_finite": [
        label(handJoints3D=np.full((21, 3), np.nan)),
        label(objTrans=np.full(3, np.inf)),
        label(camMat=np.full((3, 3), np.nan)),
    ],
    "labels_refused": [label(handTrans=np.array([0, None, 0])), label(handBeta=Malicious())],
    "intrinsics_missing": [label(camMat=None), label(camMat=ABSENT)],
}


@pytest.mark.parametrize("reason", BAD_LABELS)
def test_bad_label_is_a_reason(tmp_path, reason):
    for number in range(3):
        add_frame(tmp_path, "train", f"MC1/000{number}", train_meta(number))
    path = tmp_path / "train" / "MC1" / "meta" / "0001.pkl"
    (ref,) = ho3d.list_clips(tmp_path)
    for data in BAD_LABELS[reason]:
        path.write_bytes(data) if data is not None else path.unlink()
        frames = list(ho3d.read_clip(tmp_path, ref))
        assert [raw.frame for raw in frames] == list(ref.frames) == [0, 1, 2]
        assert [raw.reason for raw in frames] == ["", reason, ""], data
        assert frames[1].image == IMAGES[".png"] and frames[1].joints_cam_m is None


def test_absent_image_keeps_the_labels(tmp_path):
    for number in range(2):
        add_frame(tmp_path, "train", f"MC1/000{number}", train_meta(number))
    (tmp_path / "train" / "MC1" / "rgb" / "0001.png").unlink()
    (ref,) = ho3d.list_clips(tmp_path)
    good, bad = ho3d.read_clip(tmp_path, ref)
    assert (good.reason, bad.reason, bad.image) == ("", "image_missing", None)
    assert bad.K is not None and bad.joints_cam_m is not None
    (tmp_path / "train" / "MC1" / "meta" / "0001.pkl").unlink()
    assert [raw.reason for raw in ho3d.read_clip(tmp_path, ref)] == ["", "image_missing"]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("handBoundingBox", None, "labels_none"),
        ("handBoundingBox", [1, 2, 3], "labels_corrupt"),
        ("handBoundingBox", [0, 0, np.inf, 1], "labels_not_finite"),
        ("camMat", None, "intrinsics_missing"),
        ("handBoundingBox", [10, 20, 60, 70], "labels_contradict"),  # far from the wrist
        ("handJoints3D", [0, 0, 0.6], "labels_contradict"),  # behind the camera
        ("camMat", K * [[1.9], [1.9], [1]], "labels_contradict"),  # of another resolution
    ],
)
def test_bad_evaluation_label(tmp_path, key, value, reason):
    meta = {**evaluation_meta(), "handJoints3D": [0, 0, -0.6], key: value}
    add_frame(tmp_path, "evaluation", "SM1/0000", meta)
    assert only_frame(tmp_path).reason == reason


# ----------------------------------------------------------------------------- pickles of Python 2


def test_pickle_of_python_2(tmp_path):
    meta = {**train_meta(), "objLabel": np.int64(12), "handVertContact": np.zeros(778, bool)}
    meta["handTrans"] = np.asarray(meta["handTrans"], ">f8")
    meta["handBeta"] = [np.float64(b) for b in meta["handBeta"]]
    data = python2_pickle(meta)
    assert b"numpy.core.multiarray" in data and b"_codecs" not in data
    assert any(byte >= 128 for byte in data)
    add_frame(tmp_path, "train", "MC1/0000", meta)
    modern = only_frame(tmp_path)
    (tmp_path / "train" / "MC1" / "meta" / "0000.pkl").write_bytes(data)
    old = only_frame(tmp_path)
    assert old.reason == modern.reason == ""
    np.testing.assert_array_equal(old.joints_cam_m, modern.joints_cam_m)
    np.testing.assert_array_equal(old.pose.trans_m, modern.pose.trans_m)
    np.testing.assert_array_equal(old.pose.betas, modern.pose.betas)


# ------------------------------------------------------------------------------------ the object


@pytest.mark.parametrize("split", ["train", "evaluation"])
@pytest.mark.parametrize("variable", [False, True])
def test_mesh_at_its_pose(tmp_path, monkeypatch, split, variable):
    meta = train_meta() if split == "train" else evaluation_meta()
    root = tmp_path / "root"
    add_frame(root, split, "MC1/0000", meta)
    assert only_frame(root).grasped_mesh is None
    add_model(tmp_path / "ycb" if variable else root / "models")
    if variable:
        monkeypatch.setenv(ho3d.MODELS_VARIABLE, str(tmp_path / "ycb"))
    mesh = only_frame(root).grasped_mesh
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2], [0, 1, 3]])
    rest = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]])
    opengl = rest @ cv2.Rodrigues(meta["objRot"])[0].T + meta["objTrans"]
    np.testing.assert_allclose(mesh.vertices_cam_m, opengl @ FLIP, atol=1e-12)
    path = root / split / "MC1" / "meta" / "0000.pkl"
    path.write_bytes(pickle.dumps(meta | {"objRot": None}, 2))
    assert (only_frame(root).reason, only_frame(root).grasped_mesh) == ("", None)


@pytest.mark.parametrize(
    "text", ["v 0 0 0\nf 1 2 3\n", "v 0 0\n", OBJ + "f 1 2 3 4\n", "", OBJ + "f 1"]
)
def test_damaged_model(tmp_path, text):
    add_frame(tmp_path, "train", "MC1/0000", train_meta())
    add_model(tmp_path / "models", text)
    with pytest.raises(UnusableInputError, match="download"):
        only_frame(tmp_path)


def test_models_variable_that_names_no_folder(tmp_path, monkeypatch):
    add_frame(tmp_path, "train", "MC1/0000", train_meta())
    monkeypatch.setenv(ho3d.MODELS_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(UnusableInputError, match=r"\$YCB_MODELS_DIR is .*nowhere"):
        ho3d.list_clips(tmp_path)


@pytest.mark.parametrize(
    ("image", "seg", "hand", "grasped"),
    [(".png", ".jpg", RED, BLUE), (".jpg", ".png", BLUE, GREEN)],
)
@pytest.mark.parametrize("apart", [False, True])
def test_segmentation(tmp_path, image, seg, hand, grasped, apart):
    add_frame(tmp_path, "train", "MC1/0000", train_meta(), image)
    add_model(tmp_path / "models")
    rendered = np.zeros((120, 160, 3), np.uint8)
    rendered[32:64, 40:80], rendered[64:96, 40:80] = hand, grasped
    version = "v2" if image == ".png" else "v3"
    base = tmp_path / f"HO3D_{version}_segmentations_rendered" if apart else tmp_path
    folder = base / "train" / "MC1" / "seg"
    folder.mkdir(parents=True)
    (folder / f"0000{seg}").write_bytes(encoded(seg, rendered))
    raw = only_frame(tmp_path)
    assert raw.reason == "" and raw.grasped_mesh is None
    expected = np.full((480, 640), BACKGROUND, np.uint8)
    expected[128:256, 160:320], expected[256:384, 160:320] = HAND, GRASPED_OBJECT
    assert raw.segmentation.dtype == np.uint8
    differing = np.mean(raw.segmentation != expected)
    assert differing == 0 if seg == ".png" else differing < 0.01  # JPEG blurs the outlines
    for damaged in (b"", b"no image", encoded(seg, np.zeros((100, 100, 3), np.uint8))):
        (folder / f"0000{seg}").write_bytes(damaged)
        assert only_frame(tmp_path).reason == "labels_corrupt"


# ------------------------------------------------------------------- what shapes the result besides


def test_description_and_warning_of_a_bare_root(tmp_path, caplog):
    add_frame(tmp_path, "train", "MC1/0000", train_meta())
    add_frame(tmp_path, "evaluation", "SM1/0000", evaluation_meta())
    absent = dict.fromkeys(("object_models", "segmentation", "evaluation_truth"), "absent")
    assert ho3d.describe(tmp_path) == absent
    models, truth = (record.getMessage() for record in caplog.records)
    assert models.startswith("occlusion will be null for train and evaluation: put the YCB-Video")
    assert str(tmp_path / "models") in models and "$YCB_MODELS_DIR" in models
    assert truth.startswith("occlusion will be null for evaluation: put evaluation_verts.json into")
    (tmp_path / "HO3D_v2_segmentations_rendered" / "train" / "MC1" / "seg").mkdir(parents=True)
    write_truth(tmp_path, *evaluation_root(tmp_path, ["SM1/0001"]))
    add_model(tmp_path / "models")
    caplog.clear()
    assert ho3d.describe(tmp_path) == {
        "object_models": "present", "segmentation": "train", "evaluation_truth": "xyz, verts",
    }  # fmt: skip
    assert not caplog.records
