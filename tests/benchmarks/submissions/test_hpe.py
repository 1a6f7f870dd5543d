"""DexYCB's HPE file: round trips, what its evaluator reads, and everything wrong with it."""

import numpy as np
import pytest

from benchmarks.submissions.hpe import read_hpe, write_hpe
from deformer.hand.conventions import DATASET_TO_MANO, OPENGL_TO_OPENCV

LFS = b"version https://git-lfs.github.com/spec/v1"


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
    "empty": (lambda lines: [], "holds no line"),
    "lfs": (lambda lines: [LFS.decode()], "it is a Git LFS pointer: fetch the file itself"),
}


@pytest.mark.parametrize("fault", HPE_FAULTS)
def test_a_bad_hpe_file_is_refused(fault, hpe_file, hpe_order, truth):
    change, message = HPE_FAULTS[fault]
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
