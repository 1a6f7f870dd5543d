"""Build shards from a raw dataset: frames cropped to the hand, with their labels.

    python -m pipelines.build_shards --dataset dexycb --root $DEX_YCB_DIR --mano-dir $MANO_DIR
    python -m pipelines.build_shards --dataset ho3d --hand none --workers 8
    python -m pipelines.build_shards --dataset dexycb --scheduler tcp://head:8786

Stop it at any moment and run the same command again: it goes on, and ends with the same bytes.

Exit status: 0 built (or already built), 1 the input or the output cannot be used, 2 an option is
wrong, 130 interrupted.
"""

import logging
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from deformer.data.dataset import DATASET_FILE, read_info
from deformer.files.foreign import UnreadableFileError, read_json
from deformer.files.sealed import write_json
from deformer.program.console import PlainConsole, run_program
from deformer.program.lock import locked
from pipelines.building.cluster import WorkerOptions, dask_client
from pipelines.building.finish import finish, remove_build
from pipelines.building.marks import BUILD_FOLDER, read_mark
from pipelines.building.plan import BuildPlan, PlanOptions, describe_changes, make_plan
from pipelines.building.shard import (
    ShardTask,
    build_shard,
    join_parts,
    make_part,
    remove_parts,
)
from pipelines.datasets.source import UnusableInputError


@dataclass(frozen=True)
class Options(PlanOptions, WorkerOptions):
    """What to build, from where, to where, and on how many workers."""

    def __post_init__(self) -> None:
        PlanOptions.__post_init__(self)
        WorkerOptions.__post_init__(self)


def build(options: Options) -> dict:
    """Build a dataset, or go on building it; returns what `dataset.json` holds.

    Raises `ValueError` (`UnusableInputError`, `UnreadableFileError`, `LockError`) or `OSError` with
    one line that says what to do; so also where no frame at all is valid.
    """
    plan = make_plan(options)
    if plan.parameters["hand"] == "none":
        logging.warning("--hand none: MANO fields, amodal masks and occlusion stay null")
    with locked(plan.out, "build"):
        if (plan.out / DATASET_FILE).exists():
            return _already_built(plan)
        _begin(plan)
        start = time.monotonic()
        missing = [task for task in plan.tasks if not read_mark(task.out, task.name)]
        with _progress(missing) as report:
            _run_all(missing, options, report)
        marks = [read_mark(task.out, task.name) for task in plan.tasks]
        info = finish(plan.out, plan.parameters, marks, plan.synthetic)
    made = sum(task.num_frames for task in missing)
    _print_summary(plan.out, info, made, time.monotonic() - start)
    return info


def _already_built(plan: BuildPlan) -> dict:
    out = plan.out
    info = read_info(out)
    if difference := describe_changes(info["parameters"], plan.parameters):
        raise UnusableInputError(
            f"{out} is built with other parameters ({difference}); give another --out, or delete it"
        )
    remove_build(out)  # it may have been killed just before that
    message = f"{out} is already built; check it with: python -m pipelines.verify {out}"
    PlainConsole().print(message, soft_wrap=True)
    return info


def _begin(plan: BuildPlan) -> None:
    """Refuse to continue a build with other parameters; remove half-written files."""
    out, path = plan.out, plan.out / BUILD_FOLDER / "parameters.json"
    if path.exists():
        try:
            before = read_json(path)
        except UnreadableFileError as error:
            raise UnreadableFileError(
                f"{error}; delete the folder {out} and build anew, or give another --out"
            ) from None
        if difference := describe_changes(before, plan.parameters):
            raise UnusableInputError(
                f"{out} holds an unfinished build with other parameters ({difference}); give "
                "another --out, or delete it"
            )
    elif any(out.glob("*.tar")):
        raise UnusableInputError(
            f"{out} holds tar files, and nothing says what they were built with; give another --out"
        )
    path.parent.mkdir(exist_ok=True)
    write_json(path, plan.parameters)
    for leftover in path.parent.glob("*.tmp"):
        leftover.unlink()


# ------------------------------------------------------------------------------------- the workers


def _run_all(
    tasks: list[ShardTask], options: Options, report: Callable[[int, int, int], None]
) -> None:
    if options.workers == 0:
        for task in tasks:
            build_shard(task, partial(report, task.index))
        return
    if not tasks:
        return
    from dask.distributed import KilledWorker, as_completed

    topic = f"deformer-frames-{uuid.uuid4().hex}"
    parts = {task: task.parts() for task in tasks}
    with dask_client(options, sum(map(len, parts.values()))) as client:
        client.subscribe_topic(topic, lambda event: report(*event[1]))
        shards = {}
        for task in tasks:
            made = [
                client.submit(_make_part, part, i, topic, pure=False)
                for i, part in enumerate(parts[task])
            ]
            shards[client.submit(join_parts, task, made, pure=False)] = task
        try:
            for future in as_completed(shards):
                future.result()
                remove_parts(shards[future].out, shards[future].name)
                future.release()
        except KilledWorker as error:
            raise UnusableInputError(
                f"workers were killed again and again ({error}): the machine is probably out of "
                "memory; give fewer --workers and run the same command to go on"
            ) from None
        finally:
            client.cancel(list(shards))


def _make_part(part: ShardTask, number: int, topic: str) -> Path:
    from dask.distributed import get_worker

    worker = get_worker()
    return make_part(part, lambda n: worker.log_event(topic, (part.index, number, n)))


# ------------------------------------------------------------------------------ what a person sees


class _Speed(ProgressColumn):
    def render(self, task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} frames/s" if speed else "– frames/s")


@contextmanager
def _progress(tasks: list[ShardTask]) -> Iterator[Callable[[int, int, int], None]]:
    """A progress bar, and the function to call with a shard's index, a part's and its frames done
    so far."""
    columns = (
        TextColumn("building"),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,} frames"),
        _Speed(),
        TimeRemainingColumn(),
    )
    done: dict[tuple[int, int], int] = {}
    with Progress(*columns, console=PlainConsole()) as progress:
        bar = progress.add_task("building", total=sum(task.num_frames for task in tasks))

        def report(shard: int, part: int, num_frames: int) -> None:
            done[shard, part] = num_frames  # a part starts again at 0 after its worker died
            progress.update(bar, completed=sum(done.values()))

        yield report


def _print_summary(out: Path, info: dict, frames_made: int, seconds: float) -> None:
    counts = info["counts"]
    size = sum(shard["size"] for shard in info["shards"])
    table = Table(show_header=False)
    table.add_row("clips", f"{counts['clips']:,} in {len(info['shards'])} shards")
    table.add_row("frames", f"{counts['frames']:,} and {counts['halo']:,} more as halo")
    table.add_row("valid", f"{counts['valid']:,}")
    for reason, n in counts["invalid"].items():
        table.add_row(f"  {reason}", f"{n:,}")
    for name, split in counts["splits"].items():
        table.add_row(name, f"{split['valid']:,} valid of {split['frames']:,}")
    table.add_row(
        "size", f"{size / 1e6:,.1f} MB, {size / max(counts['frames'], 1):,.0f} bytes/frame"
    )
    rate = f"{frames_made:,} frames made, {frames_made / seconds:,.0f} frames/s"
    table.add_row("this run", f"{seconds:,.1f} s, {rate}")
    console = PlainConsole(stderr=False)
    console.print(str(out), style="italic", soft_wrap=True)
    console.print(table)


def main() -> int:
    def run(options: Options) -> None:
        build(options)

    going_on = "interrupted; what is finished is kept: run the same command to go on"
    return run_program(run, Options, "pipelines.build_shards", __doc__, going_on)


if __name__ == "__main__":
    # imported under its own name, so that workers can import what is sent to them
    from pipelines.build_shards import main as imported_main

    sys.exit(imported_main())
