"""What a run was trained on. It is kept beside the run, and no number should depend on it beyond
rounding."""

from dataclasses import dataclass

import torch

from deformer.program.processor import processor, usable_cores
from deformer.training.distributed import Place


@dataclass(frozen=True)
class Machine:
    """Hardware and program of a training; nothing in it names the machine or its user."""

    device: str
    """The GPU's name, or "CPU"."""
    processes: int
    processor: str
    cores: int
    """That the program may use: by itself, or beside other runs."""
    torch: str
    """Its version."""
    threads: int | None = None
    """Of each process, for its tensors: what it did use of the cores. None where not kept."""


def this_machine(place: Place) -> Machine:
    """What the processes of a run are on, by the one that asks."""
    is_gpu = place.device.type == "cuda"
    return Machine(
        device=torch.cuda.get_device_name(place.device) if is_gpu else "CPU",
        processes=place.num_ranks,
        processor=processor(),
        cores=usable_cores(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
    )
