"""Rank and device of this process, and the collective operations of training."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from deformer.data.workers import PATIENCE_S
from deformer.program.processor import processor
from deformer.training.watch import Watch

_PATIENCE = timedelta(seconds=PATIENCE_S + 300)
"""Longest wait for the others to start, and for their part in a sum: longer than that of another
process for its data, whose error says more."""


@dataclass(frozen=True)
class Place:
    """Device and rank of this process."""

    device: torch.device
    rank: int = 0
    num_ranks: int = 1
    watch: Watch | None = field(default=None, compare=False)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait_for_all(self) -> None:
        """Wait until all processes come here, without a limit. Raises `LostProcessError`."""
        if self.watch is not None:
            self.watch.wait_for_all()


def this_machine(place: Place) -> dict[str, str | int]:
    """Hardware and software of a run, without names of machine or user."""
    is_gpu = place.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(place.device) if is_gpu else "CPU",
        "processes": place.num_ranks,
        "processor": processor(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),  # of each process
    }


@contextmanager
def process_group(device: str | None = None) -> Iterator[Place]:
    """Join the process group of torchrun; without torchrun, this process is alone.

    device: "cpu" or "cuda"; None: a GPU if there is one. NCCL on GPUs, gloo on CPUs.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if kind == "cuda":
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"process {local} of this machine finds {torch.cuda.device_count()} GPU(s): "
                "choose --nproc-per-node no larger than that, or --device cpu"
            )
        torch.cuda.set_device(local)
    place = torch.device(kind, local) if kind == "cuda" else torch.device("cpu")
    if "RANK" not in os.environ:
        yield Place(place)
        return
    with _joined("nccl" if kind == "cuda" else "gloo") as watch:
        try:
            yield Place(place, dist.get_rank(), dist.get_world_size(), watch)
            watch.end_with_all()
        except RuntimeError as error:
            if lost := watch.lost():
                raise lost from error
            raise


@contextmanager
def _joined(backend: str) -> Iterator[Watch]:
    try:
        dist.init_process_group(backend, timeout=_PATIENCE)
        watch = Watch()
    except RuntimeError as error:
        raise OSError(
            f"the {os.environ.get('WORLD_SIZE')} processes of this run did not find one another "
            f"({str(error).splitlines()[0]}): start all of them, with one MASTER_ADDR and "
            "MASTER_PORT"
        ) from error
    try:
        yield watch
    finally:
        if watch.leave():  # else a lost process would be waited for
            dist.destroy_process_group()


def mean_over_ranks(values: dict[str, Tensor]) -> dict[str, float]:
    """Means of scalars over all processes, by name."""
    if not values:
        return {}
    stacked = torch.stack([value.detach().double() for value in values.values()])
    if dist.is_initialized():
        dist.all_reduce(stacked)
        stacked /= dist.get_world_size()
    return dict(zip(values, stacked.tolist(), strict=True))


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum of a tensor over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether any process has set the flag."""
    return bool(sum_over_ranks(torch.tensor(float(flag), device=device)).item())
