"""How fast it is, where the time goes, and what memory it takes.

    python -m benchmarks.speed pipeline --root data/demo/dexycb
    python -m benchmarks.speed stream --data shards/demo
    python -m benchmarks.speed model --data shards/demo --experiments dexycb dexycb_fast

Each prints what it measured, as JSON, and writes it to `results/speed`. Medians over the repeats,
because machines are noisy.
"""

import json
import sys

import tyro

from benchmarks.speed import model, pipeline, stream
from deformer.files.whole import write_whole
from deformer.program.console import run_command

MEASURES = {
    "pipeline": (pipeline.Pipeline, pipeline.measure_pipeline),
    "stream": (stream.StreamSpeed, stream.measure_stream),
    "model": (model.ModelSpeed, model.measure_model),
}


def run() -> None:
    kinds = {name: kind for name, (kind, _) in MEASURES.items()}
    config = tyro.extras.subcommand_cli_from_dict(
        kinds,
        prog="python -m benchmarks.speed",
        description=__doc__,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    name = next(name for name, kind in kinds.items() if isinstance(config, kind))
    text = json.dumps(MEASURES[name][1](config), indent=1)
    print(text)
    write_whole(config.out / f"{name}.json", text + "\n")


def main() -> int:
    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
