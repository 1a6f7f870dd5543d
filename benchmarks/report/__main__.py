"""One page for a newcomer, in one file: what was measured, on which data, and how.

    python -m benchmarks.report [--results results] [--runs runs] [--data shards/NAME …]
        [--out results/report.html] [--keep FOLDER]

The page has predicted hands, data, trainings, tables, the paper's claims, figures and commands. For
everything that is missing it gives the command that measures it. It needs no network and no script,
reads well on a phone, and prints.

--keep also writes a folder for the repository: a page in Markdown, evaluations.csv, the tables that
have measured rows, three figures. It replaces a folder that it wrote before and refuses any other.
Give paths relative to the repository's root, in this command and in all that it reports.

Exit status: 0 all is written, 1 a file cannot be read or kept, or a run is there twice.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evaluation.result import nothing_measured
from benchmarks.report.content import read_measured
from benchmarks.report.keep import check_can_keep, write_kept_folder
from benchmarks.report.pages import report_page
from deformer.files.whole import write_whole
from deformer.program.console import PlainConsole, run_program, this_command


@dataclass(frozen=True)
class Options:
    """Where evaluations, runs and datasets are and where the page goes."""

    results: Path = Path("results")
    """Every evaluation.json under it is read."""
    runs: Path = Path("runs")
    """Every log.jsonl under it is read."""
    data: tuple[Path, ...] = ()
    """Folders of datasets; by default the evaluated ones, or if there are none all in shards."""
    out: Path | None = None
    """The page; by default report.html in the folder of the results."""
    keep: Path | None = None
    """Also write this folder, to be kept in the repository."""
    mano_dir: Path | None = None
    """The folder with MANO's files; by default the folder in $MANO_DIR."""


def run(options: Options) -> None:
    """Write the page, and the folder to keep; print where they are."""
    console = PlainConsole()
    with console.status("writing the report"):
        measured = read_measured(options.results, options.runs, options.data)
        command = this_command("benchmarks.report")
        if options.keep is not None:
            check_can_keep(measured, options.keep, command)
        out = options.out or options.results / "report.html"
        write_whole(out, report_page(measured, options.runs, options.mano_dir, command))
        if options.keep is not None:
            write_kept_folder(measured, options.keep, command)
    console.print(f"{out}: {out.stat().st_size / 1e6:.1f} MB", soft_wrap=True)
    if not measured.evaluations:
        console.print(nothing_measured(options.results), soft_wrap=True)
    if options.keep is not None:
        console.print(f"{options.keep / 'README.md'}, and small files beside it", soft_wrap=True)


def main() -> int:
    return run_program(run, Options, "benchmarks.report", __doc__)


if __name__ == "__main__":
    sys.exit(main())
