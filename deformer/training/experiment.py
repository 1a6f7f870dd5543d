"""`Experiment`: everything that defines a run; how it is read and compared. `deformer.experiments`
has the named ones."""

import dataclasses
from dataclasses import asdict, dataclass, field
from typing import Any, get_origin, get_type_hints

import tyro

from deformer.data.stream import StreamConfig
from deformer.files.wellformed import is_of, shown
from deformer.network.config import DeformerConfig
from deformer.network.discriminator import DiscriminatorConfig
from deformer.network.losses import LossWeights, PointLossName
from deformer.program.least import check_least

FIELDS_WITHOUT_EFFECT = ("summary", "optim.micro_batch", "stream.max_skipped")
"""Fields that a resumed run may change, because they change no result."""


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
    """Share of a run's steps, at its end, over which both rates also fall linearly to 0. At a
    constant rate, the last weights depend on the last batches."""
    clip_norm: float = 1000.0
    """Largest norm of a gradient. Not in the paper. Adam ignores constant factors, so the bound
    does not slow training; it limits rare batches with a huge gradient."""
    micro_batch: int | None = None
    """Windows per forward pass of a process, whose gradients are summed over its share of a step.
    None: all at once. Fewer need less memory."""

    def __post_init__(self) -> None:
        check_least(self, "optim.", epochs=1, decay_epochs=1, micro_batch=1, warmup_steps=0)
        for name in ("lr", "lr_discriminator", "decay", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"optim.{name} is {getattr(self, name)}, must be more than 0")
        if not 0 <= self.cooldown <= 1:
            raise ValueError(f"optim.cooldown is {self.cooldown}, must be a share, 0 to 1")

    def rate(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """Factor on both rates at a step of a run of `total_steps`."""
        rate = self.decay ** (step // steps_per_epoch // self.decay_epochs)
        left = total_steps - step
        return rate * min(1.0, left / (self.cooldown * total_steps)) if self.cooldown else rate


@dataclass(frozen=True)
class ValidationConfig:
    """Validation during training."""

    split: str | None = "s0_val"
    """None: no validation."""
    every: int = 5000
    """Steps between validations; one more follows the last step."""
    limit: int | None = 2000
    """At most this many windows, spread evenly over the split."""

    def __post_init__(self) -> None:
        check_least(self, "validation.", every=1)


@dataclass(frozen=True)
class Experiment:
    """Everything that shapes the results of a run. The defaults are the paper's, on DexYCB."""

    name: tyro.conf.Fixed[str]
    summary: tyro.conf.Fixed[str]
    network: tyro.conf.Fixed[str] = "deformer"
    """Name of the network: see `deformer.network.registry`."""
    backbone_weights: str = "imagenet"
    """"imagenet", the path of a state dict of the same network, or "none"."""
    start_from: str | None = None
    """A run (its last checkpoint), a checkpoint, or weights that ship ("lite"): the model
    that this run starts from, in place of `backbone_weights`."""
    features: str | None = None
    """A folder of `deformer.encode`. Its features replace images: what made them, the backbone or
    the spatial half, stays unchanged, and what comes behind is trained, from random weights or
    `start_from`."""
    vertex_stride: int = 1
    """Losses use every n-th vertex of a mesh, and the fingertips. On features, posing meshes takes
    most of the time."""
    point_loss: PointLossName = "max_mse"
    """"max_mse", or "mse" as in Table 5, or "huber"."""
    adversarial: bool = True
    """Whether to train with the motion discriminator: Table 5."""
    stream: StreamConfig = field(default_factory=StreamConfig)
    model: DeformerConfig = field(default_factory=DeformerConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    optim: OptimConfig = field(default_factory=OptimConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        check_least(self, vertex_stride=1)

    @property
    def begins_with(self) -> str | None:
        """The run or features that this run starts from; None: only `backbone_weights`."""
        return self.start_from or self.features


# ------------------------------------------------------------------------- reading and comparing


def from_dict(content: dict, kind: type, where: str) -> Any:
    """The inverse of `asdict`, for nested dataclasses such as `Experiment`.

    A missing field gets its default, so the default of a new field must keep the old behaviour.
    Raises `ValueError` that names `where` and the fields that are unknown, or missing and without
    a default, or of another type, or have a value that is not allowed.
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
        if not is_of(value, hint, any_number=True):  # the dataclass judges its values
            raise ValueError(f"{where}: {shown(value)} in {kind.__name__} is no {hint}")
        return tuple(value) if get_origin(hint) is tuple else value  # JSON knows lists only

    restored = {name: restore(value, hints[name]) for name, value in content.items()}
    try:
        return kind(**restored)
    except ValueError as error:  # a value that is not allowed
        raise ValueError(f"{where}: {error}") from None


def shaping_fields(experiment: Experiment) -> dict[str, Any]:
    """Dotted name → value of all fields except `FIELDS_WITHOUT_EFFECT`."""

    def flatten(value: Any, name: str) -> dict:
        if not isinstance(value, dict):
            return {name: value}
        parts = [flatten(item, f"{name}.{key}".lstrip(".")) for key, item in value.items()]
        return {key: item for part in parts for key, item in part.items()}

    fields = flatten(asdict(experiment), "")
    return {name: value for name, value in fields.items() if name not in FIELDS_WITHOUT_EFFECT}


def differences(saved: Experiment, asked: Experiment) -> dict[str, tuple]:
    """Fields in which two experiments differ: dotted name → (saved, asked)."""
    before, after = shaping_fields(saved), shaping_fields(asked)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}
