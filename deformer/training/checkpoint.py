"""Checkpoints: complete or absent, verified when read, and without executable code.

    runs/NAME/checkpoints/step-00001200/
        model.safetensors  discriminator.safetensors  optimizer.safetensors
        state.json         written last: step, experiment, hand, stream, metrics, origin,
                           machine, command, files, file_sha256 (deformer/files/sealed.py)

A folder is written under a temporary name and renamed when it is complete. `best.json` beside them
names the step with the lowest validation error.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from deformer.files.foreign import UnreadableFileError, describe_other_file, one_line
from deformer.files.patient import open_file, status
from deformer.files.sealed import UNSEALED, read_sealed_json, write_json
from deformer.files.wellformed import is_of, is_plain_name, shown
from deformer.files.whole import (
    RESUME,
    NoRoomError,
    room_for,
    sync_folder,
    whole_folder,
    write_whole,
)
from deformer.hand.mano import Hands
from deformer.training.experiment import Experiment, from_dict

FORMAT = 1
_KINDS = {"step": int, "hand": dict[str, str], "command": str | None}
_KINDS |= dict.fromkeys(("experiment", "stream", "metrics"), dict)
_KINDS |= dict.fromkeys(("origin", "machine"), dict | None)
"""Types of the entries of `state.json`; older checkpoints lack those that may be None."""
_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
STATE_NAMES = ("format", "step", "experiment", "hand", "stream", "metrics", "origin")
"""Entries of `state_of`; `state.json` has three more."""
_log = logging.getLogger(__name__)


class DamagedCheckpointError(ValueError):
    """A checkpoint is damaged or incomplete."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """Content of a checkpoint: that of `state.json`, and the tensors by file."""

    step: int
    experiment: Experiment
    hand: dict
    """{"name", "sha256"} of the hand model of the training."""
    stream: dict
    """`Stream.state` at this step."""
    tensors: dict[str, dict[str, Tensor]]
    """By file: "model", and if present "discriminator" and "optimizer"."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Results of the validation at this step; empty if there was none."""
    origin: dict = field(default_factory=dict)
    """What else shaped the run: "total_steps"; "start_sha256", the hash of the model it started
    from, or None; "precision", "float32" or "bf16"; for a run on features also "features_sha256".
    Older checkpoints lack some of them."""
    machine: dict = field(default_factory=dict)
    """`this_machine` of the training; it changes no result. Empty in older checkpoints."""
    command: str | None = None
    """The command line of the training; None in older checkpoints."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Content):
    """A checkpoint that was read."""

    folder: Path
    model_sha256: str
    """Hash of the model's weights."""


# --------------------------------------------------------------------------------------- writing


def save_checkpoint(run: Path, content: Content, keep: int) -> Path:
    """Write a checkpoint, then delete all but the last `keep` and the best. Returns its folder.

    The best checkpoint has the lowest "pa_mpjpe_mm" in its metrics.
    """
    step = content.step
    folder = run / "checkpoints" / f"step-{step:08d}"
    with _writing(folder):
        for left in folder.parent.glob(".step-*"):  # of a killed run
            shutil.rmtree(left)
        with whole_folder(folder) as unfinished:
            write_folder(unfinished, content)
        sync_folder(run)  # it may have got the folder of checkpoints just now
        settle(run, step, content.metrics, keep)
    return folder


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Raises `NoRoomError`, or another `OSError` that says in one line what to do."""
    try:
        with room_for(folder.parents[1], RESUME):
            yield
    except NoRoomError:
        raise
    except OSError as error:
        raise OSError(
            f"{folder} cannot be written ({error.strerror or error}): what was saved before is "
            "kept; mend that and run the same command with --resume"
        ) from error


def add_metrics(checkpoint: Checkpoint, metrics: dict[str, float]) -> None:
    """Add the results of a validation to a checkpoint that was saved without one. At every moment
    it is whole, with them or without."""
    path = checkpoint.folder / "state.json"
    with _writing(checkpoint.folder):
        write_json(path, _read_state(path) | {"metrics": metrics} | UNSEALED)


def write_folder(folder: Path, content: Content) -> None:
    """Write the files of a checkpoint into a folder, `state.json` last."""
    files = {}
    for name, tensors in content.tensors.items():
        path = folder / f"{name}.safetensors"
        data = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
        files[path.name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        write_whole(path, data)
    run = {"machine": content.machine, "command": content.command, "files": files}
    write_json(folder / "state.json", state_of(content) | run | UNSEALED)


def state_of(content: Content) -> dict:
    """The JSON of a checkpoint; `from_state` is the inverse."""
    begin = {"format": FORMAT, "step": content.step, "experiment": asdict(content.experiment)}
    return begin | {name: getattr(content, name) for name in STATE_NAMES[len(begin) :]}


def best_file(run: Path) -> Path:
    """The note on its best checkpoint, there since the first validation."""
    return run / "best.json"


def settle(run: Path, step: int, metrics: dict[str, float], keep: int) -> None:
    """Update `best.json` with a checkpoint, then delete all but the last `keep` and the best.
    metrics: its results of validation, or empty."""
    best, error = _best(run), metrics.get("pa_mpjpe_mm")
    if error is not None and (best is None or error < best["pa_mpjpe_mm"]):
        best = {"step": step, "pa_mpjpe_mm": error}
        write_json(best_file(run), best | UNSEALED)
    # Later steps are damaged checkpoints, which the resumed run will write again
    for old in [folder for folder in _folders(run) if _step_of(folder) <= step][keep:]:
        if best is None or _step_of(old) != best["step"]:
            shutil.rmtree(old)


# --------------------------------------------------------------------------------------- reading


def file_sha256(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folders(run: Path) -> list[Path]:
    """The newest first."""
    return sorted((run / "checkpoints").glob("step-*"), reverse=True)


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _best(run: Path) -> dict | None:
    path = best_file(run)
    if not path.exists():
        return None
    try:
        best = read_sealed_json(path, ("step", "pa_mpjpe_mm"))
        return {"step": int(best["step"]), "pa_mpjpe_mm": float(best["pa_mpjpe_mm"])}
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedCheckpointError(
            f"{path} does not say which checkpoint is the best ({one_line(error)}); delete it and "
            "choose another than 'best'"
        ) from None


def load_experiment(run: str | Path, which: str = "last") -> Checkpoint:
    """As `load_checkpoint`, without the tensors."""
    return load_checkpoint(run, which, only=())


def load_checkpoint(
    run: str | Path, which: str = "last", only: tuple[str, ...] | None = None
) -> Checkpoint:
    """Read a checkpoint of a run.

    run: the run's folder, or that of one checkpoint. which: "last", "best", or a step's number.
    only: files to read, such as ("model",); None: all. If the last checkpoint is damaged, the one
    before it is read, with a warning.

    Raises `FileNotFoundError` when there is none, `DamagedCheckpointError` when all are damaged,
    `ValueError` when `run` is a file.
    """
    run = Path(run)
    if run.is_file():
        raise ValueError(f"{run} is a file: name the run's folder")
    if (run / "state.json").exists():
        return _read_folder(run, only)
    step = which
    if which == "best":
        if (best := _best(run)) is None:
            raise FileNotFoundError(
                f"{run} has no best checkpoint (no validation was run): choose 'last'"
            )
        step = str(best["step"])
    folders = [folder for folder in _folders(run) if step in ("last", str(_step_of(folder)))]
    if not folders:
        steps = [str(_step_of(folder)) for folder in reversed(_folders(run))]
        there = f"it has the steps {', '.join(steps)}" if steps else "it has none at all"
        raise FileNotFoundError(f"{run} has no checkpoint {which!r}: {there}")
    faults = []
    for folder in folders:
        try:
            checkpoint = _read_folder(folder, only)
        except DamagedCheckpointError as error:
            faults.append(str(error))
            continue
        for fault in faults:
            _log.warning("%s; the checkpoint before it is used", fault)
        return checkpoint
    raise DamagedCheckpointError(
        faults[0]
        if which != "last"
        else f"no checkpoint of {run} is whole: {faults[0]}; bring its files back, or begin anew "
        "in another --out"
    )


def check_hand(checkpoint: Checkpoint, hands: Hands) -> None:
    """Raises `ValueError` for a checkpoint that was trained with another hand model."""
    if checkpoint.hand["sha256"] != hands.sha256:
        raise ValueError(
            f"{checkpoint.folder} was trained with another hand model ({checkpoint.hand['name']}) "
            f"than the shards were built with ({hands.name}): their poses do not mean the same"
        )


def _read_folder(folder: Path, only: tuple[str, ...] | None) -> Checkpoint:
    """Raises as `from_state`, and `DamagedCheckpointError` for files of another size or hash."""
    tensors = {}
    try:
        state = _read_state(folder / "state.json")
        _check_format(state, folder)
        for name, written in state["files"].items():
            path = folder / name
            if not is_plain_name(name):
                raise DamagedCheckpointError(f"{folder} names a file elsewhere, {name!r}")
            if only is not None and path.stem not in only:
                continue
            if {"size": status(path).st_size, "sha256": file_sha256(path)} != written:
                fault = describe_other_file(path)
                why = f": {fault}" if fault else " or cut off"
                raise DamagedCheckpointError(f"{path} is damaged{why}")
            tensors[path.stem] = load_file(path)
        model_sha256 = state["files"]["model.safetensors"]["sha256"]
    except UnreadableFileError as error:
        raise DamagedCheckpointError(str(error)) from None
    except (*_NO_FILE, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise DamagedCheckpointError(f"{folder} is damaged ({one_line(repr(error))})") from None
    return from_state(state, folder, tensors, model_sha256)


def _read_state(path: Path) -> dict:
    return read_sealed_json(path, (*STATE_NAMES, "machine", "command", "files"))


def _check_format(state: dict, where: Path) -> None:
    if (version := state["format"]) != FORMAT:
        raise ValueError(f"{where} has format {version}, this program reads {FORMAT}")


def from_state(
    state: dict, where: Path, tensors: dict[str, dict[str, Tensor]], model_sha256: str
) -> Checkpoint:
    """The inverse of `state_of`. where: the folder or file that `state` comes from.

    Raises `DamagedCheckpointError` for an incomplete state, `ValueError` for another format or an
    experiment with unknown fields.
    """
    try:
        _check_format(state, where)
        if wrong := [name for name, kind in _KINDS.items() if not is_of(state.get(name), kind)]:
            raise TypeError(f"{wrong[0]!r} is {shown(state.get(wrong[0]))}")
        return Checkpoint(
            folder=where,
            step=state["step"],
            experiment=from_dict(state["experiment"], Experiment, str(where)),
            hand={name: state["hand"][name] for name in ("name", "sha256")},
            stream=state["stream"],
            metrics=state["metrics"],
            model_sha256=model_sha256,
            origin=state.get("origin") or {},
            machine=state.get("machine") or {},
            command=state.get("command"),
            tensors=tensors,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpointError(
            f"{where} is damaged ({one_line(repr(error))}): download or copy it again"
        ) from None


# ------------------------------------------------------------------------------------- optimizers


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, module: nn.Module, prefix: str
) -> dict[str, Tensor]:
    """Adam's state by parameter name: `<prefix>/<name>/exp_avg`, …"""
    return {
        f"{prefix}/{name}/{key}": torch.as_tensor(value)
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, prefix: str, tensors: dict[str, Tensor]
) -> None:
    """The inverse of `optimizer_tensors`; learning rates and other settings are kept."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, field = key.rpartition("/")
        by_name.setdefault(name, {})[field] = value
    names = [f"{prefix}/{name}" for name, _ in module.named_parameters()]
    state = {i: by_name[name] for i, name in enumerate(names) if name in by_name}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
