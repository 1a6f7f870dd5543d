"""Raw dataset → shards. The only file that imports dask.

    python -m pipelines.build_shards --dataset dexycb --root $DEX_YCB_DIR --mano-dir $MANO_DIR
    python -m pipelines.build_shards --dataset ho3d --hand none --workers 8
    python -m pipelines.build_shards --dataset dexycb --scheduler tcp://head:8786

Stop it at any moment and run the same command again: it goes on, and ends with the same bytes.
Exit status: 0 built (or already built), 1 the input or the output cannot be used, 130 interrupted.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from deformer.box import AugmentationRange
from deformer.dataset import DATASET_FILE, read_info
from pipelines.finish import finish, locked, remove_build
from pipelines.plan import FRAMES_PER_SHARD, BuildPlan, differences, make_plan
from pipelines.shard import BUILD_FOLDER, ShardMark, ShardTask, build_shard, read_mark, write_json
from pipelines.source import UnusableInputError

SCHEDULER_TIMEOUT_S = 20
_PROGRESS_TOPIC = "deformer-frames"
_console = Console(stderr=True)


@dataclass(frozen=True)
class Options:
    """What to build, from where, to where, and on how many workers."""

    dataset: str
    """dexycb, ho3d, or the dotted name of a dataset module of your own."""
    root: Path | None = None
    """The raw dataset; by default what $DEX_YCB_DIR or $HO3D_DIR names."""
    out: Path | None = None
    """The folder to build; by default shards/<dataset>."""
    mano_dir: Path | None = None
    """The folder with MANO_RIGHT.pkl and MANO_LEFT.pkl; by default what $MANO_DIR names."""
    hand: Literal["standin", "none"] | None = None
    """standin: synthesized data (found out by itself). none: build what needs no hand model."""
    workers: int | None = None
    """Processes on this machine, one core each; by default all cores. 0: in this process."""
    scheduler: str | None = None
    """Address of a running Dask scheduler, instead of processes on this machine."""
    limit: int | None = None
    """Build only this many clips, spread evenly over the dataset."""
    frames_per_shard: int = FRAMES_PER_SHARD
    """A shard is closed before it would exceed this."""
    augmentation: AugmentationRange = field(default_factory=AugmentationRange)
    """What the crops must be able to serve at training time."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.scheduler is not None:
            raise UnusableInputError("--workers and --scheduler exclude each other: give one")
        for name, least in (("workers", 0), ("limit", 1), ("frames_per_shard", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UnusableInputError(
                    f"--{name.replace('_', '-')} {value} must be {least} or more"
                )


def build(options: Options) -> dict:
    """Build a dataset, or go on building it; returns what `dataset.json` holds.

    Raises `UnusableInputError` or `OSError` with one line that says what to do.
    """
    plan = make_plan(
        options.dataset,
        options.root,
        options.out,
        hand=options.hand,
        mano_dir=options.mano_dir,
        limit=options.limit,
        frames_per_shard=options.frames_per_shard,
        limits=options.augmentation,
    )
    if plan.parameters["hand"] == "none":
        _console.print("[yellow]--hand none: MANO fields, amodal masks and occlusion stay null")
    if (plan.out / DATASET_FILE).exists():
        return _already_built(plan)
    with locked(plan.out):
        _check_unfinished(plan)
        start = time.monotonic()
        with _progress(plan.tasks) as report:
            marks = _run_all(plan.tasks, options, report)
        info = finish(plan.out, plan.parameters, marks, plan.synthetic)
    _print_summary(plan.out, info, time.monotonic() - start)
    return info


def _already_built(plan: BuildPlan) -> dict:
    out, info = plan.out, read_info(plan.out)
    if difference := differences(info["parameters"], plan.parameters):
        raise UnusableInputError(
            f"{out} is built with other parameters ({difference}); give another --out, or delete it"
        )
    remove_build(out)  # it may have been killed just before that
    message = f"{out} is already built; check it with: python -m pipelines.verify {out}"
    _console.print(message, soft_wrap=True)
    return info


def _check_unfinished(plan: BuildPlan) -> None:
    """Refuse to go on with a build of other parameters; drop what was half written."""
    out, path = plan.out, plan.out / BUILD_FOLDER / "parameters.json"
    if path.exists():
        if difference := differences(
            read_info(path.parent, path.name)["parameters"], plan.parameters
        ):
            raise UnusableInputError(
                f"{out} holds an unfinished build with other parameters ({difference}); give "
                "another --out, or delete it"
            )
    elif any(out.glob("*.tar")):
        raise UnusableInputError(f"{out} holds tar files of something else; give another --out")
    version = plan.parameters["schema_version"]
    write_json(path, {"schema_version": version, "parameters": plan.parameters})
    for leftover in path.parent.glob("*.tmp"):
        leftover.unlink()


# ------------------------------------------------------------------------------------- the workers


def _run_all(
    tasks: list[ShardTask], options: Options, report: Callable[[int, int], None]
) -> list[ShardMark]:
    if options.workers == 0:
        return [build_shard(task, partial(report, task.index)) for task in tasks]
    from dask.distributed import Client, LocalCluster, as_completed

    for name in ("distributed", "tornado"):  # after the import, which sets its own levels
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if options.scheduler:
        client = Client(options.scheduler, timeout=SCHEDULER_TIMEOUT_S)
    else:
        num_workers = min(options.workers or os.cpu_count(), len(tasks))
        with _children_ignore_interrupts():
            cluster = LocalCluster(
                n_workers=num_workers,
                threads_per_worker=1,
                memory_limit=None,
                dashboard_address=None,
                silence_logs=logging.ERROR,
            )
        client = Client(cluster)
    try:
        client.subscribe_topic(_PROGRESS_TOPIC, lambda event: report(*event[1]))
        futures = [client.submit(_run_one, task, pure=False) for task in tasks]
        marks = {}
        for future in as_completed(futures):
            mark = future.result()
            marks[mark.name] = mark
            future.release()
        return [marks[task.name] for task in tasks]
    finally:
        client.close()
        if not options.scheduler:
            cluster.close()


def _run_one(task: ShardTask) -> ShardMark:
    from dask.distributed import get_worker

    worker = get_worker()
    return build_shard(task, lambda n: worker.log_event(_PROGRESS_TOPIC, (task.index, n)))


@contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Ctrl-C reaches every process of the terminal; the workers are to be stopped by this one."""
    if not hasattr(signal, "SIGINT") or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# ------------------------------------------------------------------------------ what a person sees


class _Speed(ProgressColumn):
    def render(self, task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} frames/s" if speed else "– frames/s")


@contextmanager
def _progress(tasks: list[ShardTask]) -> Iterator[Callable[[int, int], None]]:
    """A progress bar, and the function to call with a shard's index and its frames done so far."""
    columns = (
        TextColumn("building"),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,} frames"),
        _Speed(),
        TimeRemainingColumn(),
    )
    remaining = {t.index: t.num_frames for t in tasks if not read_mark(t.out, t.name)}
    done: dict[int, int] = {}
    with Progress(*columns, console=_console) as progress:
        bar = progress.add_task("building", total=sum(remaining.values()))

        def report(index: int, num_frames: int) -> None:
            done[index] = num_frames  # a shard begun anew after its worker died starts again at 0
            progress.update(bar, completed=sum(done.values()))

        yield report


def _print_summary(out: Path, info: dict, seconds: float) -> None:
    counts = info["counts"]
    size = sum(shard["size"] for shard in info["shards"])
    table = Table(title=f"{out}", show_header=False, title_justify="left")
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
    rate = (counts["frames"] + counts["halo"]) / seconds
    table.add_row("time", f"{seconds:,.1f} s, {rate:,.0f} frames/s")
    Console().print(table)


def main() -> int:
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        build(tyro.cli(Options, description=__doc__))
    except (UnusableInputError, OSError) as error:
        _console.print(f"[red]error:[/red] {error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        _console.print("interrupted; what is finished is kept: run the same command to go on")
        return 130
    return 0


if __name__ == "__main__":
    # imported under its own name, so that workers can import what is sent to them
    from pipelines.build_shards import main as imported_main

    sys.exit(imported_main())
