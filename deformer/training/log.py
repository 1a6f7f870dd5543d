"""The log of a run: lines on the console, and `log.jsonl` and TensorBoard in its folder."""

import json
import os
import re
import socket
import time
from pathlib import Path

from rich.console import Console
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from deformer.files.foreign import UnreadableFileError, describe_other_file, one_line
from deformer.files.wellformed import read_json_object, shown
from deformer.files.whole import RESUME, room_for, whole_file, write_whole

LOG_FILE = "log.jsonl"
_SHOWN = ("vertices", "joints", "pose", "joints_2d", "motion_vertices", "adversarial")
SATURATED = 0.95
_PATIENCE = 20


def read_records(path: Path) -> list[dict]:
    """The records of a `log.jsonl`; a last line that a kill cut off is ignored. Each has an int
    "step" and a "kind", "train" or "validation". Raises `UnreadableFileError` for another file."""
    try:
        lines = path.read_text().splitlines(keepends=True)
        whole = (line for line in lines if line.endswith("\n") and line.strip())
        records = [read_json_object(line.encode()) for line in whole]
        for record in records:
            if type(record["step"]) is not int or not isinstance(record["kind"], str):
                raise ValueError("a record without step and kind")
            values = (value for name, value in record.items() if name != "kind")
            if wrong := [v for v in values if not isinstance(v, int | float | None)]:
                raise ValueError(f"{shown(wrong[0])} is no number")
        return records
    except (ValueError, KeyError) as error:  # neither JSON nor text
        fault = describe_other_file(path) or one_line(error)
        raise UnreadableFileError(f"{path} is no training log ({fault}): take it away") from None


class Journal:
    """Only the first process writes it."""

    def __init__(
        self, run: Path, first_step: int, total_steps: int, console: Console,
        is_validated: bool = False,
    ) -> None:  # fmt: skip
        """first_step: later records, which a killed run left, are dropped, and unless it is
        validated, also a validation at this step."""
        self.path, self.console = run / LOG_FILE, console
        self.total_steps = total_steps
        known = read_records(self.path) if first_step and self.path.exists() else []
        last = (first_step, is_validated)
        kept = [
            json.dumps(record) + "\n"
            for record in known
            if (record["step"], record["kind"] == "validation") <= last
        ]
        with room_for(run, RESUME):
            write_whole(self.path, "".join(kept))
            self.board = _begin_board(run / "tensorboard", first_step)
        self._started, self._first = time.monotonic(), first_step
        self._saturated = 0

    def log(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Record values of a step; kind: "train" or "validation"."""
        with room_for(self.path.parent, RESUME):
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
            scalars = [Summary.Value(tag=f"{kind}/{k}", simple_value=v) for k, v in values.items()]
            summary = Summary(value=scalars)
            _append(self.board, Event(wall_time=time.time(), step=step, summary=summary))

    def show_training(self, step: int, values: dict[str, float]) -> None:
        """Print step, loss terms, windows per second, share of time waiting for data, time left."""
        terms = " ".join(f"{name} {values[name]:.2g}" for name in _SHOWN if name in values)
        per_step = (time.monotonic() - self._started) / max(1, step - self._first)
        left = per_step * (self.total_steps - step)
        self.console.print(
            f"step {step:,}/{self.total_steps:,}  loss {values['total']:.2f}  ({terms})  "
            f"{values['windows_per_s']:.1f} windows/s  data {values['data_wait']:.0%}  "
            f"{_duration(left)} left",
            soft_wrap=True,
        )
        self._watch_discriminator(step, values)

    def _watch_discriminator(self, step: int, values: dict[str, float]) -> None:
        if values.get("saturation", 0) < SATURATED:
            self._saturated = 0
            return
        self._saturated += 1
        if self._saturated == _PATIENCE:
            self._saturated = 0
            self.console.print(
                f"step {step}: the motion discriminator hardly errs (saturation "
                f"{values['saturation']:.2f}), so the model learns nothing from it: lower "
                "--optim.lr-discriminator or raise --discriminator.noise",
                style="yellow",
                soft_wrap=True,
            )

    def show_validation(self, step: int, metrics: dict[str, float]) -> None:
        numbers = "  ".join(f"{name} {value:.2f}" for name, value in metrics.items())
        self.console.print(f"step {step:,}  validation  {numbers}", style="bold", soft_wrap=True)


def _begin_board(folder: Path, first_step: int) -> Path:
    """A new file of TensorBoard events; TensorBoard then drops later steps of older files."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())
    name = f"events.out.tfevents.{_after_all(folder):.6f}.{host}.{os.getpid()}"
    events = [Event(wall_time=time.time(), file_version="brain.Event:2")]
    if first_step:
        again = SessionLog(status=SessionLog.START)
        events.append(Event(wall_time=time.time(), step=first_step + 1, session_log=again))
    with whole_file(folder / name) as file:
        for event in events:
            RecordWriter(file).write(event.SerializeToString())
    return folder / name


def _after_all(folder: Path) -> float:
    """The time of day, or a later one: TensorBoard reads files in the order of the times in their
    names, and a run may go on where the clock is behind."""
    stamps = (re.match(r"events\.out\.tfevents\.(\d+\.\d+)", p.name) for p in folder.glob("*"))
    return max([time.time(), *(float(stamp[1]) + 1 for stamp in stamps if stamp)])


def _append(board: Path, event: Event) -> None:
    """Written at once: TensorBoard's own writer uses a thread, whose errors come late."""
    with board.open("ab") as file:
        RecordWriter(file).write(event.SerializeToString())


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"
