"""What the paper claims, tested on the runs there are: holds, does not hold, too noisy to say.

    python -m benchmarks.claims [--results results] [--data shards/NAME …] [--out results/tables]

For each claim of Tables 4 and 5 and of Figure 3, and for questions that the paper has no number
for, two kinds of runs are compared frame by frame, on the same frames of the same split of the same
build, over all seeds that both have; verdicts are corrected for how many there are. Writes
claims.md and claims.csv. Runs are compared if they are of one experiment and its ablations, and
were trained alike and equally long. Exit status: 0 all well, 1 a file that cannot be read, the same
run twice, or runs of which none has its frames here.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.table import Table

from benchmarks.claims.findings import Block, Finding, judge_all
from benchmarks.claims.render import (
    NOTHING,
    difference_text,
    heading,
    sentence,
    to_csv,
    to_markdown,
)
from benchmarks.evaluation.result import find_evaluations
from benchmarks.evaluation.scored import load_scored, print_problems
from deformer.files.whole import write_whole
from deformer.program.console import PlainConsole, run_command

_console = PlainConsole()


@dataclass(frozen=True)
class Options:
    """Where evaluations and datasets are, and where the claims go."""

    results: Path = Path("results")
    """Every evaluation.json under it is read, with its predictions.parquet."""
    data: tuple[Path, ...] = ()
    """Folders of datasets; by default shards/NAME, as the evaluation names it."""
    out: Path | None = None
    """The folder of claims.md and claims.csv; by default tables in the folder of the results."""


def print_block(block: Block, findings: list[Finding]) -> None:
    """Of each measured claim of a block the verdict; and how many there are of each."""
    lines = Table.grid(padding=(0, 2))
    for _ in range(2):
        lines.add_column(no_wrap=True)
    for finding in findings:
        if finding.is_measured:
            claim = finding.claim
            words = f"{claim.label}: {sentence(claim)} ({claim.measure})"
            lines.add_row(finding.verdict, difference_text(finding.estimate), words)
    counts = Counter(f.verdict if f.is_measured else "not measured" for f in findings)
    words = ", ".join(f"{verdict}: {count}" for verdict, count in sorted(counts.items()))
    _console.print(f"{heading(block)}:", soft_wrap=True)
    _console.print(lines)
    _console.print(words, soft_wrap=True)


def run(options: Options) -> int:
    """Judge all claims, write and print what became of them; returns the exit status."""
    found = find_evaluations(options.results)
    scored, problems = load_scored(found, options.results, options.data)
    judged = judge_all(scored)
    out = options.out or options.results / "tables"
    for suffix, write in ((".md", to_markdown), (".csv", to_csv)):
        write_whole(out / f"claims{suffix}", write(judged))
    for block, findings in judged:
        print_block(block, findings)
    print_problems(problems, _console)
    if not any(finding.is_measured for _, findings in judged for finding in findings):
        _console.print(f"{options.results}: {NOTHING}", soft_wrap=True)
    words = f"{out / 'claims.md'} and claims.csv, of {len(scored)} runs"
    _console.print(words, soft_wrap=True)
    return 1 if problems and not scored else 0


def main() -> int:
    prog = "python -m benchmarks.claims"
    return run_command(lambda: run(tyro.cli(Options, prog=prog, description=__doc__)))


if __name__ == "__main__":
    sys.exit(main())
