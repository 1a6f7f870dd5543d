"""Runs that are trained and evaluated, several at once: what each may use of the machine, what is
done, what failed. Ctrl-C or SIGTERM ends them all, each with a checkpoint.
"""

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import torch
from rich.console import Console
from rich.markup import escape

from benchmarks.evaluation import EVALUATION_FILE, HEADLINE, Run, read_evaluation
from deformer.checkpoint import load_checkpoint
from deformer.dataset import dataset_sha256
from deformer.experiments import STARTS

CONSOLE_FILE = "console.log"
"""In a run's folder: what its commands said while others ran beside it."""


@dataclass(frozen=True)
class Job:
    """One run: its commands and where they leave what they make."""

    experiment: str
    seed: int
    data: Path
    run: Path
    result: Path
    train: list[str]
    evaluate: list[str]
    steps: int
    split: str
    """That it is evaluated on."""
    start: Path | None = None
    """The run whose model it begins with."""

    @property
    def trained_steps(self) -> int:
        """So many are done: the step of the last checkpoint."""
        steps = [int(p.name[5:]) for p in (self.run / "checkpoints").glob("step-*")]
        return max(steps, default=0)

    @property
    def is_done(self) -> bool:
        """It was evaluated at its last step, on this build of the dataset, and began with the model
        that its start holds now."""
        path = self.result / EVALUATION_FILE
        if not path.exists():
            return False
        run, data = (evaluation := read_evaluation(path)).run, evaluation.data
        asked = (self.steps, self.split, dataset_sha256(self.data))
        is_asked = isinstance(run, Run) and (run.step, data.split, data.sha256) == asked
        return is_asked and self._has_its_start()

    def _has_its_start(self) -> bool:
        """True too where it cannot be known: checkpoints that are gone, or too old to tell."""
        if self.start is None:
            return True
        try:
            known = load_checkpoint(self.run, only=("none",)).origin.get("start_sha256")
            return known in (None, load_checkpoint(self.start, only=("none",)).model_sha256)
        except (OSError, ValueError):
            return True


# -------------------------------------------------------------------------------- what each may use


@dataclass(frozen=True)
class Slot:
    """What one of the runs at a time may use; by default all that there is."""

    threads: int | None = None
    """Of each of its processes."""
    gpus: tuple[str, ...] | None = None
    """As CUDA_VISIBLE_DEVICES names them."""

    @property
    def environment(self) -> dict[str, str]:
        found = {}
        if self.threads is not None:
            found["OMP_NUM_THREADS"] = str(self.threads)
        if self.gpus is not None:
            found["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        return found


def make_slots(at_once: int, processes: int, cores: int, gpus: Sequence[str]) -> list[Slot]:
    """A slot for each of `at_once` runs, of `processes` processes each: its share of the cores, and
    as many GPUs as it has processes. With fewer GPUs than that runs share them."""
    if at_once == 1:
        return [Slot()]
    threads = max(1, cores // (at_once * processes))
    if not gpus:
        return [Slot(threads)] * at_once
    each = min(processes, len(gpus))
    return [
        Slot(threads, tuple(gpus[(i * each + k) % len(gpus)] for k in range(each)))
        for i in range(at_once)
    ]


def visible_gpus() -> tuple[str, ...]:
    """Those that this program may use, as CUDA_VISIBLE_DEVICES names them."""
    count, given = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(count)) if given is None else given.split(",")
    return tuple(names)[:count]


# ------------------------------------------------------------------------------------- the running


class _Commands:
    """Commands that run now, and can be ended together."""

    def __init__(self) -> None:
        self._lock, self._running, self._is_ending = Lock(), set(), False

    def call(self, command: list[str], **settings) -> int:
        """Run a command to its end; returns its status."""
        with self._lock:
            if self._is_ending:
                return 1
            # In a session of its own Ctrl-C does not reach it: `end` tells it once, as SIGTERM does
            process = subprocess.Popen(command, start_new_session=True, **settings)
            self._running.add(process)
        status = process.wait()
        with self._lock:
            self._running.discard(process)
        return status

    def end(self) -> None:
        """Tell all to stop, and let no other begin. A training saves a checkpoint first."""
        with self._lock:
            self._is_ending = True
            for process in self._running:
                process.terminate()


def run_jobs(jobs: Sequence[Job], console: Console, slots: Sequence[Slot]) -> list[str]:
    """Run what is not done: what others start from one by one, then one in each slot at a time.

    Returns what failed, a line each; others go on, but for those that start from it. Interrupted,
    it ends the commands, and raises `KeyboardInterrupt` when they have ended.
    """
    left = [job for job in jobs if not job.is_done]
    starts = [job for job in left if job.experiment in STARTS]
    others = [job for job in left if job.experiment not in STARTS]
    commands, free = _Commands(), SimpleQueue()
    for slot in slots:
        free.put(slot)

    def run(job: Job, is_alone: bool) -> str | None:
        slot = Slot() if is_alone else free.get()
        try:
            return _run(job, commands, console, slot, None if is_alone else job.run / CONSOLE_FILE)
        finally:
            if not is_alone:
                free.put(slot)

    with ThreadPoolExecutor(len(slots)) as pool:
        try:
            for done, job in enumerate(starts, 1):
                if failure := pool.submit(run, job, True).result():
                    untried = len(left) - done
                    return [failure, f"{untried} other runs start from it, and were not tried"]
            futures = [pool.submit(run, job, len(slots) == 1) for job in others]
            return [words for future in as_completed(futures) if (words := future.result())]
        except BaseException:
            commands.end()
            pool.shutdown(cancel_futures=True)
            raise


def _run(
    job: Job, commands: _Commands, console: Console, slot: Slot, log: Path | None
) -> str | None:
    """Train and evaluate; returns what failed. log: gets what the commands say; None: the terminal
    does."""
    console.rule(f"{job.experiment}, seed {job.seed}")
    settings = {"env": os.environ | slot.environment}
    with ExitStack() as stack:
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(log.open("a"))
            settings |= {"stdout": file, "stderr": subprocess.STDOUT}
        for what, command in (("training", job.train), ("evaluation", job.evaluate)):
            if status := commands.call(command, **settings):
                words = f"{job.experiment}, seed {job.seed}: {what} ended with status {status}"
                if log is not None:
                    words += f": {_last_line(log)} ({log})"
                console.print(words, style="red", soft_wrap=True, markup=False, highlight=False)
                return words
    words = f"{job.experiment}, seed {job.seed}, step {job.trained_steps:,}: {score_text(job)}"
    console.print(f"{escape(words)} → {job.result}", soft_wrap=True, highlight=False)
    return None


def score_text(job: Job) -> str:
    """What it reached, as its evaluation tells: `PA 9.20 mm, root-aligned 45.90 mm, …`."""
    path = job.result / EVALUATION_FILE
    if not path.exists():  # HO-3D's evaluation set may have no truth
        return "not scored"
    scores = read_evaluation(path).metrics["all"]
    known = ((name, scores[metric], unit) for name, metric, unit in HEADLINE)
    return ", ".join(f"{name} {s['mean']:.2f} {unit}" for name, s, unit in known if s is not None)


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
