"""Check a built dataset, byte by byte and label by label; repair what is broken.

    python -m pipelines.verify shards/dexycb
    python -m pipelines.verify shards/dexycb --repair --root $DEX_YCB_DIR

Checked: that every shard is there, of its size and sha256, and a sequence of whole clips; that
every image decodes and has its crop's size; that the indices hold exactly the rows of the tars;
that labels are in range; that MANO's joints fall on the stated ones (< 0.5 px); the counts.
Exit status: 0 all well, 1 broken, or not to be checked.
"""

import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import turbojpeg
import tyro
from rich.console import Console
from rich.progress import track

from deformer.camera import project
from deformer.clip import decode_labels, decode_meta
from deformer.dataset import read_info
from deformer.mano import HandLayer, load_hands
from deformer.rotations import rotvec_to_rotmat
from pipelines.finish import COUNTED_COLUMNS, TABLES, count_frames
from pipelines.shard import CorruptShardError, index_shard, iterate_members
from pipelines.source import UnusableInputError

MAX_REPROJECTION_PX = 0.5
_console = Console(stderr=True)


@dataclass(frozen=True)
class Options:
    """Which dataset, and what to do about what is broken."""

    dataset: tyro.conf.Positional[Path]
    """The folder of the built dataset."""
    repair: bool = False
    """Rebuild broken shards from --root, and the indices from the shards."""
    root: Path | None = None
    """The raw dataset that the shards were built from; for --repair."""
    mano_dir: Path | None = None
    """MANO's folder; by default what $MANO_DIR names."""
    workers: int | None = None
    """Processes; by default all cores. 0: in this process."""


@dataclass(frozen=True)
class ShardReport:
    """What is wrong with one shard, and with its rows in the indices."""

    name: str
    shard_problems: tuple[str, ...]
    index_problems: tuple[str, ...]


def verify(folder: Path, hand: str | None, workers: int | None = None) -> list[ShardReport]:
    """Check every shard of a dataset and its rows; one report per shard.

    hand: "standin", MANO's folder, or None when MANO's joints are not to be checked.
    Raises `FileNotFoundError` or `ValueError` when the folder is no dataset of this schema.
    """
    info = read_info(folder)
    jobs = [(folder, i, shard, hand) for i, shard in enumerate(info["shards"])]
    with ExitStack() as stack:
        reports = map(_check_shard, jobs)
        if workers != 0:
            workers = min(workers or os.cpu_count(), len(jobs))
            pool = stack.enter_context(ProcessPoolExecutor(workers, get_context("spawn")))
            reports = pool.map(_check_shard, jobs)
        return list(track(reports, "verifying", len(jobs), console=_console))


def check_counts(folder: Path) -> list[str]:
    """Differences between `dataset.json` and what its index counts."""
    info = read_info(folder)
    try:
        counted = count_frames(
            pq.read_table(folder / "frames.parquet", columns=list(COUNTED_COLUMNS))
        )
    except (OSError, pa.ArrowException) as error:
        return [f"frames.parquet cannot be read: {error}"]
    return [
        f"dataset.json counts {info['counts'][key]} {key}, the index {value}"
        for key, value in counted.items()
        if info["counts"][key] != value
    ]


# --------------------------------------------------------------------------------------- one shard


def _check_shard(job: tuple[Path, int, dict, str | None]) -> ShardReport:
    folder, position, shard, hand = job
    torch.set_num_threads(1)
    name = shard["name"]
    try:
        frames, annotations, size, sha256 = index_shard(folder / name, name)
    except (CorruptShardError, OSError) as error:
        return ShardReport(name, (str(error),), ())
    problems = []
    if size != shard["size"]:
        problems.append(f"{name} has {size} bytes, dataset.json says {shard['size']}")
    if sha256 != shard["sha256"]:
        problems.append(f"{name} has sha256 {sha256}, dataset.json says {shard['sha256']}")
    layer = _layer(hand) if hand else None
    problems += _check_clips(folder / name, name, layer)
    index_problems = [
        problem
        for table, rows in zip(TABLES, (frames, annotations), strict=True)
        for problem in _check_rows(folder / f"{table}.parquet", position, rows)
    ]
    return ShardReport(name, tuple(problems), tuple(index_problems))


@cache
def _layer(hand: str) -> HandLayer:
    return HandLayer(load_hands(hand))


def _check_rows(path: Path, position: int, expected: pa.Table) -> list[str]:
    """The row group of a shard must hold the rows that its tar gives."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            rows = file.read_row_group(position)
    except (OSError, pa.ArrowException) as error:
        return [f"{path.name}, row group {position}, cannot be read: {error}"]
    if rows.column_names != expected.column_names or len(rows) != len(expected):
        return [
            f"{path.name}, row group {position}, has {len(rows)} rows of {rows.num_columns} columns"
            f", the shard gives {len(expected)} of {expected.num_columns}"
        ]
    return [
        f"{path.name}, row group {position}: column {name} is not what the shard holds"
        for name in expected.column_names
        if not rows[name].equals(expected[name])
    ]


def _check_clips(path: Path, name: str, layer: HandLayer | None) -> Iterator[str]:
    images: dict[int, bytes] = {}
    labels = None
    with path.open("rb") as file:
        for member, data, _ in iterate_members(file, name):
            key, _, extension = member.partition(".")
            if extension.endswith(".jpg"):
                images[int(extension.removesuffix(".jpg"))] = data
            elif extension == "labels.npz":
                labels = decode_labels(data)
            else:
                meta = decode_meta(data)
                for problem in (
                    *_check_images(labels, images),
                    *_check_ranges(labels),
                    *_check_reprojection(labels, meta, layer),
                ):
                    yield f"{name}: {key}: {problem}"
                images = {}


def _check_images(labels: dict, images: dict[int, bytes]) -> Iterator[str]:
    for i, crop in enumerate(labels["crop_xywh"]):
        if (crop[2] > 0) != (i in images):
            yield f"frame {i}: crop {crop.tolist()}, image {'there' if i in images else 'absent'}"
        elif i in images:
            try:
                pixels = np.asarray(turbojpeg.decompress(images[i], raise_on_warnings=True))
            except RuntimeError as error:
                yield f"frame {i}: the image does not decode: {error}"
                continue
            if pixels.shape[:2] != (crop[3], crop[2]):
                yield f"frame {i}: the image is {pixels.shape[1::-1]}, its crop {crop.tolist()}"


def _check_ranges(labels: dict) -> Iterator[str]:
    for name in ("occlusion", "occlusion_grasped", "visibility"):
        values = labels.get(name, np.zeros(0))
        values = values[np.isfinite(values)]
        if ((values < 0) | (values > 1)).any():
            yield f"{name} lies in {values.min():g} … {values.max():g}, outside 0 … 1"
    if not np.array_equal(labels["valid"], labels["reason"] == ""):
        yield "valid frames with a reason, or invalid ones without"
    valid = labels["valid"]
    for name in ("K", "box_px"):
        if name not in labels or not np.isfinite(labels[name][valid]).all():
            yield f"{name} is null in a valid frame"
    if not (labels["crop_xywh"][valid, 2:] > 0).all():
        yield "a valid frame without a crop"
    if "joints_cam_m" in labels:
        joints, K = labels["joints_cam_m"], labels["K"]
        error = np.abs(project(joints, K) - labels["joints_px"])
        if np.nanmax(error, initial=0) > 1e-2:
            yield f"joints_px is up to {np.nanmax(error):.3g} px off the projection of joints_cam_m"


def _check_reprojection(labels: dict, meta, layer: HandLayer | None) -> Iterator[str]:
    """The joints of the MANO parameters must fall on the joints that the dataset states."""
    if layer is None or "pose_rotvec" not in labels or "joints_px" not in labels:
        return
    known = np.isfinite(labels["pose_rotvec"]).all(1) & np.isfinite(labels["joints_px"]).all((1, 2))
    if not known.any():
        return
    with torch.inference_mode():
        pose = torch.from_numpy(labels["pose_rotvec"][known]).unflatten(1, (16, 3))
        is_left = torch.full((len(pose),), meta.side == "left")
        betas = torch.from_numpy(labels["betas"][known])
        _, joints = layer(rotvec_to_rotmat(pose), betas, is_left, tips=meta.tips)
    joints = joints.numpy() + labels["trans_m"][known][:, None]
    error = np.linalg.norm(
        project(joints, labels["K"][known]) - labels["joints_px"][known], axis=-1
    )
    if error.max() >= MAX_REPROJECTION_PX:
        frame = np.flatnonzero(known)[error.max(1).argmax()]
        yield f"frame {frame}: MANO's joints are up to {error.max():.2f} px from the stated ones"


# ------------------------------------------------------------------------------------- the command


def _hand_to_check(info: dict, mano_dir: Path | None) -> str | None:
    name = info["parameters"]["hand"]
    if name != "mano":
        return "standin" if name == "standin" else None
    try:
        hands = load_hands(mano_dir)
    except FileNotFoundError:
        _console.print("[yellow]MANO is not there (--mano-dir): its joints are not checked")
        return None
    if hands.sha256 != info["parameters"]["hand_sha256"]:
        raise UnusableInputError("these are not the MANO files that the dataset was built with")
    return str(mano_dir or os.environ["MANO_DIR"])


def run(options: Options) -> int:
    """Verify, print, repair if asked to; returns the exit status."""
    folder = options.dataset
    info = read_info(folder)
    hand = _hand_to_check(info, options.mano_dir)
    reports = verify(folder, hand, options.workers)
    problems = [p for r in reports for p in (*r.shard_problems, *r.index_problems)]
    problems += check_counts(folder)
    for problem in problems:
        _console.print(f"[red]broken:[/red] {problem}", soft_wrap=True)
    if not problems:
        counts = info["counts"]
        print(
            f"{folder}: {len(reports)} shards, {counts['clips']} clips, {counts['frames']} frames: "
            "all well"
        )
        return 0
    if not options.repair:
        _console.print(f"repair: python -m pipelines.verify {folder} --repair --root RAW_DATASET")
        return 1
    from pipelines.repair import repair

    repair(folder, options.root, {r.name for r in reports if r.shard_problems}, options.mano_dir)
    return run(replace(options, repair=False))


def main() -> int:
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        return run(tyro.cli(Options, description=__doc__))
    except (ValueError, OSError) as error:
        _console.print(f"[red]error:[/red] {error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
