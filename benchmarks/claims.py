"""What the paper claims, tested on the runs there are: holds, does not hold, too noisy to say.

    python -m benchmarks.claims [--results results] [--data shards/NAME …] [--out results/tables]

For each claim of Tables 4 and 5 and of Figure 3, and for questions that the paper has no number
for, two kinds of runs are compared frame by frame, on the same frames of the same split of the same
build, over all seeds that both have. Writes claims.md and claims.csv. Runs are compared if they are
of one experiment and its ablations, and were trained alike and equally long. Exit status: 0 all
well, 1 a file that cannot be read, runs that cannot be compared, or evaluations none of which has
its frames here.
"""

import csv
import io
import statistics
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.evaluation import find_evaluations
from benchmarks.figures.scored import load_scored
from benchmarks.figures.style import provenance, signed
from benchmarks.findings import Block, Finding, Judged, judge_all, seeds_text
from benchmarks.paired import Estimate
from benchmarks.render import grid
from benchmarks.rows import DASH

NOTHING = (
    "Nothing to compare yet: that takes runs that differ in one choice, at the same step (evaluate "
    "with --which last). They are made by: python -m benchmarks.ablations --preset tiny --data "
    "shards/NAME"
)

CSV_COLUMNS = (
    "source", "claim", "metric", "statistic", "occlusion", "unit", "first", "first_deviation",
    "second", "second_deviation", "difference", "low", "high", "published", "per_seed", "seeds",
    "frames", "sequences", "verdict", "synthetic", "dataset", "data", "split", "experiment", "step",
    "hand", "trained_on", "precision", "config", "first_results", "second_results",
)  # fmt: skip
"""One line per claim and block. low and high: 95 % interval of the difference, first −
second; published: that difference as the paper prints it."""


_console = Console(stderr=True)


@dataclass(frozen=True)
class Options:
    """Where evaluations and datasets are, and where the claims go."""

    results: Path = Path("results")
    """Every evaluation.json under it is read, with its predictions.parquet."""
    data: tuple[Path, ...] = ()
    """Folders of datasets; by default shards/NAME, as the evaluation names it."""
    out: Path | None = None
    """The folder of claims.md and claims.csv; by default tables in the folder of the results."""


LEGEND = (
    "Each line compares two kinds of runs on the same frames; first and second are the kinds in "
    "the order of the sentence, ± is the standard deviation over seeds. The difference, first − "
    "second, is negative where the sentence is right; Paper is the one that the paper prints, of "
    "its own recordings and models. The 95 % interval is over recordings and, with several seeds, "
    "over chance in the part of the training that the runs do not share. A sentence holds if the "
    "whole interval is below 0, does not hold if it is above, and is too noisy to say otherwise. "
    "That covers small differences too: the interval tells how large one could be. One seed: the "
    "interval knows nothing of chance in training, another seed may tell otherwise. Of two seeds "
    "that chance is hardly known, so intervals are wide; three or more are better. With ten or "
    "fewer recordings intervals are a little narrow: one in ten misses, not one in twenty. At 95 % "
    "about one line in twenty is chance, and lines are not independent: many are of the same runs "
    "and the same frames."
)
"""Of `SHORT_HEAD` and of claims.md, plain text."""


def heading(block: Block) -> str:
    """Experiment and data of a block, in a line."""
    return f"{block.base}, step {block.like.step:,} · {provenance(block.data)}"


def runs_text(block: Block) -> str:
    """The runs of a block by kind, with their seeds, and what they began with, as sentences."""
    kinds = (f"{kind.experiment(block.base)} ({seeds_text(s)})" for kind, s in block.runs.items())
    text = f"Runs: {', '.join(kinds)}."
    if known := sorted(block.starts - {None}):
        who = "All" if len(block.starts) == 1 else "Some"
        text += f" {who} began with the model of {' or of '.join(known)}."
    return text


def to_markdown(results: Judged) -> str:
    """All blocks, each with its data, its runs and a table."""
    parts = ["# The paper's claims on the runs there are", LEGEND]
    for block, findings in results:
        run = block.like
        words = [f"hand {run.hand}", f"trained on {run.trained_on}", run.precision,
                 f"configuration {run.config}"]  # fmt: skip
        parts += [f"## {heading(block)}", f"{'; '.join(words)}. {runs_text(block)}"]
        if block.data.synthetic:
            parts.append("**Synthetic data**: what holds here need not hold on recordings.")
        if not any(finding.is_measured for finding in findings):
            parts.append(NOTHING)
            continue
        head = (*SHORT_HEAD[:-1], "By seed", "Frames (recordings)", "Verdict")
        parts.append(grid(head, map(_markdown_line, findings)))
    if not results:
        parts.append(NOTHING)
    return "\n\n".join(parts) + "\n"


def _markdown_line(finding: Finding) -> tuple[str, ...]:
    e = finding.estimate
    *about, verdict = short_line(finding)
    if e is None:
        return (*about, DASH, DASH, verdict)
    by_seed = zip(finding.seeds, e.per_seed, strict=True)
    return (
        *about,
        ", ".join(f"{seed}: {signed(value, 3)}" for seed, value in by_seed),
        f"{e.num_frames:,} ({e.num_sequences:,})",
        verdict,
    )


SHORT_HEAD = (
    "Source", "Claim", "Measure", "First", "Second", "Difference [95 %]", "Paper", "Verdict",
)  # fmt: skip


def short_line(finding: Finding) -> tuple[str, ...]:
    """A claim in a line under `SHORT_HEAD`."""
    claim, e = finding.claim, finding.estimate
    numbers = (DASH,) * 3
    if e is not None:
        numbers = (mean_text(e.one), mean_text(e.other), difference_text(e))
    published = DASH if claim.published is None else signed(claim.published, 2)
    return (
        claim.source, claim.sentence, claim.measure, *numbers, published, finding.verdict,
    )  # fmt: skip


def mean_text(values: tuple[float, ...]) -> str:
    """Of the values of seeds, mean ± standard deviation: `9.51 ± 0.03`."""
    text = f"{statistics.fmean(values):.2f}".replace("-", "−")
    return f"{text} ± {statistics.stdev(values):.2f}" if len(values) > 1 else text


def difference_text(estimate: Estimate) -> str:
    """With its interval, where one is known: `−0.100 [−0.200, −0.050]`."""
    text = signed(estimate.difference, 3)
    if estimate.interval is None:
        return text
    return f"{text} [{', '.join(signed(limit, 3) for limit in estimate.interval)}]"


def to_csv(results: Judged) -> str:
    """A line per block and claim, measured or not; a number that is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for block, findings in results:
        run, data = block.like, block.data
        about = {
            "synthetic": "yes" if data.synthetic else "no", "dataset": data.dataset,
            "data": data.name, "split": data.split, "experiment": block.base, "step": run.step,
            "hand": run.hand, "trained_on": run.trained_on, "precision": run.precision,
            "config": run.config,
        }  # fmt: skip
        for finding in findings:
            writer.writerow(about | _claim_fields(finding) | _number_fields(block, finding))
    return text.getvalue()


def _claim_fields(finding: Finding) -> dict[str, str]:
    claim, other = finding.claim, finding.claim.other_occlusion
    return {
        "source": claim.source,
        "claim": claim.sentence,
        "metric": claim.metric,
        "statistic": claim.statistic,
        "occlusion": claim.occlusion if other is None else f"{claim.occlusion} - {other}",
        "unit": claim.unit,
        "published": "" if claim.published is None else f"{claim.published:.2f}",
        "verdict": finding.verdict,
    }


def _number_fields(block: Block, finding: Finding) -> dict[str, object]:
    e, seeds = finding.estimate, finding.seeds
    if e is None:
        return {}
    several = len(seeds) > 1
    numbers = {
        "first": statistics.fmean(e.one),
        "first_deviation": statistics.stdev(e.one) if several else None,
        "second": statistics.fmean(e.other),
        "second_deviation": statistics.stdev(e.other) if several else None,
        "difference": e.difference,
        "low": e.interval[0] if e.interval else None,
        "high": e.interval[1] if e.interval else None,
    }
    results = {
        column: " ".join(block.runs[kind][seed].name for seed in seeds)
        for column, kind in (("first_results", finding.claim.better),
                             ("second_results", finding.claim.worse))
    }  # fmt: skip
    return results | {
        **{name: "" if value is None else f"{value:.6g}" for name, value in numbers.items()},
        "per_seed": " ".join(f"{value:.6g}" for value in e.per_seed),
        "seeds": " ".join(map(str, seeds)),
        "frames": e.num_frames,
        "sequences": e.num_sequences,
    }


# ---------------------------------------------------------------------------------------- command


def print_block(block: Block, findings: list[Finding]) -> None:
    """Of each measured claim of a block the verdict; and how many there are of each."""
    lines = Table.grid(padding=(0, 2))
    for _ in range(2):
        lines.add_column(no_wrap=True)
    for finding in findings:
        if finding.is_measured:
            claim = finding.claim
            words = f"{claim.source}: {claim.sentence} ({claim.measure})"
            lines.add_row(*map(escape, (finding.verdict, difference_text(finding.estimate), words)))
    counts = Counter(f.verdict if f.is_measured else "not measured" for f in findings)
    words = ", ".join(f"{verdict}: {count}" for verdict, count in sorted(counts.items()))
    _console.print(f"{heading(block)}:", soft_wrap=True, markup=False, highlight=False)
    _console.print(lines, highlight=False)
    _console.print(words, soft_wrap=True, markup=False, highlight=False)


def run(options: Options) -> int:
    """Judge all claims, write and print what became of them; returns the exit status."""
    found = find_evaluations(options.results)
    scored, problems = load_scored(found, options.results, options.data)
    judged = judge_all(scored)
    out = options.out or options.results / "tables"
    out.mkdir(parents=True, exist_ok=True)
    for suffix, write in ((".md", to_markdown), (".csv", to_csv)):
        (out / f"claims{suffix}").write_text(write(judged), encoding="utf-8")
    for block, findings in judged:
        print_block(block, findings)
    for name, problem in problems.items():
        words = f"[yellow]{escape(name)}:[/yellow] {escape(problem)}"
        _console.print(words, soft_wrap=True, highlight=False)
    if not any(finding.is_measured for _, findings in judged for finding in findings):
        _console.print(f"{options.results}: {NOTHING}", soft_wrap=True, markup=False)
    words = f"{out / 'claims.md'} and claims.csv, of {len(scored)} evaluations"
    _console.print(words, soft_wrap=True, markup=False)
    return 1 if found and not scored else 0


def main() -> int:
    try:
        return run(tyro.cli(Options, prog="python -m benchmarks.claims", description=__doc__))
    except (ValueError, OSError) as error:
        words = f"[red]error:[/red] {escape(str(error))}"
        _console.print(words, soft_wrap=True, highlight=False)
        return 1


if __name__ == "__main__":
    sys.exit(main())
