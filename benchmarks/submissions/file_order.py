"""Which line or row of a prediction file belongs to which frame of a built dataset.

Neither format names its frames: DexYCB's numbers the frames of an official split, HO-3D's follows
evaluation.txt. Both orders are derived from the rows of `frames.parquet`, which are in shard order.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deformer.data.official import official_num_clips, read_frame_list
from deformer.files.foreign import UnreadableFileError, decode_text, describe_other

FARTHEST = 1e12
"""Coordinates from here on count as infinity, as their squares soon are."""


@dataclass(frozen=True, eq=False)
class FileOrder:
    """The place of each frame in a prediction file, in the order of a table of frames."""

    index: np.ndarray
    """(N,) int64: the frame number (DexYCB) or row (HO-3D) in the file, from 0, without repeats."""
    is_required: np.ndarray
    """(N,) bool: the frames that a file must hold."""
    length: int
    """The file's numbers are 0 … length − 1; more than N if the dataset holds only a part."""
    frame_names: list[str]
    """(N,) for messages."""
    is_left: np.ndarray
    """(N,) bool."""
    note: str
    """Why only this dataset can read the file; empty if the file is official."""

    @property
    def because(self) -> str:
        """The note in parentheses, as the end of an error message."""
        return f" ({self.note})" if self.note else ""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A file's predictions for the M required frames of a table, in the table's order."""

    joints_m: np.ndarray
    """(M, 21, 3) float64, camera frame, dataset order."""
    vertices_m: np.ndarray | None
    """(M, 778, 3) float32, camera frame; None if the format or the file has none."""
    warnings: tuple[str, ...] = ()
    """Oddities of the file, a sentence each; it is scored all the same."""


def order_of(dataset: str, frames: pa.Table, split: str, root: Path | None) -> FileOrder | None:
    """The order of the file that a dataset's own evaluator reads; None if the order is not known.

    dataset: "dexycb", "ho3d", or another. root: HO-3D's raw folder, which HO-3D's order needs.
    Raises the errors of `dexycb_order` and `ho3d_order`.
    """
    if dataset == "dexycb":
        return dexycb_order(frames, split)
    if dataset == "ho3d" and root is not None:
        return ho3d_order(frames, root / "evaluation.txt")
    return None


def dexycb_order(frames: pa.Table, split: str) -> FileOrder:
    """The order of DexYCB's HPE files: subjects, sequences, cameras, frames, each sorted.

    frames: the rows of a split without the halo, including invalid ones, with the columns subject,
    sequence, camera, frame, side, joints_in_image. The numbers count every frame of the split. A
    frame is required if its labels have a hand, even outside the image.

    A dataset with a part of the split (or synthetic recordings) cannot give official numbers,
    because the missing recordings have unknown lengths. Its numbers count its own frames, and
    `note` says so. Only the same dataset can read such a file.

    Raises `ValueError` if a clip is incomplete, because then frames cannot be counted.
    Source: the order of dex-ycb-toolkit's `DexYCBDataset`.
    """
    keys = [(key, "ascending") for key in ("subject", "sequence", "camera", "frame")]
    rows = pc.sort_indices(frames, sort_keys=keys).to_numpy()  # official position → row
    names = _names(frames)
    clip = np.array([name.rpartition("/")[0] for name in names])[rows]
    frame = frames["frame"].to_numpy()[rows]
    N = len(rows)
    is_first = np.append(True, clip[1:] != clip[:-1])[:N]
    expected = np.arange(N) - np.maximum.accumulate(np.where(is_first, np.arange(N), 0))
    if (wrong := frame != expected).any():
        i = int(wrong.argmax())
        raise ValueError(
            f"{names[rows[i]]} stands where frame {expected[i]} of its clip should: a prediction "
            "file counts every frame, so pass all rows of the split, invalid ones too, without the "
            "halo"
        )
    index = np.empty(N, np.int64)
    index[rows] = np.arange(N)
    return FileOrder(
        index=index,
        is_required=frames["joints_in_image"].to_numpy() >= 0,
        length=N,
        frame_names=names,
        is_left=np.array(frames["side"].to_pylist()) == "left",
        note=_dexycb_note(split, int(is_first.sum())),
    )


def _dexycb_note(split: str, num_clips: int) -> str:
    official = official_num_clips().get(split)
    if official is None:
        return f"{split!r} is no official split of DexYCB ({', '.join(official_num_clips())})"
    if num_clips != official:
        return (
            f"the dataset holds {num_clips} of the {official} clips of {split}, so the numbers "
            "count its own frames: DexYCB's evaluator cannot read them, nor this dataset a file "
            "that is numbered officially"
        )
    return ""


def ho3d_order(frames: pa.Table, list_file: Path) -> FileOrder:
    """The order of HO-3D's pred.json: row i belongs to line i of evaluation.txt.

    frames: rows without the halo, with the columns sequence and frame; all are required.
    Raises `FileNotFoundError` without the list, `ValueError` if it lacks a frame.
    """
    if not list_file.is_file():
        raise FileNotFoundError(
            f"{list_file} is not there: rows of HO-3D's pred.json follow evaluation.txt of the raw "
            "dataset; name its folder by --root or $HO3D_DIR"
        )
    listed = {frame: row for row, frame in enumerate(read_frame_list(list_file))}
    pairs = list(zip(frames["sequence"].to_pylist(), frames["frame"].to_pylist(), strict=True))
    if unknown := [f"{s}/{f:04d}" for s, f in pairs if (s, f) not in listed]:
        raise ValueError(
            f"{list_file} does not list {unknown[0]} (and {len(unknown) - 1} more frames of the "
            "dataset): take the list of the version of HO-3D that the dataset was built from, and "
            "the split evaluation"
        )
    note = ""
    if len(pairs) < len(listed):
        note = f"the dataset holds {len(pairs)} of the {len(listed)} frames of {list_file.name}"
    return FileOrder(
        index=np.array([listed[pair] for pair in pairs], np.int64),
        is_required=np.ones(len(pairs), bool),
        length=len(listed),
        frame_names=[f"{s}/{f:04d}" for s, f in pairs],
        is_left=np.zeros(len(pairs), bool),  # HO-3D has right hands only
        note=note,
    )


def _names(frames: pa.Table) -> list[str]:
    columns = (frames[key].to_pylist() for key in ("subject", "sequence", "camera", "frame"))
    return [f"{s}/{q}/{c}/{f}" for s, q, c, f in zip(*columns, strict=True)]


def text_of(path: Path, data: bytes) -> str:
    """The text of a prediction file. Raises `ValueError` for another kind of file."""
    if data and (fault := describe_other(data)):
        raise UnreadableFileError(f"{path} holds no predictions: {fault}")
    text = decode_text(data)
    if "\0" in text:
        raise ValueError(f"{path} is no text: name the file of predictions itself")
    return text


def check_writable(order: FileOrder, name: str, points: np.ndarray, num_points: int) -> None:
    """Raises `ValueError` unless points are (M, num_points, 3) and finite for all required
    frames."""
    M = int(order.is_required.sum())
    if points.shape != (M, num_points, 3):
        raise ValueError(f"{name} has shape {points.shape}, not ({M}, {num_points}, 3)")
    if not (finite := np.isfinite(points).all((1, 2))).all():
        names = np.array(order.frame_names)[order.is_required]
        raise ValueError(
            f"{name} is not finite at {names[finite.argmin()]}: the format has no sign for a frame "
            "without a prediction; predict every frame with a hand"
        )
