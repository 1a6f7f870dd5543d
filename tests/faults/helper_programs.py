"""Small programs with the helpers that this project's programs have: two processes that would work
for minutes, or one command. Each helper says its number, but for those of `synthesis`."""

import multiprocessing
import os
import sys
import time
from pathlib import Path

HELPERS = 2


def work(number: int) -> int:
    os.write(1, f"working {os.getpid()}\n".encode())
    time.sleep(600)
    return number


def pool() -> None:
    """As synthesize and verify; with a thread, as a progress bar has."""
    from rich.progress import Progress

    from deformer.program.pool import run_in_processes

    with Progress() as progress:
        progress.add_task("working")
        list(run_in_processes(work, [(k,) for k in range(3)], HELPERS))


def reading() -> None:
    """As training, evaluation and encoding."""
    from deformer.data.workers import read_ahead

    for _ in read_ahead(work, range(100), HELPERS, False):
        pass


def dask() -> None:
    """As the build and the prediction of many videos."""
    from pipelines.building.cluster import WorkerOptions, dask_client

    with dask_client(WorkerOptions(workers=HELPERS), HELPERS) as client:
        client.gather([client.submit(work, k, pure=False) for k in range(HELPERS)])


def commands() -> None:
    """As the ablations."""
    from rich.console import Console

    from benchmarks.ablations.jobs import Job, run_jobs

    line = [sys.executable, "-c", "from tests.faults.helper_programs import work; work(0)"]
    nowhere = Path("nowhere")
    run_jobs([Job("tiny", 0, *[nowhere] * 3, line, line, 1, "")], Console(quiet=True), [{}])


def synthesis() -> int:
    """Itself."""
    from pipelines import synthesize

    line = ("--layout", "hands", "--sequences", "500", "--frames", "8", "--workers", str(HELPERS))
    sys.argv[1:] = [*line, "--out", sys.argv[3]]
    return synthesize.main()


def main() -> int:
    from deformer.program.console import run_command

    name, method, *_ = sys.argv[1:]
    multiprocessing.set_start_method(method, force=True)
    return run_command(globals()[name], "stopped")
