"""How what became of the claims is told: legend, headings, lines, claims.md and claims.csv.

Pure functions from `findings` to text.
"""

import csv
import io
import statistics

from benchmarks.claims.claim_list import Claim
from benchmarks.claims.findings import Block, Finding, Judged
from benchmarks.compare.paired import Estimate
from benchmarks.tables.render import grid
from benchmarks.words import (
    DASH,
    DEVIATION,
    common_start_text,
    mean_text,
    provenance,
    seeds_text,
    signed,
)

NOTHING = (
    "Nothing to compare yet: that takes runs that differ in one choice, at the same step (evaluate "
    "with --which last). They are made by: python -m benchmarks.ablations --preset tiny --data "
    "shards/NAME"
)

CSV_COLUMNS = (
    "source", "claim", "metric", "statistic", "occlusion", "unit", "first", "first_deviation",
    "second", "second_deviation", "difference", "low", "high", "p", "p_corrected", "published",
    "per_seed", "seeds", "frames", "sequences", "main", "verdict", "synthetic",
    "dataset", "data", "split", "experiment", "step", "hand", "trained_on", "precision", "config",
    "first_results", "second_results",
)  # fmt: skip
"""One line per claim and block. low and high: 95 % interval of the difference, first −
second; p: how often chance alone would show one as large, of the line alone and corrected for the
number of lines that the block has measured in its family (the main claims, the others of a source);
published: that difference as the paper prints it."""


LEGEND = (
    "Each line compares two kinds of runs on the same frames; first and second are the kinds in "
    f"the order of the sentence, {DEVIATION}. The difference, first − second, is negative where "
    "the sentence is right; Paper is the one that the paper prints, of its own recordings and "
    "models. The 95 % interval is over recordings and, with several seeds, over chance in the part "
    "of the training that the runs do not share; it is of its line alone, "
    "and of these objects only. A sentence holds if the difference is below 0 and not by chance, "
    "does not hold if it is above, and is too noisy to say otherwise. That covers small "
    "differences too: the interval tells how large one could be. Of many lines some would hold by "
    "chance, so verdicts are corrected for their number, as Holm has it: over the main claims, one "
    "of each table and one of what the benchmark asks, and over the other lines of each source; in "
    "each block of runs apart, and of those lines alone that are measured. So a line can be too "
    "noisy to say though its interval leaves out 0. Lines are not independent: many are of the "
    "same runs and the same frames. One seed: the interval knows nothing of chance in training, "
    "another seed may tell otherwise. Of two seeds that chance is hardly known, so intervals are "
    "wide; three or more are better. Few recordings make intervals wide too; they are narrow only "
    "where of few recordings one or two differ far more than the others."
)
"""Of `SHORT_HEAD` and of claims.md, plain text."""


def heading(block: Block) -> str:
    """Experiment and data of a block, in a line."""
    return f"{block.base}, step {block.like.step:,} · {provenance(block.data)}"


def runs_text(block: Block) -> str:
    """Recordings and objects of a block; its runs by kind, with their seeds, and what they began
    with, which narrows what ± tells; as sentences."""
    kinds = (f"{kind.experiment(block.base)} ({seeds_text(s)})" for kind, s in block.runs.items())
    num, objects = len(set(block.sequence.tolist())), block.first.objects
    text = f"{num} recording{'s' * (num != 1)}"
    if objects:
        names = f"{len(objects)} objects" if len(objects) > 6 else f"{', '.join(objects)} only"
        text += f", of {names}"
    text += f". Runs: {', '.join(kinds)}."
    known, is_common = sorted(block.starts - {None}), len(block.starts) == 1
    if not known:
        return text
    if is_common and any(len(by_seed) > 1 for by_seed in block.runs.values()):
        return f"{text} {common_start_text(known)}"
    who = "All" if is_common else "Some"
    return f"{text} {who} began with the model of {' or of '.join(known)}."


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
        head = (*SHORT_HEAD, "By seed", "Frames (recordings)")
        parts.append(grid(head, map(_markdown_line, findings)))
    if not results:
        parts.append(NOTHING)
    return "\n\n".join(parts) + "\n"


def _markdown_line(finding: Finding) -> tuple[str, ...]:
    e = finding.estimate
    if e is None:
        return (*short_line(finding), DASH, DASH)
    by_seed = zip(finding.seeds, e.per_seed, strict=True)
    return (
        *short_line(finding),
        ", ".join(f"{seed}: {signed(value, 3)}" for seed, value in by_seed),
        f"{e.num_frames:,} ({e.num_sequences:,})",
    )


SHORT_HEAD = (
    "Source", "Claim", "Measure", "Verdict", "Difference [95 %]", "p, corrected", "First", "Second",
    "Paper",
)  # fmt: skip


def short_line(finding: Finding) -> tuple[str, ...]:
    """A claim in a line under `SHORT_HEAD`."""
    claim, e = finding.claim, finding.estimate
    numbers = (DASH,) * 4
    if e is not None:
        numbers = (difference_text(e), _p_text(finding.p), mean_text(e.one), mean_text(e.other))
    published = DASH if claim.published is None else signed(claim.published, 2)
    return (
        claim.label, sentence(claim), claim.measure, finding.verdict, *numbers, published,
    )  # fmt: skip


def _p_text(p: float | None) -> str:
    if p is None:
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def sentence(claim: Claim) -> str:
    """With a mark where it is a main one."""
    return f"{claim.sentence} (main)" if claim.is_main else claim.sentence


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
        "main": "yes" if claim.is_main else "no",
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
        "p": e.p,
        "p_corrected": finding.p,
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
