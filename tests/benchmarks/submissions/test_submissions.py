"""Files of predictions: round trips, what evaluators read, and everything wrong with them."""

import io
import json
import zipfile

import numpy as np
import pytest

from benchmarks.submissions.file_order import dexycb_order, ho3d_order
from benchmarks.submissions.hpe import read_hpe, write_hpe
from benchmarks.submissions.pred_json import read_pred_json, write_pred_json
from deformer.hand.conventions import DATASET_TO_MANO, MANO_TO_DATASET, OPENGL_TO_OPENCV
from tests.benchmarks.frame_tables import HO3D_LIST, dexycb_frames, ho3d_frames
from tests.benchmarks.hands_in_motion import random_hands, random_meshes


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


# ------------------------------------------------------------------------------------- DexYCB, HPE


@pytest.fixture
def hpe_order():
    return dexycb_order(dexycb_frames(), "s0_test")


@pytest.fixture
def truth(rng, hpe_order):
    return random_hands(rng, int(hpe_order.is_required.sum()))


@pytest.fixture
def hpe_file(tmp_path, rng, hpe_order, truth):
    path = tmp_path / "out" / "hpe.txt"
    write_hpe(path, hpe_order, truth + rng.normal(scale=0.004, size=truth.shape))
    return path


def rewrite(path, change):
    """Change the lines of a file."""
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def test_hpe_round_trip(tmp_path, hpe_order, truth):
    write_hpe(tmp_path / "hpe.txt", hpe_order, truth)
    read = read_hpe(tmp_path / "hpe.txt", hpe_order, truth)
    assert read.vertices_m is None
    np.testing.assert_allclose(read.joints_m, truth, atol=1e-7)


def test_hpe_lines_are_as_the_toolkit_reads_them(hpe_file, hpe_order):
    lines = hpe_file.read_text().splitlines()
    numbers = [line.split(",") for line in lines]
    assert {len(words) for words in numbers} == {64}
    assert [int(words[0]) for words in numbers] == [i for i in range(24) if i % 3]
    assert 400 < float(numbers[0][3]) < 1100  # z of the wrist, mm


def test_hpe_lines_may_stand_in_any_order_and_frames_without_hand_may_be_there(
    hpe_file, hpe_order, truth
):
    expected = read_hpe(hpe_file, hpe_order, truth).joints_m
    rewrite(hpe_file, lambda lines: ["", "0" + lines[0][1:], *lines[::-1]])
    np.testing.assert_array_equal(read_hpe(hpe_file, hpe_order, truth).joints_m, expected)


HPE_FAULTS = {
    "missing": (
        lambda lines: lines[:3] + lines[5:],
        r"lacks 2 of the 16 frames with a hand: 20200820-subject-03/\S+/2, \S+/1 ",
    ),
    "all missing but one": (
        lambda lines: lines[:1],
        r"lacks 15 of the 16 frames with a hand: 20200903-subject-04/\S+/1, .* and 12 more",
    ),
    "double": (
        lambda lines: [*lines, lines[2]],
        "has frame 4 on line 3 and again on line 17, 1 frames are there more than once",
    ),
    "unknown": (
        lambda lines: [*lines, "24" + lines[0][1:]],
        r"line 17 is of frame 24, which does not exist: the numbers are 0 to 23, 1 lines .*"
        r"the dataset holds 8 of the 1280 clips of s0_test",
    ),
    "no whole number": (
        lambda lines: ["1.5" + lines[0][1:], *lines[1:]],
        "line 1 is of frame 1.5, which does not exist",
    ),
    "too few columns": (
        lambda lines: [lines[0], lines[1].rpartition(",")[0], *lines[2:]],
        "line 2 has 63 numbers between commas, not 64: the frame's number and x, y, z of 21",
    ),
    "spaces for commas": (
        lambda lines: [line.replace(",", " ") for line in lines],
        "line 1 has 1 numbers between commas, not 64",
    ),
    "NaN": (
        lambda lines: [*lines[:4], lines[4].rpartition(",")[0] + ",nan", *lines[5:]],
        "line 5 holds NaN or infinity, 1 lines in all do",
    ),
    "no number": (
        lambda lines: [lines[0].rpartition(",")[0] + ",x", *lines[1:]],
        "holds something that is no number: could not convert string 'x'",
    ),
}


@pytest.mark.parametrize("fault", HPE_FAULTS)
def test_a_bad_hpe_file_is_refused(fault, hpe_file, hpe_order, truth):
    change, message = HPE_FAULTS[fault]
    rewrite(hpe_file, change)
    with pytest.raises(ValueError, match=message) as error:
        read_hpe(hpe_file, hpe_order, truth)
    assert str(hpe_file) in str(error.value)


def test_an_empty_hpe_file_is_refused(hpe_file, hpe_order, truth):
    hpe_file.write_text("")
    with pytest.raises(ValueError, match="holds no line"):
        read_hpe(hpe_file, hpe_order, truth)


def test_hpe_conventions_are_checked(tmp_path, rng, hpe_order, truth):
    predicted = truth + rng.normal(scale=0.004, size=truth.shape)
    path = tmp_path / "hpe.txt"

    def refused(joints_m: np.ndarray, message: str) -> None:
        write_hpe(path, hpe_order, joints_m)
        with pytest.raises(ValueError, match=message):
            read_hpe(path, hpe_order, truth)

    refused(predicted / 1000, "is in metres, its format is in mm: its hands are 0.001.*multiply by")
    refused(
        predicted[:, DATASET_TO_MANO],
        r"in another order than its format \(thumb to little, palm to tip, as DexYCB\): its bones "
        r"fit the true ones as «MANO's order, tips last, as HO-3D»",
    )
    reverse = [0, *(4 * finger + k for finger in range(5) for k in (4, 3, 2, 1))]
    refused(predicted[:, reverse], "«thumb to little, tip to palm»")
    refused(
        predicted * OPENGL_TO_OPENCV,
        r"has its hands turned against its format's frame: .* with \(x, −y, −z\) for \(x, y, z\)",
    )


def test_bad_predictions_that_follow_the_conventions_are_read(tmp_path, rng, hpe_order, truth):
    path = tmp_path / "hpe.txt"
    for predicted in (
        np.zeros_like(truth),  # all joints in one point
        rng.normal(scale=0.1, size=truth.shape),  # no hand at all
        np.repeat(truth[:1], len(truth), 0),  # always the same hand
        1.8 * truth,
        truth - truth[:, :1],  # relative to the wrist
    ):
        write_hpe(path, hpe_order, predicted)
        np.testing.assert_allclose(read_hpe(path, hpe_order, truth).joints_m, predicted, atol=1e-7)


def test_a_missing_prediction_is_not_written(tmp_path, hpe_order, truth):
    truth[3, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"joints_m is not finite at \S+/2: the format has no"):
        write_hpe(tmp_path / "hpe.txt", hpe_order, truth)
    with pytest.raises(ValueError, match=r"joints_m has shape \(3, 21, 3\), not \(16, 21, 3\)"):
        write_hpe(tmp_path / "hpe.txt", hpe_order, truth[:3])


# ------------------------------------------------------------------------------ HO-3D, pred.json


@pytest.fixture
def ho3d_list(tmp_path):
    path = tmp_path / "evaluation.txt"
    path.write_text(HO3D_LIST)
    return path


@pytest.fixture
def pred_order(ho3d_list):
    return ho3d_order(ho3d_frames(), ho3d_list)


@pytest.fixture
def hands(rng):
    joints_m = random_hands(rng, 5)
    return joints_m, random_meshes(rng, joints_m)


@pytest.mark.parametrize("name", ["pred.json", "pred.zip"])
def test_pred_round_trip(name, tmp_path, pred_order, hands):
    path = tmp_path / "out" / name
    write_pred_json(path, pred_order, *hands)
    read = read_pred_json(path, pred_order, hands[0])
    np.testing.assert_allclose(read.joints_m, hands[0], atol=1e-7)
    np.testing.assert_allclose(read.vertices_m, hands[1], atol=2e-7)


def test_pred_json_is_as_the_evaluator_reads_it(tmp_path, pred_order, hands):
    path = tmp_path / "pred.json"
    write_pred_json(path, pred_order, *hands)
    joints, vertices = (np.array(part) for part in json.loads(path.read_text()))
    assert joints.shape == (5, 21, 3)
    assert vertices.shape == (5, 778, 3)
    assert (joints[..., 2] < 0).all()  # OpenGL looks along −z
    first = hands[0][2] * OPENGL_TO_OPENCV  # SM1/0000 stands third in the table, first in the list
    np.testing.assert_allclose(joints[0][MANO_TO_DATASET], first, atol=1e-7)


def test_equal_predictions_make_equal_zips(tmp_path, pred_order, hands):
    paths = [tmp_path / "a.zip", tmp_path / "b.zip"]
    for path in paths:
        write_pred_json(path, pred_order, *hands)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        assert archive.namelist() == ["pred.json"]


def test_a_part_of_the_dataset_reads_its_rows_but_writes_no_submission(
    tmp_path, ho3d_list, pred_order, hands
):
    write_pred_json(tmp_path / "pred.json", pred_order, *hands)
    part = ho3d_order(ho3d_frames().slice(1, 2), ho3d_list)
    read = read_pred_json(tmp_path / "pred.json", part, hands[0][1:3])
    np.testing.assert_allclose(read.joints_m, hands[0][1:3], atol=1e-7)
    with pytest.raises(ValueError, match=r"is not written: the dataset holds 2 of the 5 frames"):
        write_pred_json(tmp_path / "part.zip", part, hands[0][1:3], hands[1][1:3])


def bare(num_rows=5, num_joints=21, num_vertices=778) -> list:
    return [np.zeros((num_rows, n, 3)).tolist() for n in (num_joints, num_vertices)]


def with_value(value) -> list:
    content = [
        np.zeros((5, 21, 3)).tolist(),
        np.random.default_rng(0).normal(size=(5, 778, 3)).tolist(),
    ]
    content[1][3][100][1] = value
    return content


PRED_FAULTS = {
    "missing": (bare(4), "joints has 4 rows, evaluation.txt has 5 lines; expected is"),
    "too many": (bare(6), "joints has 6 rows, evaluation.txt has 5 lines"),
    "16 joints": (bare(num_joints=16), r"joints, row 0 has shape \(16, 3\), not \(21, 3\)"),
    "nothing": ([], r"at character 1 stands ']' instead of '\['"),
    "other rows": ([bare()[0], bare(4)[1]], "vertices has 4 rows, evaluation.txt has 5 lines"),
    "other mesh": (bare(num_vertices=779), r"vertices, row 0 has shape \(779, 3\), not \(778, 3\)"),
    "NaN": (with_value(np.nan), r"vertices of row 3 \(AP10/0000\) hold NaN or infinity, 1 rows"),
    "not whole": (
        with_value(None),
        r"vertices of row 3 \(AP10/0000\) hold NaN or infinity, 1 rows",
    ),
    "text": (with_value("x"), "vertices, row 3 is no list of points of numbers"),
    "ragged": (with_value([1, 2]), "vertices, row 3 is no list of points of numbers"),
    "an object": ({"joints": []}, "at character 0 stands .* instead of '\\['"),
}


@pytest.mark.parametrize("fault", PRED_FAULTS)
def test_a_bad_pred_json_is_refused(fault, tmp_path, pred_order, hands):
    content, message = PRED_FAULTS[fault]
    path = tmp_path / "pred.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        read_pred_json(path, pred_order, hands[0])
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "[[", "[[[[0.1, 0.2", "no JSON at all"])
def test_a_truncated_pred_json_is_refused(text, tmp_path, pred_order, hands):
    path = tmp_path / "pred.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="expected is \\[joints, vertices\\] with 5 rows each"):
        read_pred_json(path, pred_order, hands[0])


LFS = b"version https://git-lfs.github.com/spec/v1"


def zip_of(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pred.json", content)
    return file.getvalue()


OTHERS = {
    "nested": (b"[" * 100_000, "at character 2 begin too many nested lists; expected is"),
    "lfs": (LFS, "it is a Git LFS pointer: fetch the file itself"),
    "web page": (b"<!DOCTYPE html>", "it is a web page"),
    "cut zip": (zip_of(b"[[" * 99)[:-30], "it is damaged or cut off .*copy it again"),
    "changed zip": (zip_of(b"abc" * 999).replace(b"pred.json", b"pred.jsom", 1), "it is damaged"),
    "web page in a zip": (zip_of(b"<html>"), "it is a web page"),
    "lfs in a zip": (zip_of(LFS), "it is a Git LFS pointer"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_file_in_the_place_of_pred_json_is_named(case, tmp_path, pred_order, hands):
    data, message = OTHERS[case]
    path = tmp_path / "pred.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as told:
        read_pred_json(path, pred_order, hands[0])
    assert str(path) in str(told.value) and "\n" not in str(told.value)


def test_another_file_in_the_place_of_hpe_lines_is_named(hpe_file, hpe_order, truth):
    hpe_file.write_bytes(LFS)
    with pytest.raises(ValueError, match="it is a Git LFS pointer: fetch the file itself"):
        read_hpe(hpe_file, hpe_order, truth)


def test_a_zip_without_pred_json_is_refused(tmp_path, pred_order, hands):
    path = tmp_path / "pred.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(ValueError, match=r"the zip holds 0 \.json files"):
        read_pred_json(path, pred_order, hands[0])


def test_pred_conventions_are_checked(tmp_path, pred_order, hands):
    path = tmp_path / "pred.json"

    def refused(joints_m: np.ndarray, message: str) -> None:
        write_pred_json(path, pred_order, joints_m, hands[1])
        with pytest.raises(ValueError, match=message):
            read_pred_json(path, pred_order, hands[0])

    joints_m = hands[0] + 0.001
    refused(1000 * joints_m, "is in mm, its format is in m: .*; divide by 1000")
    # written as if MANO's order were the dataset's: the file then holds dataset order
    refused(
        joints_m[:, MANO_TO_DATASET], "fit the true ones as «thumb to little, palm to tip, as D"
    )
    refused(joints_m * OPENGL_TO_OPENCV, r"turned .* with \(x, −y, −z\) for \(x, y, z\)")


def test_unknown_truth_is_left_out_of_the_check(tmp_path, pred_order, hands):
    write_pred_json(tmp_path / "pred.json", pred_order, *hands)
    truth = hands[0].copy()
    truth[1:] = np.nan
    assert len(read_pred_json(tmp_path / "pred.json", pred_order, truth).joints_m) == 5
