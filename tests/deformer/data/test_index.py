import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deformer.data.filter import Filter
from deformer.data.index import make_windows, read_index, select_rows
from deformer.data.windows import WindowConfig
from deformer.files.foreign import UnreadableFileError
from deformer.files.sealed import write_json
from tests.deformer.data.conftest import labelled_clip
from tests.pipelines.handmade import build_dataset, make_clip

T3 = WindowConfig(num_frames=3, gap=2)


@pytest.fixture(scope="module")
def index(dataset):
    return read_index(dataset)


@pytest.fixture(scope="module")
def frames(dataset) -> list[dict]:
    """The rows of `frames.parquet` as plain Python: null is None."""
    return pq.read_table(dataset / "frames.parquet").to_pylist()


@pytest.fixture(scope="module")
def with_nulls(tmp_path_factory):
    """The index of two clips of 6 frames: the second has no occlusion; neither has a `split`."""
    clips = [make_clip("known", seed=0), make_clip("unknown", seed=1, hand="none")]
    return read_index(build_dataset(tmp_path_factory.mktemp("nulls") / "dataset", [clips]))


def clips_of(index, rows: np.ndarray) -> list[str]:
    return [index.clips[k] for k in np.unique(index.clip[rows])]


def test_the_index_holds_what_the_table_holds(index, frames):
    assert [index.clips[k] for k in index.clip] == [row["clip"] for row in frames]
    assert [index.shards[k] for k in index.shard] == [row["shard"] for row in frames]
    assert index.is_left.tolist() == [row["side"] == "left" for row in frames]
    for name, values in index.numbers.items():
        for value, row in zip(values.tolist(), frames, strict=True):
            assert value == row[name] or row[name] is None, name


def test_no_dataset_and_another_schema_version_are_refused(tmp_path, own_dataset):
    with pytest.raises(FileNotFoundError, match="is no built dataset"):
        read_index(tmp_path / "nothing")
    info = json.loads((own_dataset / "dataset.json").read_text())
    write_json(own_dataset / "dataset.json", info | {"schema_version": 99})
    with pytest.raises(ValueError, match="schema version 99, this program reads"):
        read_index(own_dataset)


@pytest.mark.parametrize(
    ("split", "column", "part"),
    [("s0_train", "s0", "train"), ("s0_test", "s0", "test"), ("s2_val", "s2", "val")],
)
def test_a_split_is_its_valid_frames_that_are_no_halo(index, frames, split, column, part):
    expected = [
        row["valid"] and not row["is_halo"] and row[column] == part for row in frames
    ]  # fmt: skip
    assert select_rows(index, split).tolist() == expected and any(expected)


def test_a_split_without_a_valid_frame_is_refused(tmp_path):
    splits = {"s0": "train"}
    clips = [
        make_clip("good", num_frames=2, splits=splits),
        make_clip("bad", num_frames=2, splits={"s0": "val"}, invalid=[0, 1]),
    ]
    index = read_index(build_dataset(tmp_path / "dataset", [clips]))
    with pytest.raises(ValueError, match="split s0_val of .* has no valid frame"):
        select_rows(index, "s0_val")


FILTERS = {
    "occlusion > 0.3": lambda r: r["occlusion"] > 0.3,
    "occlusion >= 0.3": lambda r: r["occlusion"] >= 0.3,
    "occlusion < 0.3": lambda r: r["occlusion"] < 0.3,
    "0.3 >= occlusion": lambda r: r["occlusion"] <= 0.3,
    "frame != 3": lambda r: r["frame"] != 3,
    "frame > -1 and frame < 2": lambda r: r["frame"] < 2,
    "1 < frame <= 4": lambda r: 1 < r["frame"] <= 4,
    "0.1 < occlusion < 0.4 < visibility": lambda r: 0.1 < r["occlusion"] < 0.4 < r["visibility"],
    "not side == 'left'": lambda r: r["side"] != "left",
    "clip in ['clip-01', 'clip-10']": lambda r: r["clip"] in ("clip-01", "clip-10"),
    "clip not in ('clip-01', 'clip-10')": lambda r: r["clip"] not in ("clip-01", "clip-10"),
    "valid == True and 0 == frame": lambda r: r["frame"] == 0,
    "is_halo or valid and frame < 1": lambda r: r["frame"] < 1,
    "valid and not is_halo": lambda r: True,
    "(side == 'left' or frame < 2) and not occlusion > 0.4": lambda r: (
        (r["side"] == "left" or r["frame"] < 2) and not r["occlusion"] > 0.4
    ),
    "occlusion > visibility": lambda r: r["occlusion"] > r["visibility"],
    " s0 == 'test' and joints_in_image > 15 ": lambda r: (
        r["s0"] == "test" and r["joints_in_image"] > 15
    ),
}


@pytest.mark.parametrize("where", FILTERS)
def test_a_filter_says_what_python_says(index, frames, where):
    selected = select_rows(index, "all", where)
    expected = [bool(row["valid"] and not row["is_halo"] and FILTERS[where](row)) for row in frames]
    assert selected.tolist() == expected
    assert any(expected) and (where == "valid and not is_halo" or not all(expected[:4]))


@pytest.mark.parametrize(
    "where",
    ["occlusion >= 0", "occlusion < 2", "occlusion == occlusion", "occlusion != 9",
     "occlusion not in [9]", "-1 < occlusion < 2"],
)  # fmt: skip
def test_a_comparison_with_a_null_is_false(with_nulls, where):
    assert clips_of(with_nulls, select_rows(with_nulls, "all", where)) == ["known"]


def test_a_decimal_equals_what_is_stored_of_it():
    column = pa.chunked_array([pa.array([0.3, 0.5, None], pa.float32())])
    for where in ("x == 0.3", "0.3 >= x", "x in [0.3]", "not x > 0.3 and x != 0.5 and x < 9"):
        assert Filter(where, ["x"], lambda _: column).evaluate().tolist() == [True, False, False]


def test_a_text_column_of_nulls_equals_and_differs_from_nothing(with_nulls):
    for where in ("split == 'train'", "split != 'train'", "split not in ['train']"):
        with pytest.raises(ValueError, match="no valid frame of split all satisfies"):
            select_rows(with_nulls, "all", where)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("colour == 'red'", r"no column 'colour', there are clip, .*occlusion"),
        ("len(side) > 3", r"cannot read 'len\(side\)'"),
        ("__import__('os').getcwd() == 'x'", "cannot read"),
        ("occlusion + 1 > 1", r"cannot read 'occlusion \+ 1'"),
        ("occlusion is None", "a column and a value of its kind"),
        ("[valid for valid in [1]]", "is neither true nor false"),
        ("occlusion", "'occlusion' is neither true nor false"),
        ("side == 'left", "cannot be read"),
        ("   ", "cannot be read"),
        ("1 < 2", "a column and a value of its kind"),
        ("occlusion != 'much'", "a column and a value of its kind"),
        ("frame in ['1', '2']", "a column and a value of its kind"),
        ("'left' in side", "a column and a value of its kind"),
        ("side in object", "a column and a value of its kind"),
        ("box_px > 3", "filter 'box_px > 3'"),
    ],
)
def test_what_is_no_comparison_of_a_column_with_values_is_refused(index, where, text):
    with pytest.raises(ValueError, match=text) as error:
        select_rows(index, "all", where)
    assert repr(where) in str(error.value)


def test_a_filter_that_leaves_nothing_is_refused(index):
    with pytest.raises(ValueError, match="no valid frame of split s0_train satisfies 'frame > 99'"):
        select_rows(index, "s0_train", "frame > 99")
    with pytest.raises(ValueError, match="no valid frame"):  # they are all in s0_train
        select_rows(index, "s0_test", "clip == 'clip-00'")


def test_halo_rows_are_neighbours_but_never_centres(index):
    windows = make_windows(index, T3, select_rows(index, "s0_train"))
    is_halo = index.numbers["is_halo"]
    assert is_halo.sum() == 1
    assert not is_halo[windows.centre_rows].any()
    assert is_halo[windows.rows].any()


@pytest.mark.parametrize("limit", [1, 2, 7, 33, 34, 1000])
def test_a_limit_spreads_evenly(index, limit):
    is_centre = select_rows(index, "s0_train")
    every = make_windows(index, T3, is_centre).centre_rows
    some = make_windows(index, T3, is_centre, limit).centre_rows
    assert len(some) == min(limit, 34)
    assert len(np.unique(some)) == len(some) and np.isin(some, every).all()
    if limit > 1:
        gaps = np.diff(np.searchsorted(every, some))
        assert gaps.max() - gaps.min() <= 1
        assert some[0] == every[0] and some[-1] == every[-1]


def test_frame_numbers_that_are_missing_end_a_window(tmp_path):
    clip = labelled_clip("gappy", seed=0, num_frames=4)
    clip.labels["frame"] = np.array([10, 12, 13, 20])
    index = read_index(build_dataset(tmp_path / "dataset", [[clip]]))
    windows = make_windows(index, T3, select_rows(index, "all"))
    assert windows.rows.tolist() == [[0, 0, 1], [0, 1, 1], [2, 2, 2], [3, 3, 3]]


@pytest.mark.parametrize("damage", ["lfs", "cut", "gone"])
def test_a_damaged_index_is_told_in_a_line(own_dataset, damage):
    path = own_dataset / "frames.parquet"
    whole = path.read_bytes()
    path.write_bytes(b"version https://git-lfs" if damage == "lfs" else whole[: len(whole) // 2])
    if damage == "gone":
        path.unlink()
    with pytest.raises(
        (UnreadableFileError, FileNotFoundError), match="--repair writes it"
    ) as caught:
        read_index(own_dataset)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_folder_whose_name_is_no_text_is_refused(own_dataset, tmp_path):
    named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9"))
    own_dataset.rename(named)
    with pytest.raises(UnreadableFileError, match=r"udcff.*is not UTF-8.*rename the folder"):
        read_index(named)
