"""Draw error by occlusion and PCK for every split, predicted hands and a window for every run.

    python -m benchmarks.figures [--results results] [--data shards/NAME …] [--out results/figures]

Reads each evaluation.json with its predictions.parquet and the dataset, and writes every figure as
PDF, SVG and PNG. Methods without a checkpoint have no frames to draw. Every title says if the data
are synthetic.

Exit status: 0 all well, 1 there are runs but nothing could be drawn, a run is there twice, or a
file cannot be read.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from benchmarks.evaluation.result import find_evaluations, nothing_measured
from benchmarks.evaluation.scored import load_scored, print_problems
from benchmarks.figures.catalogue import draw_all
from benchmarks.figures.style import FORMATS, save_figure
from deformer.program.console import PlainConsole, run_program


@dataclass(frozen=True)
class Options:
    """Where evaluations and datasets are and where figures go."""

    results: Path = Path("results")
    """Every evaluation.json under it is read."""
    data: tuple[Path, ...] = ()
    """Folders of datasets; by default shards/NAME with the name in the evaluation."""
    out: Path | None = None
    """The folder of the figures; by default figures in the folder of the results."""
    mano_dir: Path | None = None
    """The folder with MANO's files; by default the folder in $MANO_DIR."""


def run(options: Options) -> int:
    """Write the figures; returns the exit status."""
    console = PlainConsole()
    found = find_evaluations(options.results)
    scored, problems = load_scored(found, options.results, options.data)
    out = options.out or options.results / "figures"
    count = 0
    drawn = draw_all(scored, options.mano_dir, problems)
    for item in track(drawn, "drawing", console=console, disable=not scored):
        save_figure(item.figure, out / item.name)
        count += 1
    print_problems(problems, console)
    if not found:
        console.print(nothing_measured(options.results), soft_wrap=True)
        return 0
    words = f"{out}: {count} figures as {', '.join(FORMATS)}, of {len(scored)} runs"
    console.print(words, soft_wrap=True)
    return 1 if problems and not count else 0


def main() -> int:
    return run_program(run, Options, "benchmarks.figures", __doc__)


if __name__ == "__main__":
    sys.exit(main())
