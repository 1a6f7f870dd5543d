"""Train a Deformer from shards.

    torchrun --nproc-per-node 8 -m deformer.train --experiment dexycb --data shards/dexycb
    python -m deformer.train --experiment tiny --data shards/demo --out runs/tiny --steps 300
    python -m deformer.train --experiment help

Every field of the experiment is an option: --optim.lr 3e-5 --model.fusion average. Kill it at any
step and run the same command with --resume: it resumes from the last checkpoint and
gives the same numbers as an uninterrupted run.

Exit status: 0 done, 1 unusable input, 2 wrong option, 143 stopped by SIGTERM, Ctrl-C or a closed
terminal, after a checkpoint.
"""

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console

from deformer.data.batch import Batch
from deformer.data.dataset import labels_of
from deformer.data.store import open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.files.foreign import check_folder_name
from deformer.hand.mano import Hands, load_hands_of
from deformer.network.discriminator import saturation
from deformer.network.network import count_parameters
from deformer.network.registry import check_input
from deformer.program.console import PlainConsole, run_command, this_command
from deformer.program.lock import locked
from deformer.program.stopping import STOPPED, Stopping
from deformer.train_options import Options, parse
from deformer.training.checkpoint import Content, add_metrics, save_checkpoint, settle
from deformer.training.distributed import (
    Place,
    any_rank,
    mean_over_ranks,
    process_group,
    this_machine,
)
from deformer.training.failed_step import name_windows, save_step, say_windows
from deformer.training.features import Features, open_features
from deformer.training.label_check import check_labels, check_truth
from deformer.training.learner import Learner, NonFiniteError
from deformer.training.log import Journal
from deformer.training.motion import RealMotion
from deformer.training.resume import Start, load_start
from deformer.training.validation import validate


def train(options: Options, place: Place, console: Console) -> int:
    """Run an experiment to its end; returns the exit status. Raises `ValueError` and `OSError`."""
    with ExitStack() as held:
        training = _open(options, place, console, held)
        step = _learn(training)
    is_done = step == training.total_steps
    if place.is_first:
        end = f"done: {options.run} holds the checkpoints, log.jsonl and tensorboard/"
        stop = f"stopped at step {step:,}; --resume goes on from here"
        console.print(end if is_done else stop, soft_wrap=True)
    return 0 if is_done else STOPPED


@dataclass(frozen=True)
class _Training:
    """A run, ready for its next step."""

    options: Options
    place: Place
    hands: Hands
    stream: Stream
    validation: Stream | None
    learner: Learner
    total_steps: int
    start: Start
    journal: Journal | None
    """None except in the first process."""


def _open(options: Options, place: Place, console: Console, held: ExitStack) -> _Training:
    """held: receives the lock of the run's folder, which is taken after all other checks."""
    experiment, run = options.config, options.run
    check_folder_name(run)
    check_input(experiment.network, experiment.stream.input)
    store, index = open_store(options.data, options.cache, int(options.cache_gb * 1e9))
    hands = load_hands_of(index.info, options.mano_dir)
    features = None
    if experiment.features is not None:
        features = open_features(experiment.features)
        features.check(experiment, store.folder)
    stream = Stream(
        experiment.stream, store, index, rank=place.rank, num_ranks=place.num_ranks,
        workers=options.workers, features=features and features.frames(experiment.stream.split),
        warp_on=warp_on(place, experiment.stream),
    )  # fmt: skip
    validation = _open_validation(options, place, stream, features)
    check_labels(index, stream.windows, hands, experiment.model)
    motion = None
    if experiment.adversarial:
        motion = RealMotion(index, stream.windows, experiment.stream.seed)
    bf16 = options.precision == "bf16" or (
        options.precision == "auto" and place.device.type == "cuda"
    )
    frozen = features.spatial().keys() if features else ()
    learner = Learner(
        experiment, hands, place, motion, bf16, options.compile, options.cuda_graph, frozen
    )
    total_steps = options.steps or experiment.optim.epochs * stream.steps_per_epoch
    if place.is_first:
        held.enter_context(locked(run, "training"))
    start = load_start(run, options.resume, learner, stream, hands, total_steps, features)
    journal = None
    if place.is_first:
        if start.message:
            console.print(start.message, soft_wrap=True)
        _describe(options, place, learner, stream, console)
        journal = Journal(run, start.step, total_steps, console, bool(start.metrics))
    return _Training(
        options, place, hands, stream, validation, learner, total_steps, start, journal
    )


_WARPED_FROM = 256
"""Smaller inputs are warped about as fast as crops are decoded, and a step has many of them."""


def warp_on(place: Place, config: StreamConfig) -> torch.device | None:
    """The device that warps the frames of a training: a GPU that gets large inputs; otherwise, and
    of depth images, readers do it."""
    is_large = config.size >= _WARPED_FROM and config.input == "rgb"
    return place.device if place.device.type == "cuda" and is_large else None


def _open_validation(
    options: Options, place: Place, stream: Stream, features: Features | None
) -> Stream | None:
    """Raises `ValueError` when training and validation share frames, or frames have no truth."""
    experiment = options.config
    split, limit = experiment.validation.split, experiment.validation.limit
    if split is None:
        return None
    config = experiment.stream.for_evaluation(split, limit)
    validation = Stream(
        config, stream.store, stream.index, rank=place.rank, num_ranks=place.num_ranks,
        workers=options.workers, features=features and features.frames(split),
        warp_on=stream.warp_on,
    )  # fmt: skip
    if np.isin(validation.windows.rows, stream.windows.rows).any():
        raise ValueError(
            f"--validation.split {split} shares frames with "
            f"--stream.split {experiment.stream.split}: choose another one, or None"
        )
    check_truth(stream.index, validation.windows, split)
    return validation


def _learn(training: _Training) -> int:
    """Take the remaining steps, or until a signal asks to stop; returns the last step."""
    options, place, learner = training.options, training.place, training.learner
    stream, total_steps, step = training.stream, training.total_steps, training.start.step
    if step == 0 and training.validation is not None:
        _validate(training, 0)  # the error before training
    elif step > 0:
        _catch_up(training)
    stopping = Stopping(ends_waiting=place.num_ranks == 1)
    saved = step
    seen = waited = 0.0
    since = time.monotonic()
    asked = since
    for batch in stopping.until(stream.batches(step, total_steps)):
        waited += time.monotonic() - asked
        rate = options.config.optim.rate(step, stream.steps_per_epoch, total_steps)
        try:
            terms = learner.step(batch, step, rate)
        except NonFiniteError as error:
            raise ValueError(_save_failed(training, batch, step, rate, error)) from None
        step += 1
        seen += len(batch.images) * place.num_ranks
        is_last = step == total_steps
        is_stopped = place.num_ranks == 1 and stopping.is_asked
        if step % options.log_every == 0 or is_last:
            values = mean_over_ranks(terms)  # waits for the device
            elapsed = time.monotonic() - since
            values |= {"rate": rate, "windows_per_s": seen / elapsed, "data_wait": waited / elapsed}
            _log(training, step, values)
            is_stopped = any_rank(stopping.is_asked, place.device)  # all stop at the same step
            seen = waited = 0.0
            since = time.monotonic()
        if _is_due(training, step) and not is_stopped:
            paused = time.monotonic()
            _save(training, step, _validate(training, step))
            since += time.monotonic() - paused
            saved = step
        elif is_last or is_stopped or step % options.save_every == 0:
            _save(training, step, {})
            saved = step
        if is_stopped:
            break
        asked = time.monotonic()
    if step > saved:  # stopped while it waited for a batch
        _save(training, step, {})
    return step


def _log(training: _Training, step: int, values: dict[str, float]) -> None:
    """values: means over all processes, learning rate and speed."""
    if "discriminator" in values:
        values = values | {"saturation": saturation(values["discriminator"])}
    if training.journal:
        training.journal.log(step, "train", values)
        training.journal.show_training(step, values)


def _is_due(training: _Training, step: int) -> bool:
    """Whether a validation follows this step."""
    every = training.options.config.validation.every
    is_its_turn = step > 0 and (step == training.total_steps or step % every == 0)
    return is_its_turn and training.validation is not None


def _validate(training: _Training, step: int) -> dict[str, float]:
    metrics = validate(training.learner, training.validation)
    if training.journal:
        training.journal.log(step, "validation", metrics)
        training.journal.show_validation(step, metrics)
    return metrics


def _catch_up(training: _Training) -> None:
    """Validate the step that the run resumes from, note it as the best, and delete older ones, if
    the last run was stopped before that."""
    start = training.start
    metrics = start.metrics
    if _is_due(training, start.step) and not metrics:
        metrics = _validate(training, start.step)
        if training.place.is_first:
            add_metrics(start.checkpoint, metrics)
    if training.place.is_first:
        settle(training.options.run, start.step, metrics, training.options.keep)
    training.place.wait_for_all()


def _save(training: _Training, step: int, metrics: dict[str, float]) -> None:
    """Save a checkpoint, in the first process. metrics: of a validation at this step, or empty."""
    if training.place.is_first:
        options = training.options
        save_checkpoint(options.run, _content(training, step, metrics), options.keep)
    training.place.wait_for_all()


def _content(training: _Training, step: int, metrics: dict[str, float]) -> Content:
    options, hands = training.options, training.hands
    return Content(
        step=step,
        experiment=options.config,
        hand={"name": hands.name, "sha256": hands.sha256},
        stream=training.stream.state(step),
        tensors=training.learner.tensors(),
        metrics=metrics,
        origin=training.start.origin,
        machine=this_machine(training.place),
        command=this_command("deformer.train"),
    )


def _save_failed(
    training: _Training, batch: Batch, step: int, rate: float, error: NonFiniteError
) -> str:
    """Save a step that cannot be learned, in the processes whose windows are the cause; returns
    what to tell."""
    place, run = training.place, training.options.run
    is_known = any_rank(bool(error.bad), place.device)
    if is_known and not error.bad:
        place.wait_for_all()
        return f"{error}. The windows of another process are the cause, which saves them"
    windows = name_windows(training.stream.index, batch.rows)
    try:
        content = _content(training, step, {})
        folder = save_step(run, content, training.learner, batch, rate, windows, error)
        saved = f"The step is saved in {folder}: deformer.training.failed_step.repeat repeats it"
    except OSError as fault:
        saved = f"The step could not be saved ({fault})"
    place.wait_for_all()  # the end of one process ends the others
    return (
        f"{error}. Its windows: {say_windows(windows)}. {saved}. Mend these labels, leave "
        "them out (--stream.where) or lower --optim.lr, in another --out with --start-from "
        f"{run}, whose last checkpoint stays"
    )


def _describe(
    options: Options, place: Place, learner: Learner, stream: Stream, console: Console
) -> None:
    counts = count_parameters(learner.model)
    parts = ", ".join(f"{name} {n / 1e6:.2f}" for name, n in counts.items() if name != "total")
    mixed, full = stream.clips_mixed()
    synthetic = " (synthetic)" if stream.index.info["synthetic"] else ""
    if labels := labels_of(stream.index.info):
        synthetic += f" ({labels} labels)"
    console.print(
        f"{options.experiment}: {options.config.summary}\n"
        f"{stream.store.url}{synthetic} {stream.config.split}: {len(stream.windows):,} windows, "
        f"{stream.steps_per_epoch:,} steps per epoch of {stream.config.order.global_batch}; "
        f"64 consecutive windows are of {mixed:.0f} clips ({full:.0f} in a full shuffle)\n"
        f"{place.num_ranks} process(es) on {place.device.type}, "
        f"{'bf16' if learner.bf16 else 'float32'}, {options.workers} worker(s) each\n"
        f"{counts['total'] / 1e6:.2f}M parameters: {parts}",
        soft_wrap=True,
    )


def run(options: Options) -> int:
    """Train; returns the exit status."""
    try:
        with process_group(options.device) as place:
            return train(options, place, PlainConsole())
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"the GPU is out of memory ({str(error).splitlines()[0]}). Lower --optim.micro-batch "
            "(the result stays the same), --stream.size, --stream.window.num-frames or "
            "--stream.order.global-batch"
        ) from None


def main() -> int:
    return run_command(
        lambda: run(parse(sys.argv[1:], __doc__)), "interrupted before the first step"
    )


if __name__ == "__main__":
    sys.exit(main())
