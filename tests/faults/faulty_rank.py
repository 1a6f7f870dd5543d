"""`deformer.train` with a fault in it, run as a program:

    python -m tests.faults.faulty_rank RANK PLACE CALL DELAY SIGNAL ARGUMENT…

The process of this rank sends itself the signal DELAY seconds after it came to a place for the n-th
time. With the signal `poison` its windows of step CALL have an infinite label.
"""

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from deformer import train
from deformer.data.batch import Batch
from deformer.data.stream import Stream
from deformer.training import checkpoint
from deformer.training.learner import Learner

PLACES: dict[str, tuple[object, str]] = {
    "start": (train, "load_start"),
    "step": (Learner, "step"),
    "gradient": (Learner, "_check_finite"),
    "validation": (train, "validate"),
    "save": (checkpoint, "write_folder"),
    "log": (train, "mean_over_ranks"),
}


def inject(place: str, call: int, delay: float, kind: str) -> None:
    owner, name = PLACES[place]
    real: Callable = getattr(owner, name)
    calls = itertools.count(1)

    def faulty(*arguments):
        if next(calls) == call:
            number = getattr(signal, kind)
            threading.Timer(delay, os.kill, (os.getpid(), number)).start()
        return real(*arguments)

    setattr(owner, name, faulty)


def poison(bad_step: int, value: float = float("inf")) -> None:
    """Give a training an infinite label at a step."""
    real = Stream.batches

    def batches(self, *steps) -> Iterator[Batch]:
        for step, batch in enumerate(real(self, *steps), *steps[:1]):
            if steps and step == bad_step:  # validation names none
                joints = batch.joints_px.clone()
                joints[0, 1, 4, 0] = value
                yield batch._replace(joints_px=joints)
            else:
                yield batch

    Stream.batches = batches


if __name__ == "__main__":
    rank, place, call, delay, kind, *sys.argv[1:] = sys.argv[1:]
    if os.environ["RANK"] == rank and kind == "poison":
        poison(int(call))
    elif os.environ["RANK"] == rank:
        inject(place, int(call), float(delay), kind)
    sys.exit(train.main())
