"""Which line of a file is which frame."""

import numpy as np
import pytest

from benchmarks.submissions import file_order
from benchmarks.submissions.file_order import dexycb_order, ho3d_order
from tests.benchmarks.frame_tables import dexycb_frames, ho3d_frames


def test_dexycb_numbers_go_by_subject_sequence_camera_frame():
    order = dexycb_order(dexycb_frames(), "s0_test")
    names = np.array(order.frame_names)[np.argsort(order.index)]
    assert order.length == 24
    assert sorted(order.index.tolist()) == list(range(24))
    assert names[:7].tolist() == [
        "20200820-subject-03/20200902_110000/836212060125/0",
        "20200820-subject-03/20200902_110000/836212060125/1",
        "20200820-subject-03/20200902_110000/836212060125/2",
        "20200820-subject-03/20200902_110000/932122060857/0",
        "20200820-subject-03/20200902_110000/932122060857/1",
        "20200820-subject-03/20200902_110000/932122060857/2",
        "20200820-subject-03/20200902_120000/836212060125/0",
    ]
    assert names[-1] == "20200903-subject-04/20200903_120000/932122060857/2"
    assert set(order.index[~order.is_required]) == set(range(0, 24, 3))  # those without a hand


def test_a_part_of_the_split_says_that_its_numbers_are_its_own(monkeypatch):
    note = dexycb_order(dexycb_frames(), "s0_test").note
    assert note.startswith("the dataset holds 8 of the 1280 clips of s0_test, so the numbers count")
    note = dexycb_order(dexycb_frames(), "train").note
    assert note.startswith("'train' is no official split of DexYCB (s0_test, s0_train")
    monkeypatch.setattr(file_order, "official_num_clips", lambda: {"s0_test": 8})
    assert dexycb_order(dexycb_frames(), "s0_test").note == ""


def test_a_clip_with_a_gap_is_refused():
    frames = dexycb_frames()
    with pytest.raises(ValueError, match=r"836212060125/2 stands where frame 1 of its clip should"):
        dexycb_order(frames.filter(np.arange(len(frames)) != 22), "s0_test")


def test_ho3d_rows_follow_the_list(ho3d_list):
    order = ho3d_order(ho3d_frames(), ho3d_list)
    assert order.index.tolist() == [3, 4, 0, 1, 2]
    assert order.frame_names[0] == "AP10/0000"
    assert (order.length, order.note) == (5, "")
    assert order.is_required.all()


def test_a_part_of_ho3d_says_so(ho3d_list):
    order = ho3d_order(ho3d_frames().slice(0, 2), ho3d_list)
    assert order.length == 5
    assert order.note == "the dataset holds 2 of the 5 frames of evaluation.txt"


def test_no_list_or_one_of_another_version_is_refused(tmp_path):
    path = tmp_path / "evaluation.txt"
    with pytest.raises(FileNotFoundError, match=r"name its folder by --root or \$HO3D_DIR"):
        ho3d_order(ho3d_frames(), path)
    path.write_text("SM1/0000\nSM1/0001\n")
    with pytest.raises(ValueError, match=r"does not list AP10/0000 \(and 2 more frames"):
        ho3d_order(ho3d_frames(), path)
