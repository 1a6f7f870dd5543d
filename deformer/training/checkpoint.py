"""Checkpoints: whole or not there, checked when read, nothing in them that could run code.

    runs/NAME/checkpoints/step-00001200/
        model.safetensors  discriminator.safetensors  optimizer.safetensors
        state.json         written last: step, experiment, hand, stream, metrics, origin,
                           machine, command, files

A folder is written under another name and renamed when it is whole. `best.json` beside them names
the step with the lowest validation error.
"""

import hashlib
import json
import logging
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from deformer.files.foreign import UnreadableFileError, foreign_file, one_line, read_json
from deformer.files.whole import RESUME, room_for, whole_folder, write_whole
from deformer.hand.mano import Hands
from deformer.training.experiment import Experiment, from_dict

FORMAT = 1
_log = logging.getLogger(__name__)


class DamagedCheckpointError(ValueError):
    """A checkpoint is not what was written."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a checkpoint holds: what `state.json` says, and the tensors by file."""

    step: int
    experiment: Experiment
    hand: dict
    """{"name", "sha256"} of the hand model that it was trained with."""
    stream: dict
    """Of `Stream.state`."""
    tensors: dict[str, dict[str, Tensor]]
    """By file: "model", and where kept "discriminator" and "optimizer"."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the validation at this step; empty where there was none."""
    origin: dict = field(default_factory=dict)
    """What else shaped the run: its "total_steps", "start_sha256" of the model that it began with
    (None: of none), and "precision", "float32" or "bf16"; of a run on features also
    "features_sha256". Older checkpoints lack them."""
    machine: dict = field(default_factory=dict)
    """What it was trained on, as `this_machine` says; no number depends on it. Empty where it was
    not kept."""
    command: str | None = None
    """That trained it; None where it was not kept."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Content):
    """One that was read."""

    folder: Path
    model_sha256: str
    """Of the model's weights."""


# --------------------------------------------------------------------------------------- writing


def save_checkpoint(run: Path, content: Content, keep: int) -> Path:
    """Write a checkpoint; then delete all but the last `keep` and the best one. Returns its folder.

    The one whose metrics have the lowest "pa_mpjpe_mm" is the best.
    """
    step = content.step
    folder = run / "checkpoints" / f"step-{step:08d}"
    with room_for(run, RESUME):
        with whole_folder(folder) as unfinished:
            _write_folder(unfinished, content)
        best = _note_best(run, content)
    # Later steps are damaged ones, which a resumed run will write again
    for old in [folder for folder in _folders(run) if _step_of(folder) <= step][keep:]:
        if best is None or _step_of(old) != best["step"]:
            shutil.rmtree(old)
    return folder


def _write_folder(folder: Path, content: Content) -> None:
    files = {}
    for name, tensors in content.tensors.items():
        path = folder / f"{name}.safetensors"
        data = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
        files[path.name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        write_whole(path, data)
    run = {"machine": content.machine, "command": content.command, "files": files}
    state = state_of(content) | run
    write_whole(folder / "state.json", json.dumps(state, indent=1) + "\n")


def state_of(content: Content) -> dict:
    """What JSON says of a checkpoint; `from_state` is the inverse."""
    names = ("hand", "stream", "metrics", "origin")
    begin = {"format": FORMAT, "step": content.step, "experiment": asdict(content.experiment)}
    return begin | {name: getattr(content, name) for name in names}


def _note_best(run: Path, content: Content) -> dict | None:
    """What `best.json` says now; None where nothing was validated yet."""
    best, error = _best(run), content.metrics.get("pa_mpjpe_mm")
    if error is not None and (best is None or error < best["pa_mpjpe_mm"]):
        best = {"step": content.step, "pa_mpjpe_mm": error}
        write_whole(run / "best.json", json.dumps(best) + "\n")
    return best


# --------------------------------------------------------------------------------------- reading


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folders(run: Path) -> list[Path]:
    """The newest first."""
    return sorted((run / "checkpoints").glob("step-*"), reverse=True)


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _best(run: Path) -> dict | None:
    path = run / "best.json"
    if not path.exists():
        return None
    try:
        best = read_json(path)
        return {"step": int(best["step"]), "pa_mpjpe_mm": float(best["pa_mpjpe_mm"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(
            f"{path} does not say which checkpoint is the best ({one_line(error)}); delete it and "
            "choose another than 'best'"
        ) from None


def load_experiment(run: str | Path, which: str = "last") -> Checkpoint:
    """What a checkpoint says of its run, without reading its tensors; else as `load_checkpoint`."""
    return load_checkpoint(run, which, only=())


def load_checkpoint(
    run: str | Path, which: str = "last", only: tuple[str, ...] | None = None
) -> Checkpoint:
    """Read a checkpoint of a run.

    run: the run's folder, or that of one checkpoint. which: "last", "best", or a step's number.
    only: files to read, such as ("model",); None: all. A damaged last checkpoint is passed over
    with a warning, for the one before it.

    Raises `FileNotFoundError` when there is none, `DamagedCheckpointError` when none is whole,
    `ValueError` for a file in the folder's place.
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
    """Raises `ValueError` where a checkpoint was trained with another hand model than this."""
    if checkpoint.hand["sha256"] != hands.sha256:
        raise ValueError(
            f"{checkpoint.folder} was trained with another hand model ({checkpoint.hand['name']}) "
            f"than the shards were built with ({hands.name}): their poses do not mean the same"
        )


def _read_folder(folder: Path, only: tuple[str, ...] | None) -> Checkpoint:
    """Raises as `from_state`; `DamagedCheckpointError` also for files other than what it says."""
    tensors = {}
    try:
        state = read_json(folder / "state.json")
        _check_format(state, folder)
        for name, written in state["files"].items():
            path = folder / name
            if only is not None and path.stem not in only:
                continue
            if {"size": path.stat().st_size, "sha256": file_sha256(path)} != written:
                fault = foreign_file(path)
                raise DamagedCheckpointError(
                    f"{path} is damaged{f': {fault}' if fault else ' or cut off'}"
                )
            tensors[path.stem] = load_file(path)
        model_sha256 = state["files"]["model.safetensors"]["sha256"]
    except UnreadableFileError as error:
        raise DamagedCheckpointError(str(error)) from None
    except (OSError, KeyError) as error:
        raise DamagedCheckpointError(f"{folder} is damaged ({error!r})") from None
    return from_state(state, folder, tensors, model_sha256)


def _check_format(state: dict, where: Path) -> None:
    if (version := state["format"]) != FORMAT:
        raise ValueError(f"{where} has format {version}, this program reads {FORMAT}")


def from_state(
    state: dict, where: Path, tensors: dict[str, dict[str, Tensor]], model_sha256: str
) -> Checkpoint:
    """The inverse of `state_of`. where: the folder or file that it was read from.

    Raises `DamagedCheckpointError` where it is not whole, `ValueError` when it is of another format
    or its experiment has fields that this program does not know.
    """
    try:
        _check_format(state, where)
        return Checkpoint(
            folder=where,
            step=int(state["step"]),
            experiment=from_dict(state["experiment"], Experiment, str(where)),
            hand=state["hand"],
            stream=state["stream"],
            metrics=state["metrics"],
            model_sha256=model_sha256,
            origin=state.get("origin", {}),
            machine=state.get("machine") or {},
            command=state.get("command"),
            tensors=tensors,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpointError(
            f"{where} is damaged ({error!r}): download or copy it again"
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
    """The inverse of `optimizer_tensors`; rates and the like stay as they are."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, field = key.rpartition("/")
        by_name.setdefault(name, {})[field] = value
    names = [f"{prefix}/{name}" for name, _ in module.named_parameters()]
    state = {i: by_name[name] for i, name in enumerate(names) if name in by_name}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
