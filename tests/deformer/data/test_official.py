"""What the datasets lay down, against what their papers print."""

import pytest

from deformer.data.official import (
    SERIALS,
    official_num_clips,
    official_sequences,
    read_frame_list,
    recordings,
)
from deformer.files.foreign import UnreadableFileError


def test_official_splits_have_the_published_sizes():
    """Sequences × cameras of each part, from the definition of the setups in the paper."""
    assert {len(sequences) for sequences in official_sequences().values()} == {100}
    assert official_num_clips() == {
        "s0_train": 6400, "s0_val": 320, "s0_test": 1280,
        "s1_train": 5600, "s1_val": 800, "s1_test": 1600,
        "s2_train": 6000, "s2_val": 1000, "s2_test": 1000,
        "s3_train": 6000, "s3_val": 800, "s3_test": 1200,
    }  # fmt: skip
    assert sorted(SERIALS) == list(SERIALS)  # prediction files sort them


def test_setup_s3_separates_objects():
    """Sequence i grasps object i // 5; one genuine sequence of subject 9 is an exception."""
    rows = recordings()
    usual = [row.object for row in rows[:100:5]]
    exceptions = [
        (row.subject, i % 100) for i, row in enumerate(rows) if row.object != usual[i % 100 // 5]
    ]
    assert exceptions == [("20201015-subject-09", 10)]


def test_a_line_that_is_no_frame_is_refused(tmp_path):
    path = tmp_path / "evaluation.txt"
    path.write_text("SM1/0000\n\nAP10/0123\n")
    assert read_frame_list(path) == [("SM1", 0), ("AP10", 123)]
    for line in ("SM1-0001", "../SM1/0001", "S" * 41 + "/0000", "SM1/0000000"):
        path.write_text(f"SM1/0000\n{line}\n")
        with pytest.raises(UnreadableFileError, match="line 2: '.*' is not <sequence>/<frame>"):
            read_frame_list(path)
