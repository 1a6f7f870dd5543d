"""Train and evaluate every run that Tables 4, 5 and 6 need.

    python -m benchmarks.ablations --preset temporal --data shards/occluded --dry-run
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

from benchmarks.ablations.jobs import Job, make_slots, run_jobs, visible_gpus
from benchmarks.ablations.presets import Options, plan
from benchmarks.evaluation.training_log import read_log
from benchmarks.speed.model import ModelSpeed, measure_model
from deformer.experiments import get_experiment
from deformer.program.console import PlainConsole, print_labelled, run_program
from deformer.program.processor import usable_cores
from deformer.program.stopping import STOPPED
from deformer.training.log import LOG_FILE

_FAREWELL = "stopped; the same command goes on"


def estimate_seconds_per_step(options: Options, jobs: list[Job], console: Console) -> float:
    """Seconds per step from the first run's log, or else from three measured steps. All ablations
    of an experiment take about the same time."""
    experiment = get_experiment(jobs[0].experiment)
    for job in jobs:
        if (job.run / LOG_FILE).exists():
            speeds = read_log(job.run, options.runs).train.get("windows_per_s", ())
            if len(speeds):
                return experiment.stream.order.global_batch / float(np.median(speeds))
    console.print(f"no run like {experiment.name} has logged its speed: measuring three steps here")
    config = ModelSpeed(
        data=str(options.data),
        experiments=(experiment.name,),
        precisions=("bf16" if torch.cuda.is_available() else "float32",),
        split=experiment.stream.split,
        steps=3,
        features=jobs[0].features,
    )
    (row,) = measure_model(config)["rows"]
    return row["batch"] / row["windows_per_second"] / options.processes


def print_plan(options: Options, jobs: list[Job], console: Console) -> None:
    """Print every job with its state, and the estimated time left."""
    left = sum(job.left_steps for job in jobs)
    table = Table("experiment", "seed", "steps", "state", title=f"{len(jobs)} runs, {options.data}")
    for job in jobs:
        state = "done" if job.is_done else f"{job.trained_steps:,} trained"
        steps = f"{job.steps:,}" if job.steps else "its epochs"
        table.add_row(job.experiment, str(job.seed), steps, state)
    console.print(table)
    if not options.is_built:
        console.print(
            f"{options.data} is not built yet (python -m pipelines.build_shards), so nobody knows "
            "how long this takes",
            soft_wrap=True,
        )
    elif left:
        hours = left * estimate_seconds_per_step(options, jobs, console) / 3600
        console.print(
            f"{left:,} steps left: about {hours:.1f} hours of training here, one run at a time"
        )


def run(options: Options) -> int:
    """Run the unfinished jobs; returns the exit status."""
    console = PlainConsole()
    jobs = plan(options)
    print_plan(options, jobs, console)
    if options.dry_run:
        return 0
    slots = make_slots(options.at_once, options.processes, usable_cores(), visible_gpus())
    try:
        failures = run_jobs(jobs, console, slots)
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
