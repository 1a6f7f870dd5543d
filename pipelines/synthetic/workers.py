"""Many jobs in several processes, with a bar that shows how far they are."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from deformer.processor import usable_cores


def each(
    work: Callable, jobs: list[tuple], workers: int | None, title: str, total: int, console: Console
) -> list:
    """`work(*job)` for every job, results in their order; `total` counts what is done already."""
    columns = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    workers = min(workers or usable_cores(), max(len(jobs), 1))
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(title, total=total, completed=total - len(jobs))
        if workers == 1:
            results = []
            for job in jobs:
                results.append(work(*job))
                progress.advance(bar)
            return results
        context = multiprocessing.get_context("spawn")  # threads of torch and Embree do not fork
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            futures = [pool.submit(work, *job) for job in jobs]
            try:
                for future in as_completed(futures):
                    future.result()
                    progress.advance(bar)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            return [future.result() for future in futures]
