"""How fast it is, where the time goes, and what memory it takes.

    python -m benchmarks.speed pipeline --root data/demo/dexycb
    python -m benchmarks.speed stream --data shards/demo
    python -m benchmarks.speed model --data shards/demo --experiments dexycb dexycb_fast

Each prints a table and writes JSON to `results/speed`. Medians over the repeats, because machines
are noisy.
"""

import json
import sys

import tyro
from rich.table import Table

from benchmarks.speed import model, pipeline, stream
from deformer.files.whole import write_whole
from deformer.program.console import PlainConsole, run_command

MEASURES = {
    "pipeline": (pipeline.Pipeline, pipeline.measure_pipeline, pipeline.rows),
    "stream": (stream.StreamSpeed, stream.measure_stream, stream.rows),
    "model": (model.ModelSpeed, model.measure_model, model.rows),
}


def run() -> None:
    kinds = {name: kind for name, (kind, _, _) in MEASURES.items()}
    config = tyro.extras.subcommand_cli_from_dict(
        kinds,
        prog="python -m benchmarks.speed",
        description=__doc__,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    name = next(name for name, kind in kinds.items() if isinstance(config, kind))
    _, measure, rows = MEASURES[name]
    result = measure(config)
    table = Table(title=f"{name} on {result['machine']}", show_header=False)
    for row in rows(result):
        table.add_row(*row)
    PlainConsole(stderr=False).print(table)
    write_whole(config.out / f"{name}.json", json.dumps(result, indent=1) + "\n")


def main() -> int:
    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
