"""Experiments by name. An `Experiment` defines a run completely.

Every base is a function here. `EXPERIMENTS` holds every base with the ablations of
`deformer.variants`, as `<base>_<ablation>`, and `STARTS`.
"""

import difflib
from dataclasses import replace
from importlib import import_module

from deformer.data.augment import AugmentConfig
from deformer.data.order import OrderConfig
from deformer.data.stream import StreamConfig
from deformer.network.config import DeformerConfig
from deformer.network.discriminator import DiscriminatorConfig
from deformer.network.losses import LossWeights
from deformer.training.experiment import Experiment, OptimConfig, ValidationConfig
from deformer.variants import FULL, VARIANTS

OCCLUDED_HANDS = "occluded-hands"
"""The synthetic benchmark, as its `dataset.json` names it."""

# ------------------------------------------------------------------------------------------- bases


def dexycb() -> Experiment:
    return Experiment("dexycb", "the paper's model on DexYCB, setup S0, 512² input")


def on_ho3d(base: Experiment) -> Experiment:
    """The same experiment on HO-3D: its split, its fingertips, its edge rule."""
    window = replace(base.stream.window, edge="skip")
    return replace(
        base,
        name=f"{base.name}_ho3d",
        summary=f"{base.summary}; on HO-3D",
        stream=replace(base.stream, split="train", window=window),
        model=replace(base.model, tips="ho3d"),
        validation=replace(base.validation, split=None),  # HO-3D has no split to choose by
    )


def ho3d() -> Experiment:
    summary = "the paper's model on HO-3D, 512² input"
    return replace(on_ho3d(dexycb()), name="ho3d", summary=summary)


def fast(base: Experiment) -> Experiment:
    """256² input: hand boxes in images of 640×480 are rarely larger, so 512² only enlarges them."""
    return replace(
        base,
        name=f"{base.name}_fast",
        summary=base.summary.replace("512² input", "256² input"),
        stream=replace(base.stream, size=256),
    )


def lite() -> Experiment:
    """Windows, after `lite_frames` or from the weights that ship."""
    return Experiment(
        "lite",
        "EfficientNet-Lite0 at 160²: a CPU in hours, a GPU in minutes, after lite_frames",
        stream=StreamConfig(size=160, order=OrderConfig(global_batch=32, mix_clips=256)),
        model=DeformerConfig(
            backbone="efficientnet_lite0",
            width=160,
            heads=5,
            ffn=320,
            roi_size=16,
            placed_memory=True,
            regressor=(512, 256),
        ),
        discriminator=DiscriminatorConfig(hidden=256, noise=0.1),
        losses=LossWeights(joints_2d=2e3, pose=20.0),
        optim=OptimConfig(
            epochs=4, lr=2e-4, lr_discriminator=3e-5, decay=1.0, warmup_steps=100, cooldown=0.5
        ),
        validation=ValidationConfig(every=500, limit=1024),
    )


def lite_frames() -> Experiment:
    """Hands in single frames. The frames of a window look alike, so a minute of single frames from
    everywhere teaches more."""
    base = lite()
    return replace(
        base,
        name="lite_frames",
        summary="single frames: where lite starts",
        point_loss="huber",
        adversarial=False,
        stream=replace(
            base.stream,
            order=replace(base.stream.order, global_batch=128),
            window=replace(base.stream.window, num_frames=1),
        ),
        model=replace(base.model, fusion="center"),
        losses=replace(base.losses, pose=300.0, shape=1.5),  # Huber terms need larger weights
        optim=replace(base.optim, epochs=20, lr=5e-4, warmup_steps=200),
    )


def lite_temporal() -> Experiment:
    """The temporal half of `lite` alone, from random weights, on frames of `OCCLUDED_HANDS` that a
    trained spatial half has encoded: minutes a run, so every row of the tables has its own
    training, of thousands of steps, and no start favours one of them.

    The loss weights are the paper's. With the heavy pose weight of `lite`, maxMSE follows the
    global rotation and neglects the fingers. Rates were chosen on the validation split, the
    discriminator's so low that it does not win.
    """
    base = lite()
    return replace(
        base,
        name="lite_temporal",
        summary=f"the temporal half of lite on encoded frames of {OCCLUDED_HANDS}",
        backbone_weights="none",
        features="features/lite",
        vertex_stride=8,
        stream=replace(
            base.stream,
            split="s3_train",
            order=replace(base.stream.order, global_batch=32, streams=8),
            augment=replace(base.stream.augment, rotation_deg=30),  # cameras stand upright
        ),
        model=replace(base.model, confidence_scale=10.0),
        losses=LossWeights(),
        optim=replace(base.optim, epochs=8, lr=5e-4, lr_discriminator=1e-4),
        validation=replace(base.validation, split="s3_val", limit=512),
    )


def lite_maps() -> Experiment:
    """What is behind the backbone of `lite`, on single frames of `OCCLUDED_HANDS` whose maps are
    kept: different spatial halves with one start and one budget, minutes a run."""
    base = lite_temporal()
    return replace(
        base,
        name="lite_maps",
        summary=f"single frames behind the backbone of lite, on kept maps of {OCCLUDED_HANDS}",
        features="features/maps",
        point_loss="huber",
        adversarial=False,
        losses=lite_frames().losses,
        stream=replace(base.stream, window=replace(base.stream.window, num_frames=1)),
        model=replace(base.model, fusion="center", roi_size=8),  # a quarter of the tokens
        optim=replace(base.optim, epochs=2, cooldown=0.5),
    )


def lite_video() -> Experiment:
    """`lite_temporal` on frames that `lite_maps` encodes: for comparisons with rivals, whose
    spatial halves are trained like that one."""
    return replace(
        lite_temporal(),
        name="lite_video",
        summary="lite_temporal on frames encoded by lite_maps, for comparisons with rivals",
        features="features/lite_maps",
        model=replace(lite_temporal().model, roi_size=8),
    )


def lite_windows() -> Experiment:
    """The temporal half of the weights that ship: on encoded frames of the varied set."""
    base, frames = lite_temporal(), lite_frames()
    return replace(
        base,
        name="lite_windows",
        summary="windows after lite_frames, on encoded frames of the varied set",
        features="features/varied",
        point_loss="huber",
        losses=frames.losses,
        stream=replace(
            base.stream,
            split="train",
            where="visibility > 0.1",
            augment=frames.stream.augment,
            order=replace(base.stream.order, global_batch=64),
        ),
        optim=replace(base.optim, lr=1e-3, cooldown=0.6),
        validation=ValidationConfig(split="val", every=500, limit=1024),
    )


def demo() -> Experiment:
    """`lite_temporal` on the frames of `make demo`: everybody's first training, two minutes long,
    so it starts from what the weights that ship see."""
    base = lite_temporal()
    return replace(
        base,
        name="demo",
        summary="the temporal half of lite on encoded frames of make demo",
        features="features/demo",
        stream=replace(base.stream, split="s0_train"),
        optim=replace(base.optim, lr=2e-4, cooldown=0.5),
        validation=ValidationConfig(split="s0_val", every=50),
    )


def tiny() -> Experiment:
    return Experiment(
        "tiny",
        "a small network at 128² that a CPU trains in minutes, from nothing",
        backbone_weights="none",
        stream=StreamConfig(
            size=128,
            order=OrderConfig(global_batch=8),
            augment=AugmentConfig(rotation_deg=30),  # learning any angle takes longer than minutes
        ),
        model=DeformerConfig(
            backbone="regnet_tiny",
            norm="group",
            width=64,
            heads=4,
            layers=2,
            ffn=128,
            roi_size=8,
            regressor=(256, 128),
        ),
        # Early predictions hardly move, which is easy to detect: noise hides it
        discriminator=DiscriminatorConfig(hidden=64, noise=0.1),
        # From random weights, mesh terms alone first curl the hand up, which has the least error
        # while the orientation is unknown; these two terms teach the orientation
        losses=LossWeights(joints_2d=1e4, pose=200.0),
        optim=OptimConfig(
            epochs=20, lr=7e-4, lr_discriminator=3e-5, decay_epochs=4, warmup_steps=50
        ),
        validation=ValidationConfig(every=100, limit=128),
    )


BASES = (
    dexycb(),
    fast(dexycb()),
    ho3d(),
    fast(ho3d()),
    lite(),
    on_ho3d(lite()),
    tiny(),
    on_ho3d(tiny()),
    lite_temporal(),
    lite_video(),
    demo(),
)
STARTS = {e.name: e for e in (lite_frames(), lite_windows(), lite_maps())}
"""Experiments whose models others start from; comparisons have no row for them."""

# ----------------------------------------------------------------------------------------- by name


EXPERIMENTS = {
    experiment.name: experiment
    for base in BASES
    for experiment in (variant.applied_to(base) for variant in VARIANTS.values())
} | STARTS


def base_of(name: str) -> str:
    """Name of an experiment's base: `tiny_mse_noadv` → `tiny`."""
    for ablation in sorted(VARIANTS, key=len, reverse=True):
        if name.endswith(f"_{ablation}"):
            return name.removesuffix(f"_{ablation}")
    return name


def describe_experiments() -> str:
    """A line for every base and start, then one for every ablation."""
    bases = [f"{e.name:16} {e.summary}" for e in (*BASES, *STARTS.values())]
    ablations = [f"_{v.name:15} {v.summary}" for v in VARIANTS.values() if v.name != FULL]
    head = f"\nAn ablation is a name with one of these, such as {BASES[0].name}_center:"
    return "\n".join([*bases, head, *ablations])


def get_experiment(name: str) -> Experiment:
    """An experiment of `EXPERIMENTS`; or "package:name", one of another package's EXPERIMENTS, such
    as "benchmarks.rivals:tiny_vibe". Raises `ValueError` that suggests similar names for an unknown
    one."""
    package, _, own = name.rpartition(":")
    known = EXPERIMENTS
    if package:
        try:
            known, name = import_module(package).EXPERIMENTS, own
        except (ImportError, AttributeError) as error:
            raise ValueError(f"{name!r}: {package} has no experiments ({error})") from None
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        listed = f"{package}.EXPERIMENTS has them" if package else "--experiment help lists them"
        raise ValueError(f"there is no experiment {name!r}{hint}; {listed}")
    return known[name]
