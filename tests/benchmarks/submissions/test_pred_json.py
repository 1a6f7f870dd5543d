"""HO-3D's pred.json: round trips, what its evaluator reads, and everything wrong with it."""

import io
import json
import zipfile

import numpy as np
import pytest

from benchmarks.submissions.file_order import ho3d_order
from benchmarks.submissions.pred_json import _has_mesh, read_pred_json, write_pred_json
from deformer.hand.conventions import MANO_TO_DATASET, NUM_VERTICES, OPENGL_TO_OPENCV
from deformer.hand.mano import load_hands
from tests.benchmarks.frame_tables import ho3d_frames

LFS = b"version https://git-lfs.github.com/spec/v1"


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
    content = [bare()[0], np.random.default_rng(0).normal(size=(5, 778, 3)).tolist()]
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


def zip_of(content: bytes, name: str = "pred.json") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


_EXPECTED = r"expected is \[joints, vertices\] with 5 rows each"
OTHERS = {
    **{
        f"text {text}": (text.encode(), _EXPECTED) for text in ("", "[[", "[[[[0.1, 0.2", "no JSON")
    },
    "zip without": (zip_of(b"", "readme.txt"), r"the zip holds 0 \.json files"),
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
    with pytest.raises(ValueError, match=message) as error:
        read_pred_json(path, pred_order, hands[0])
    assert str(path) in str(error.value) and "\n" not in str(error.value)


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


# -------------------------------------------------------------------------------------- no meshes


def filled(value: float) -> list:
    return np.full((5, NUM_VERTICES, 3), value).tolist()


def padded(joints: np.ndarray, mode: str) -> np.ndarray:
    return np.pad(joints, ((0, 0), (0, NUM_VERTICES - 21), (0, 0)), mode)


NO_MESHES = {
    "zeros": lambda _: [filled(0)],
    "a point": lambda _: [filled(0.3)],
    "NaN": lambda _: [filled(np.nan)],
    "empty": lambda _: [[]],
    "null": lambda _: [None],
    "empty rows": lambda _: [[[]] * 5],
    "null rows": lambda _: [[None] * 5],
    "no list": lambda _: [],
    "zeros after the joints": lambda joints: [padded(joints, "constant").tolist()],
    "the last joint repeated": lambda joints: [padded(joints, "edge").tolist()],
    "all joints repeated": lambda joints: [np.tile(joints, (1, 38, 1))[:, :NUM_VERTICES].tolist()],
    "a point and noise": lambda _: [(0.3 + 1e-6 * _noise()).tolist()],
    "a hand of 2 cm": lambda _: [(0.003 * _noise()).tolist()],
}


def _noise() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, NUM_VERTICES, 3)).clip(-3, 3)


@pytest.mark.parametrize("kind", NO_MESHES)
def test_joints_are_read_and_what_fills_the_place_of_vertices_is_no_mesh(
    kind, tmp_path, pred_order, hands
):
    truth, path = hands[0], tmp_path / "pred.json"
    write_pred_json(path, pred_order, *hands)
    joints = json.loads(path.read_text())[0]
    path.write_text(json.dumps([joints, *NO_MESHES[kind](np.array(joints))]))
    read = read_pred_json(path, pred_order, truth)
    np.testing.assert_allclose(read.joints_m, truth, atol=1e-7)
    assert read.vertices_m is None
    assert read.warnings == (
        "it has no vertices, or only such that fill their place: no mesh is scored",
    )


def test_single_meshes_without_extent_count_and_are_named(tmp_path, pred_order, hands):
    (truth, meshes), path = hands, tmp_path / "pred.json"
    meshes[2] = 0
    write_pred_json(path, pred_order, truth, meshes)
    read = read_pred_json(path, pred_order, truth)
    np.testing.assert_allclose(read.vertices_m, meshes, atol=2e-7)
    assert read.warnings == (
        "1 of its 5 meshes are none (a point, or joints repeated), and count so",
    )


def test_a_mesh_in_whole_millimetres_is_a_mesh():
    assert _has_mesh(np.round(load_hands("standin").right.v_template, 3)[None]).tolist() == [True]
