"""Dask: on this machine, or on a cluster that is already up."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from deformer.program.least import check_least
from deformer.program.pool import blocked, end_with_parent
from pipelines.datasets.source import UnusableInputError

if TYPE_CHECKING:
    from dask.distributed import Client, Worker

SCHEDULER_TIMEOUT_S = 20
_LOGGERS = ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application")


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Who does the work."""

    workers: int | None = None
    """Processes on this machine, one core each; by default all cores. 0: in this process."""
    scheduler: str | None = None
    """Address of a running Dask scheduler, instead of processes on this machine."""

    def __post_init__(self) -> None:
        check_least(self, "--", workers=0)
        if self.workers is not None and self.scheduler is not None:
            raise UnusableInputError("--workers and --scheduler exclude each other: give one")


@contextmanager
def dask_client(options: WorkerOptions, num_tasks: int) -> Iterator["Client"]:
    """A Dask client: of the running scheduler, or of a cluster of processes on this machine."""
    from dask.distributed import Client, LocalCluster, Nanny
    from dask.system import CPU_COUNT

    for name in _LOGGERS:  # after the import, which sets a level for each
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if options.scheduler:
        with _client_of(options.scheduler) as client:
            yield client
        return
    try:
        # Ctrl-C reaches every process of the terminal; this process stops the workers itself
        with blocked((signal.SIGINT,)):
            cluster = LocalCluster(
                n_workers=min(options.workers or CPU_COUNT, num_tasks),
                threads_per_worker=1,
                processes=True,
                worker_class=partial(Nanny, worker_class=_worker),
                memory_limit=None,
                dashboard_address=":0",
                silence_logs=logging.CRITICAL,  # this process reports a failed task, once
            )
    except RuntimeError as error:
        raise UnusableInputError(
            f"no worker could be started ({error}): see whether memory is short (one may have been "
            "killed), /dev/shm is full or small (df /dev/shm), or too few files may be open "
            "(ulimit -n); else give fewer --workers, or 0"
        ) from None
    with cluster, Client(cluster) as client:
        yield client


def _worker(**options) -> "Worker":
    """In a process of its own. Dask's watch of this program fails under fork, where workers hold
    one another's pipes, and one that is starting asks for the scheduler for ever."""
    from dask.distributed import Worker

    end_with_parent()
    return Worker(**options)


@contextmanager
def _client_of(scheduler: str) -> Iterator["Client"]:
    """A client of a running scheduler with workers."""
    from dask.distributed import CancelledError, Client
    from distributed.comm import CommClosedError

    try:
        client = Client(scheduler, timeout=SCHEDULER_TIMEOUT_S)
        client.wait_for_workers(1, timeout=SCHEDULER_TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise UnusableInputError(
            f"--scheduler {scheduler}: no scheduler with a worker answers ({error})"
        ) from None
    with client:
        try:
            yield client
        except Exception as error:
            lost = (CancelledError, CommClosedError)
            if client.status == "running" and not isinstance(error, lost):
                raise
            raise UnusableInputError(
                f"--scheduler {scheduler}: the scheduler has ended, or the connection to it broke; "
                "what is finished is kept: start it and run the same command to go on"
            ) from None
