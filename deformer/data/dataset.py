"""The folder of a built dataset: its `dataset.json`, tables, splits and members of its tars."""

import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from deformer.data.clip import SCHEMA_VERSION, SPLIT_COLUMNS
from deformer.files.foreign import (
    UnreadableFileError,
    check_folder_name,
    describe_fault,
    one_line,
)
from deformer.files.patient import is_damage, is_file, open_file, patiently, read_file
from deformer.files.sealed import ChangedFileError, check_parquet, read_sealed_json
from deformer.files.tables import DAMAGE, check_unpacked, fitted
from deformer.files.wellformed import is_of, is_plain_name, shown
from deformer.hand.conventions import TIPS

DATASET_FILE = "dataset.json"
PREDICTED = "predicted"
"""Labels that a network made, in place of measured ones: `labels_of`."""
FRAMES_FILE = "frames.parquet"
ANNOTATIONS_FILE = "annotations.parquet"
_INFO_NAMES = ("schema_version", "parameters", "synthetic", "counts", "shards")
REPAIR = "python -m pipelines.verify {folder} --repair writes it anew from the shards"
_RESTORE = (
    "python -m pipelines.verify {folder} --repair restores it, if {table} is whole; otherwise "
    "build anew into another folder (--out)"
)


def read_info(folder: str | Path) -> dict:
    """Read `dataset.json` of a built dataset.

    Raises `FileNotFoundError` when there is no finished dataset, `ValueError` for another schema
    version.
    """
    path = Path(folder) / DATASET_FILE
    check_folder_name(path)
    if not is_file(path):
        if any(Path(folder).glob("*.tar")):
            raise FileNotFoundError(
                f"{folder} is no built dataset: it holds tars, but no {DATASET_FILE}. If its "
                "build was interrupted, run the same command again. If the file was lost, "
                f"{_RESTORE.format(folder=folder, table=FRAMES_FILE)}"
            )
        raise FileNotFoundError(
            f"{folder} is no built dataset (no {DATASET_FILE}); build it with "
            "python -m pipelines.build_shards, or take up an unfinished build by its command"
        )
    restore = _RESTORE.format(folder=folder, table=FRAMES_FILE)
    try:
        info = read_sealed_json(path, _INFO_NAMES)
        version = info["schema_version"]
    except UnreadableFileError as error:
        raise UnreadableFileError(f"{error}; {restore}") from None
    except KeyError as error:
        raise UnreadableFileError(f"{path} lacks {error}; {restore}") from None
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}; build the "
            "dataset again"
        )
    try:
        _check_info(info)
    except (KeyError, ValueError) as error:
        raise UnreadableFileError(
            f"{path} is damaged ({one_line(repr(error))}); {restore}"
        ) from None
    return info


_PARTS = {"parameters": dict, "counts": dict, "shards": list}
_PARAMETERS = {"dataset": str, "hand": str}
_MAY_LACK = {
    "hand_sha256": str | None, "tips": str | None, "halo_frames": int | None, "depth": bool,
    "source": dict,
}  # fmt: skip
_COUNTS = {"frames": int, "halo": int, "splits": dict}
_SHARD = {"name": str, "size": int, "sha256": str, "clips": int, "frames": int}


def _check_info(info: dict) -> None:
    """Raises `KeyError` or `ValueError` for a `dataset.json` without what its readers take for
    granted."""
    _check_part(info, _PARTS | ({"synthetic": dict | None} if "synthetic" in info else {}))
    parameters, counts, shards = (info[name] for name in _PARTS)
    there = {name: kind for name, kind in _MAY_LACK.items() if name in parameters}
    _check_part(parameters, _PARAMETERS | there)
    source = parameters.get("source", {})
    _check_part(source, {"labels": str} if "labels" in source else {})
    _check_part(counts, _COUNTS)
    _check_part(counts, {name: int for name in counts if name not in ("splits", "invalid")})
    _check_part(counts, {"invalid": dict[str, int]} if "invalid" in counts else {})
    for shard in shards:
        _check_part(shard, _SHARD)
        if not is_plain_name(shard["name"]):  # a path would lead out of the folder
            raise ValueError(f"{shown(shard['name'])} is no name of a shard")
    if len({shard["name"] for shard in shards}) < len(shards):
        raise ValueError("two shards of one name")


def _check_part(part: Any, types: dict[str, Any]) -> None:
    """Raises `KeyError` or `ValueError` unless a JSON object has entries of these types."""
    if not isinstance(part, dict):
        raise ValueError(f"{shown(part)} is no object")
    for name, kind in types.items():
        if not is_of(part[name], kind):
            raise ValueError(f"{name} is {shown(part[name])}")


def read_table(
    path: Path,
    columns: list[str] | None = None,
    as_codes: Sequence[str] = (),
    again: str = REPAIR,
) -> pa.Table:
    """Columns of a parquet file, by default all.

    as_codes: text columns to read as dictionary codes. again: advice on making the file anew, by
    default for a built dataset. Raises `UnreadableFileError` when it is damaged,
    `FileNotFoundError` when it is not there.
    """
    with _checked(path, again):
        table = patiently(
            path,
            lambda: pq.read_table(
                path,
                columns=columns,
                read_dictionary=list(as_codes),
                page_checksum_verification=True,  # of files without a sum of their own
            ),
        )
        table.validate(full=True)  # text may be no text
        return table


@contextmanager
def open_table(path: Path) -> Iterator[pq.ParquetFile]:
    """A table of a built dataset, to be read by row groups. Raises as `read_table`."""
    with (
        _checked(path, REPAIR),
        open_file(path) as stored,
        pq.ParquetFile(stored, page_checksum_verification=True) as file,
    ):
        yield file


@contextmanager
def _checked(path: Path, again: str) -> Iterator[None]:
    again = again.format(folder=path.parent)
    try:
        check_parquet(path)
        patiently(path, lambda: check_unpacked(path))
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is not there; {again}") from None
    except (ChangedFileError, *DAMAGE) as error:
        if not is_damage(error):
            raise
        fault = describe_fault(read_file(path), error)
        raise UnreadableFileError(f"{path}: {fault}; {again}") from None


def read_columns(
    path: Path,
    columns: Sequence[str],
    schema: pa.Schema,
    as_codes: Sequence[str] = (),
    again: str = REPAIR,
) -> pa.Table:
    """As `read_table`, of the types that a schema gives these columns. Raises as `fitted`."""
    table = read_table(path, list(columns), as_codes, again)
    codes = pa.dictionary(pa.int32(), pa.string())
    fields = (schema.field(name) for name in columns)
    wanted = pa.schema([f.with_type(codes) if f.name in as_codes else f for f in fields])
    return fitted(table, wanted, path, again.format(folder=path.parent))


def dataset_sha256(folder: str | Path) -> str:
    """Identity of a build: the hash of `dataset.json`, which holds the hash of every shard."""
    return hashlib.sha256(read_file(Path(folder) / DATASET_FILE)).hexdigest()


def tips_of(info: dict) -> str:
    """Fingertip convention of a dataset's joints: "dexycb" or "ho3d".

    info: of `dataset.json`. Raises `ValueError` when an old build does not name it.
    """
    parameters = info["parameters"]
    tips = parameters.get("tips", parameters["dataset"])
    if tips not in TIPS:
        raise ValueError(
            f"dataset.json of {parameters['dataset']} does not say whose fingertips its joints end "
            f"in ({' or '.join(TIPS)}): build the dataset again"
        )
    return tips


def labels_of(info: dict) -> str:
    """How the labels of a dataset were made: "predicted" and "corrected" by videos' readers, ""
    where they are the dataset's own. info: of `dataset.json`."""
    return info["parameters"].get("source", {}).get("labels", "")


def has_depth(parameters: dict) -> bool:
    """Whether a dataset was built with depth images. parameters: of `dataset.json`."""
    return parameters.get("depth", False)


def check_reach(info: dict, reach: int, url: str) -> None:
    """Raises `ValueError` when windows reach beyond the halo of clips, where frames are missing.

    info: of `dataset.json`. reach: as `WindowConfig.reach`. Clips that are whole recordings serve
    windows of any width.
    """
    halo = info["parameters"].get("halo_frames")
    if halo is None and info["counts"]["halo"] and reach:
        raise ValueError(
            f"{url} has clips with a halo, and its dataset.json does not say how far that goes: "
            "build it again"
        )
    if halo is not None and reach > halo:
        raise ValueError(
            f"the window reaches {reach} frames from its centre, clips of {url} have a halo of "
            f"{halo}: lower --stream.window.num-frames or --stream.window.gap, or build the shards "
            f"with --halo-frames {reach}"
        )


def split_column(info: dict, split: str | None) -> tuple[str, str] | None:
    """Column of the index and value of a split: "s0_train" → ("s0", "train").

    Raises `ValueError` that lists the dataset's splits for an unknown one.
    """
    if split is None:
        return None
    if split not in (known := info["counts"]["splits"]):
        raise ValueError(f"split {split!r} is not in this dataset; it has {', '.join(known)}")
    setup, _, part = split.rpartition("_")
    return (setup, part) if setup in SPLIT_COLUMNS else ("split", split)


def split_name(setup: str, part: str) -> str:
    """The inverse of `split_column`: ("s0", "train") → "s0_train", ("split", "train") → "train"."""
    return part if setup == "split" else f"{setup}_{part}"


def read_member(file: BinaryIO, offset: int, size: int, crc32: int) -> bytes:
    """The bytes of a member of an open tar, by its position in the index.

    Raises `ValueError` when their checksum is wrong.
    """
    is_inside = offset >= 0 and 0 <= size <= os.fstat(file.fileno()).st_size - offset
    data = b""
    if is_inside:  # or the program makes room for as much as an index says
        file.seek(offset)
        data = file.read(size)
    if not is_inside or zlib.crc32(data) != crc32:
        raise ValueError(
            f"{file.name}: the {size} bytes at {offset} are not those that were written"
        )
    return data
