"""Boxes of hands from a file instead of a detector: Parquet or CSV, a row per frame and track.

    frame,track,side,x0,y0,x1,y1
    0,0,right,310.5,200,402,331

Frames count from 0. side is the person's. A box is the tight box of the hand's joints in pixels,
centres at integers; it may exceed the image. Other columns are ignored.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from deformer.files.foreign import (
    UnreadableFileError,
    decode_text,
    describe_fault,
    describe_other,
    one_line,
)
from deformer.files.patient import is_file, read_file
from deformer.files.tables import check_unpacked
from deformer.hand.conventions import SIDES
from deformer.video.track import Track, fill_gaps

_EDGES = ("x0", "y0", "x1", "y1")
_MOST = 2**31 - 1
"""What a file of hands can hold."""
_COLUMNS = ("frame", "track", "side", *_EDGES)


def read_boxes(
    path: Path, num_frames: int, image_wh: tuple[int, int], fill_frames: int = 0
) -> list[Track]:
    """The tracks of a file of boxes for a video of so many frames of this size, in the order of
    their numbers. fill_frames: as in `TrackOptions`.

    Raises `FileNotFoundError`, and `ValueError` with the first row that cannot be used: because of
    its values, because it lies outside the video, or because a track has two sides, or two boxes in
    a frame.
    """
    path = Path(path)
    table = _read(path)
    if lacking := [name for name in _COLUMNS if name not in table.column_names]:
        raise ValueError(
            f"--boxes {path} lacks {', '.join(lacking)}; it has {', '.join(table.column_names)}: "
            f"name its columns {', '.join(_COLUMNS)}"
        )
    frame, track = (_numbers(path, table, name) for name in ("frame", "track"))
    side = np.array([str(name) for name in table["side"].to_pylist()], object)
    boxes = np.stack([_numbers(path, table, name) for name in _EDGES], 1)
    _check_rows(path, frame, track, side, boxes)
    _check_video(path, frame, boxes, num_frames, image_wh)
    frame, is_left = frame.astype(np.int64), side == SIDES[1]
    tracks = []
    for number in np.unique(track):
        rows = np.flatnonzero(track == number)
        rows = rows[np.argsort(frame[rows], kind="stable")]
        _refuse(path, rows[1:], is_left[rows[1:]] != is_left[rows[0]], frame,
                f"gives track {number:.0f} another side: a track is one hand")  # fmt: skip
        _refuse(path, rows[1:], np.diff(frame[rows]) == 0, frame,
                f"is the second box of track {number:.0f} in this frame: give it one")  # fmt: skip
        unknown = np.full(len(rows), np.nan, np.float32)
        seen = np.ones(len(rows), bool)
        tracks.append(
            Track(int(number), bool(is_left[rows[0]]), frame[rows], boxes[rows], seen, unknown)
        )
    return fill_gaps(tracks, fill_frames)


def _read(path: Path) -> pa.Table:
    if not is_file(path):
        raise FileNotFoundError(f"--boxes {path}: there is no such file")
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise ValueError(f"--boxes {path} must end in .csv or .parquet")
    data = read_file(path)
    try:
        if path.suffix.lower() == ".parquet":
            check_unpacked(pa.py_buffer(data))
            table = pq.read_table(pa.BufferReader(data))
            table.validate(full=True)  # text may be no text
            return table
        return pyarrow.csv.read_csv(pa.BufferReader(decode_text(data).encode()))
    except (pa.ArrowException, ValueError, OSError) as error:
        is_text = path.suffix.lower() == ".csv"
        fault = describe_other(data) if is_text else describe_fault(data, error)
        raise UnreadableFileError(f"--boxes {path}: {fault or one_line(error)}") from None


def _numbers(path: Path, table: pa.Table, name: str) -> np.ndarray:
    """A column as float64, NaN where it is empty."""
    try:
        column = pc.cast(table[name], pa.float64())
    except pa.ArrowException as error:
        raise ValueError(f"--boxes {path}: {name} must be a number ({one_line(error)})") from None
    return column.to_numpy().astype(np.float64)


def _refuse(
    path: Path, rows: np.ndarray, is_bad: np.ndarray, frame: np.ndarray, reason: str
) -> None:
    """Raises `ValueError` that names the first bad row; the first row is number 1."""
    if is_bad.any():
        row = int(rows[is_bad].min())
        more = f", and {is_bad.sum() - 1} more" if is_bad.sum() > 1 else ""
        raise ValueError(f"--boxes {path}: row {row + 1} (frame {frame[row]:g}{more}) {reason}")


def _check_rows(
    path: Path, frame: np.ndarray, track: np.ndarray, side: np.ndarray, boxes: np.ndarray
) -> None:
    rows = np.arange(len(frame))
    for name, values in (("frame", frame), ("track", track)):
        is_bad = ~((values >= 0) & (values <= _MOST) & (values == np.rint(values)))
        _refuse(path, rows, is_bad, frame, f"needs a whole number from 0 to {_MOST} as its {name}")
    is_bad = ~np.isin(side, SIDES)
    found = repr(side[is_bad][0]) if is_bad.any() else ""
    _refuse(path, rows, is_bad, frame, f"has the side {found}, must be {' or '.join(SIDES)}")
    is_bad = ~np.isfinite(boxes).all(1)
    _refuse(path, rows, is_bad, frame, f"needs finite numbers as {', '.join(_EDGES)}")
    is_bad = (boxes[:, 2:] <= boxes[:, :2]).any(1)
    _refuse(path, rows, is_bad, frame, "has an empty box: x0 < x1 and y0 < y1 are needed")


def _check_video(
    path: Path, frame: np.ndarray, boxes: np.ndarray, num_frames: int, image_wh: tuple[int, int]
) -> None:
    rows, (width, height) = np.arange(len(frame)), image_wh
    another = "is it the file of another video?"
    _refuse(path, rows, frame >= num_frames, frame,
            f"is beyond the video, which has {num_frames} frames: {another}")  # fmt: skip
    is_outside = (boxes[:, 2:] < -0.5).any(1) | (boxes[:, :2] > np.array(image_wh) - 0.5).any(1)
    _refuse(path, rows, is_outside, frame,
            f"has its box outside the image, {width} × {height} px: {another}")  # fmt: skip
