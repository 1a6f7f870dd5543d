"""How fast it is, where the time goes, and what memory it takes.

    python -m benchmarks.speed pipeline --root data/demo/dexycb
    python -m benchmarks.speed stream --data shards/demo
    python -m benchmarks.speed model --data shards/demo --experiments dexycb dexycb_fast

Each prints a table and writes JSON to `results/speed`. Medians over the repeats, because machines
are noisy.
"""

import sys

import tyro

from benchmarks.speed.model import run_model
from benchmarks.speed.pipeline import run_pipeline
from benchmarks.speed.stream import run_stream
from deformer.program.console import run_command


def main() -> int:
    commands = {"pipeline": run_pipeline, "stream": run_stream, "model": run_model}
    return run_command(
        lambda: tyro.extras.subcommand_cli_from_dict(
            commands, description=__doc__, config=(tyro.conf.OmitArgPrefixes,)
        )
    )


if __name__ == "__main__":
    sys.exit(main())
