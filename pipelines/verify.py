"""Check a built dataset, byte by byte and label by label; repair what is broken.

    python -m pipelines.verify shards/dexycb
    python -m pipelines.verify shards/dexycb --repair --root $DEX_YCB_DIR

Checked: `dataset.json` and the indices, by their own sums; that every shard is there, of its size
and sha256, and a sequence of whole clips of one part of every split; that every image decodes and
has its crop's size, and every depth image in a build with depth; that the labels keep the rules of
`pipelines.inspection.checks`, a hand's size among them; that MANO's joints are the stated ones (to
0.5 mm and 0.5 px); that the indices hold exactly the rows of the tars; the counts, and that any
frame is valid; that there is no extra tar.

Exit status: 0 all well, 1 broken, or not to be checked.
"""

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tyro
from rich.progress import track

from deformer.data.clip import SPLIT_COLUMNS
from deformer.data.dataset import DATASET_FILE, has_depth, read_info
from deformer.files.foreign import UnreadableFileError
from deformer.files.sealed import SEAL, ChangedFileError, check_parquet
from deformer.hand.conventions import NUM_VERTICES
from deformer.hand.mano import HandLayer, load_hands
from deformer.program.console import PlainConsole, print_labelled, run_program
from deformer.program.pool import run_in_processes, single_threaded
from deformer.program.processor import usable_cores
from pipelines.building.finish import TABLES, count_index, nothing_valid
from pipelines.building.hand_model import HandModel
from pipelines.building.shard import (
    CorruptShardError,
    StoredClip,
    index_clips,
    read_clips,
    size_and_sha256,
)
from pipelines.datasets.source import UnusableInputError
from pipelines.inspection.checks import check_clip


@dataclass(frozen=True)
class Options:
    """Which dataset, and what to do about what is broken."""

    dataset: tyro.conf.Positional[Path]
    """The folder of the built dataset."""
    repair: bool = False
    """Rebuild broken shards from --root, the indices from the shards, and a lost dataset.json from
    the index."""
    root: Path | None = None
    """The raw dataset that the shards were built from; for --repair."""
    mano_dir: Path | None = None
    """MANO's folder; by default what $MANO_DIR names."""
    workers: int | None = None
    """Processes; by default all cores. 0: in this process."""


@dataclass(frozen=True)
class ShardReport:
    """What is wrong with one shard, and with what the indices and `dataset.json` say of it."""

    name: str
    shard_problems: tuple[str, ...] = ()
    index_problems: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()
    """The keys of its clips, as often as they stand there."""
    differs: bool = False
    """Its bytes are not those that `dataset.json` names, so building it again repairs it."""


def verify(folder: Path, hand: str | None, workers: int | None = None) -> list[ShardReport]:
    """Check every shard of a dataset and its rows; one report per shard.

    hand: "standin", MANO's folder, or None when MANO's joints are not to be checked.
    Raises `FileNotFoundError` or `ValueError` when the folder is no dataset of this schema.
    """
    info = read_info(folder)
    with_depth = has_depth(info["parameters"])
    jobs = [(folder, i, shard, hand, with_depth) for i, shard in enumerate(info["shards"])]
    if workers == 0:
        done = enumerate(map(_check_shard, jobs))
    else:
        workers = max(1, min(workers or usable_cores(), len(jobs)))
        done = run_in_processes(_check_shard, [(job,) for job in jobs], workers)
    reports = dict(track(done, "verifying", len(jobs), console=PlainConsole()))
    return [reports[i] for i in range(len(jobs))]


def check_dataset(folder: Path, reports: list[ShardReport]) -> list[str]:
    """What is wrong with the dataset as a whole, apart from its indices."""
    names = [report.name for report in reports]
    problems = [
        f"{path.name} is not in {DATASET_FILE}, yet readers of *.tar would read it: move it away"
        for path in sorted(folder.glob("*.tar"))
        if path.name not in names
    ]
    clips = Counter(key for report in reports for key in report.clips)
    for key, n in clips.items():
        if n > 1:
            shards = ", ".join(dict.fromkeys(r.name for r in reports if key in r.clips))
            problems.append(f"clip {key} stands {n} times in the dataset: in {shards}")
    return problems


def check_indices(folder: Path) -> list[str]:
    """Row groups too many or too few, and what `dataset.json` counts otherwise than the index."""
    info = read_info(folder)
    try:
        problems = [_check_seal(folder / table, SEAL in info) for table in TABLES]
        problems = [problem for problem in problems if problem] + [
            f"{table} has {n} row groups for {len(info['shards'])} shards"
            for table in TABLES
            if (n := pq.read_metadata(folder / table).num_row_groups) != len(info["shards"])
        ]
        counted = count_index(folder)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        return [f"the indices cannot be read: {error}"]
    return problems + [
        f"{DATASET_FILE} counts {info['counts'].get(key)} {key}, the index {value}"
        for key, value in counted.items()
        if info["counts"].get(key) != value
    ]


def _check_seal(path: Path, must_be: bool) -> str:
    """What is wrong with an index file's own sum; older datasets have none."""
    try:
        return "" if check_parquet(path) or not must_be else f"{path.name} has lost its own sum"
    except ChangedFileError as error:
        return f"{path.name} is damaged: {error}"


# --------------------------------------------------------------------------------------- one shard


def _check_shard(job: tuple[Path, int, dict, str | None, bool]) -> ShardReport:
    folder, position, shard, hand, with_depth = job
    single_threaded()
    name, path = shard["name"], folder / shard["name"]
    problems: list[str] = []
    frames, differs, in_indices = None, True, []
    try:
        size, sha256 = size_and_sha256(path)
        differs = (size, sha256) != (shard["size"], shard["sha256"])
        if size != shard["size"]:
            problems.append(f"{name} has {size} bytes, {DATASET_FILE} says {shard['size']}")
        elif differs:
            problems.append(f"{name} has sha256 {sha256}, {DATASET_FILE} says {shard['sha256']}")
        stored = _checked(path, name, hand, with_depth, problems)
        frames, annotations = index_clips(stored, name, with_depth)
    except CorruptShardError as error:
        problems.append(str(error))
    except FileNotFoundError:
        problems.append(f"{name} is missing")
    except OSError as error:
        differs = True
        problems.append(f"{name} cannot be read: {error}")
    except Exception as error:  # damaged bytes may fail in any way, and that is a finding
        problems.append(f"{name} is damaged: {error!r}")
    if frames is None:
        return ShardReport(name, tuple(problems), differs=differs)
    by_split = frames.group_by(list(SPLIT_COLUMNS)).aggregate([]).to_pylist()
    if len(by_split) > 1:
        parts = ({s: part for s, part in row.items() if part} for row in by_split)
        problems.append(f"{name} mixes parts of a split: {' and '.join(map(str, parts))}")
    clips = frames.filter(pc.equal(frames["clip_index"], 0))["clip"].to_pylist()
    for table, rows in zip(TABLES, (frames, annotations), strict=True):
        in_indices += _check_rows(folder / table, position, rows)
    in_indices += [
        f"{name} holds {n} {key}, {DATASET_FILE} says {shard[key]}"
        for key, n in (("clips", len(set(clips))), ("frames", len(frames)))
        if n != shard[key]
    ]
    return ShardReport(name, tuple(problems), tuple(in_indices), tuple(clips), differs)


def _checked(
    path: Path, name: str, hand: str | None, with_depth: bool, problems: list[str]
) -> Iterator[StoredClip]:
    """The clips of a tar. What is wrong with a clip is added to `problems` before it is given."""
    for clip in read_clips(path, name):
        problems += check_clip(clip, name, _hand_model(hand) if hand else None, with_depth)
        yield clip


@cache
def _hand_model(hand: str) -> HandModel:
    hands = load_hands(hand)  # joints are checked, so of the vertices the fingertips are enough
    return HandModel(hands, HandLayer(hands, NUM_VERTICES).eval())


def _check_rows(path: Path, position: int, expected: pa.Table) -> list[str]:
    """The row group of a shard must hold the rows that its tar gives."""
    where = f"{path.name}, row group {position}"
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if position >= file.num_row_groups:
                return [f"{where}, is missing"]
            rows = file.read_row_group(position)
    except (OSError, ValueError, pa.ArrowException) as error:
        return [f"{where}, cannot be read: {error}"]
    if rows.column_names != expected.column_names or len(rows) != len(expected):
        return [
            f"{where}, has {len(rows)} rows of {rows.num_columns} columns, the shard gives "
            f"{len(expected)} of {expected.num_columns}"
        ]
    return [
        f"{where}: column {name} is not what the shard holds"
        for name in expected.column_names
        if not rows[name].equals(expected[name])
    ]


# ------------------------------------------------------------------------------------- the command


def _hand_to_check(info: dict, mano_dir: Path | None) -> str | None:
    name = info["parameters"]["hand"]
    if name != "mano":
        return "standin" if name == "standin" else None
    try:
        hands = load_hands(mano_dir)
    except FileNotFoundError:
        logging.warning("MANO is not there (--mano-dir): its joints are not checked")
        return None
    if hands.sha256 != info["parameters"]["hand_sha256"]:
        raise UnusableInputError("these are not the MANO files that the dataset was built with")
    return str(mano_dir or os.environ["MANO_DIR"])


def _info_of(folder: Path, may_restore: bool) -> dict:
    """`dataset.json`, written anew where it is damaged or lost, and may be."""
    try:
        return read_info(folder)
    except (FileNotFoundError, UnreadableFileError):
        from pipelines.building.repair import restore_info

        if not (may_restore and folder.is_dir() and restore_info(folder)):
            raise
    return read_info(folder)


def run(options: Options) -> int:
    """Verify, print, repair if asked to; returns the exit status."""
    folder, console = options.dataset, PlainConsole()
    info = _info_of(folder, options.repair)
    reports = verify(folder, _hand_to_check(info, options.mano_dir), options.workers)
    in_shards = [p for r in reports for p in r.shard_problems] + check_dataset(folder, reports)
    in_indices = [p for r in reports for p in r.index_problems] + check_indices(folder)
    counts = info["counts"]
    if not in_shards + in_indices:
        if fault := nothing_valid(counts):
            anew = f"mend the input, and build anew in place of {folder}"
            print_labelled("broken:", f"{folder}: {fault}; {anew}", console)
            return 1
        print(
            f"{folder}: {len(reports)} shards, {counts['clips']} clips, {counts['frames']} frames: "
            "all well"
        )
        return 0
    for problem in in_shards + in_indices:
        print_labelled("broken:", problem, console)
    for report in reports:
        if report.shard_problems and not report.differs:
            console.print(_NOT_MENDABLE.format(name=report.name), soft_wrap=True)
    broken = {r.name for r in reports if r.differs}
    if not broken and not in_indices:
        return 1
    if not options.repair:
        root = " --root RAW_DATASET" if broken else ""
        words = f"repair: python -m pipelines.verify {folder} --repair{root}"
        console.print(words, soft_wrap=True)
        return 1
    from pipelines.building.repair import repair

    repair(folder, options.root, broken, options.mano_dir)
    return run(replace(options, repair=False))


_NOT_MENDABLE = (
    "{name} is, byte for byte, what was built, so it was wrong already then, and the same build "
    "gives the same again: build anew into another folder, with the reader or the input mended"
)


def main() -> int:
    return run_program(run, Options, "pipelines.verify", __doc__)


if __name__ == "__main__":
    sys.exit(main())
