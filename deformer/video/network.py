"""A trained network, ready for videos: its hand model, its licence, and the length of its hands."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from deformer.data.windows import WindowConfig
from deformer.hand.conventions import JOINT_NAMES, NUM_MANO_JOINTS, NUM_VERTICES
from deformer.hand.mano import Hands, load_same_hands
from deformer.network.model import Deformer
from deformer.training.checkpoint import Checkpoint
from deformer.training.weights_file import find_weights, on_card, open_network, open_trained

_MIDDLE_TIP = JOINT_NAMES.index("middle_tip")


@dataclass(frozen=True, eq=False)
class VideoNetwork:
    name: str
    """As it was given."""
    model: Deformer
    hands: Hands
    sha256: str
    """Hash of the weights."""
    licence: str
    window: WindowConfig
    """Of the training, at 30 frames/s."""
    size: int
    """Side of the input images, px."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def open_for_videos(
    checkpoint: str | Path, which: str = "best", mano_dir: Path | None = None,
    device: str | None = None,
) -> VideoNetwork:  # fmt: skip
    """Open weights that ship, a file of weights, or a run.

    device: by default a GPU if there is one. Raises `ValueError` if the network was trained with
    another hand model, or needs to know how much of a hand is hidden.
    """
    trained, hands = trained_for_videos(checkpoint, which, mano_dir)
    # Rows hold no meshes: of the vertices, joints need the fingertips alone
    model = open_network(trained, hands, _device(device), NUM_VERTICES)
    stream = trained.experiment.stream
    licence = licence_of(checkpoint)
    return VideoNetwork(
        str(checkpoint), model, hands, trained.model_sha256, licence, stream.window, stream.size
    )


def trained_for_videos(
    checkpoint: str | Path, which: str, mano_dir: Path | None
) -> tuple[Checkpoint, Hands]:
    """A trained model and its hand model. Raises as `open_for_videos`."""
    trained = open_trained(checkpoint, which)
    if trained.experiment.model.fusion == "occlusion":
        raise ValueError(
            f"--checkpoint {checkpoint} fuses by occlusion, which nobody knows of a video: choose "
            "a network of another fusion"
        )
    made = f"--checkpoint {checkpoint} was trained"
    return trained, load_same_hands(trained.hand["name"], trained.hand["sha256"], made, mano_dir)


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # PyTorch raises either, by how it was built
        raise ValueError(
            f"--device {name} cannot be used ({str(error).splitlines()[0]}): give cpu or cuda"
        ) from None


def licence_of(checkpoint: str | Path) -> str:
    """The licence that the card beside a file of weights states."""
    file = find_weights(checkpoint)
    return (file and on_card(file, "licence")) or "not stated"


@torch.no_grad()
def flat_length_m(model: Deformer, betas: np.ndarray, is_left: np.ndarray) -> np.ndarray:
    """(N,): length of the flat hand, from the wrist joint straight to the tip of the middle finger,
    for shapes (N, 10) and sides (N,)."""
    device = next(model.parameters()).device
    pose = torch.eye(3, device=device).expand(len(betas), NUM_MANO_JOINTS, 3, 3)
    shapes = torch.from_numpy(betas).float().to(device)
    sides = torch.from_numpy(is_left).to(device)
    _, joints = model.hand_layer(pose, shapes, sides, model.config.tips)
    length = (joints[:, _MIDDLE_TIP] - joints[:, 0]).norm(dim=-1)
    return length.double().cpu().numpy()
