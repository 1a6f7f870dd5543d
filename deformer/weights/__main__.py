"""Write the model of a run as one small file, in half precision.

python -m deformer.weights --checkpoint runs/lite --out lite.safetensors
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from deformer.program.console import run_program
from deformer.training.checkpoint import file_sha256, load_checkpoint
from deformer.training.weights_file import SUFFIX, write_weights


@dataclass(frozen=True)
class Options:
    """The model to write, and the file."""

    checkpoint: Path
    """A run, or one of its checkpoints."""
    out: Path
    """The file, ending in .safetensors."""
    which: str = "last"
    """Which checkpoint of the run: last, best, or a step."""

    def __post_init__(self) -> None:
        if self.out.suffix != SUFFIX:
            raise ValueError(f"--out {self.out} must end in {SUFFIX}")


def run(options: Options) -> None:
    write_weights(options.out, load_checkpoint(options.checkpoint, options.which, ("model",)))
    size = options.out.stat().st_size
    print(f"{options.out}: {size / 1e6:.1f} MB, sha256 {file_sha256(options.out)}")


def main() -> int:
    return run_program(run, Options, "deformer.weights", __doc__)


if __name__ == "__main__":
    sys.exit(main())
