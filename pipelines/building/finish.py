"""Finished shards → a dataset: the two indices, the counts, and `dataset.json` last of all."""

import json
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deformer.data.clip import SPLIT_COLUMNS
from deformer.data.dataset import (
    ANNOTATIONS_FILE,
    DATASET_FILE,
    FRAMES_FILE,
    has_depth,
    read_columns,
    split_name,
)
from deformer.data.index_rows import ANNOTATIONS_SCHEMA, FRAMES_SCHEMA, frames_schema
from deformer.files.patient import patiently
from deformer.files.sealed import (
    UNSEALED,
    ChangedFileError,
    check_parquet,
    sealed_parquet,
    write_json,
)
from pipelines.building.marks import BUILD_FOLDER, ShardMark, read_rows, remove_mark
from pipelines.building.shard import size_and_sha256
from pipelines.datasets.source import UnusableInputError

TABLES = (FRAMES_FILE, ANNOTATIONS_FILE)
_INFO_KEY = "deformer.dataset"

LIKELY_CAUSES = {
    "no_hand": "the labels have a hand in no frame: is the side the other one, are joints or box "
    "not read, or is --limit so low that it picks only clips without a hand?",
    "hand_outside_image": "K is of another resolution or camera, or the joints of another frame",
    "joints_behind_camera": "the joints are in another camera's frame: x right, y down, z forward",
    "image_missing": "the images are elsewhere, or have other names than the reader looks for",
    "image_corrupt": "the images are cut off, or no JPEG or PNG: copy or download them again",
    "image_format": "save the images as 8-bit JPEG, grey or YCbCr, or as PNG",
    "image_size": "the images have another size than the clips' image_size, which K and labels are "
    "of: take the images as recorded, or bring image_size, K and labels to the images' size",
    "depth_missing": "the depth images are elsewhere, or have other names than the reader looks "
    "for; or build without --depth",
    "depth_corrupt": "the depth images are cut off, of another size than the images, or no grey "
    "PNGs of 16 bits: copy or download them again; or build without --depth",
    "labels_missing": "the label files are elsewhere, or have other names than the reader looks "
    "for",
    "labels_corrupt": "the label files are cut off, or their arrays have other names, shapes or "
    "kinds than the reader's layout says",
    "labels_none": "the dataset publishes no annotation of these frames: take another split",
    "labels_filled_in": "the hands were found in no frame: predict the videos again",
    "labels_uncertain": "the limits are too strict, or the network is not made for such videos "
    "(videos.json in the root, see pipelines/datasets/videos.py)",
    "labels_not_finite": "joints, K, box or pose hold NaN or infinity; leave an optional array out "
    "where the dataset does not state it",
    "labels_contradict": "a camera, hand or unit is another than the reader says",
    "labels_refused": "the label files are no plain pickles of arrays: take them as published",
    "intrinsics_missing": "the camera matrices are not there, or not read",
}
"""By reason: if no frame is valid, what probably went wrong, and what to do."""


def finish(out: Path, parameters: dict, marks: list[ShardMark], synthetic: dict | None) -> dict:
    """Index the shards, write `dataset.json`, and return what it holds.

    The tars are checked once more on the way.
    Raises `UnusableInputError` naming a shard that is not what was written, or the likely cause
    where no frame is valid.
    """
    content = {
        "schema_version": parameters["schema_version"],
        "parameters": parameters,
        "synthetic": synthetic,
        "counts": None,  # of the indices, which come first
        "shards": [asdict(mark) for mark in marks],
        **UNSEALED,
    }
    write_indices(out, (_rows(out, mark) for mark in marks), content)
    counts = content["counts"] = count_index(out)
    if fault := nothing_valid(counts):
        raise UnusableInputError(
            f"{out}: {fault}; mend the input, delete the folder {out} (its shards hold what was "
            "wrong) and run the same command again, or give another --out"
        )
    write_json(out / DATASET_FILE, content)
    remove_build(out)
    return content


def _rows(out: Path, mark: ShardMark) -> tuple[pa.Table, pa.Table]:
    if size_and_sha256(out / mark.name) == (mark.size, mark.sha256):
        with suppress(ChangedFileError, OSError):
            return read_rows(out, mark.name)
    remove_mark(out, mark.name)
    raise UnusableInputError(
        f"{mark.name} is no longer what was written; run the same command again to make it anew"
    )


def remove_build(out: Path) -> None:
    """Remove what only an unfinished build needs."""
    folder = out / BUILD_FOLDER
    with suppress(FileNotFoundError):
        patiently(folder, lambda: shutil.rmtree(folder))


def write_indices(out: Path, rows: Iterable[tuple[pa.Table, pa.Table]], info: dict) -> None:
    """Write `frames.parquet` and `annotations.parquet`, one row group per shard, in shard order.

    info: the content of `dataset.json`; without its counts it is kept in `frames.parquet` too, so
    that a damaged `dataset.json` is no loss.
    """
    with ExitStack() as stack:
        writers = []
        schemas = frames_schema(has_depth(info["parameters"])), ANNOTATIONS_SCHEMA
        for name, schema in zip(TABLES, schemas, strict=True):
            temporary = out / BUILD_FOLDER / f"{name}.tmp"
            file = sealed_parquet(out / name, schema, temporary, compression="zstd")
            writers.append(stack.enter_context(file))
        for tables in rows:
            for writer, table in zip(writers, tables, strict=True):
                writer.write_table(table, row_group_size=max(len(table), 1))
        kept = json.dumps(info | {"counts": None})
        writers[0].add_key_value_metadata({_INFO_KEY: kept})


def kept_info(out: Path) -> dict | None:
    """What `frames.parquet` keeps of `dataset.json`, with the counts of the index; None where it
    is damaged, gone, or of before anything was kept in it."""
    path = out / FRAMES_FILE
    try:
        is_whole = check_parquet(path)
        kept = (pq.read_metadata(path).metadata or {}).get(_INFO_KEY.encode())
    except (OSError, ValueError, pa.ArrowException):
        return None
    return json.loads(kept) | {"counts": count_index(out)} if is_whole and kept else None


def count_index(out: Path) -> dict:
    """The counts of `frames.parquet`: {"clips", "frames", "halo", "valid", "invalid", "splits"}.

    Halo rows are counted apart and nowhere else: each is the centre of its own clip elsewhere.
    """
    columns = ["clip", "is_halo", "valid", "reason", *SPLIT_COLUMNS]
    frames = read_columns(out / FRAMES_FILE, columns, FRAMES_SCHEMA)
    is_halo = frames["is_halo"]
    centres = frames.filter(pc.invert(is_halo))
    invalid = centres.filter(pc.invert(centres["valid"]))
    splits = {}
    for setup in SPLIT_COLUMNS:
        for part, n in _count(centres, setup).items():
            splits[split_name(setup, part)] = {"frames": n, "valid": 0}
        for part, n in _count(centres.filter(centres["valid"]), setup).items():
            splits[split_name(setup, part)]["valid"] = n
    return {
        "clips": pc.count_distinct(frames["clip"]).as_py(),
        "frames": len(centres),
        "halo": pc.sum(is_halo).as_py() or 0,
        "valid": len(centres) - len(invalid),
        "invalid": _count(invalid, "reason"),
        "splits": splits,
    }


def nothing_valid(counts: dict) -> str:
    """Why no frame of a dataset's counts is valid; "" where one is."""
    if counts["valid"]:
        return ""
    by_reason = sorted(counts["invalid"].items(), key=lambda item: -item[1])
    if not by_reason:
        return "it has no frame"
    numbers = ", ".join(f"{n} {reason}" for reason, n in by_reason)
    reason = by_reason[0][0]
    return (
        f"none of its {counts['frames']} frames is valid ({numbers}); the likely cause of "
        f"{reason}: {LIKELY_CAUSES[reason]}"
    )


def _count(table: pa.Table, column: str) -> dict[str, int]:
    counted = pc.value_counts(table[column]).to_pylist()
    return {c["values"]: c["counts"] for c in sorted(counted, key=str) if c["values"] is not None}
