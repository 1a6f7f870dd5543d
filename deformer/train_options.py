"""Options of `deformer.train`: inputs, outputs, and the fields of the experiment."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from deformer.data.store import DEFAULT_CACHE
from deformer.experiments import describe_experiments, get_experiment
from deformer.program.least import check_least
from deformer.training.experiment import Experiment


@dataclass(frozen=True)
class Options:
    """Inputs and outputs of a run; `config` is the experiment."""

    data: str
    """A built dataset: a folder, or any fsspec URL."""
    experiment: str = "dexycb"
    """Name of the experiment; "help" lists them. One of another package has its package's name
    before it: benchmarks.rivals:tiny_vibe."""
    out: Path | None = None
    """The run's folder; by default runs/<experiment>."""
    config: Annotated[Experiment, tyro.conf.arg(name="")] = field(
        default_factory=lambda: get_experiment("dexycb")
    )
    steps: int | None = None
    """Stop after this many steps instead of the experiment's epochs."""
    resume: bool = False
    """Continue from the last checkpoint in --out; start if there is none."""
    mano_dir: Path | None = None
    """The folder of MANO_RIGHT.pkl and MANO_LEFT.pkl; by default $MANO_DIR. Shards of the stand-in
    hand need none."""
    workers: int = 2
    """Processes per rank that read ahead; 0 reads in the training process."""
    device: Literal["cpu", "cuda"] | None = None
    """By default a GPU if there is one."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """auto: bf16 autocast on a GPU, float32 on a CPU."""
    compile: bool = False
    """torch.compile the spatial half."""
    cuda_graph: bool = False
    """Record a step once and replay it: several times faster for small networks, whose kernels
    otherwise start one by one. For one GPU. Repeated frames of a window are encoded again."""
    log_every: int = 10
    """Steps between lines of the log."""
    save_every: int = 1000
    """Steps between checkpoints; every validation and the last step add one."""
    keep: int = 2
    """Checkpoints to keep besides the best."""
    cache: Path = DEFAULT_CACHE
    """Folder for shards of a remote dataset."""
    cache_gb: float = 64.0
    """Size of that cache."""

    def __post_init__(self) -> None:
        check_least(self, "--", steps=1, workers=0, log_every=1, save_every=1, keep=1)

    @property
    def run(self) -> Path:
        return self.out or Path("runs") / self.config.name


def parse(arguments: list[str], description: str = "") -> Options:
    """Options from the command line; --experiment selects the defaults of the experiment's fields.

    description: of the program, for --help. Raises `ValueError` for an unknown experiment or a
    forbidden value.
    """
    name = "dexycb"
    for i, argument in enumerate(arguments):
        if argument == "--experiment" and i + 1 < len(arguments):
            name = arguments[i + 1]
        elif argument.startswith("--experiment="):
            name = argument.partition("=")[2]
    if name == "help":
        print(describe_experiments())
        sys.exit(0)
    default = Options(data=tyro.MISSING, experiment=name, config=get_experiment(name))
    return tyro.cli(
        Options, default=default, args=arguments, prog="python -m deformer.train",
        description=description, config=(tyro.conf.FlagCreatePairsOff,),
    )  # fmt: skip
