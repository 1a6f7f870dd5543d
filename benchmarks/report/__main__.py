"""One page that says what was measured, on which data, and how: for a newcomer, in one file.

    python -m benchmarks.report [--results results] [--runs runs] [--data shards/NAME …]
        [--out results/report.html]

Data, training, tables, the paper's claims, figures, the window that fusion helps most, the worst
failures, versions and commands, and what was not measured with the command that measures it. The
page needs no network and no script; it is read on a phone and printed. What is missing is said,
with what to run. Exit status: 0 the page is written, 1 a file that cannot be read, or the same run
twice.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.material import gather
from benchmarks.report import sections
from benchmarks.report.html_parts import Section, page
from deformer.files.whole import write_whole
from deformer.program.console import PlainConsole, run_command

TITLE = "Deformer: 3D hands from video, measured"
_SECTIONS = (
    ("about", "What this is", sections.about),
    ("data", "The data", sections.data_section),
    ("training", "The training", sections.training_section),
    ("tables", "The tables", sections.tables_section),
    ("claims", "What the paper claims, on these runs", sections.claims_section),
    ("figures", "The figures", sections.figures_section),
    ("how", "How it was made", sections.how_section),
    ("missing", "What was not measured", sections.missing_section),
)
_console = PlainConsole()


@dataclass(frozen=True)
class Options:
    """Where evaluations, runs and datasets are, and where the page goes."""

    results: Path = Path("results")
    """Every evaluation.json under it is read."""
    runs: Path = Path("runs")
    """Every log.jsonl under it is read."""
    data: tuple[Path, ...] = ()
    """Folders of datasets; by default those that were evaluated, or else all of shards."""
    out: Path | None = None
    """The page; by default report.html in the folder of the results."""
    mano_dir: Path | None = None
    """The folder with MANO's files; by default what $MANO_DIR names."""


def write_report(options: Options) -> Path:
    """Write the page; returns its path."""
    material = gather(options.results, options.runs, options.data, options.mano_dir)
    written = []
    with _console.status("writing the report") as status:
        for key, title, write in _SECTIONS:
            status.update(f"writing the report: {title.lower()}")
            written.append(Section(key, title, write(material)))
    foot = "Written by python -m benchmarks.report. This page holds all that it shows."
    out = options.out or options.results / "report.html"
    write_whole(out, page(TITLE, sections.top(material), written, foot))
    return out


def run(options: Options) -> None:
    """Write the page, and say where it is."""
    out = write_report(options)
    _console.print(f"{out}: {out.stat().st_size / 1e6:.1f} MB", soft_wrap=True)


def main() -> int:
    prog = "python -m benchmarks.report"
    return run_command(lambda: run(tyro.cli(Options, prog=prog, description=__doc__)))


if __name__ == "__main__":
    sys.exit(main())
