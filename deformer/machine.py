"""What a run was trained on. It is kept beside the run, and no number should depend on it beyond
rounding."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from deformer.distributed import Place


@dataclass(frozen=True)
class Machine:
    """Hardware and program of a training; nothing in it names the machine or its user."""

    device: str
    """The GPU's name, or "CPU"."""
    processes: int
    processor: str
    cores: int
    """That the program may use."""
    torch: str
    """Its version."""


def this_machine(place: Place) -> Machine:
    """What the processes of a run are on, by the one that asks."""
    is_gpu = place.device.type == "cuda"
    has_affinity = hasattr(os, "sched_getaffinity")
    return Machine(
        device=torch.cuda.get_device_name(place.device) if is_gpu else "CPU",
        processes=place.num_ranks,
        processor=processor(),
        cores=len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1,
        torch=torch.__version__,
    )


def processor() -> str:
    """Its name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "not known"
