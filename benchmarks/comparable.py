"""Which runs may be compared, and what they then differ in.

They may if they are of one experiment and its ablations, were trained alike and equally long and
are evaluated alike (`setup_of`); then they differ in what ablations change (`kind_of`) and by the
seed.
"""

from dataclasses import dataclass, fields

from benchmarks.evaluation import Run
from deformer.experiments import base_of


@dataclass(frozen=True)
class Kind:
    """What ablations differ in; the whole method where nothing is said."""

    fusion: str = "dynamic"
    point_loss: str = "max_mse"
    adversarial: bool = True

    def experiment(self, base: str) -> str:
        """The preset that trains it, as `tiny_mse_noadv`."""
        parts = [] if self.fusion == "dynamic" else [self.fusion]
        parts += [] if self.point_loss == "max_mse" else [self.point_loss]
        parts += [] if self.adversarial else ["noadv"]
        return "_".join([base, *parts])


@dataclass(frozen=True, order=True)
class Setup:
    """What runs that are compared have in common."""

    base: str
    """The experiment's name without an ablation."""
    step: int
    hand: str
    trained_on: str
    precision: str
    config: str
    """Hash of all else that shaped them."""


def kind_of(run: Run) -> Kind:
    return Kind(run.fusion, run.point_loss, run.adversarial)


def setup_of(run: Run) -> Setup:
    return Setup(
        base_of(run.experiment), run.step, run.hand, run.trained_on, run.precision, run.config
    )


def setup_differences(one: Setup, other: Setup) -> list[str]:
    """In what one differs from the other, as `step 300, not 600`."""
    names = [f.name for f in fields(Setup) if getattr(one, f.name) != getattr(other, f.name)]
    return [
        "another configuration"
        if name == "config"  # a hash tells nobody anything
        else f"{name.replace('_', ' ')} {getattr(one, name)}, not {getattr(other, name)}"
        for name in names
    ]
