"""Train and evaluate every run that the tables need: the ablations of Tables 4 to 6, and with
--tables 1 2 3 the whole method and its rivals.

    python -m benchmarks.ablations --preset lite --data shards/occluded --dry-run
    python -m benchmarks.ablations --preset lite --data shards/occluded --tables 1 2 3
    python -m benchmarks.ablations --preset paper --data shards/dexycb --seeds 0 1 2
    python -m benchmarks.ablations --preset paper --data shards/ho3d

Finished runs are skipped and interrupted runs go on, so run the command again until it is through.
Runs go to runs/<data>/<experiment>-seed<k>, their evaluations to
results/<data>/<experiment>-seed<k>, where `python -m benchmarks.tables` and `python -m
benchmarks.report` find them. A failing run does not stop the others; failures are listed at the
end.

Exit status: 0 all done, 1 something failed or cannot be used, 2 an option is wrong, 143 stopped by
Ctrl-C, SIGTERM or a closing terminal, after each training has saved a checkpoint.
"""

import sys

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.ablations.jobs import Job, Work, make_slots, run_jobs, visible_gpus
from benchmarks.ablations.presets import Options, plan
from benchmarks.ablations.rivals import left_out, plan_rivals
from benchmarks.evaluation.training_log import read_log
from benchmarks.speed.model import ModelSpeed, measure_model
from deformer.experiments import get_experiment
from deformer.program.console import PlainConsole, print_labelled, run_program
from deformer.program.processor import usable_cores
from deformer.program.stopping import STOPPED
from deformer.training.log import LOG_FILE

_FAREWELL = "stopped; the same command goes on"


def estimate_seconds_per_step(options: Options, jobs: list[Job], console: Console) -> float:
    """Seconds per step from the first run's log, or else from three measured steps. Ablations of an
    experiment take about the same time; rivals do not, so for them it is a first guess."""
    experiment = get_experiment(jobs[0].experiment)
    for job in jobs:
        if (job.run / LOG_FILE).exists():
            speeds = read_log(job.run, options.runs).train.get("windows_per_s", ())
            if len(speeds):
                return experiment.stream.order.global_batch / float(np.median(speeds))
    console.print(f"no run like {experiment.name} has logged its speed: measuring three steps here")
    config = ModelSpeed(
        data=str(options.data),
        experiments=(jobs[0].experiment,),
        precisions=("bf16" if torch.cuda.is_available() else "float32",),
        split=experiment.stream.split,
        steps=3,
        features=jobs[0].features,
    )
    (row,) = measure_model(config)["rows"]
    return row["batch"] / row["windows_per_second"] / options.processes


def plan_stages(options: Options) -> list[list[Work]]:
    """All work; each stage needs the one before it."""
    wanted = set(options.tables)
    stages = plan_rivals(options) if wanted & {1, 2, 3} else []
    if wanted & {4, 5, 6}:
        stages.append(plan(options))
    return [stage for stage in stages if stage]


def print_plan(options: Options, stages: list[list[Work]], console: Console) -> None:
    """Print every job with its state, and the estimated time left."""
    works = [work for stage in stages for work in stage]
    runs = [work for work in works if isinstance(work, Job)]
    table = Table("run", "steps", "state", title=f"{len(runs)} runs, {options.data}")
    for work in works:
        steps, state = "", "to do"
        if isinstance(work, Job):
            steps = f"{work.steps:,}" if work.steps else "its epochs"
            state = f"{work.trained_steps:,} trained"
        table.add_row(work.name, steps, "done" if work.is_done else state)
    console.print(table)
    left = sum(job.left_steps for job in runs)
    if not options.is_built:
        console.print(
            f"{options.data} is not built yet (python -m pipelines.build_shards), so nobody knows "
            "how long this takes",
            soft_wrap=True,
        )
    elif left:
        seconds, unknown = 0.0, 0
        for stage in stages:
            jobs = [work for work in stage if isinstance(work, Job) and work.left_steps]
            steps = sum(job.left_steps for job in jobs)
            if jobs and jobs[0].has_input:
                seconds += steps * estimate_seconds_per_step(options, jobs, console)
            else:
                unknown += steps
        words = f"{left:,} steps left: about {seconds / 3600:.1f} hours of training here, one run "
        words += "at a time"
        if unknown:
            words += f", and {unknown:,} steps on features that are not made yet"
        console.print(words, soft_wrap=True)


def run(options: Options) -> int:
    """Run the unfinished jobs; returns the exit status."""
    console = PlainConsole()
    stages = plan_stages(options)
    print_plan(options, stages, console)
    for why in left_out(options).values():
        console.print(f"left out: {why}", soft_wrap=True)
    if options.dry_run:
        return 0
    slots = make_slots(options.at_once, options.processes, usable_cores(), visible_gpus())
    try:
        failures = []
        for stage in stages:
            failures = run_jobs(stage, console, slots)
            if failures:  # the next stage needs this one
                break
    except KeyboardInterrupt:
        console.print(_FAREWELL)
        return STOPPED
    for words in failures:
        print_labelled("failed:", words, console)
    if not failures:
        words = "all runs are done: python -m benchmarks.tables, python -m benchmarks.report"
        console.print(words, soft_wrap=True)
    return 1 if failures else 0


def main() -> int:
    return run_program(run, Options, "benchmarks.ablations", __doc__, _FAREWELL)


if __name__ == "__main__":
    sys.exit(main())
