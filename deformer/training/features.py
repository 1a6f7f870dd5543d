"""Features: what a network made of single frames, stored to train what comes behind it.

    features/NAME/
        making.json                written first: only the same encoding may go on in this folder
        s3_train-0.safetensors …   an augmented copy of every frame of the split, a draw per clip
        s3_val.safetensors         without augmentation
        spatial.safetensors        the weights that made them
        features.json              written last: weights, network, dataset, draws, files

At the level "frames" they are `FrameFeatures`, by the spatial half: fusion, motion and
discriminator need no more, so training takes minutes where images take hours. At the level "maps"
they are what the backbone sees in the hand boxes, 82 KB a frame: different spatial halves can be
trained behind the same backbone, several times faster than from images.
`python -m deformer.encode` writes a folder.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.progress import track
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from deformer import inference
from deformer.data.augment import AugmentConfig
from deformer.data.batch import to_input, without_padding
from deformer.data.dataset import dataset_sha256
from deformer.data.feature_frames import FIELDS_PER_WINDOW, FeatureFrames
from deformer.data.index import WindowTable
from deformer.data.stream import Stream
from deformer.data.windows import WindowConfig
from deformer.files.foreign import UnreadableFileError
from deformer.files.sealed import read_sealed_json
from deformer.files.wellformed import shown
from deformer.network.network import Network
from deformer.network.output import FrameFeatures, Maps
from deformer.training.checkpoint import file_sha256
from deformer.training.experiment import Experiment

Level = Literal["frames", "maps"]
FEATURES_FILE = "features.json"
SPATIAL_FILE = "spatial.safetensors"
FORMAT = 1
_MAKER = {"frames": "spatial half", "maps": "backbone"}
SPATIAL_FIELDS = (
    "backbone", "norm", "width", "heads", "layers", "ffn", "roi_size", "placed_memory", "regressor",
)  # fmt: skip
"""Fields of `DeformerConfig` that shape the spatial half."""
_INFO = {"spatial_sha256": str, "network": dict, "dataset_sha256": str, "size": int,
         "augment": dict, "copies": dict, "files": dict}  # fmt: skip
"""Types of what `features.json` must hold."""
_INFO_NAMES = (
    "format", "level", "spatial_sha256", "network", "dataset_sha256", "size", "seed", "copies",
    "augment", "input", "checkpoint", "command", "files",
)  # fmt: skip
_NOT_KEPT = ("images", "photometric", "is_repeat", "is_padding", "skipped")

# ---------------------------------------------------------------------------------------- encoding


def single_frames(stream: Stream, augment: AugmentConfig, rank: int = 0, num_ranks: int = 1):
    """A stream of the frames of another stream's windows: each once, as a window of one frame, in
    the order of the index, augmented by one draw per clip and epoch."""
    config = replace(
        stream.config,
        window=WindowConfig(num_frames=1),
        order=replace(stream.config.order, shuffle=False),
        augment=augment,
    )
    table = WindowTable(np.unique(stream.windows.rows)[:, None], 0)
    return Stream(
        config, stream.store, stream.index, rank=rank, num_ranks=num_ranks,
        workers=stream.workers, windows=table, draw_by="clip",
    )  # fmt: skip


def encode_stream(
    model: Network, frames: Stream, first: int, last: int, device: torch.device,
    autocast: torch.autocast | None = None, label: str | None = None, level: Level = "frames",
) -> dict[str, np.ndarray]:  # fmt: skip
    """Encode the steps first … last − 1 of a stream of single frames → arrays (M, …) by name:
    `hand` and `joints_2d`, or `maps`; and the fields of `Batch` except images. Empty if all is
    padding.

    label: of a progress bar; None: no bar."""
    encoded: dict[str, np.ndarray] = {}
    count = 0
    batches = frames.batches(first, last)
    for read in track(batches, label or "", last - first, disable=label is None):
        if read.is_padding.all():
            continue
        batch = without_padding(read)
        images = to_input(batch, device)[:, 0]
        make = inference.encode if level == "frames" else inference.crop_maps
        features = make(model, images, batch.boxes_px[:, 0], batch.is_left, autocast)
        arrays = {
            name: value if name in FIELDS_PER_WINDOW else value[:, 0]
            for name, value in batch._asdict().items()
            if name not in _NOT_KEPT
        }
        arrays |= features._asdict()
        # Filled, not appended: small arrays kept between large ones would scatter the memory
        if not encoded:
            size = (last - first) * frames.config.order.global_batch
            encoded = {
                k: np.empty((size, *v.shape[1:]), v.numpy().dtype) for k, v in arrays.items()
            }
        for name, value in arrays.items():
            encoded[name][count : count + len(value)] = value.numpy()
        count += len(images)
    return {name: value[:count] for name, value in encoded.items()}


def file_name(split: str, copy: int | None = None) -> str:
    """File of a split's features; copy None: without augmentation."""
    return f"{split}.safetensors" if copy is None else f"{split}-{copy}.safetensors"


def encode_maps(model: Network, frames: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Features at the level of maps → at the level of frames, by a network with their backbone."""
    others = {name: value for name, value in frames.items() if name != "maps"}
    features = inference.encode_maps(model, torch.from_numpy(frames["maps"]))
    return others | {name: value.numpy() for name, value in features._asdict().items()}


def spatial_half(
    network: type[Network], tensors: dict[str, Tensor], level: Level = "frames"
) -> dict[str, Tensor]:
    """The weights that make features, out of those of a network of this class."""
    parts = ("backbone", *(network.spatial_parts if level == "frames" else ()))
    return {k: v for k, v in tensors.items() if k.partition(".")[0] in parts}


def _sha256(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def description(
    experiment: Experiment, tensors: dict[str, Tensor], data: Path, copies: int,
    level: Level = "frames",
) -> dict:  # fmt: skip
    """Everything that shapes features, for `features.json`.

    experiment: to be trained on them; tensors: the weights that make them."""
    content = {
        "format": FORMAT,
        "level": level,
        "spatial_sha256": _sha256(tensors),
        "network": {name: getattr(experiment.model, name) for name in SPATIAL_FIELDS},
        "dataset_sha256": dataset_sha256(data),
        "size": experiment.stream.size,
        "seed": experiment.stream.seed,
        "copies": {experiment.stream.split: copies},
        "augment": asdict(experiment.stream.augment),
    }
    if experiment.stream.input != "rgb":  # left out otherwise, as before there was a choice
        content["input"] = experiment.stream.input
    return json.loads(json.dumps(content))  # tuples become lists, as in the file


# ---------------------------------------------------------------------------------------- decoding


def unpack(packed: Tensor) -> FrameFeatures | Maps:
    """Features from `Batch.images`, where they replace images: (B, T, C + 42), or maps (B, T, C, s,
    s)."""
    if packed.ndim == 5:
        return Maps(packed.float())
    return FrameFeatures(packed[..., :-42], packed[..., -42:].unflatten(-1, (21, 2)))


@dataclass(frozen=True)
class Features:
    """A folder of features."""

    folder: Path
    info: dict
    sha256: str
    """Hash of `features.json`, which holds the hash of every file."""

    @property
    def level(self) -> Level:
        """Older folders do not say it; they hold features of frames."""
        return self.info.get("level", "frames")

    def frames(self, split: str) -> FeatureFrames:
        """All copies of a split. Raises `ValueError` for a missing split or a damaged file."""
        copies = self.info["copies"].get(split)
        numbers = [None] if copies is None else range(copies)
        return FeatureFrames([self._read(file_name(split, k)) for k in numbers])

    def plain(self, split: str) -> dict[str, np.ndarray]:
        """A split without augmentation, as `encode_stream` returns it, in the order of rows."""
        frames = self.read(split)
        if "rows" not in frames:
            raise ValueError(f"{self.folder} holds no features of {split}: encode again")
        order = np.argsort(frames["rows"])
        return {name: value[order] for name, value in frames.items()}

    def read(self, split: str, copy: int | None = None) -> dict[str, np.ndarray]:
        """One file, as `encode_stream` returned it."""
        return self._read(file_name(split, copy))

    def spatial(self) -> dict[str, Tensor]:
        """The weights that made them."""
        return {name: torch.from_numpy(value) for name, value in self._read(SPATIAL_FILE).items()}

    def _read(self, name: str) -> dict[str, np.ndarray]:
        path = self.folder / name
        if name not in self.info["files"]:
            raise ValueError(
                f"{self.folder} holds no {name}, only {', '.join(self.info['files'])}: encode that "
                "split too, by python -m deformer.encode"
            )
        if not path.exists() or file_sha256(path) != self.info["files"][name]:
            raise ValueError(f"{path} is damaged or gone: take {self.folder} away and encode again")
        try:
            return load_file(path)
        except SafetensorError as error:
            raise UnreadableFileError(f"{path} holds no arrays ({error}): encode again") from None

    def check_made_by(self, tensors: dict[str, Tensor], what: str) -> None:
        """Raises `ValueError` where `what`, a model, has other weights than made these."""
        here = {name: tensors[name] for name in self.spatial() if name in tensors}
        if _sha256(here) != self.info["spatial_sha256"]:
            raise ValueError(
                f"{self.folder} was encoded by another {_MAKER[self.level]} than {what} has: leave "
                f"--features away, or name the features of its own {_MAKER[self.level]}"
            )

    def check(self, experiment: Experiment, data: Path) -> None:
        """Raises `ValueError` where an experiment needs other features."""
        asked = description(experiment, {}, data, 0)
        for name in ("dataset_sha256", "network", "size", "augment", "input"):
            here, wanted = ({"input": "rgb"} | content for content in (self.info, asked))
            if wanted[name] != here[name]:
                raise ValueError(
                    f"{self.folder} was encoded with {name} {here[name]}, {experiment.name} has "
                    f"{wanted[name]}: encode again into another folder"
                )


def open_features(folder: str | Path) -> Features:
    """Raises `ValueError` where there are no features, or features of another format."""
    path = Path(folder) / FEATURES_FILE
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no features (no {FEATURES_FILE}): make them by "
            "python -m deformer.encode; after an interruption, run the same command again"
        )
    try:
        info = read_sealed_json(path, _INFO_NAMES)
    except UnreadableFileError as error:
        raise UnreadableFileError(f"{error}; or encode again") from None
    if (version := info.get("format")) != FORMAT:
        raise ValueError(f"{path} has format {version}, this program reads {FORMAT}: encode again")
    for name, kind in _INFO.items():
        if not isinstance(info.get(name), kind):
            raise UnreadableFileError(
                f"{path} is damaged: {name} is {shown(info.get(name))}; encode again"
            )
    if info.get("level", "frames") not in tuple(_MAKER) or not all(
        type(number) is int for number in info["copies"].values()
    ):
        raise UnreadableFileError(f"{path} is damaged: its level or copies; encode again")
    return Features(Path(folder), info, file_sha256(path))
