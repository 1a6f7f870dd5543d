"""Measure the speed of every part of the work, in one run, beside its floor.

    python -m benchmarks.speed                             # all parts, on drawn data: some minutes
    python -m benchmarks.speed --only stream --data shards/dexycb
    python -m benchmarks.speed model --data shards/demo --experiments dexycb dexycb_fast
    python -m benchmarks.speed networks --base lite_video        # the whole method and its rivals

Without a name all parts are measured, or those of --only, and a table is printed. `model` measures
training steps, on a GPU if there is one; `networks` what each network costs. All write what they
measured to `results/speed` as JSON.
Machines are noisy: times are of the processor where that is possible, and medians of several.
"""

import sys

import tyro

from benchmarks.speed import model, networks, parts
from benchmarks.speed.figure import write_measured
from deformer.program.console import run_command

SUBCOMMANDS = {
    "parts": parts.Parts,
    "model": model.ModelSpeed,
    "networks": networks.NetworksCost,
}
MEASURE = {
    parts.Parts: parts.measure_parts,
    model.ModelSpeed: model.measure_model,
    networks.NetworksCost: networks.measure_networks,
}


def parse(arguments: list[str]) -> parts.Parts | model.ModelSpeed | networks.NetworksCost:
    """Options without the name of a subcommand are those of `parts`."""
    is_named = bool(arguments) and arguments[0] in (*SUBCOMMANDS, "-h", "--help")
    return tyro.extras.subcommand_cli_from_dict(
        SUBCOMMANDS,
        prog="python -m benchmarks.speed",
        description=__doc__,
        args=arguments if is_named else ["parts", *arguments],
        config=(tyro.conf.OmitArgPrefixes,),
    )


def run() -> None:
    config = parse(sys.argv[1:])
    name = next(name for name, kind in SUBCOMMANDS.items() if type(config) is kind)
    print(write_measured(config.out / f"{name}.json", MEASURE[type(config)](config)), end="")


def main() -> int:
    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
