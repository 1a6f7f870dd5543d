"""Rebuild the broken shards of a dataset, and its indices from the shards."""

from pathlib import Path

import pyarrow.parquet as pq
from rich.progress import track

from deformer.box import AugmentationRange
from deformer.dataset import DATASET_FILE, read_info
from pipelines.finish import COUNTED_COLUMNS, count_frames, locked, remove_build, write_indices
from pipelines.plan import differences, make_plan
from pipelines.shard import build_shard, index_shard, write_json
from pipelines.source import UnusableInputError


def repair(folder: Path, root: Path | None, broken: set[str], mano_dir: Path | None = None) -> None:
    """Make the shards `broken` again, to the same bytes, and both indices from all shards.

    Raises `UnusableInputError` when the raw dataset at `root` is not the one that the shards were
    built from.
    """
    info = read_info(folder)
    sha256 = {shard["name"]: shard["sha256"] for shard in info["shards"]}
    with locked(folder):
        tasks = _tasks(folder, root, info, mano_dir) if broken else []
        for task in track([t for t in tasks if t.name in broken], "rebuilding"):
            (folder / task.name).unlink(missing_ok=True)
            mark = build_shard(task, lambda _: None)
            if mark.sha256 != sha256[task.name]:
                raise UnusableInputError(
                    f"{task.name} comes out otherwise than before (sha256 {mark.sha256}): what is "
                    f"under {root}, or a library, has changed since; build anew with another --out"
                )
        write_indices(folder, (index_shard(folder / name, name)[:2] for name in sha256))
        counted = pq.read_table(folder / "frames.parquet", columns=list(COUNTED_COLUMNS))
        counts = {"clips": sum(s["clips"] for s in info["shards"]), **count_frames(counted)}
        write_json(folder / DATASET_FILE, info | {"counts": counts})
        remove_build(folder)


def _tasks(folder: Path, root: Path | None, info: dict, mano_dir: Path | None) -> list:
    was = info["parameters"]
    plan = make_plan(
        was["dataset"],
        root,
        folder,
        hand="none" if was["hand"] == "none" else None,
        mano_dir=mano_dir,
        limit=was["limit"],
        frames_per_shard=was["frames_per_shard"],
        limits=AugmentationRange(**was["augmentation"]),
    )
    if difference := differences(was, plan.parameters):
        raise UnusableInputError(
            f"{root} is not what {folder} was built from ({difference}); give the right --root, or "
            "build anew with another --out"
        )
    return plan.tasks
