"""The ablations side by side: position errors by occlusion and acceleration, over seeds.

Pure functions from evaluations to Markdown and CSV. The paper has such numbers of the whole method
alone, in its Tables 1 and 2.
"""

import csv
import io
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.compare.comparable import (
    Setup,
    evaluations_by_kind,
    group_by_data,
    is_start,
    run_label,
)
from benchmarks.evaluation.protocol import BINS
from benchmarks.evaluation.result import Data, Evaluation, Method, Run
from benchmarks.tables.render import grid
from benchmarks.words import DASH, HEADLINE, SYNTHETIC_MARK, data_kind, mean_text

CSV_COLUMNS = (
    "row", "experiment", "step", "seeds", "synthetic", "dataset", "data", "split", "metric",
    "occlusion", "frames", "value", "deviation", "unit", "per_seed",
)  # fmt: skip
"""One line per number. value: the mean over seeds; deviation: the standard one."""


@dataclass(frozen=True, eq=False)
class AblationRow:
    """A kind of run, or a method without a checkpoint."""

    label: str
    evaluations: tuple[Evaluation, ...]
    """One per seed, by seed."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """None of a method without a checkpoint."""
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
    """A table for each way to train and each split; methods without a checkpoint stand in all
    tables of their data, above the runs. Raises `ValueError` for the same run twice."""
    tables = []
    for found in group_by_data(e for e in evaluations if not is_start(e.run)):
        data = found[0].data
        methods = tuple(
            AblationRow(run_label(e.run), (e,)) for e in found if isinstance(e.run, Method)
        )
        setups = evaluations_by_kind(found)
        for setup, kinds in setups.items():
            rows = (AblationRow(kind.label, of_kind) for kind, of_kind in kinds.items())
            tables.append(AblationTable(data, setup, (*methods, *rows)))
        tables += [] if setups else [AblationTable(data, None, methods)]
    return tables


# ----------------------------------------------------------------------------------------- writing


def title(table: AblationTable) -> str:
    """Which runs on which frames, in a line."""
    words = [] if table.setup is None else [f"{table.setup.base}, step {table.setup.step:,}"]
    return " · ".join([*words, data_kind(table.data), f"{table.data.name} {table.data.split}"])


def to_markdown(table: AblationTable) -> str:
    """A grid: a line of how many frames there are, then one per row."""
    hidden = [name if name == "all" else f"{name} % hidden" for name in BINS]
    jitter = [f"acceleration, mm/frame², {name}" for name in (hidden[0], hidden[-1])]
    head = ("PA / root-aligned, mm", *hidden, *jitter, "Seeds")
    counts = [f"{table.rows[0].frames(bin):,}" for bin in BINS]
    lines = [_line(row) for row in table.rows]
    return grid(head, [("frames", *counts, DASH, DASH, ""), *lines])


def _line(row: AblationRow) -> tuple[str, ...]:
    mark = f" {SYNTHETIC_MARK}" if row.evaluations[0].data.synthetic else ""
    errors = [
        " / ".join(mean_text(row.values(metric, bin)) for metric in ("pa_mpjpe_mm", "ra_mpjpe_mm"))
        if row.frames(bin)
        else DASH
        for bin in BINS
    ]
    *_, most = BINS
    jitter = [mean_text(row.values("accel_mm_per_frame2", bin)) for bin in ("all", most)]
    seeds = ", ".join(map(str, row.seeds)) or DASH
    return (f"{row.label}{mark}", *errors, *jitter, seeds)


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
