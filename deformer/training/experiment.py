"""What a run is: an `Experiment`, whole and frozen; how it is read again and compared. The named
ones are in `experiments`."""

import dataclasses
from dataclasses import asdict, dataclass, field
from typing import Any, get_origin, get_type_hints

import tyro

from deformer.data.stream import StreamConfig
from deformer.network.discriminator import DiscriminatorConfig
from deformer.network.losses import LossWeights, PointLossName
from deformer.network.model import DeformerConfig
from deformer.program.least import check_least

OF_NO_EFFECT = ("summary", "optim.micro_batch", "stream.max_skipped")
"""Fields that a run may be resumed without: they change no number."""


@dataclass(frozen=True)
class OptimConfig:
    """Adam for the model and for the discriminator. The defaults are the paper's."""

    epochs: int = 60
    lr: float = 1e-5
    lr_discriminator: float = 1e-3
    decay: float = 0.7
    """Both rates are multiplied by this every `decay_epochs`."""
    decay_epochs: int = 10
    warmup_steps: int = 0
    """The model's rate rises linearly over this many steps."""
    cooldown: float = 0.0
    """Share of a run's steps, at its end, over which both rates also fall linearly to 0: the last
    weights of a run at a constant rate are as good as its last batches were kind."""
    clip_norm: float = 1000.0
    """Largest norm of a gradient. Not in the paper. Adam takes no notice of a constant factor, so a
    bound only evens out the steps; what it is for is the rare batch far off the rest."""
    micro_batch: int | None = None
    """Windows of one forward pass of a process: its share of a step is cut into such pieces and
    their gradients are summed. None: all at once. Less needs less memory."""

    def __post_init__(self) -> None:
        check_least(self, "optim.", epochs=1, decay_epochs=1, micro_batch=1, warmup_steps=0)
        for name in ("lr", "lr_discriminator", "decay", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"optim.{name} is {getattr(self, name)}, must be more than 0")
        if not 0 <= self.cooldown <= 1:
            raise ValueError(f"optim.cooldown is {self.cooldown}, must be a share, 0 to 1")

    def rate(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """The factor on both rates at a step of a run of `total_steps`."""
        rate = self.decay ** (step // steps_per_epoch // self.decay_epochs)
        left = total_steps - step
        return rate * min(1.0, left / (self.cooldown * total_steps)) if self.cooldown else rate


@dataclass(frozen=True)
class ValidationConfig:
    """Validation during training."""

    split: str | None = "s0_val"
    """None: there is none."""
    every: int = 5000
    """Steps from one to the next; one more at the end."""
    limit: int | None = 2000
    """At most this many windows, spread evenly over the split."""

    def __post_init__(self) -> None:
        check_least(self, "validation.", every=1)


@dataclass(frozen=True)
class Experiment:
    """All that shapes the numbers of a run. The defaults are the paper's, on DexYCB."""

    name: tyro.conf.Fixed[str]
    summary: tyro.conf.Fixed[str]
    backbone_weights: str = "imagenet"
    """"imagenet", the path of a state dict of the same network, or "none"."""
    start_from: str | None = None
    """A run (its last checkpoint), one of its checkpoints, or weights that ship ("lite_frames"),
    whose whole model this one begins with, in place of `backbone_weights`."""
    features: str | None = None
    """A folder of frames that `deformer.encode` encoded: they stand in place of images, the spatial
    half that made them stays as it is, and the temporal half is trained from random weights."""
    vertex_stride: int = 1
    """Only every n-th vertex of a mesh, and its fingertips, are in the losses: where no image
    is encoded, posing meshes is what costs."""
    point_loss: PointLossName = "max_mse"
    """Or "mse": Table 5."""
    adversarial: bool = True
    """Whether there is a motion discriminator: Table 5."""
    stream: StreamConfig = field(default_factory=StreamConfig)
    model: DeformerConfig = field(default_factory=DeformerConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    optim: OptimConfig = field(default_factory=OptimConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        check_least(self, vertex_stride=1)
        if self.features is not None and self.start_from is not None:
            raise ValueError("features and start_from are two beginnings: choose one")

    @property
    def begins_with(self) -> str | None:
        """Where what it does not learn from nothing comes from: another run's model, or features;
        None: it learns all of it, from `backbone_weights` on."""
        return self.start_from or self.features


# ------------------------------------------------------------------------- reading and comparing


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
