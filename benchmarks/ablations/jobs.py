"""Train and evaluate runs, several at once: their shares of the machine, their state, their
failures. Ctrl-C or SIGTERM ends them all, after each has saved a checkpoint.
"""

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import torch
from rich.console import Console

from benchmarks.evaluation.result import EVALUATION_FILE, Run, read_evaluation
from deformer.data.dataset import dataset_sha256
from deformer.experiments import get_experiment
from deformer.program.pool import ending_with_this
from deformer.training.checkpoint import DamagedCheckpointError, load_experiment
from deformer.training.experiment import Experiment
from deformer.training.features import FEATURES_FILE, open_features
from deformer.training.resume import check_run, check_start

CONSOLE_FILE = "console.log"
"""In a run's folder: the output of its commands, if other runs run at the same time."""


@dataclass(frozen=True)
class Job:
    """One run: its commands and its output folders."""

    experiment: str
    seed: int
    data: Path
    run: Path
    result: Path
    train: list[str]
    evaluate: list[str]
    steps: int
    split: str
    """The split to evaluate on."""
    features: str | None = None
    """The folder of encoded frames that it learns from; None: it learns from images."""

    @property
    def name(self) -> str:
        return f"{get_experiment(self.experiment).name}, seed {self.seed}"

    @property
    def commands(self) -> dict[str, list[str]]:
        return {"training": self.train, "evaluation": self.evaluate}

    @property
    def log(self) -> Path:
        """The output of its commands, if other runs run at the same time."""
        return self.run / CONSOLE_FILE

    @property
    def where(self) -> str:
        return f"at step {self.trained_steps:,}"

    @property
    def outcome(self) -> str:
        path = self.result / EVALUATION_FILE  # HO-3D's evaluation set may have no truth
        scores = read_evaluation(path).headline if path.exists() else "not scored"
        return f"step {self.trained_steps:,}, {scores} → {self.result}"

    @property
    def has_input(self) -> bool:
        """Whether its features are there, if it learns from features."""
        return self.features is None or (Path(self.features) / FEATURES_FILE).exists()

    @property
    def trained_steps(self) -> int:
        """The step of the last checkpoint."""
        steps = [int(p.name[5:]) for p in (self.run / "checkpoints").glob("step-*")]
        return max(steps, default=0)

    @property
    def left_steps(self) -> int:
        return 0 if self.is_done else max(0, self.steps - self.trained_steps)

    @property
    def asked(self) -> Experiment:
        """The experiment that its command trains."""
        base = get_experiment(self.experiment)
        seeded = replace(base.stream, seed=self.seed)
        return replace(base, features=self.features, stream=seeded)

    @property
    def is_done(self) -> bool:
        """Whether it was evaluated at its last step, on this build of the dataset, as the same
        experiment."""
        path = self.result / EVALUATION_FILE
        if not path.exists():
            return False
        run, data = (evaluation := read_evaluation(path)).run, evaluation.data
        asked = (self.steps, self.split, dataset_sha256(self.data))
        is_asked = isinstance(run, Run) and (run.step, data.split, data.sha256) == asked
        return is_asked and self._is_the_run()

    def _is_the_run(self) -> bool:
        """Whether its last checkpoint belongs to this job's experiment; without a checkpoint the
        result alone decides."""
        try:
            checkpoint = load_experiment(self.run)
        except (OSError, DamagedCheckpointError):
            return True
        except ValueError:  # from another version: the training will say why
            return False
        try:
            check_run(checkpoint, self.asked, self.steps)
            check_start(checkpoint)
        except ValueError:
            return False
        return True


@dataclass(frozen=True)
class Encoding:
    """Features to make, for the runs of a later stage."""

    out: Path
    command: list[str]
    data: Path
    checkpoint: str
    """What encodes: a run, or the name of weights."""
    step: int | None
    """Of the run; None for weights."""

    @property
    def name(self) -> str:
        return f"encoding {self.out}"

    @property
    def commands(self) -> dict[str, list[str]]:
        return {"encoding": self.command}

    @property
    def log(self) -> Path:
        return self.out / CONSOLE_FILE

    @property
    def where(self) -> str:
        return ""

    @property
    def outcome(self) -> str:
        return "done"

    @property
    def left_steps(self) -> int:
        return 0

    @property
    def is_done(self) -> bool:
        """Whether they are there, by this checkpoint at this step, of this build of the dataset."""
        if not (self.out / FEATURES_FILE).exists():
            return False
        info = open_features(self.out).info
        made_by = info["checkpoint"]
        is_asked = made_by["run"] == self.checkpoint and self.step in (None, made_by["step"])
        return is_asked and info["dataset_sha256"] == dataset_sha256(self.data)


Work = Job | Encoding

# -------------------------------------------------------------------------------- what each may use


Slot = dict[str, str]
"""What a run may use of the machine, as environment variables."""


def make_slots(at_once: int, processes: int, cores: int, gpus: Sequence[str]) -> list[Slot]:
    """A slot for each of `at_once` runs with `processes` processes each: its share of the cores,
    and a GPU per process. If there are fewer GPUs, runs share them."""
    if at_once == 1:
        return [{}]
    slots = [{"OMP_NUM_THREADS": str(max(1, cores // (at_once * processes)))}] * at_once
    if not gpus:
        return slots
    each = min(processes, len(gpus))
    shares = ([gpus[(i * each + k) % len(gpus)] for k in range(each)] for i in range(at_once))
    return [s | {"CUDA_VISIBLE_DEVICES": ",".join(g)} for s, g in zip(slots, shares, strict=True)]


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this program may use, as named in CUDA_VISIBLE_DEVICES."""
    count, given = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(count)) if given is None else given.split(",")
    return tuple(names)[:count]


# ------------------------------------------------------------------------------------- the running


class _Commands:
    """The running commands, which can be ended together."""

    def __init__(self) -> None:
        self._lock, self._running = Lock(), set()
        self.is_ending = False

    def call(self, command: list[str], **settings) -> int:
        """Run a command to its end and return its status; 1 if commands may no longer start."""
        with self._lock:
            if self.is_ending:
                return 1
            # In its own session, neither Ctrl-C nor a closing terminal reaches it; `end`, or this
            # program's death, sends SIGTERM once
            process = subprocess.Popen(
                ending_with_this(command), start_new_session=True, **settings
            )
            self._running.add(process)
        status = process.wait()
        with self._lock:
            self._running.discard(process)
        return status

    def end(self) -> None:
        """Send SIGTERM to all and start no more. A training saves a checkpoint before it ends."""
        with self._lock:
            self.is_ending = True
            for process in self._running:
                process.terminate()


def run_jobs(jobs: Sequence[Work], console: Console, slots: Sequence[Slot]) -> list[str]:
    """Run the unfinished jobs, one in each slot at a time.

    Returns a line for each failure; the other jobs go on. On an interruption it ends the commands,
    and raises `KeyboardInterrupt` after they have ended.
    """
    is_alone = len(slots) == 1
    commands, free = _Commands(), SimpleQueue()
    for slot in slots:
        free.put(slot)

    def run(job: Work) -> str | None:
        slot = free.get()
        try:
            return _run(job, commands, console, slot, None if is_alone else job.log)
        finally:
            free.put(slot)

    with ThreadPoolExecutor(len(slots)) as pool:
        try:
            futures = [pool.submit(run, job) for job in jobs if not job.is_done]
            return [words for future in as_completed(futures) if (words := future.result())]
        except BaseException:
            commands.end()
            pool.shutdown(cancel_futures=True)
            raise


def _run(
    job: Work, commands: _Commands, console: Console, slot: Slot, log: Path | None
) -> str | None:
    """Run the commands of a job; returns the failure, with the job's name. log: the file for the
    commands' output; None: the terminal."""
    console.rule(job.name)
    try:
        failure = _call_all(job, commands, slot, log)
        words = f"{job.name}, {job.outcome}"
    except (OSError, ValueError) as error:
        failure = str(error)
    if failure and commands.is_ending:
        words, failure = f"{job.name}: stopped {job.where}".rstrip(), None
    elif failure:
        words = failure = f"{job.name}: {failure}"
    style = "red" if failure else None
    console.print(words, style=style, soft_wrap=True, markup=False, highlight=False)
    return failure


def _call_all(job: Work, commands: _Commands, slot: Slot, log: Path | None) -> str | None:
    """Returns the failure of a command, also if it could no longer start. Raises `OSError` if a
    command or log cannot be opened."""
    settings = {"env": os.environ | slot}
    with ExitStack() as stack:
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(log.open("a"))
            settings |= {"stdout": file, "stderr": subprocess.STDOUT}
        for what, command in job.commands.items():
            if status := commands.call(command, **settings):
                words = "" if log is None else f": {_last_line(log)} ({log})"
                return f"{what} ended with status {status}{words}"
    return None


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
