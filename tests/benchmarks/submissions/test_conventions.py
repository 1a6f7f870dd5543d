"""Files of other conventions: mirrored and turned hands, rows of other frames."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.submissions.conventions import AXES, check_conventions, describe_shifted_rows
from benchmarks.submissions.hpe import read_hpe, write_hpe
from benchmarks.submissions.pred_json import read_pred_json, write_pred_json
from tests.benchmarks.hands_in_motion import make_hand, random_hands, random_rotation


def noisy(rng: np.random.Generator, joints_m: np.ndarray) -> np.ndarray:
    return joints_m + rng.normal(scale=0.004, size=joints_m.shape)


# ------------------------------------------------------------------------------------ other axes


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("is_absolute", [True, False])
def test_mirrored_hands_of_a_side_are_refused(tmp_path, rng, hpe_order, truth, side, is_absolute):
    is_side = hpe_order.is_left[hpe_order.is_required] == (side == "left")
    predicted = noisy(rng, truth)
    about = 0 if is_absolute else predicted[is_side, :1]
    predicted[is_side] = (predicted[is_side] - about) * [-1, 1, 1] + about
    write_hpe(tmp_path / "hpe.txt", hpe_order, predicted)
    message = rf"has its {side} hands mirrored against .* with \(−x, y, z\) for .*mirror back"
    with pytest.raises(ValueError, match=message):
        read_hpe(tmp_path / "hpe.txt", hpe_order, truth)


@pytest.mark.parametrize("k", range(1, len(AXES)))
def test_every_other_frame_of_axes_is_refused(tmp_path, rng, hpe_order, truth, k):
    write_hpe(tmp_path / "hpe.txt", hpe_order, noisy(rng, truth) @ AXES[k])
    what = "mirrored" if np.linalg.det(AXES[k]) < 0 else "turned"
    with pytest.raises(ValueError, match=f"has its hands {what} against"):
        read_hpe(tmp_path / "hpe.txt", hpe_order, truth)
    assert len({axes.tobytes() for axes in AXES}) == 48


@pytest.mark.parametrize("k", range(1, len(AXES)))
def test_a_method_that_always_predicts_the_same_turned_hand_is_bad_and_no_more(
    tmp_path, rng, hpe_order, k
):
    M = int(hpe_order.is_required.sum())
    truth = make_hand() + rng.normal(scale=0.01, size=(M, 21, 3)) + [0, 0, 0.7]
    predicted = np.repeat(make_hand()[None], M, 0) @ AXES[k]
    write_hpe(tmp_path / "hpe.txt", hpe_order, predicted)
    np.testing.assert_allclose(
        read_hpe(tmp_path / "hpe.txt", hpe_order, truth).joints_m, predicted, atol=1e-7
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
def test_rows_of_other_frames_are_named(rng, name):
    truth, number = motion(rng), rng.permutation(N)
    change, fault = ORDERS[name]
    predicted = truth + rng.normal(scale=0.001, size=truth.shape)
    assert fault in describe_shifted_rows(
        in_order_of_file(predicted, number, change), truth, number
    )
    if name in ("reversed", "by halves", "as text"):  # also where the wrist is not predicted
        rooted = in_order_of_file(truth - truth[:, :1], number, change)
        assert "far better than their own" in describe_shifted_rows(rooted, truth, number)


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


def test_right_rows_and_bad_methods_give_no_warning(rng):
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
        assert describe_shifted_rows(predicted, truth, number) == ""


def test_frames_without_truth_and_single_frames_say_nothing(rng):
    truth = motion(rng)
    assert warnings_of(truth[:1], truth[:1]) == ()
    assert warnings_of(truth, np.full_like(truth, np.nan)) == ()
    shifted = np.roll(truth, -1, 0)
    truth[::7] = np.nan
    (warning,) = warnings_of(shifted, truth)
    assert "1 row later" in warning


def test_the_readers_warn(tmp_path, pred_order, hands, hpe_order, truth):
    in_list = np.argsort(pred_order.index)  # rows of the list → of the table
    shifted = [np.empty_like(points) for points in hands]
    for there, points in zip(shifted, hands, strict=True):
        there[in_list] = np.roll(points[in_list], -1, 0)
    write_pred_json(tmp_path / "pred.json", pred_order, *shifted)
    (warning,) = read_pred_json(tmp_path / "pred.json", pred_order, hands[0]).warnings
    assert warning.startswith("its hands fit the frames 1 row later far better than their own (")
    write_hpe(tmp_path / "hpe.txt", hpe_order, truth[::-1])
    (warning,) = read_hpe(tmp_path / "hpe.txt", hpe_order, truth).warnings
    assert warning.startswith("its hands fit other frames far better than their own (")
