"""DexYCB's HPE file: round trips, what its evaluator reads, and everything wrong with it."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.submissions.hpe import read_hpe, write_hpe
from deformer.hand.conventions import DATASET_TO_MANO

LFS = "version https://git-lfs.github.com/spec/v1"


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


def swap(number: int, change) -> Callable[[list[str]], list[str]]:
    """One line changed; `number` counts from 1."""
    return lambda lines: [*lines[: number - 1], change(lines[number - 1]), *lines[number:]]


def last(value: str) -> Callable[[str], str]:
    return lambda line: line.rpartition(",")[0] + value


HPE_FAULTS = [
    (lambda x: x[:3] + x[5:], r"lacks 2 of the 16 frames with a hand: 20200820\S+/2, \S+/1 "),
    (lambda x: x[:1], r"lacks 15 of the 16 frames with a hand: \S+-04/\S+/1, .* and 12 more"),
    (lambda x: [*x, x[2]], "has frame 4 on line 3 and again on line 17, 1 frames are there more"),
    (lambda x: [*x, "24" + x[0][1:]], r"line 17 is of frame 24, which does not exist: the numbers "
     r"are 0 to 23, 1 lines .*the dataset holds 8 of the 1280 clips of s0_test"),
    (swap(1, lambda line: "1.5" + line[1:]), "line 1 is of frame 1.5, which does not exist"),
    (swap(2, last("")), "line 2 has 63 numbers between commas, not 64: the frame's number and x, "),
    (lambda x: [y.replace(",", " ") for y in x], "line 1 has 1 numbers between commas, not 64"),
    (swap(5, last(",nan")), "line 5 holds NaN or infinity, 1 lines in all do"),
    (swap(1, last(",x")), "holds something that is no number: could not convert string 'x'"),
    (lambda x: [], "holds no line"),
    (lambda x: [LFS], "it is a Git LFS pointer: fetch the file itself"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), HPE_FAULTS)
def test_a_bad_hpe_file_is_refused(change, message, hpe_file, hpe_order, truth):
    rewrite(hpe_file, change)
    with pytest.raises(ValueError, match=message) as error:
        read_hpe(hpe_file, hpe_order, truth)
    assert str(hpe_file) in str(error.value)


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
