"""Where a run begins: at its last checkpoint, at another run's model, or at random weights."""

from dataclasses import dataclass
from pathlib import Path

from deformer.checkpoint import check_hand, differences, load_checkpoint
from deformer.learner import Learner
from deformer.mano import Hands
from deformer.stream import Stream


@dataclass(frozen=True)
class Beginning:
    """Where a run begins, or goes on."""

    step: int
    words: str = ""
    """To be shown."""
    is_validated: bool = False
    """The validation of this step is done."""
    start_sha256: str | None = None
    """Of the model that the run once began with."""


def begin(
    run: Path, resume: bool, learner: Learner, stream: Stream, hands: Hands, total_steps: int
) -> Beginning:
    """Fill the learner.

    run: the run's folder; with `resume` its last checkpoint is loaded, where it has one. Without
    one the model of the experiment's `start_from` is. total_steps: of the whole run. Raises
    `ValueError` where these are not what they must be, `OSError` where they cannot be read.
    """
    has_begun = any((run / "checkpoints").glob("step-*"))
    if has_begun and not resume:
        raise ValueError(f"{run} holds a run: --resume goes on with it, another --out begins anew")
    if has_begun:
        return _resume(run, learner, stream, total_steps)
    words = f"{run} has no checkpoint yet: beginning at step 0" if resume else ""
    start_from = learner.experiment.start_from
    if start_from is None:
        return Beginning(0, words)
    try:
        start = load_checkpoint(start_from, only=("model",))
    except FileNotFoundError as error:
        raise ValueError(f"--start-from {start_from} names no run to begin with: {error}") from None
    check_hand(start, hands)
    learner.start(start.tensors["model"])
    return Beginning(0, words, start_sha256=start.model_sha256)


def _resume(run: Path, learner: Learner, stream: Stream, total_steps: int) -> Beginning:
    """Load the last checkpoint. Raises `ValueError` when it is of another configuration or stream,
    or its rates were to fall towards another end."""
    checkpoint, experiment = load_checkpoint(run), learner.experiment
    if different := differences(checkpoint.experiment, experiment):
        raise ValueError(
            f"{checkpoint.folder} is of another configuration: "
            + "; ".join(f"{k} was {old!r}, now {new!r}" for k, (old, new) in different.items())
            + ". Resume with what the run began with, or choose another --out"
        )
    planned = checkpoint.origin.get("total_steps", total_steps)
    if experiment.optim.cooldown and planned != total_steps:
        raise ValueError(
            f"{checkpoint.folder} is of a run of {planned:,} steps, whose rates fall to 0 at their "
            f"end, and --steps is now {total_steps:,}: resume with --steps {planned}, or choose "
            "another --out"
        )
    stream.check_state(checkpoint.stream)
    learner.load(checkpoint.tensors)
    words = f"going on from {checkpoint.folder}"
    start = checkpoint.origin.get("start_sha256")
    return Beginning(checkpoint.step, words, bool(checkpoint.metrics), start)
