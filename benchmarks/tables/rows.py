"""The rows of the six tables, published and measured.

Seeds of the same run become one row, mean ± standard deviation. `benchmarks.tables.render` writes
them in each format.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.compare.comparable import group_by_data, group_by_kind
from benchmarks.compare.published import read_published
from benchmarks.evaluation.result import Evaluation, Method, Run
from benchmarks.tables.layout import TABLES, Column, Quantity, Table, command_for
from deformer.experiments import base_of

DASH = "–"
"""Shown instead of a number that does not exist, as in an empty bin."""
DAGGER = "†"
"""Marks everything that was measured on synthetic data."""


def mean_text(values: Sequence[float], decimals: int = 2) -> str:
    """Mean ± standard deviation of the values of seeds: `9.51 ± 0.03`; a dash without values."""
    if not values:
        return DASH
    text = f"{statistics.fmean(values):.{decimals}f}".replace("-", "−")
    return f"{text} ± {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else text


@dataclass(frozen=True)
class Number:
    """One number of a cell, rounded and exact."""

    column: str
    """As in `published.csv`: `all`, `all_auc`, …"""
    text: str
    """Rounded for the table; a dash without a value."""
    value: float | None
    unit: str
    deviation: float | None = None
    """Standard deviation over seeds; None for one seed."""
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval; None for several seeds."""


@dataclass(frozen=True)
class Row:
    """A row of a table, published or measured."""

    name: str
    input: str
    cells: tuple[tuple[Number, ...], ...]
    """For each column of the table: the number, and perhaps a second one in parentheses."""
    evaluations: tuple[Evaluation, ...] = ()
    """The evaluations it comes from, one per seed; none for a published row."""

    @property
    def is_measured(self) -> bool:
        return bool(self.evaluations)

    @property
    def is_synthetic(self) -> bool:
        return self.is_measured and self.evaluations[0].data.synthetic

    @property
    def label(self) -> str:
        """The name, marked if the data are synthetic."""
        return f"{self.name} {DAGGER}" if self.is_synthetic else self.name

    @property
    def source(self) -> str:
        """A sentence that says where the numbers come from."""
        return _source(self.evaluations) if self.is_measured else "published"


@dataclass(frozen=True)
class FilledTable:
    """A table with its rows."""

    table: Table
    published: tuple[Row, ...]
    recorded: tuple[Row, ...]
    """Measured on recordings."""
    synthetic: tuple[Row, ...]
    """Measured on synthetic data."""

    @property
    def unmeasured(self) -> dict[str, list[str]]:
        """Command → the published rows without a measurement that it measures.

        Only results on the paper's split of the paper's version of the recordings count; and of
        this project's runs only the paper's experiment, not `tiny` or `dexycb_fast`.
        """
        measured = {row.name for row in self.recorded if _is_as_in_paper(self.table, row)}
        commands: dict[str, list[str]] = {}
        for row in self.published:
            if row.name not in measured:
                commands.setdefault(command_for(self.table, row.name), []).append(row.name)
        return commands


def _is_as_in_paper(table: Table, row: Row) -> bool:
    run, data = row.evaluations[0].run, row.evaluations[0].data
    versions = {"dexycb": ("dexycb",), "ho3d": ("ho3d_v2",)}[table.dataset]
    is_papers = not isinstance(run, Run) or base_of(run.experiment) == table.dataset
    return data.split == table.split and data.dataset in versions and is_papers


def fill_tables(evaluations: Iterable[Evaluation]) -> list[FilledTable]:
    """The six tables: published rows, and one measured row per kind of run, averaged over seeds.

    Raises `ValueError` for the same run twice.
    """
    evaluations, published = list(evaluations), read_published()
    filled = []
    for table in TABLES:
        rows = [_published_row(table, *item) for item in published[table.number].items()]
        order = [row.name for row in rows]
        inputs = {row.name: row.input for row in rows}
        measured = [_measured_row(table, inputs, group) for group in _group(table, evaluations)]
        # rows of the paper in its order, then the others
        measured.sort(key=lambda row: order.index(row.name) if row.name in order else len(order))
        filled.append(
            FilledTable(
                table,
                tuple(rows),
                tuple(row for row in measured if not row.is_synthetic),
                tuple(row for row in measured if row.is_synthetic),
            )
        )
    return filled


def _group(table: Table, evaluations: Iterable[Evaluation]) -> list[tuple[Evaluation, ...]]:
    """The evaluations of each row of a table; seeds of a run share a row."""
    of_table = (e for e in evaluations if table.row_of(e.run) is not None and table.takes(e.data))
    groups = []
    for found in group_by_data(of_table):
        groups += [(e,) for e in found if isinstance(e.run, Method)]
        for kinds in group_by_kind(found).values():
            groups += [tuple(seeds.values()) for seeds in kinds.values()]
    return groups


# ---------------------------------------------------------------------------------------- the cells


def _published_row(table: Table, name: str, values: dict[str, tuple[str, str]]) -> Row:
    def numbers(column: Column) -> tuple[Number, ...]:
        names = (column.name + quantity.suffix for quantity in column.quantities)
        known = [n for n in names if n in values]
        if not known:  # a column that only measured rows have
            return (Number(column.name, DASH, None, column.quantities[0].unit),)
        return tuple(Number(n, values[n][0], float(values[n][0]), values[n][1]) for n in known)

    return Row(name, values.get("input", ("", ""))[0], tuple(map(numbers, table.columns)))


def _measured_row(table: Table, inputs: dict[str, str], group: tuple[Evaluation, ...]) -> Row:
    """inputs: the column `input` of the published rows, by name."""
    name, cells = table.row_of(group[0].run), []
    for column in table.columns:
        numbers = tuple(_number(group, column, quantity) for quantity in column.quantities)
        is_known = numbers[0].value is not None
        cells.append(numbers if is_known else numbers[:1])  # one dash for an empty bin
    return Row(name, inputs.get(name, DASH), tuple(cells), group)


def _number(group: tuple[Evaluation, ...], column: Column, quantity: Quantity) -> Number:
    name, scale = column.name + quantity.suffix, quantity.scale
    summaries = [evaluation.metrics[column.bin][quantity.metric] for evaluation in group]
    if any(summary is None for summary in summaries):
        return Number(name, DASH, None, quantity.unit)
    means = [scale * summary["mean"] for summary in summaries]
    value, text = statistics.fmean(means), mean_text(means, quantity.decimals)
    if len(means) > 1:
        return Number(name, text, value, quantity.unit, statistics.stdev(means))
    interval = summaries[0].get("interval")
    if interval is not None:
        interval = (scale * interval[0], scale * interval[1])
    return Number(name, text, value, quantity.unit, interval=interval)


def _source(group: tuple[Evaluation, ...]) -> str:
    """Dataset, split and frames; then the checkpoint and hand model, or the predictions."""
    run, data = group[0].run, group[0].data
    words = [f"measured: {data.name} ({data.dataset}) {data.split}, {data.frames:,} frames"]
    if data.synthetic:
        words[0] += ", SYNTHETIC"
    if isinstance(run, Run):
        checkpoints = ", ".join(e.run.checkpoint for e in group)
        seeds = ", ".join(str(e.run.seed) for e in group)
        words += [
            f"experiment {run.experiment}, checkpoint {checkpoints}, step {run.step:,}",
            f"trained on {run.trained_on}",
            f"hand {run.hand}",
            run.precision,
            f"seed{'s (mean ± standard deviation)' if len(group) > 1 else ''} {seeds}",
        ]
    else:
        words.append(f"predictions: {run.predictions}")
    return "; ".join(words)
