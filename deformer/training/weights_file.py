"""A trained model as one small file: writing it, and reading it or a run.

    open_model("lite")         # deformer/weights/lite.safetensors, which ships
    open_model("mine.safetensors")    # a file that `python -m deformer.weights` wrote
    open_model("runs/lite")           # a run, or one of its checkpoints

A file holds the model's arrays in half precision. Its header holds experiment, hand and step, as
`state.json` of a checkpoint does, and the sum of the file. A card of the same name says how the
model was trained; its row `sha256`, as on the cards of weights that ship, must be the file's.
"""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from deformer.files.foreign import describe_fault, one_line
from deformer.files.patient import read_file
from deformer.files.sealed import (
    UNSEALED,
    ChangedFileError,
    check_found,
    check_names,
    check_seal,
    seal,
)
from deformer.files.wellformed import read_json_object
from deformer.files.whole import write_whole
from deformer.hand.conventions import Tips
from deformer.hand.mano import HandLayer, Hands
from deformer.network.backbone import fold_norms
from deformer.network.network import Network
from deformer.network.registry import network_class
from deformer.network.state_dict import load_state
from deformer.training.checkpoint import (
    STATE_NAMES,
    Checkpoint,
    DamagedCheckpointError,
    best_file,
    from_state,
    load_checkpoint,
    load_experiment,
    state_of,
)

FOLDER = Path(__file__).parents[1] / "weights"
SUFFIX = ".safetensors"


def shipped() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def find_weights(source: str | Path) -> Path | None:
    """The file that a name or path stands for; None where it stands for a run's folder."""
    path = Path(source)
    if path.suffix == SUFFIX:
        return path
    ships = FOLDER / f"{source}{SUFFIX}"
    return ships if str(source) == path.name and ships.is_file() and not path.is_dir() else None


def on_card(weights: Path, key: str) -> str | None:
    """What the card beside a file of weights states in a row of its table, such as `licence`; None
    where there is no card or no such row."""
    card = weights.with_suffix(".md")
    if not card.is_file():
        return None
    row = re.search(rf"^\|\s*{re.escape(key)}\s*\|\s*(.+?)\s*\|", card.read_text("utf-8"), re.M)
    return row[1] if row else None


def open_model(source: str | Path, which: str = "last") -> Checkpoint:
    """Read a model: the name of shipped weights, a file of weights, or a run.

    which: of a run's checkpoints, as in `load_checkpoint`. Raises `FileNotFoundError` where there
    is none, `ValueError` for another kind of file, `DamagedCheckpointError` for a damaged one.
    """
    path = find_weights(source)
    return read_weights(path) if path else load_checkpoint(_run(source), which, ("model",))


def open_experiment(source: str | Path) -> Checkpoint:
    """As `open_model`, but without reading the tensors of a run's last checkpoint."""
    path = find_weights(source)
    return read_weights(path) if path else load_experiment(_run(source))


def open_trained(source: str | Path, which: str = "best") -> Checkpoint:
    """Read a model for use. "best" of a run that was never validated is its last checkpoint."""
    has_best = which != "best" or best_file(Path(source)).exists()
    return open_model(source, which if has_best else "last")


def _run(source: str | Path) -> Path:
    if Path(source).is_file():
        raise ValueError(
            f"{source} is a file, and no file of weights ({SUFFIX}): name one, or a run's folder"
        )
    if not Path(source).exists():
        raise FileNotFoundError(
            f"{source} is no run, no file of weights ({SUFFIX}) and none of those that ship "
            f"({', '.join(shipped()) or 'none'})"
        )
    return Path(source)


def open_network(
    checkpoint: Checkpoint, hands: Hands, device: torch.device | str, vertex_stride: int = 1,
    tips: Tips | None = None,
) -> Network:  # fmt: skip
    """The network of a checkpoint with its weights, for inference: its norms are folded, so its
    arrays are not the checkpoint's, and are not to be saved.

    vertex_stride: as in `HandLayer`. tips: other fingertips than those it was trained with: it
    predicts poses, and each dataset says which vertices are the tips. Raises `ValueError` for
    weights of another network.
    """
    config = checkpoint.experiment.model
    tensors = checkpoint.tensors["model"]
    (first, second), width = config.regressor, config.width
    needed = config.layers * width * (width + config.ffn) + first * (width + second)
    if needed > sum(value.numel() for value in tensors.values()):
        raise ValueError(f"{checkpoint.folder} is of a larger network than its arrays are")
    model = network_class(checkpoint.experiment.network)(
        replace(config, tips=tips or config.tips), HandLayer(hands, vertex_stride=vertex_stride)
    )
    load_state(model, tensors, f"{checkpoint.folder} is of another network")
    fold_norms(model.backbone.body)
    return model.to(device, memory_format=torch.channels_last).eval()


def mean_model(models: list[Checkpoint]) -> Checkpoint:
    """The last model, with each array the mean over all. Raises `ValueError` for models of
    different networks or hands."""
    last = models[-1]
    arrays = last.tensors["model"]
    for model in models:
        shapes = {key: value.shape for key, value in model.tensors["model"].items()}
        if shapes != {key: value.shape for key, value in arrays.items()}:
            raise ValueError(f"{model.folder} and {last.folder} are of different networks")
        if model.hand["sha256"] != last.hand["sha256"]:
            raise ValueError(f"{model.folder} and {last.folder} learned different hand models")
    mean = {
        key: sum(model.tensors["model"][key].double() for model in models) / len(models)
        if value.is_floating_point()
        else value
        for key, value in arrays.items()
    }
    mean = {key: value.to(arrays[key].dtype) for key, value in mean.items()}
    return replace(last, tensors=last.tensors | {"model": mean})


def write_weights(path: Path, checkpoint: Checkpoint) -> None:
    """Write the model of a checkpoint in half precision."""
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in checkpoint.tensors["model"].items()
    }
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(
                f"{key} has values that half precision cannot hold: nothing is written"
            )
    header = json.dumps(state_of(checkpoint) | UNSEALED)
    write_whole(path, seal(save(tensors, {"deformer": header})))


def read_weights(path: Path) -> Checkpoint:
    """The inverse, in float32. Raises as `open_model`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; weights that ship: {', '.join(shipped())}")
    data = read_file(path)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        is_sealed = check_seal(data)
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get("deformer")
            model = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (ChangedFileError, SafetensorError) as error:
        raise DamagedCheckpointError(
            f"{path} is no whole safetensors file: {describe_fault(data, error)}"
        ) from None
    if on_card(path, "sha256") not in (None, sha256):
        raise DamagedCheckpointError(
            f"{path} is not the file of its card: download both again, or delete the card of "
            f"earlier weights, {path.with_suffix('.md')}"
        )
    if header is None:
        raise ValueError(f"{path} holds arrays, but not those of a Deformer: it lacks its header")
    try:
        state = read_json_object(header.encode())
        check_names(state, STATE_NAMES)
        check_found(state, is_sealed)
    except ValueError as error:
        raise DamagedCheckpointError(
            f"the header of {path} is damaged ({one_line(error)}): download or copy it again"
        ) from None
    model = {key: v.float() if v.is_floating_point() else v for key, v in model.items()}
    return from_state(state, path, {"model": model}, sha256)
