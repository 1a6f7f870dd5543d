"""The ablations side by side: position errors by occlusion and acceleration, over seeds.

Pure functions from evaluations to Markdown and CSV, for what `benchmarks.keep` writes. The paper
has such numbers of the whole method alone, in its Tables 1 and 2.
"""

import csv
import io
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.comparable import Setup, kind_of, setup_of
from benchmarks.evaluation import HEADLINE, Data, Evaluation, Run
from benchmarks.protocol import BINS
from benchmarks.render import grid
from benchmarks.rows import DASH, SYNTHETIC_MARK
from benchmarks.scored import is_start, run_label

CSV_COLUMNS = (
    "row", "experiment", "step", "seeds", "synthetic", "dataset", "data", "split", "metric",
    "occlusion", "frames", "value", "deviation", "unit", "per_seed",
)  # fmt: skip
"""One line per number. value: the mean over seeds; deviation: the standard one."""
_FUSIONS = ("center", "average", "occlusion", "dynamic", "nearby")
"""In the order of Table 4."""


@dataclass(frozen=True, eq=False)
class AblationRow:
    """A kind of run, or predictions that others made."""

    label: str
    evaluations: tuple[Evaluation, ...]
    """One per seed, by seed."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """None of predictions that others made."""
        return tuple(e.run.seed for e in self.evaluations if isinstance(e.run, Run))

    def values(self, metric: str, bin: str) -> tuple[float, ...]:
        """By seed; empty where no frame of the bin has the metric."""
        found = [e.metrics[bin][metric] for e in self.evaluations]
        return () if any(s is None for s in found) else tuple(s["mean"] for s in found)

    def frames(self, bin: str) -> int:
        return self.evaluations[0].metrics[bin]["num_frames"]


@dataclass(frozen=True, eq=False)
class AblationTable:
    """Rows that compare: of the same frames, and runs that were trained alike."""

    data: Data
    setup: Setup | None
    """Of its runs; None: it has none."""
    rows: tuple[AblationRow, ...]


def ablation_tables(evaluations: Iterable[Evaluation]) -> list[AblationTable]:
    """A table for each way to train and each split, in the order in which they are found;
    predictions that others made stand in all tables of their data, above the runs."""
    by_data: dict[Data, list[Evaluation]] = {}
    for evaluation in evaluations:
        if not is_start(evaluation.run):
            by_data.setdefault(evaluation.data, []).append(evaluation)
    tables = []
    for data, found in by_data.items():
        others = tuple(
            AblationRow(run_label(e.run), (e,)) for e in found if not isinstance(e.run, Run)
        )
        runs: dict[Setup, list[Evaluation]] = {}
        for e in found:
            if isinstance(e.run, Run):
                runs.setdefault(setup_of(e.run), []).append(e)
        tables += [AblationTable(data, s, others + _rows(group)) for s, group in runs.items()]
        tables += [] if runs else [AblationTable(data, None, others)]
    return tables


def _rows(evaluations: Iterable[Evaluation]) -> tuple[AblationRow, ...]:
    """By kind: the ways of fusion, then the other losses."""

    def place(evaluation: Evaluation) -> tuple:
        kind = kind_of(evaluation.run)
        is_as_paper = kind.point_loss == "max_mse" and kind.adversarial
        return (not is_as_paper, _FUSIONS.index(kind.fusion), kind.point_loss != "max_mse",
                not kind.adversarial, evaluation.run.seed)  # fmt: skip

    by_label: dict[str, list[Evaluation]] = {}
    for evaluation in sorted(evaluations, key=place):
        by_label.setdefault(run_label(evaluation.run), []).append(evaluation)
    return tuple(AblationRow(label, tuple(found)) for label, found in by_label.items())


# ----------------------------------------------------------------------------------------- writing


def title(table: AblationTable) -> str:
    """Which runs on which frames, in a line."""
    words = [] if table.setup is None else [f"{table.setup.base}, step {table.setup.step:,}"]
    kind = "SYNTHETIC data" if table.data.synthetic else "recordings"
    return " · ".join([*words, kind, f"{table.data.name} {table.data.split}"])


def to_markdown(table: AblationTable) -> str:
    """A grid: a line of how many frames there are, then one per row."""
    hidden = [name if name == "all" else f"{name} % hidden" for name in BINS]
    head = ("PA / root-aligned, mm", *hidden, "Acceleration, mm/frame²", "Seeds")
    counts = [f"{table.rows[0].frames(bin):,}" for bin in BINS]
    return grid(head, [("frames", *counts, DASH, ""), *(_line(row) for row in table.rows)])


def _line(row: AblationRow) -> tuple[str, ...]:
    mark = f" {SYNTHETIC_MARK}" if row.evaluations[0].data.synthetic else ""
    errors = [
        " / ".join(_text(row.values(metric, bin)) for metric in ("pa_mpjpe_mm", "ra_mpjpe_mm"))
        if row.frames(bin)
        else DASH
        for bin in BINS
    ]
    acceleration = _text(row.values("accel_mm_per_frame2", "all"))
    seeds = ", ".join(map(str, row.seeds)) or DASH
    return (f"{row.label}{mark}", *errors, acceleration, seeds)


def _text(values: tuple[float, ...]) -> str:
    """`9.20 ± 0.05`."""
    if not values:
        return DASH
    mean = f"{statistics.fmean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def to_csv(tables: Iterable[AblationTable]) -> str:
    """A line per table, row, metric and bin; what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for table in tables:
        for row in table.rows:
            about = _about(table.data, row)
            for _, metric, unit in HEADLINE:
                for bin in BINS:
                    numbers = _numbers(row.values(metric, bin))
                    place = {"metric": metric, "occlusion": bin, "unit": unit,
                             "frames": row.frames(bin)}  # fmt: skip
                    writer.writerow(about | place | numbers)
    return text.getvalue()


def _about(data: Data, row: AblationRow) -> dict[str, object]:
    run = row.evaluations[0].run
    is_run = isinstance(run, Run)
    return {
        "row": row.label,
        "experiment": run.experiment if is_run else "",
        "step": run.step if is_run else "",
        "seeds": " ".join(map(str, row.seeds)),
        "synthetic": "yes" if data.synthetic else "no",
        "dataset": data.dataset,
        "data": data.name,
        "split": data.split,
    }


def _numbers(values: tuple[float, ...]) -> dict[str, str]:
    if not values:
        return {}
    return {
        "value": f"{statistics.fmean(values):.6g}",
        "deviation": f"{statistics.stdev(values):.6g}" if len(values) > 1 else "",
        "per_seed": " ".join(f"{value:.6g}" for value in values),
    }
