"""Encode the frames of a dataset once, by the spatial half of a run.

    python -m deformer.encode --checkpoint runs/NAME --data shards/occluded \\
        --experiment lite_temporal --splits s3_test --out features/lite

The experiment is the one to train on the features. Frames of its split are encoded in --copies,
with its augmentation, one draw per clip. Frames of its validation split and of --splits are encoded
without augmentation. After an interruption, the same command goes on and keeps finished files.

With --level maps it keeps what the backbone sees, for different spatial halves; with --features
FOLDER it encodes such maps, in minutes, instead of images.

Exit status: 0 done, 1 unusable input, 2 wrong option.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import save

from deformer.data.augment import NO_AUGMENTATION
from deformer.data.order import OrderConfig
from deformer.data.store import open_store
from deformer.data.stream import Stream
from deformer.experiments import get_experiment
from deformer.files.sealed import UNSEALED, write_json
from deformer.files.whole import claim_folder, write_whole
from deformer.hand.mano import load_hands_of
from deformer.network.registry import check_input, network_class
from deformer.program.console import PlainConsole, run_program, this_command
from deformer.program.least import check_least
from deformer.program.lock import locked
from deformer.training.checkpoint import Checkpoint, check_hand, file_sha256
from deformer.training.distributed import process_group
from deformer.training.experiment import Experiment
from deformer.training.features import (
    FEATURES_FILE,
    SPATIAL_FIELDS,
    SPATIAL_FILE,
    Features,
    Level,
    description,
    encode_maps,
    encode_stream,
    file_name,
    open_features,
    single_frames,
    spatial_half,
)
from deformer.training.weights_file import open_network, open_trained

_BATCH = 32


@dataclass(frozen=True)
class Options:
    """Frames to encode, and the network that encodes them."""

    checkpoint: Path
    """A run, one of its checkpoints, a file of weights, or the name of weights that ship."""
    data: str
    """A built dataset: a folder, or any fsspec URL."""
    experiment: str
    """The experiment to train on the features."""
    out: Path
    splits: tuple[str, ...] = ()
    """More splits to encode without augmentation, for evaluation."""
    copies: int = 4
    """Copies of the training frames, each augmented anew; of --features those that are there."""
    level: Level = "frames"
    """frames: by the whole spatial half. maps: by the backbone alone."""
    features: Path | None = None
    """Maps by this checkpoint's backbone, to encode in place of images."""
    which: str = "best"
    """Checkpoint of a run: best, last, or a step. Without validation, best is the last."""
    mano_dir: Path | None = None
    """The folder of MANO's files; by default $MANO_DIR."""
    workers: int = 0
    """Processes that read ahead."""
    device: Literal["cpu", "cuda"] | None = None
    """By default a GPU if there is one."""

    def __post_init__(self) -> None:
        check_least(self, "--", copies=1)
        if self.features is not None and self.level == "maps":
            raise ValueError(f"--features {self.features} holds maps already: leave --level away")


def make_features(options: Options, device: torch.device) -> None:
    """Write the missing files of a folder of features. Raises `ValueError` and `OSError`."""
    experiment = get_experiment(options.experiment)
    store, index = open_store(options.data)
    hands = load_hands_of(index.info, options.mano_dir)
    checkpoint = open_trained(options.checkpoint, options.which)
    check_hand(checkpoint, hands)
    if options.level == "maps":  # of any size: a backbone knows no size
        config = replace(checkpoint.experiment.model, roi_size=experiment.model.roi_size)
        checkpoint = replace(checkpoint, experiment=replace(checkpoint.experiment, model=config))
    _check_network(checkpoint, experiment)
    model = open_network(checkpoint, hands, device)
    spatial = spatial_half(type(model), checkpoint.tensors["model"], options.level)
    maps = options.features and _open_maps(options.features, checkpoint, experiment, store.folder)
    copies = maps.info["copies"][experiment.stream.split] if maps else options.copies
    info = description(experiment, spatial, store.folder, copies, options.level)
    info["checkpoint"] = {"run": str(options.checkpoint), "step": checkpoint.step}

    def frames_of(name: str, split: str, copy: int | None) -> dict[str, np.ndarray]:
        if maps:
            return encode_maps(model, maps.read(split, copy))
        order = OrderConfig(global_batch=_BATCH, streams=1)
        config = experiment.stream.for_evaluation(split, order=order)
        stream = Stream(config, store, index, workers=options.workers)
        augment = NO_AUGMENTATION if copy is None else experiment.stream.augment
        frames = single_frames(stream, augment)
        first = (copy or 0) * frames.steps_per_epoch
        last = first + frames.steps_per_epoch
        return encode_stream(model, frames, first, last, device, None, name, options.level)

    wanted = {file_name(*which): which for which in _wanted(options, experiment, copies)}
    with locked(options.out, "encoding"):
        _begin(options.out, info)
        _write(options.out / SPATIAL_FILE, spatial)
        for name, which in wanted.items():
            if not (options.out / name).exists():
                arrays = frames_of(name, *which)
                tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
                _write(options.out / name, tensors)
        info["command"] = this_command("deformer.encode")
        info["files"] = {name: file_sha256(options.out / name) for name in (SPATIAL_FILE, *wanted)}
        write_json(options.out / FEATURES_FILE, info | UNSEALED)


def _check_network(checkpoint: Checkpoint, experiment: Experiment) -> None:
    """Raises `ValueError` where checkpoint and experiment have different spatial halves, or the
    experiment's images are not the checkpoint's."""
    networks = (checkpoint.experiment.network, experiment.network)
    check_input(networks[0], experiment.stream.input)
    found, asked = (network_class(name).spatial_parts for name in networks)
    if found != asked:
        raise ValueError(
            f"{checkpoint.folder} is of the network {networks[0]}, whose features "
            f"{experiment.name} ({networks[1]}) does not read: choose the experiment that belongs "
            "to it"
        )
    for name in SPATIAL_FIELDS:
        found, asked = (getattr(e.model, name) for e in (checkpoint.experiment, experiment))
        if found != asked:
            raise ValueError(
                f"{checkpoint.folder} has {name} {found}, {experiment.name} has {asked}: choose "
                "the experiment that belongs to it"
            )


def _open_maps(
    folder: Path, checkpoint: Checkpoint, experiment: Experiment, data: Path
) -> Features:
    """Raises `ValueError` where a folder does not hold the maps that would be made here."""
    features = open_features(folder)
    if features.level != "maps":
        raise ValueError(f"{folder} holds no maps: encode them by --level maps")
    features.check(experiment, data)
    features.check_made_by(checkpoint.tensors["model"], str(checkpoint.folder))
    return features


def _wanted(options: Options, experiment: Experiment, copies: int) -> list[tuple[str, int | None]]:
    """Split and copy of every file; copy None: without augmentation."""
    plain = dict.fromkeys(filter(None, (experiment.validation.split, *options.splits)))
    augmented = [(experiment.stream.split, copy) for copy in range(copies)]
    return augmented + [(split, None) for split in plain]


def _begin(out: Path, info: dict) -> None:
    """Claim the folder. Raises `ValueError` where other features were begun in it."""
    note = out / "making.json"
    text = json.dumps({k: v for k, v in info.items() if k != "copies"}, indent=1) + "\n"
    if not claim_folder(note, text):
        raise ValueError(
            f"{out} holds frames that were encoded otherwise ({note.name} says how): choose "
            "another --out, or take it away"
        )


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    write_whole(path, save({name: value.contiguous() for name, value in tensors.items()}))


def run(options: Options) -> None:
    """Encode, and print the folder."""
    with process_group(options.device) as place:
        make_features(options, place.device)
    PlainConsole().print(f"done: {options.out}", soft_wrap=True)


def main() -> int:
    going_on = "interrupted; the same command goes on"
    return run_program(run, Options, "deformer.encode", __doc__, going_on)


if __name__ == "__main__":
    sys.exit(main())
