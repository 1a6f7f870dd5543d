"""The rivals by name, and their experiments."""

from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.rivals.a2j import A2J
from benchmarks.rivals.graphormer import MeshGraphormer
from benchmarks.rivals.hampali import Hampali
from benchmarks.rivals.handoccnet import HandOccNet
from benchmarks.rivals.hasson import Hasson
from benchmarks.rivals.liu import Liu
from benchmarks.rivals.s2hand import S2Hand
from benchmarks.rivals.spurr import Spurr
from benchmarks.rivals.tcmr import Tcmr
from benchmarks.rivals.tempclr import TempClr
from benchmarks.rivals.temporal import HandOccNetOverTime, LiuOverTime
from benchmarks.rivals.vibe import Vibe
from deformer.experiments import BASES, STARTS
from deformer.network.backbone import BackboneName
from deformer.network.losses import PointLossName
from deformer.network.network import Network
from deformer.network.registry import input_of
from deformer.training.experiment import Experiment
from deformer.variants import FULL


@dataclass(frozen=True, eq=False)
class Rival:
    """A method, its rows in the tables, and how its experiments differ from their base."""

    name: str
    """The experiment is `<base>_<name>`."""
    label: str
    """For figures."""
    network: type[Network]
    rows: dict[int, str]
    """Number of a table of the paper → the row that it fills."""
    summary: str
    num_frames: int | None = 1
    """Frames of a window; None: those of the base. A rival of single frames has windows of 1. A
    step has as many frames as the base's, or nearly, as its order demands."""
    gap: int | None = None
    """Frames from one to the next in a window; None: as the base's."""
    frames: str | None = None
    """For a rival that can read windows of kept features: the rival whose spatial half it has, or
    "full" for the Deformer's. None: it needs images."""
    point_loss: PointLossName = "mse"
    """In place of maxMSE; a base with another loss keeps that."""
    adversarial: bool = False
    """Whether it is trained with the motion discriminator."""
    backbone: BackboneName | None = None
    """None: that of the base."""
    differs: str = ""
    """For the report, in a few words: what is left out or otherwise than in the original."""

    @property
    def input(self) -> Literal["rgb", "depth"]:
        """Which images it takes."""
        return input_of(self.network)

    def applied_to(self, base: Experiment) -> Experiment:
        """The base experiment with this method in the Deformer's place. Kept features are of
        colour, so a rival that takes depth learns from images."""
        window, order = base.stream.window, base.stream.order
        num_frames = self.num_frames or window.num_frames
        num_windows = order.global_batch * window.num_frames / num_frames
        batch = order.streams * max(1, round(num_windows / order.streams))
        # Its epochs have fewer steps: as many more of them make as many steps, and equal rates
        scale = batch / order.global_batch
        optim = replace(
            base.optim,
            epochs=max(1, round(scale * base.optim.epochs)),
            decay_epochs=max(1, round(scale * base.optim.decay_epochs)),
        )
        stream = replace(
            base.stream,
            input=self.input,
            window=replace(window, num_frames=num_frames, gap=self.gap or window.gap),
            order=replace(order, global_batch=batch),
        )
        model = replace(base.model, backbone=self.backbone or base.model.backbone)
        if self.input == "depth" and base.features is not None:
            base = replace(base, features=None, backbone_weights="imagenet")
        return replace(
            base,
            name=f"{base.name}_{self.name}",
            summary=f"{base.name}, but {self.summary}",
            network=f"benchmarks.rivals:{self.name}",
            point_loss=self.point_loss if base.point_loss == "max_mse" else base.point_loss,
            adversarial=self.adversarial,
            stream=stream,
            model=model,
            optim=optim,
        )


RIVALS = {
    rival.name: rival
    for rival in (
        Rival(
            "a2j", "A2J", A2J, {1: "A2J [55]"},
            "A2J: anchors that vote for the joints in a depth image",
            differs="no hand's centre is given; one anchor a cell; all branches read one map",
        ),
        Rival(
            "spurr", "Spurr et al.", Spurr, {1: "[49] + ResNet50"},
            "2.5D heatmaps, lifted to 3D, and biomechanical losses",
            differs="depths read from maps; predicts the hand's scale; all labels are used",
        ),
        Rival(
            "spurr_hrnet", "Spurr et al., HRNet32", Spurr, {1: "[49] + HRNet32"},
            "2.5D heatmaps of HRNet32, lifted to 3D, and biomechanical losses",
            backbone="hrnet_w32",
            differs="as with ResNet50",
        ),
        Rival(
            "hampali", "Hampali et al.", Hampali, {3: "[17]"},
            "2D joints and directions, to which MANO hands are fitted",
            differs="stages behind the shared backbone; mean shape; a pull to the open hand",
        ),
        Rival(
            "hasson", "Hasson et al.", Hasson, {3: "[20]"},
            "Hasson et al.: MANO from one vector of the image, with priors",
            differs="no object branch, no terms of contact; joint rotations for PCA coefficients",
        ),
        Rival(
            "graphormer", "MeshGraphormer", MeshGraphormer,
            dict.fromkeys((1, 2), "MeshGraphormer [33]"),
            "MeshGraphormer: vertices as tokens of a transformer with graph convolution",
            differs="narrower encoders in steps of half; joints of its queries; no masked queries",
        ),
        Rival(
            "liu", "Liu et al.", Liu, dict.fromkeys((1, 3), "[36]"),
            "Liu et al.: attention in the hand's box, heatmaps, then MANO",
            differs="no object branch, no unlabelled videos; attention inside the hand's box",
        ),
        Rival(
            "handoccnet", "HandOccNet", HandOccNet, {1: "[40]", 3: "[40]"},
            "HandOccNet: features of what is seen injected where the hand is hidden",
            differs="smaller transformers, fewer numbers a frame, GroupNorm",
        ),
        Rival(
            "s2hand", "S2HAND(V)", S2Hand, dict.fromkeys((1, 2), "S2HAND(V) [51]"),
            "S2HAND(V): single frames, from 2D joints and what stays the same over time",
            differs="labels' 2D joints for a detector's; no textures, light or photometric loss",
            num_frames=4, gap=1,
        ),
        Rival(
            "vibe", "VIBE", Vibe, dict.fromkeys((1, 2, 3), "VIBE [29]"),
            "VIBE: a recurrent network over the features of frames",
            num_frames=None, frames=FULL, adversarial=True,
            differs="MANO for SMPL; frames by the Deformer's spatial half, 1/3 s apart",
        ),
        Rival(
            "tcmr", "TCMR", Tcmr, dict.fromkeys((1, 2, 3), "TCMR [10]"),
            "TCMR: past and future of a frame, integrated with a recurrent network over both",
            differs="every frame of a window has its own past and future; frames as for VIBE",
            num_frames=None, frames=FULL,
        ),
        Rival(
            "tempclr", "TempCLR", TempClr, {3: "TempCLR [61]"},
            "TempCLR: single frames, made coherent over time by a contrastive loss",
            differs="both losses in one training on the same frames; frames encoded as for VIBE",
            num_frames=2, gap=1,
        ),
        Rival(
            "liu_temporal", "Liu et al. + temporal", LiuOverTime,
            {2: "[36]+Temporal Transformer+maxMSE"},
            "Liu et al. with a temporal transformer and maxMSE",
            num_frames=None, frames="liu", point_loss="max_mse",
            differs="the paper gives no more than the name; sizes are the Deformer's",
        ),
        Rival(
            "handoccnet_temporal", "HandOccNet + temporal", HandOccNetOverTime,
            {2: "[40]+Temporal Transformer+maxMSE"},
            "HandOccNet with a temporal transformer and maxMSE",
            num_frames=None, frames="handoccnet", point_loss="max_mse",
            differs="the paper gives no more than the name; sizes are the Deformer's",
        ),
    )
}  # fmt: skip
"""In the order of the tables."""


def rival_of(network: str) -> Rival | None:
    """The rival that a network's name stands for; None for the Deformer and networks of others."""
    package, _, name = network.rpartition(":")
    return RIVALS.get(name) if package == "benchmarks.rivals" else None


NETWORKS = {name: rival.network for name, rival in RIVALS.items()}

EXPERIMENTS = {
    experiment.name: experiment
    for base in (*BASES, STARTS["lite_maps"])
    for experiment in (rival.applied_to(base) for rival in RIVALS.values())
}
