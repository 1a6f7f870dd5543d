"""Start of a run: its last checkpoint, another run's model, features, or random weights."""

from dataclasses import dataclass, replace
from pathlib import Path

from deformer.data.stream import Stream
from deformer.hand.mano import Hands
from deformer.training.checkpoint import Checkpoint, load_checkpoint
from deformer.training.experiment import Experiment, differences
from deformer.training.features import Features
from deformer.training.learner import Learner
from deformer.training.weights_file import open_experiment, open_model


@dataclass(frozen=True)
class Start:
    """The state that a run starts or resumes from."""

    step: int
    origin: dict
    """As in `Checkpoint`."""
    message: str = ""
    """For the console."""
    checkpoint: Checkpoint | None = None
    """What it resumes from, without the tensors."""

    @property
    def metrics(self) -> dict[str, float]:
        """Results of the validation at this step; empty if there was none."""
        return self.checkpoint.metrics if self.checkpoint else {}


def load_start(
    run: Path, resume: bool, learner: Learner, stream: Stream, hands: Hands, total_steps: int,
    features: Features | None = None,
) -> Start:  # fmt: skip
    """Load the weights that a run starts from into the learner.

    With `resume` this is the last checkpoint of the folder `run`. If there is none, it is the model
    of the experiment's `start_from`, or else the weights that made its `features`. total_steps: of
    the whole run. Raises `ValueError` and `OSError`.
    """
    has_begun = any((run / "checkpoints").glob("step-*"))
    if has_begun and not resume:
        raise ValueError(f"{run} holds a run: --resume goes on with it, another --out begins anew")
    precision = "bf16" if learner.bf16 else "float32"
    origin = {"total_steps": total_steps, "start_sha256": None, "precision": precision}
    if features is not None:
        origin["features_sha256"] = features.sha256
    if has_begun:
        return _resume(run, learner, stream, origin)
    message = f"{run} has no checkpoint yet: starting at step 0" if resume else ""
    start_from = learner.experiment.start_from
    if start_from is None:
        if features is not None:
            learner.start_behind(features.spatial())
        return Start(0, origin, message)
    try:
        start = open_model(start_from)
    except FileNotFoundError as error:
        raise ValueError(f"--start-from {start_from} names no run to begin with: {error}") from None
    if start.hand["sha256"] != hands.sha256:
        message += (
            f"{start_from} was trained with the hand {start.hand['name']}, the shards are labelled "
            f"with {hands.name}: training must adapt its poses"
        )
    if features is not None:
        features.check_made_by(start.tensors["model"], f"--start-from {start_from}")
    learner.start(start.tensors["model"])
    return Start(0, origin | {"start_sha256": start.model_sha256}, message)


def _resume(run: Path, learner: Learner, stream: Stream, origin: dict) -> Start:
    """Load the last checkpoint. Raises `ValueError` for a checkpoint of another run."""
    checkpoint = load_checkpoint(run)
    check_run(checkpoint, learner.experiment, origin["total_steps"])
    precision = checkpoint.origin.get("precision")  # older checkpoints lack some entries
    if precision not in (None, origin["precision"]):
        raise ValueError(
            f"{checkpoint.folder} was trained in {precision}, now {origin['precision']}: "
            f"resume with --precision {precision}, or choose another --out"
        )
    check_start(checkpoint)
    if checkpoint.origin.get("features_sha256") != origin.get("features_sha256"):
        raise ValueError(
            f"{checkpoint.folder} learned from other features than {learner.experiment.features} "
            "holds now: bring those back, or choose another --out to begin anew"
        )
    stream.check_state(checkpoint.stream)
    learner.load(checkpoint.tensors)
    return Start(
        checkpoint.step,
        checkpoint.origin | {"total_steps": origin["total_steps"]},
        f"going on from {checkpoint.folder}",
        replace(checkpoint, tensors={}),
    )


def check_run(checkpoint: Checkpoint, asked: Experiment, total_steps: int) -> None:
    """Raises `ValueError` for a checkpoint of another run: its configuration differs, or its rates
    fall towards another last step."""
    if different := differences(checkpoint.experiment, asked):
        raise ValueError(
            f"{checkpoint.folder} is of another configuration: "
            + "; ".join(f"{k} was {old!r}, now {new!r}" for k, (old, new) in different.items())
            + ". Resume with what the run began with, or choose another --out"
        )
    planned = checkpoint.origin.get("total_steps", total_steps)
    if asked.optim.cooldown and planned != total_steps:
        raise ValueError(
            f"{checkpoint.folder} is of a run of {planned:,} steps, whose rates fall to 0 at their "
            f"end, and --steps is now {total_steps:,}: resume with --steps {planned}, or choose "
            "another --out"
        )


def check_start(checkpoint: Checkpoint) -> None:
    """Raises `ValueError` where the model that a checkpoint started from has changed since."""
    start_from, known = checkpoint.experiment.start_from, checkpoint.origin.get("start_sha256")
    if start_from is None or known is None:
        return
    try:
        start = open_experiment(start_from)
    except (OSError, ValueError):
        return  # gone, damaged or of another version: its model is read once, at the beginning
    if start.model_sha256 != known:
        raise ValueError(
            f"{checkpoint.folder} began with another model than {start_from} holds now (step "
            f"{start.step:,}): bring that one back, or choose another --out to begin anew"
        )
