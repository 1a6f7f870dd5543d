"""Write the model of a run as one small file, in half precision.

    python -m deformer.weights --checkpoint runs/lite --out lite.safetensors
    python -m deformer.weights --checkpoint runs/a runs/b runs/c --out mean.safetensors

Several models become their mean, each array by itself. Where they began alike and learned the same
task, the mean errs less than each of them, because the noise of their last steps cancels.
Source: Wortsman et al., "Model soups", ICML 2022.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from deformer.program.console import run_program
from deformer.training.checkpoint import file_sha256
from deformer.training.weights_file import SUFFIX, mean_model, open_model, write_weights


@dataclass(frozen=True)
class Options:
    """The model to write, and the file."""

    checkpoint: tuple[Path, ...]
    """A run, one of its checkpoints, or weights; several for their mean, which is written with the
    last one's experiment."""
    out: Path
    """The file, ending in .safetensors."""
    which: str = "last"
    """Which checkpoint of the run: last, best, or a step."""

    def __post_init__(self) -> None:
        if not self.checkpoint:
            raise ValueError("--checkpoint needs one at least")
        if self.out.suffix != SUFFIX:
            raise ValueError(f"--out {self.out} must end in {SUFFIX}")


def run(options: Options) -> None:
    models = [open_model(source, options.which) for source in options.checkpoint]
    write_weights(options.out, mean_model(models))
    size = options.out.stat().st_size
    print(f"{options.out}: {size / 1e6:.1f} MB, sha256 {file_sha256(options.out)}")


def main() -> int:
    return run_program(run, Options, "deformer.weights", __doc__)


if __name__ == "__main__":
    sys.exit(main())
