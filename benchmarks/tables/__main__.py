"""Tables 1-6 of the paper: published and measured rows, each labelled as such.

    python -m benchmarks.tables [--results results] [--out results/tables]

Reads every evaluation.json under `--results`, writes table1.md, .csv, .tex … table6.tex, and prints
the Markdown. Measured rows are separate from published ones: first recordings, then synthetic data,
which always carry the mark †. For rows without a measurement it gives the command that measures
them.

Exit status: 0 all well, 1 an evaluation cannot be read, or a run is there twice.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evaluation.result import find_evaluations
from benchmarks.tables.render import to_csv, to_latex, to_markdown
from benchmarks.tables.rows import fill_tables
from deformer.files.whole import write_whole
from deformer.program.console import PlainConsole, run_program


@dataclass(frozen=True)
class Options:
    """Where evaluations are and where tables go."""

    results: Path = Path("results")
    """Every evaluation.json under it is read."""
    out: Path | None = None
    """The folder of the tables; by default tables in the folder of the results."""


def run(options: Options) -> None:
    """Write the tables, and print them."""
    console = PlainConsole()
    evaluations = find_evaluations(options.results)
    out = options.out or options.results / "tables"
    for filled in fill_tables(evaluations.values()):
        for suffix, write in ((".md", to_markdown), (".csv", to_csv), (".tex", to_latex)):
            path = out / f"table{filled.table.number}{suffix}"
            write_whole(path, write(filled))
        print(to_markdown(filled))
    words = f"{out}: six tables as .md, .csv and .tex, of {len(evaluations)} evaluations"
    console.print(words, soft_wrap=True)
    if not evaluations:
        console.print(
            f"{options.results} holds no evaluation.json: the tables show the published rows only, "
            "and under each table the commands that measure its rows",
            soft_wrap=True,
        )


def main() -> int:
    return run_program(run, Options, "benchmarks.tables", __doc__)


if __name__ == "__main__":
    sys.exit(main())
