"""Frames encoded once: what the spatial half makes of them, kept for training the temporal half.

    features/NAME/
        s3_train-0.safetensors …   a copy of every frame of the split, augmented: one draw per clip
        s3_val.safetensors         as they are
        spatial.safetensors        the weights that encoded them
        features.json              written last: weights, network, dataset, draws, files

Fusion, motion, losses and discriminator lie behind the features of single frames, so they are
trained on these in minutes where images take hours. `python -m deformer.encode` writes a folder.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from deformer import inference
from deformer.data.augment import AugmentConfig
from deformer.data.batch import to_input, without_padding
from deformer.data.dataset import dataset_sha256
from deformer.data.encoded import OF_WINDOW, EncodedFrames
from deformer.data.index import WindowTable
from deformer.data.stream import Stream
from deformer.data.windows import WindowConfig
from deformer.files.foreign import UnreadableFileError, read_json
from deformer.network.model import Deformer, FrameFeatures
from deformer.training.checkpoint import file_sha256
from deformer.training.experiment import Experiment

FEATURES_FILE = "features.json"
SPATIAL_FILE = "spatial.safetensors"
FORMAT = 1
SPATIAL_FIELDS = (
    "backbone", "norm", "width", "heads", "layers", "ffn", "roi_size", "placed_memory", "regressor",
)  # fmt: skip
"""Of a model's configuration: those that shape its spatial half."""
_SPATIAL_PARTS = (
    "backbone", "spatial_encoder", "heatmap_head", "memory_projection", "spatial_decoder",
    "monocular_head",
)  # fmt: skip
"""Those that see single frames. What is not among them is the temporal half."""
_NOT_KEPT = ("images", "photometric", "is_repeat", "is_padding", "skipped")

# ---------------------------------------------------------------------------------------- encoding


def single_frames(stream: Stream, augment: AugmentConfig, rank: int = 0, num_ranks: int = 1):
    """Every frame of a stream's windows, once, as windows of one frame, in the order of the index;
    one draw for all frames of a clip, another one in every epoch."""
    config = replace(
        stream.config,
        window=WindowConfig(num_frames=1),
        order=replace(stream.config.order, shuffle=False),
        augment=augment,
    )
    table = WindowTable(np.unique(stream.windows.rows)[:, None], 0)
    return Stream(
        config, stream.store, stream.index, rank, num_ranks, stream.workers, table, "clip"
    )  # fmt: skip


def encode(
    model: Deformer, frames: Stream, first: int, last: int, device: torch.device,
    autocast: torch.autocast | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The frames of steps first … last − 1 of a stream of single frames → arrays (M, …): `hand`,
    `joints_2d`, and the fields of `Batch` but for the images. Empty where all are padding."""
    encoded: list[dict[str, Tensor]] = []
    for read in frames.batches(first, last):
        if read.is_padding.all():
            continue
        batch = without_padding(read)
        images = to_input(batch, device)[:, 0]
        features = inference.encode(model, images, batch.boxes_px[:, 0], batch.is_left, autocast)
        arrays = {
            name: value if name in OF_WINDOW else value[:, 0]
            for name, value in batch._asdict().items()
            if name not in _NOT_KEPT
        }
        encoded.append(arrays | features._asdict())
    if not encoded:
        return {}
    return {name: torch.cat([part[name] for part in encoded]).numpy() for name in encoded[0]}


def file_name(split: str, copy: int | None = None) -> str:
    """Of a split's frames; copy None: as they are."""
    return f"{split}.safetensors" if copy is None else f"{split}-{copy}.safetensors"


def spatial_half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of a model's weights, those of its spatial half."""
    return {k: v for k, v in tensors.items() if k.partition(".")[0] in _SPATIAL_PARTS}


def freeze_spatial(model: Deformer) -> None:
    """Let training change the temporal half alone."""
    for name in _SPATIAL_PARTS:
        getattr(model, name).requires_grad_(False)


def _sha256(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def description(
    experiment: Experiment, tensors: dict[str, Tensor], data: Path, copies: int
) -> dict:
    """What shapes features, for `features.json`; experiment: of the temporal half."""
    content = {
        "format": FORMAT,
        "spatial_sha256": _sha256(tensors),
        "network": {name: getattr(experiment.model, name) for name in SPATIAL_FIELDS},
        "dataset_sha256": dataset_sha256(data),
        "size": experiment.stream.size,
        "seed": experiment.stream.seed,
        "copies": {experiment.stream.split: copies},
        "augment": asdict(experiment.stream.augment),
    }
    return json.loads(json.dumps(content))  # as it is read again: JSON knows no tuples


# ---------------------------------------------------------------------------------------- decoding


def unpack(packed: Tensor) -> FrameFeatures:
    """What stands in `Batch.images` in place of images: (B, T, width + 42)."""
    return FrameFeatures(packed[..., :-42], packed[..., -42:].unflatten(-1, (21, 2)))


@dataclass(frozen=True)
class Features:
    """A folder of encoded frames."""

    folder: Path
    info: dict
    sha256: str
    """Of `features.json`, which names every file's."""

    def frames(self, split: str) -> EncodedFrames:
        """Raises `ValueError` where the split was not encoded, or a file is damaged."""
        copies = self.info["copies"].get(split)
        numbers = [None] if copies is None else range(copies)
        return EncodedFrames([self._read(file_name(split, k)) for k in numbers])

    def plain(self, split: str) -> dict[str, np.ndarray]:
        """The frames of a split as they are, as `encode` gives them, by rising row."""
        frames = self._read(file_name(split))
        order = np.argsort(frames["rows"])
        return {name: value[order] for name, value in frames.items()}

    def spatial(self) -> dict[str, Tensor]:
        """The weights of the spatial half."""
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
        return load_file(path)

    def check_made_by(self, tensors: dict[str, Tensor]) -> None:
        """Raises `ValueError` where a model's weights hold another spatial half than the one that
        encoded them."""
        if _sha256(spatial_half(tensors)) != self.info["spatial_sha256"]:
            raise ValueError(
                f"{self.folder} was encoded by another spatial half than the checkpoint has: leave "
                "--features away, or name the features that it was trained on"
            )

    def check(self, experiment: Experiment, data: Path) -> None:
        """Raises `ValueError` where they are not what an experiment asks for."""
        asked = description(experiment, {}, data, 0)
        for name in ("dataset_sha256", "network", "size", "augment"):
            if asked[name] != (here := self.info[name]):
                raise ValueError(
                    f"{self.folder} was encoded with {name} {here}, {experiment.name} has "
                    f"{asked[name]}: encode again into another folder"
                )


def open_features(folder: str | Path) -> Features:
    """Raises `ValueError` where there are no features, or of another format."""
    path = Path(folder) / FEATURES_FILE
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no encoded frames (no {FEATURES_FILE}): make them by "
            "python -m deformer.encode, or take up that command where it was interrupted"
        )
    try:
        info = read_json(path)
    except UnreadableFileError as error:
        raise UnreadableFileError(f"{error}; or encode again") from None
    if (version := info.get("format")) != FORMAT:
        raise ValueError(f"{path} has format {version}, this program reads {FORMAT}: encode again")
    return Features(Path(folder), info, file_sha256(path))
