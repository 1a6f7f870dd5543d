"""Built datasets changed so that everything agrees with the change, and what `verify` says then."""

from collections.abc import Callable
from pathlib import Path

from deformer.data.clip import Clip, depth_member, image_member
from deformer.data.dataset import has_depth, read_info
from deformer.files.sealed import write_json
from pipelines.building import shard as shards
from pipelines.building.marks import BUILD_FOLDER
from pipelines.building.repair import repair
from pipelines.verify import check_dataset, check_indices, verify
from tests.pipelines.handmade import write_shard


def problems(folder: Path, hand: str | None = "standin") -> list[str]:
    """All that `verify` finds."""
    reports = verify(folder, hand, workers=0)
    found = [p for report in reports for p in (*report.shard_problems, *report.index_problems)]
    return found + check_dataset(folder, reports) + check_indices(folder)


def rewrite(folder: Path, change: Callable[[list[Clip]], None], name: str = "000000.tar") -> None:
    """Change the clips of a shard and make everything else agree with them."""
    with_depth = has_depth(read_info(folder)["parameters"])
    clips = []
    for meta, labels, members, _ in shards.read_clips(folder / name, name):
        images, depths = (
            [members.get(member(meta.key, i)) for i in range(meta.num_frames)]
            for member in (image_member, depth_member)
        )
        clips.append(Clip(meta, labels, images, depths if with_depth else None))
    change(clips)
    (folder / BUILD_FOLDER).mkdir(exist_ok=True)
    mark = write_shard(folder, name, clips)
    info = read_info(folder)
    info["shards"][int(name[:6])] = vars(mark)
    write_json(folder / "dataset.json", info)
    repair(folder, None, set())


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
