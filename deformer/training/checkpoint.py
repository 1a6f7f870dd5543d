"""Checkpoints: whole or not there, checked when read, nothing in them that could run code.

    runs/NAME/checkpoints/step-00001200/
        model.safetensors  discriminator.safetensors  optimizer.safetensors
        state.json         written last: step, experiment, hand, stream, metrics, origin,
                           machine, command, files

A folder is written under another name and renamed when it is whole. `best.json` beside them names
the step with the lowest validation error.
"""

import dataclasses
import hashlib
import json
import logging
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from deformer.files.foreign import UnreadableFileError, foreign_file, one_line, read_json
from deformer.files.whole import RESUME, room_for, sync_folder, write_whole
from deformer.hand.mano import Hands
from deformer.training.experiment import Experiment
from deformer.training.machine import Machine

FORMAT = 1
OF_NO_EFFECT = ("summary", "optim.micro_batch", "stream.max_skipped")
"""Fields that a run may be resumed without: they change no number."""
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
    """What else shaped the run: "total_steps", as far as it was to go, "start_sha256", of the model
    that it began with (None: of none), and "precision", "float32" or "bf16"; of a run on features
    also "features_sha256". Checkpoints from before these were kept lack them."""
    machine: Machine | None = None
    """What it was trained on, to be told alone; None where it was not kept, or not as now."""
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
    root, step = run / "checkpoints", content.step
    folder, temporary = root / f"step-{step:08d}", root / f".step-{step:08d}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with room_for(run, RESUME):
            _write_folder(temporary, content)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
            sync_folder(root)
            best = _note_best(run, content)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    # Those of later steps are damaged ones that a resumed run will write again
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
    state = {
        "format": FORMAT,
        "step": content.step,
        "experiment": asdict(content.experiment),
        "hand": content.hand,
        "stream": content.stream,
        "metrics": content.metrics,
        "origin": content.origin,
        "machine": None if content.machine is None else asdict(content.machine),
        "command": content.command,
        "files": files,
    }
    write_whole(folder / "state.json", json.dumps(state, indent=1) + "\n")


def _note_best(run: Path, content: Content) -> dict | None:
    """What `best.json` says now; None where nothing was validated yet."""
    best, error = _best(run), content.metrics.get("pa_mpjpe_mm")
    if error is not None and (best is None or error < best["pa_mpjpe_mm"]):
        best = {"step": content.step, "pa_mpjpe_mm": error}
        write_whole(run / "best.json", json.dumps(best) + "\n")
    return best


# --------------------------------------------------------------------------------------- reading


def digest_of(path: Path) -> dict:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


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
    except UnreadableFileError as error:
        raise DamagedCheckpointError(f"{error}; delete it and choose another than 'best'") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(
            f"{path} does not say which checkpoint is the best ({one_line(error)}); delete it and "
            "choose another than 'best'"
        ) from None


def load_checkpoint(run: str | Path, which: str = "last", only: tuple[str, ...] = ()) -> Checkpoint:
    """Read a checkpoint of a run.

    run: the run's folder, or that of one checkpoint. which: "last", "best", or a step's number.
    only: files to read, such as ("model",); empty: all. A damaged last checkpoint is passed over
    with a warning, for the one before it.

    Raises `FileNotFoundError` when there is none, `DamagedCheckpointError` when none is whole,
    `ValueError` for a file in the folder's place.
    """
    run = Path(run)
    if run.is_file():
        raise ValueError(f"{run} is a file: name the run's folder")
    if (run / "state.json").exists():
        return read_checkpoint(run, only)
    folders = _folders(run)
    if which == "best":
        if (best := _best(run)) is None:
            raise FileNotFoundError(
                f"{run} has no best checkpoint (no validation was run): choose 'last'"
            )
        folders = [folder for folder in folders if _step_of(folder) == best["step"]]
    elif which != "last":
        folders = [folder for folder in folders if str(_step_of(folder)) == which]
    if not folders:
        steps = [str(_step_of(folder)) for folder in reversed(_folders(run))]
        there = f"it has the steps {', '.join(steps)}" if steps else "it has none at all"
        raise FileNotFoundError(f"{run} has no checkpoint {which!r}: {there}")
    if which != "last":
        return read_checkpoint(folders[0], only)
    faults = []
    for folder in folders:
        try:
            checkpoint = read_checkpoint(folder, only)
        except DamagedCheckpointError as error:
            faults.append(str(error))
            continue
        for fault in faults:
            _log.warning("%s; the checkpoint before it is used", fault)
        return checkpoint
    raise DamagedCheckpointError(
        f"no checkpoint of {run} is whole: {faults[0]}; bring its files back, or begin anew in "
        "another --out"
    )


def check_hand(checkpoint: Checkpoint, hands: Hands) -> None:
    """Raises `ValueError` where a checkpoint was trained with another hand model than this."""
    if checkpoint.hand["sha256"] != hands.sha256:
        raise ValueError(
            f"{checkpoint.folder} was trained with another hand model ({checkpoint.hand['name']}) "
            f"than the shards were built with ({hands.name}): their poses do not mean the same"
        )


def read_checkpoint(folder: Path, only: tuple[str, ...] = ()) -> Checkpoint:
    """Read one checkpoint's folder. Raises `DamagedCheckpointError`; `ValueError` when it is of
    another format or its experiment has fields that this program does not know."""
    try:
        state = _read_state(folder / "state.json")
        if state["format"] != FORMAT:
            raise ValueError(f"{folder} has format {state['format']}, this program reads {FORMAT}")
        model_sha256 = state["files"]["model.safetensors"]["sha256"]
        tensors = {}
        for name, written in state["files"].items():
            if only and Path(name).stem not in only:
                continue
            if digest_of(folder / name) != written:
                fault = foreign_file(folder / name)
                raise DamagedCheckpointError(
                    f"{folder / name} is damaged{f': {fault}' if fault else ' or cut off'}"
                )
            tensors[Path(name).stem] = load_file(folder / name)
    except (OSError, KeyError) as error:
        raise DamagedCheckpointError(f"{folder} is damaged ({error!r})") from None
    return Checkpoint(
        folder=folder,
        step=state["step"],
        experiment=from_dict(state["experiment"], Experiment, str(folder)),
        hand=state["hand"],
        stream=state["stream"],
        metrics=state["metrics"],
        model_sha256=model_sha256,
        origin=state.get("origin", {}),
        machine=_read_machine(state.get("machine")),
        command=state.get("command"),
        tensors=tensors,
    )


def _read_machine(content: Any) -> Machine | None:
    """None where it is of another version of this program: a run is whole without it."""
    try:
        return from_dict(content, Machine, "machine") if isinstance(content, dict) else None
    except ValueError:
        return None


def _read_state(path: Path) -> dict:
    try:
        return read_json(path)
    except UnreadableFileError as error:
        raise DamagedCheckpointError(str(error)) from None


def from_dict(content: dict, kind: type, where: str) -> Any:
    """The inverse of `asdict`, for nested dataclasses such as `Experiment`.

    A field that `content` lacks has its default, so the default of a new field must mean what was
    done before there was one. Raises `ValueError` naming the fields that `kind` does not know, or
    that are missing and have no default, and `where` they were read.
    """
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    needed = {n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}
    if difference := (content.keys() - fields.keys()) | (needed - content.keys()):
        raise ValueError(
            f"{where}: {kind.__name__} is of another version of this program; fields lacking or "
            f"unknown: {', '.join(sorted(difference))}"
        )

    def restore(value: Any, hint: Any) -> Any:
        if dataclasses.is_dataclass(hint):
            return from_dict(value, hint, where)
        return tuple(value) if get_origin(hint) is tuple else value  # JSON knows lists only

    return kind(**{name: restore(value, hints[name]) for name, value in content.items()})


def shaping_fields(experiment: Experiment) -> dict[str, Any]:
    """Dotted name → value of all fields of an experiment but those that change no number."""

    def flatten(value: Any, name: str) -> dict:
        if not isinstance(value, dict):
            return {name: value}
        parts = [flatten(item, f"{name}.{key}".lstrip(".")) for key, item in value.items()]
        return {key: item for part in parts for key, item in part.items()}

    fields = flatten(asdict(experiment), "")
    return {name: value for name, value in fields.items() if name not in OF_NO_EFFECT}


def differences(saved: Experiment, asked: Experiment) -> dict[str, tuple]:
    """Fields in which two experiments differ: dotted name → (saved, asked)."""
    before, after = shaping_fields(saved), shaping_fields(asked)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


# ------------------------------------------------------------------------------------- optimizers


def optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """Adam's state by parameter name: `<name>/exp_avg`, …"""
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """The inverse of `optimizer_tensors`; rates and the like stay as they are."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, field = key.rpartition("/")
        by_name.setdefault(name, {})[field] = value
    state = {
        i: by_name[name] for i, (name, _) in enumerate(module.named_parameters()) if name in by_name
    }
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
