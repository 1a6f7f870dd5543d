"""Boxes of hands from a file: what is read, and what is refused."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from deformer.video.boxes_file import read_boxes

HEADER = "frame,track,side,x0,y0,x1,y1\n"
GOOD = HEADER + "0,4,left,10,20,50.5,60\n0,1,right,-8,5,12,30\n2,4,left,14,20,54.5,60\n"
NUM_FRAMES, IMAGE_WH = 3, (64, 48)


def written(folder: Path, text: str, suffix: str = ".csv") -> Path:
    path = folder / f"boxes of Jürgen{suffix}"
    if suffix == ".parquet":
        pq.write_table(pyarrow.csv.read_csv(io.BytesIO(text.encode())), path)
    else:
        path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, **changes):
    return read_boxes(path, **{"num_frames": NUM_FRAMES, "image_wh": IMAGE_WH} | changes)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_become_tracks(tmp_path, suffix):
    first, second = read(written(tmp_path, GOOD, suffix))
    assert (first.track, first.is_left, first.frames.tolist()) == (1, False, [0])
    assert (second.track, second.is_left, second.frames.tolist()) == (4, True, [0, 2])
    assert second.boxes_px.tolist() == [[10, 20, 50.5, 60], [14, 20, 54.5, 60]]
    assert second.is_observed.all() and np.isnan(second.detection).all()
    assert second.boxes_px.dtype == np.float64 and second.frames.dtype == np.int64


def test_gaps_are_filled_as_those_of_a_detector(tmp_path):
    _, filled = read(written(tmp_path, GOOD), fill_frames=1)
    assert filled.frames.tolist() == [0, 1, 2]
    assert filled.is_observed.tolist() == [True, False, True]
    assert filled.boxes_px[1].tolist() == [12, 20, 52.5, 60]


def test_order_of_rows_and_columns_and_further_columns_do_not_matter(tmp_path):
    table = pyarrow.csv.read_csv(io.BytesIO(GOOD.encode()))[::-1]
    table = table.select(table.column_names[::-1]).append_column("note", pa.array(["a", "", "b"]))
    pq.write_table(table, tmp_path / "b.parquet")
    one, other = read(written(tmp_path, GOOD)), read(tmp_path / "b.parquet")
    for a, b in zip(one, other, strict=True):
        assert a.track == b.track and np.array_equal(a.frames, b.frames)
        assert np.array_equal(a.boxes_px, b.boxes_px)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_spreadsheets_are_read(tmp_path, encoding):
    path = tmp_path / "boxes.CSV"
    path.write_bytes(GOOD.replace("\n", "\r\n").encode(encoding))
    assert len(read(path)) == 2


def test_no_rows_are_no_hands(tmp_path):
    assert read(written(tmp_path, HEADER)) == []
    assert read(written(tmp_path, HEADER, ".parquet")) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("3,1,right,1,2,3,4", r"row 4 \(frame 3\) is beyond the video, which has 3 frames: is it"),
        ("-1,1,right,1,2,3,4", "row 4 .* needs a whole number from 0 to 2147483647 as its frame"),
        ("1.5,1,right,1,2,3,4", "row 4 .* needs a whole number from 0 to 2147483647 as its frame"),
        (",1,right,1,2,3,4", "row 4 .* needs a whole number from 0 to 2147483647 as its frame"),
        ("1,-2,right,1,2,3,4", "row 4 .* needs a whole number from 0 to 2147483647 as its track"),
        ("1,1e400,right,1,2,3,4", "row 4 .* needs a whole number .* as its track"),
        ("1,2147483648,right,1,2,3,4", "row 4 .* needs a whole number .* as its track"),
        ("1,1,Right,1,2,3,4", "row 4 .* has the side 'Right', must be right or left"),
        ("1,1,,1,2,3,4", "row 4 .* has the side '', must be right or left"),
        ("1,1,right,nan,2,3,4", "row 4 .* needs finite numbers as x0, y0, x1, y1"),
        ("1,1,right,1,2,,4", "row 4 .* needs finite numbers as x0, y0, x1, y1"),
        ("1,1,right,1,2,inf,4", "row 4 .* needs finite numbers as x0, y0, x1, y1"),
        ("1,1,right,3,2,3,4", "row 4 .* has an empty box: x0 < x1 and y0 < y1 are needed"),
        ("1,1,right,1,4,3,2", "row 4 .* has an empty box"),
        ("1,1,right,64,2,70,4", "row 4 .* has its box outside the image, 64 × 48 px: is it the"),
        ("1,1,right,1,-9,3,-1", "row 4 .* has its box outside the image"),
        ("1,1,left,1,2,3,4", r"row 4 \(frame 1\) gives track 1 another side: a track is one hand"),
        ("0,1,right,1,2,3,4", "row 4 .* is the second box of track 1 in this frame: give it one"),
        ("1,one,right,1,2,3,4", "track must be a number"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_row_that_cannot_be_used_is_named(tmp_path, suffix, row, message):
    path = written(tmp_path, GOOD + row + "\n", suffix)
    with pytest.raises(ValueError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"--boxes {path}") and "\n" not in str(caught.value)


def test_the_first_of_several_bad_rows_is_named(tmp_path):
    path = written(tmp_path, GOOD)
    with pytest.raises(ValueError, match=r"row 1 \(frame 0, and 2 more\) is beyond the video"):
        read(path, num_frames=0)


def test_missing_columns_are_named(tmp_path):
    path = written(tmp_path, GOOD.replace("side,x0", "hand,left"))
    with pytest.raises(ValueError, match="lacks side, x0; it has frame, track, hand, left, y0"):
        read(path)


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no.csv: there is no such file"):
        read(tmp_path / "no.csv")
    with pytest.raises(ValueError, match=r"--boxes .*\.txt must end in \.csv or \.parquet"):
        read(written(tmp_path, GOOD, ".txt"))
    with pytest.raises(ValueError, match="it is empty: download or copy it again"):
        read(written(tmp_path, ""))
    with pytest.raises(ValueError, match="Expected 7 columns, got 6"):
        read(written(tmp_path, GOOD + "1,1,right,1,2,3\n"))
    path = written(tmp_path, GOOD, ".parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="it is damaged or cut off"):
        read(path)
