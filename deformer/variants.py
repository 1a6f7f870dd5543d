"""The whole method and its ablations: the fields of an experiment that each changes, and its rows
in the tables."""

from dataclasses import dataclass, replace

from deformer.network.config import MotionSource
from deformer.network.fusion import FusionVariant
from deformer.network.losses import PointLossName
from deformer.training.experiment import Experiment

FULL = "full"
"""The name of the whole method."""


@dataclass(frozen=True, eq=False)
class Variant:
    """The whole method or an ablation: the fields that it changes, and its rows in the tables."""

    name: str
    """The experiment is `<base>_<name>`; the whole method is "full"."""
    label: str
    """For figures: name of the fusion, or of the change."""
    summary: str
    rows: dict[int, str]
    """Number of a table of the paper → the row that this variant fills."""
    fusion: FusionVariant = "dynamic"
    point_loss: PointLossName = "max_mse"
    adversarial: bool = True
    motion: MotionSource = "frame"
    in_paper: bool = True

    def applied_to(self, base: Experiment) -> Experiment:
        """The base experiment with these changes."""
        if self.name == FULL:
            return base
        return replace(
            base,
            name=f"{base.name}_{self.name}",
            summary=f"{base.name}, but {self.summary}",
            model=replace(base.model, fusion=self.fusion, motion=self.motion),
            point_loss=self.point_loss,
            adversarial=self.adversarial,
        )


def _fusion(name: str, label: str, summary: str, row: str | None = None, **changed) -> Variant:
    """A fusion, and its rows in Tables 4 and 6; without `row` it is not in the paper."""
    where = "not in the paper" if row is None else "Tables 4 and 6"
    rows = dict.fromkeys((4, 6), row or f"{label} (not in the paper)")
    summary = f"{summary} ({where})"
    return Variant(name, label, summary, rows, fusion=name, in_paper=row is not None, **changed)


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(
            FULL, "Dynamic", "the whole method",
            dict.fromkeys((1, 2, 3), "Ours") | {4: "Dynamic", 5: "✓ ✓", 6: "Dynamic"},
        ),
        _fusion("center", "Center", "no fusion, each frame by itself", "Center"),
        _fusion("average", "Average", "all frames' poses count alike", "Average"),
        _fusion("occlusion", "Weighted", "frames weighted by what is seen of the hand",
                "Weighted (Occlusion Level)"),
        _fusion("nearby", "Nearby", "nearer frames count more"),
        _fusion("pairwise", "Pairwise", "confidences and motions of pairs of frames",
                motion="step"),
        Variant("noadv", "no discriminator", "no motion discrimination (Table 5)", {5: "✓ ✗"},
                adversarial=False),
        Variant("mse", "MSE", "MSE for maxMSE (Table 5)", {5: "✗ ✓"}, point_loss="mse"),
        Variant("mse_noadv", "MSE, no discriminator",
                "MSE for maxMSE, no motion discrimination (Table 5)", {5: "✗ ✗"},
                point_loss="mse", adversarial=False),
    )
}  # fmt: skip
"""Every fusion and ablation; `deformer.network.fusion` implements the fusions."""


CHOICES = ("fusion", "motion", "point_loss", "adversarial")
"""What variants differ in: fields of a `Variant`."""


def choices_of(experiment: Experiment) -> dict[str, str | bool]:
    """`CHOICES` of an experiment."""
    return {
        "fusion": experiment.model.fusion,
        "motion": experiment.model.motion,
        "point_loss": experiment.point_loss,
        "adversarial": experiment.adversarial,
    }


def variant_of(choices: dict[str, str | bool]) -> Variant | None:
    """The variant with these `CHOICES`; None where no variant makes them together."""
    for variant in VARIANTS.values():
        if all(getattr(variant, name) == choices[name] for name in CHOICES):
            return variant
    return None
