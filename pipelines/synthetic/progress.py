"""Jobs in several processes, with a progress bar."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from deformer.program.pool import run_in_processes
from deformer.program.processor import usable_cores


def map_with_progress(
    work: Callable, jobs: list[tuple], workers: int | None, title: str, total: int, console: Console
) -> list:
    """The results of `work(*job)` in the order of jobs; the bar starts at `total` - len(jobs)."""
    workers = min(workers or usable_cores(), max(len(jobs), 1))
    columns = *Progress.get_default_columns(), MofNCompleteColumn()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(title, total=total, completed=total - len(jobs))
        here = ((place, work(*job)) for place, job in enumerate(jobs))
        by_place = {}
        for place, result in here if workers == 1 else run_in_processes(work, jobs, workers):
            by_place[place] = result
            progress.advance(bar)
    return [by_place[place] for place in range(len(jobs))]
