"""The single files of HO-3D, each as arrays: lists, labels, the evaluation truth, seg, meshes.

No conversion of frames or joint orders happens here; `pipelines.datasets.ho3d` does that. What is
wrong with one frame's file is a `BadFrameError`, with a file of the whole dataset an
`UnusableInputError`.
"""

import functools
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.csv

from deformer.files.foreign import describe_other_file, one_line, read_lines
from deformer.files.images import decode_image
from deformer.files.patient import is_folder, open_file, read_file
from deformer.files.safe_pickle import UnsafePickleError, load_pickle
from pipelines.datasets.source import (
    BACKGROUND,
    GRASPED_OBJECT,
    HAND,
    BadFrameError,
    UnusableInputError,
)

MODELS_VARIABLE = "YCB_MODELS_DIR"
_OBJECT = re.compile(r"[A-Za-z0-9_-]+")
_PIECE_SIGNS = 1 << 22


# ---------------------------------------------------------------------------- labels of one frame


def read_meta(path: Path) -> dict:
    """A label file: a pickled dictionary of arrays, lists, strings and None."""
    try:
        meta = load_pickle(path)
    except (FileNotFoundError, IsADirectoryError):
        raise BadFrameError("labels_missing") from None
    except UnsafePickleError:
        raise BadFrameError("labels_refused") from None
    except ValueError:
        raise BadFrameError("labels_corrupt") from None
    if not isinstance(meta, dict):
        raise BadFrameError("labels_corrupt")
    return meta


def label_array(meta: dict, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """One label as a finite float64 array of `shape`; axes of length 1 in the file are dropped."""
    if key not in meta:
        raise BadFrameError("labels_corrupt")
    if meta[key] is None:
        raise BadFrameError("labels_none")
    try:
        array = np.asarray(meta[key], np.float64).squeeze()
    except (TypeError, ValueError, OverflowError):  # overflow: an integer beyond any float
        raise BadFrameError("labels_corrupt") from None
    if array.shape != shape:
        raise BadFrameError("labels_corrupt")
    if not np.isfinite(array).all():
        raise BadFrameError("labels_not_finite")
    return array


def object_name(meta: dict) -> str | None:
    """objName, such as "021_bleach_cleanser"; None where the label does not say.

    It becomes part of a path, so nothing but letters, digits, '-' and '_' is taken for a name.
    """
    name = meta.get("objName")
    if name is not None and not (isinstance(name, str) and _OBJECT.fullmatch(name)):
        raise BadFrameError("labels_corrupt")
    return None if name is None else str(name)


def read_segmentation(
    path: Path, hand_channel: int, object_channel: int, image_size: tuple[int, int]
) -> np.ndarray:
    """A rendered segmentation as codes of `pipelines.datasets.source`, (height, width) uint8.

    The file is smaller than the image (a quarter of its resolution); it is enlarged by nearest
    neighbour to image_size (width, height). The channels, of blue, green, red, are those lit for
    hand and object; half intensity divides, because v2's files are JPEG.
    """
    width, height = image_size
    try:
        colours = decode_image(read_file(path))
    except ValueError:
        raise BadFrameError("labels_corrupt") from None
    if colours.shape[0] * width != colours.shape[1] * height:
        raise BadFrameError("labels_corrupt")
    lit = colours >= 128
    codes = np.full(colours.shape[:2], BACKGROUND, np.uint8)
    codes[lit[..., object_channel]] = GRASPED_OBJECT
    codes[lit[..., hand_channel]] = HAND
    return cv2.resize(codes, image_size, interpolation=cv2.INTER_NEAREST)


# ----------------------------------------------------------------------- files read once a process


@functools.lru_cache(maxsize=2)
def read_points(path: Path, mtime_ns: int, num_points: int) -> np.ndarray:
    """A JSON list of N lists of `num_points` points → (N, num_points, 3) float32, read-only.

    evaluation_verts.json is 0.6 to 1 GB of text, and several times that as Python objects: so
    it is read in pieces, whose numbers go to an unnamed file that is then mapped: a worker's
    memory holds the rows that it looks at. NaN and null become NaN.
    mtime_ns makes a changed file another entry of the cache.
    """
    rest = b""
    with tempfile.TemporaryFile() as numbers:
        for piece in _pieces(path):
            whole, _, rest = (rest + piece).rpartition(b",")
            numbers.write(_parse_numbers(path, whole).tobytes())
        numbers.write(_parse_numbers(path, rest).tobytes())
        is_empty = numbers.tell() == 0
        values = np.empty(0, np.float32) if is_empty else np.memmap(numbers, np.float32, "r")
    is_closed = rest.translate(None, b" \t\r\n").endswith(b"]]]")
    if values.size % (num_points * 3) or not is_closed:
        raise UnusableInputError(
            f"{path} holds {values.size} numbers, not a whole list of frames of {num_points} "
            "points: "
            f"{describe_other_file(path) or 'it is truncated, or another file; download it again'}"
        )
    return values.reshape(-1, num_points, 3)


def _pieces(path: Path) -> Iterator[bytes]:
    """A JSON file piece by piece, as UTF-8 without a mark, whichever of JSON's encodings it has."""
    with open_file(path) as file:
        encoding = json.detect_encoding(file.read(4))
        file.seek(0)
        text = io.TextIOWrapper(file, encoding, "replace", newline="")
        while piece := text.read(_PIECE_SIGNS):
            yield piece.encode()


def _parse_numbers(path: Path, text: bytes) -> np.ndarray:
    """The numbers of a piece of JSON that holds lists of numbers only, (N,) float32."""
    column = text.translate(None, b"[] \t\r\n").replace(b",", b"\n")
    if not column:
        return np.empty(0, np.float32)
    try:
        table = pa.csv.read_csv(
            io.BytesIO(column),
            pa.csv.ReadOptions(column_names=["value"], use_threads=False),
            convert_options=pa.csv.ConvertOptions(column_types={"value": pa.float32()}),
        )
    except pa.ArrowInvalid as error:
        raise UnusableInputError(
            f"{path} is not a list of numbers ({one_line(error)}): "
            f"{describe_other_file(path) or 'it is damaged; download it again'}"
        ) from None
    return table["value"].to_numpy()


def models_folder(root: Path) -> Path:
    """Where the objects' meshes are, if anywhere: `$YCB_MODELS_DIR`, else the root's `models`."""
    named = os.environ.get(MODELS_VARIABLE)
    if named and not is_folder(Path(named)):
        raise UnusableInputError(
            f"${MODELS_VARIABLE} is {named!r}, which is no folder: name the folder that holds "
            "021_bleach_cleanser and the other YCB-Video models, or unset it"
        )
    return Path(named) if named else root / "models"


@functools.lru_cache(maxsize=16)
def read_obj(path: Path, mtime_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, 3) float64 and triangles (M, 3) int64 of a Wavefront OBJ file of triangles."""
    vertices, faces = [], []
    for i, line in enumerate(read_lines(path), 1):
        kind, *words = line.split() or [""]
        try:
            if kind == "v":
                x, y, z = map(float, words[:3])
                vertices.append((x, y, z))
            elif kind == "f":
                a, b, c = (int(word.split("/")[0]) for word in words)
                faces.append((a - 1, b - 1, c - 1))
        except ValueError:
            raise UnusableInputError(
                f"{path}, line {i}: {line[:80]!r} is no vertex or triangle: "
                f"{describe_other_file(path) or 'download it again'}"
            ) from None
    faces = np.array(faces, np.int64).reshape(-1, 3)
    if not len(faces) or faces.min() < 0 or faces.max() >= len(vertices):
        raise UnusableInputError(
            f"{path} has {len(vertices)} vertices and {len(faces)} triangles that do not fit "
            "together: "
            f"{describe_other_file(path) or 'it is truncated; download the model again'}"
        )
    return np.array(vertices), faces
