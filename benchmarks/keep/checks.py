"""Nothing is kept that means something on this machine only, or that cannot be compared."""

import re
import shlex
from dataclasses import asdict

from benchmarks.evaluation.result import Run
from benchmarks.evaluation.scored import start_of
from benchmarks.material import Material
from benchmarks.repeat import training_commands

_ABSOLUTE = re.compile(r"(?:^|=)(?:/|~|\\|[A-Za-z]:[\\/]|file:)")


def check_paths(material: Material) -> None:
    """Raises `ValueError` for a path that means something on this machine only."""
    for name, evaluation in material.evaluations.items():
        about = [*asdict(evaluation.run).values(), *asdict(evaluation.data).values()]
        about += [start_of(evaluation.run)] if isinstance(evaluation.run, Run) else []
        for word in [*about, *shlex.split(evaluation.command)]:
            if isinstance(word, str):
                check_relative(f"evaluation {name}", word)
    for seed, command in training_commands(material):
        for word in shlex.split(command):
            name = re.search("--experiment ([^ ]+)", command)[1]
            check_relative(f"the training of {name}, seed {seed},", word)


def check_relative(what: str, word: str) -> None:
    """Raises `ValueError` for an absolute path; what: names it."""
    if _ABSOLUTE.search(word):
        raise ValueError(
            f"{what} names {word}, an absolute path, which says nothing elsewhere: run all "
            "commands from the repository's root with relative paths, as --data shards/NAME --out "
            "results/NAME/RUN, this one too"
        )


def check_frames(material: Material) -> None:
    """Raises `ValueError` where the frames of a run are not here."""
    for name, why in material.problems.items():
        raise ValueError(
            f"{name} cannot be compared frame by frame ({why}), and is not kept without that: make "
            "it whole, or take it away"
        )
