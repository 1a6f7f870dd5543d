"""Rebuild the broken shards of a dataset, and its indices from the shards."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from rich.progress import track

from deformer.data.dataset import DATASET_FILE, has_depth, read_info
from deformer.files.sealed import write_json
from deformer.hand.box import AugmentationRange
from deformer.program.lock import locked
from pipelines.building.finish import count_index, kept_info, remove_build, write_indices
from pipelines.building.marks import BUILD_FOLDER
from pipelines.building.plan import PlanOptions, describe_changes, make_plan
from pipelines.building.shard import ShardTask, build_shard, index_shard
from pipelines.datasets.source import UnusableInputError


def repair(folder: Path, root: Path | None, broken: set[str], mano_dir: Path | None = None) -> None:
    """Make the shards `broken` again, to the same bytes, and both indices from all shards.

    A shard is replaced only by the very bytes that `dataset.json` names.
    Raises `UnusableInputError` when the raw dataset at `root` is not the one that the shards were
    built from; the shard on disk then stays as it was.
    """
    info = read_info(folder)
    with locked(folder, "build"):
        (folder / BUILD_FOLDER).mkdir(exist_ok=True)
        try:
            if broken:
                _rebuild(folder, root, broken, info, mano_dir)
            with_depth = has_depth(info["parameters"])
            rows = _rows(folder, info["shards"], with_depth)
            write_indices(folder, rows, info)
            write_json(folder / DATASET_FILE, info | {"counts": count_index(folder)})
        finally:
            remove_build(folder)


def restore_info(folder: Path) -> bool:
    """Write a damaged or lost `dataset.json` anew, from what `frames.parquet` keeps of it; False
    where that is damaged too."""
    with locked(folder, "build"):
        if (info := kept_info(folder)) is None:
            return False
        write_json(folder / DATASET_FILE, info)
        return True


def _rebuild(
    folder: Path, root: Path | None, broken: set[str], info: dict, mano_dir: Path | None
) -> None:
    """Build shards beside the broken ones, and replace these where the hashes are right."""
    sha256 = {shard["name"]: shard["sha256"] for shard in info["shards"]}
    beside = folder / BUILD_FOLDER / "repair"
    shutil.rmtree(beside, ignore_errors=True)  # of a repair that was killed
    (beside / BUILD_FOLDER).mkdir(parents=True)
    tasks = [task for task in _tasks(folder, root, info, mano_dir) if task.name in broken]
    for task in track(tasks, "rebuilding"):
        mark = build_shard(replace(task, out=beside), lambda *_: None)
        if mark.sha256 != sha256[task.name]:
            raise UnusableInputError(
                f"{task.name} comes out otherwise than before (sha256 {mark.sha256}), so what is "
                f"there was left as it is: what is under {root}, or a library, has changed since; "
                "build anew with another --out"
            )
        (beside / task.name).replace(folder / task.name)


def _rows(
    folder: Path, shards: list[dict], with_depth: bool
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The index rows of each shard, in order; its entry's counts are set to what it holds."""
    for shard in shards:
        frames, annotations = index_shard(folder / shard["name"], shard["name"], with_depth)
        shard |= {"clips": pc.count_distinct(frames["clip"]).as_py(), "frames": len(frames)}
        yield frames, annotations


def _tasks(folder: Path, root: Path | None, info: dict, mano_dir: Path | None) -> list[ShardTask]:
    was = info["parameters"]
    plan = make_plan(
        PlanOptions(
            was["dataset"],
            root,
            folder,
            mano_dir,
            "none" if was["hand"] == "none" else None,
            was["limit"],
            was["frames_per_shard"],
            AugmentationRange(**was["augmentation"]),
            was.get("halo_frames"),
            has_depth(was),
        )
    )
    if difference := describe_changes(was, plan.parameters):
        raise UnusableInputError(
            f"{root} is not what {folder} was built from ({difference}); give the right --root, or "
            "build anew with another --out"
        )
    return plan.tasks
