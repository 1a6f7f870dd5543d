"""What others' files are like: no meshes, mirrored hands, rows of other frames."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.submissions.conventions import AXES, check_conventions, misplaced
from benchmarks.submissions.file_order import dexycb_order, ho3d_order
from benchmarks.submissions.hpe import read_hpe, write_hpe
from benchmarks.submissions.pred_json import _has_mesh, read_pred_json, write_pred_json
from deformer.hand.conventions import NUM_VERTICES
from tests.benchmarks.frame_tables import HO3D_LIST, dexycb_frames, ho3d_frames
from tests.benchmarks.hands_in_motion import make_hand, random_hands, random_meshes, random_rotation


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def noisy(rng: np.random.Generator, joints_m: np.ndarray) -> np.ndarray:
    return joints_m + rng.normal(scale=0.004, size=joints_m.shape)


# -------------------------------------------------------------------------------------- no meshes


@pytest.fixture
def pred_order(tmp_path):
    (tmp_path / "evaluation.txt").write_text(HO3D_LIST)
    return ho3d_order(ho3d_frames(), tmp_path / "evaluation.txt")


def filled(value: float) -> list:
    return np.full((5, NUM_VERTICES, 3), value).tolist()


NO_MESHES = {
    "zeros": [filled(0)],
    "a point": [filled(0.3)],
    "NaN": [filled(np.nan)],
    "empty": [[]],
    "null": [None],
    "empty rows": [[[]] * 5],
    "null rows": [[None] * 5],
    "no list": [],
}


JOINTS_AS_MESHES = {
    "zeros after the joints": lambda joints: np.pad(joints, ((0, 0), (0, 757), (0, 0))),
    "the last joint repeated": lambda joints: np.pad(joints, ((0, 0), (0, 757), (0, 0)), "edge"),
    "all joints repeated": lambda joints: np.tile(joints, (1, 38, 1))[:, :NUM_VERTICES],
    "a point and noise": lambda joints: (
        joints[:, :1] + np.random.default_rng(0).normal(scale=1e-6, size=(5, NUM_VERTICES, 3))
    ),
    "a hand of 2 cm": lambda joints: np.random.default_rng(0).uniform(
        0, 0.02, size=(5, NUM_VERTICES, 3)
    ),
}


@pytest.mark.parametrize("kind", JOINTS_AS_MESHES)
def test_points_that_are_not_as_large_and_many_as_a_hands_are_no_mesh(
    kind, tmp_path, rng, pred_order
):
    truth, path = random_hands(rng, 5), tmp_path / "pred.json"
    write_pred_json(path, pred_order, truth, JOINTS_AS_MESHES[kind](truth))
    read = read_pred_json(path, pred_order, truth)
    assert read.vertices_m is None
    assert read.warnings == (
        "it has no vertices, or only such that fill their place: no mesh is scored",
    )


@pytest.mark.parametrize("kind", NO_MESHES)
def test_joints_are_read_and_what_fills_the_place_of_vertices_is_no_mesh(
    kind, tmp_path, rng, pred_order
):
    truth, path = random_hands(rng, 5), tmp_path / "pred.json"
    write_pred_json(path, pred_order, truth, random_meshes(rng, truth))
    joints = json.loads(path.read_text())[0]
    path.write_text(json.dumps([joints, *NO_MESHES[kind]]))
    read = read_pred_json(path, pred_order, truth)
    np.testing.assert_allclose(read.joints_m, truth, atol=1e-7)
    assert read.vertices_m is None
    assert read.warnings == (
        "it has no vertices, or only such that fill their place: no mesh is scored",
    )


def test_single_meshes_without_extent_count_and_are_told_of(tmp_path, rng, pred_order):
    truth, path = random_hands(rng, 5), tmp_path / "pred.json"
    meshes = random_meshes(rng, truth)
    meshes[2] = 0
    write_pred_json(path, pred_order, truth, meshes)
    read = read_pred_json(path, pred_order, truth)
    np.testing.assert_allclose(read.vertices_m, meshes, atol=2e-7)
    assert read.warnings == (
        "1 of its 5 meshes are none (a point, or joints repeated), and count so",
    )


def test_a_mesh_in_whole_millimetres_is_a_mesh(hands):
    assert _has_mesh(np.round(hands.right.v_template, 3)[None]).tolist() == [True]


# ------------------------------------------------------------------------------------ other axes


@pytest.fixture
def order():
    """Camera 9… has left hands, camera 8… right ones."""
    return dexycb_order(dexycb_frames(), "s0_test")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("is_absolute", [True, False])
def test_mirrored_hands_of_a_side_are_refused(tmp_path, rng, order, side, is_absolute):
    truth = random_hands(rng, int(order.is_required.sum()))
    is_side = order.is_left[order.is_required] == (side == "left")
    predicted = noisy(rng, truth)
    about = 0 if is_absolute else predicted[is_side, :1]
    predicted[is_side] = (predicted[is_side] - about) * [-1, 1, 1] + about
    write_hpe(tmp_path / "hpe.txt", order, predicted)
    told = rf"has its {side} hands mirrored against .* with \(−x, y, z\) for .*mirror back"
    with pytest.raises(ValueError, match=told):
        read_hpe(tmp_path / "hpe.txt", order, truth)


def test_a_file_mirrored_as_a_whole_is_refused(tmp_path, rng, order, pred_order):
    truth = random_hands(rng, int(order.is_required.sum()))
    write_hpe(tmp_path / "hpe.txt", order, noisy(rng, truth) * [-1, 1, 1])
    with pytest.raises(ValueError, match=r"has its hands mirrored .* \(−x, y, z\)"):
        read_hpe(tmp_path / "hpe.txt", order, truth)
    truth, path = random_hands(rng, 5), tmp_path / "pred.json"
    mirrored = noisy(rng, truth) * [-1, 1, 1]
    write_pred_json(path, pred_order, mirrored, random_meshes(rng, mirrored))
    with pytest.raises(ValueError, match=r"has its hands mirrored .* \(−x, y, z\)"):
        read_pred_json(path, pred_order, truth)


@pytest.mark.parametrize("k", range(1, len(AXES)))
def test_every_other_frame_of_axes_is_refused(tmp_path, rng, order, k):
    truth = random_hands(rng, int(order.is_required.sum()))
    write_hpe(tmp_path / "hpe.txt", order, noisy(rng, truth) @ AXES[k])
    what = "mirrored" if np.linalg.det(AXES[k]) < 0 else "turned"
    with pytest.raises(ValueError, match=f"has its hands {what} against"):
        read_hpe(tmp_path / "hpe.txt", order, truth)
    assert len({axes.tobytes() for axes in AXES}) == 48


@pytest.mark.parametrize("k", range(1, len(AXES)))
def test_a_method_that_always_predicts_the_same_turned_hand_is_bad_and_no_more(
    tmp_path, rng, order, k
):
    M = int(order.is_required.sum())
    truth = make_hand() + rng.normal(scale=0.01, size=(M, 21, 3)) + [0, 0, 0.7]
    predicted = np.repeat(make_hand()[None], M, 0) @ AXES[k]
    write_hpe(tmp_path / "hpe.txt", order, predicted)
    np.testing.assert_allclose(
        read_hpe(tmp_path / "hpe.txt", order, truth).joints_m, predicted, atol=1e-7
    )


# --------------------------------------------------------------------------- rows of other frames


N = 60


def motion(rng: np.random.Generator) -> np.ndarray:
    """(N, 21, 3): a hand that turns and moves by a few mm a frame."""
    start, end = random_rotation(rng, 2)
    share = np.linspace(0, 1, N)[:, None, None]
    U, _, Vt = np.linalg.svd((1 - share) * start + share * end)
    path = np.cumsum(rng.normal(scale=0.006, size=(N, 1, 3)), 0)
    return make_hand() @ (U @ Vt) + path + [0, 0, 0.7]


ORDERS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "one later": (lambda x: np.roll(x, -1, 0), "fit the frames 1 row later far better"),
    "one earlier": (lambda x: np.roll(x, 1, 0), "fit the frames 1 row earlier far better"),
    "two later": (lambda x: np.roll(x, -2, 0), "fit the frames 2 rows later far better"),
    "reversed": (lambda x: x[::-1], "fit other frames far better than their own"),
    "by halves": (lambda x: np.roll(x, N // 2, 0), "far better than their own"),
    "as text": (
        lambda x: x[sorted(range(N), key=str)], "fit other frames far better than their own",
    ),
}  # fmt: skip


def in_order_of_file(
    hands: np.ndarray, number: np.ndarray, change: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The hands of a table's frames, after the rows of the file, `number`, are changed."""
    return change(hands[np.argsort(number)])[number]


@pytest.mark.parametrize("name", ORDERS)
def test_rows_of_other_frames_are_told_of(rng, name):
    truth, number = motion(rng), rng.permutation(N)
    change, told = ORDERS[name]
    predicted = truth + rng.normal(scale=0.001, size=truth.shape)
    assert told in misplaced(in_order_of_file(predicted, number, change), truth, number)


@pytest.mark.parametrize("name", ["reversed", "by halves", "as text"])
def test_also_where_the_wrist_is_not_predicted(rng, name):
    truth, number = motion(rng), rng.permutation(N)
    change, _ = ORDERS[name]
    predicted = in_order_of_file(truth - truth[:, :1], number, change)
    assert "far better than their own" in misplaced(predicted, truth, number)


def warnings_of(predicted: np.ndarray, truth: np.ndarray) -> tuple[str, ...]:
    """Of a file whose rows are those of the table."""
    every = np.ones(len(truth), bool)
    order = SimpleNamespace(is_left=~every, is_required=every, index=np.arange(len(truth)))
    return check_conventions(Path("f"), predicted, truth, "m", np.arange(21), order)


def test_rows_of_other_frames_are_not_taken_for_turned_axes(rng):
    """In the second half of the frames hands are turned by half a turn."""
    truth = make_hand() + rng.normal(scale=0.01, size=(N, 21, 3))
    truth[N // 2 :] = truth[N // 2 :] @ np.diag([-1.0, -1.0, 1.0])
    predicted = np.roll(truth, N // 2, 0) + rng.normal(scale=0.001, size=truth.shape)
    (warning,) = warnings_of(predicted, truth)
    assert "far better than their own" in warning


def test_nothing_is_told_of_right_rows_nor_of_bad_methods(rng):
    truth, number = motion(rng), np.arange(N)
    drift = np.cumsum(rng.normal(scale=0.003, size=truth.shape), 0)
    for predicted in (
        truth,
        truth + rng.normal(scale=0.02, size=truth.shape),
        truth + drift,
        truth + [0.05, 0.02, -0.1],
        truth - truth[:, :1],
        np.repeat(truth[20:21], N, 0),
        np.zeros_like(truth),
        random_hands(rng, N),
        0.5 * (truth + truth.mean(0)),
        np.full_like(truth, 5.0),
    ):
        assert misplaced(predicted, truth, number) == ""


def test_frames_without_truth_and_single_frames_say_nothing(rng):
    truth = motion(rng)
    assert warnings_of(truth[:1], truth[:1]) == ()
    assert warnings_of(truth, np.full_like(truth, np.nan)) == ()
    shifted = np.roll(truth, -1, 0)
    truth[::7] = np.nan
    (warning,) = warnings_of(shifted, truth)
    assert "1 row later" in warning


def test_the_reader_tells_of_it(tmp_path, rng, pred_order, order):
    truth = random_hands(rng, 5)
    in_list = np.argsort(pred_order.index)  # rows of the list → of the table
    shifted = np.empty_like(truth)
    shifted[in_list] = np.roll(truth[in_list], -1, 0)
    write_pred_json(tmp_path / "pred.json", pred_order, shifted, random_meshes(rng, shifted))
    (told,) = read_pred_json(tmp_path / "pred.json", pred_order, truth).warnings
    assert told.startswith("its hands fit the frames 1 row later far better than their own (")
    truth = random_hands(rng, int(order.is_required.sum()))
    write_hpe(tmp_path / "hpe.txt", order, truth[::-1])
    (told,) = read_hpe(tmp_path / "hpe.txt", order, truth).warnings
    assert told.startswith("its hands fit other frames far better than their own (")
