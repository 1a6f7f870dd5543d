"""Measure speed and memory of preprocessing, of reading shards, of training steps, and of networks.

    python -m benchmarks.speed pipeline --root data/demo/dexycb
    python -m benchmarks.speed stream --data shards/demo
    python -m benchmarks.speed model --data shards/demo --experiments dexycb dexycb_fast
    python -m benchmarks.speed step --data shards/demo           # where its time goes, on a CPU
    python -m benchmarks.speed networks --base lite_video        # the whole method and its rivals

Each prints its measurements as JSON and writes them to `results/speed`. Values are medians over
repeats, because machines are noisy.
"""

import json
import sys

import tyro

from benchmarks.speed import model, networks, pipeline, step, stream
from deformer.files.whole import write_whole
from deformer.program.console import run_command

SUBCOMMANDS = {
    "pipeline": pipeline.Pipeline,
    "stream": stream.StreamSpeed,
    "model": model.ModelSpeed,
    "step": step.StepShares,
    "networks": networks.NetworksCost,
}
MEASURE = {
    pipeline.Pipeline: pipeline.measure_pipeline,
    stream.StreamSpeed: stream.measure_stream,
    model.ModelSpeed: model.measure_model,
    step.StepShares: step.measure_step,
    networks.NetworksCost: networks.measure_networks,
}


def run() -> None:
    config = tyro.extras.subcommand_cli_from_dict(
        SUBCOMMANDS,
        prog="python -m benchmarks.speed",
        description=__doc__,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    name = next(name for name, kind in SUBCOMMANDS.items() if type(config) is kind)
    text = json.dumps(MEASURE[type(config)](config), indent=1)
    print(text)
    write_whole(config.out / f"{name}.json", text + "\n")


def main() -> int:
    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
