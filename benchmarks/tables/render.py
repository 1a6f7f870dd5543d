"""A table with its rows as Markdown, CSV or LaTeX.

Published rows, recordings and synthetic data are separate blocks. A synthetic row also has a † at
its name, so that it keeps its label when it is copied alone.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from benchmarks.tables.layout import Column, Table
from benchmarks.tables.rows import DAGGER, FilledTable, Number, Row

CSV_COLUMNS = (
    "table", "row", "column", "value", "unit", "low", "high", "deviation", "kind", "source",
    "command",
)  # fmt: skip
"""One line per number. low and high: 95 % bootstrap interval over sequences. kind: published,
recorded, synthetic, or "not measured"."""

_DATASET_NAMES = {"dexycb": "DexYCB", "ho3d": "HO-3D"}


class Block(NamedTuple):
    """Rows of one kind."""

    kind: str
    """"published", "recorded" or "synthetic"."""
    title: str
    """The heading of the block."""
    head: tuple[str, ...]
    """The headings of the columns in `words`."""
    rows: tuple[Row, ...]
    words: tuple[tuple[str, ...], ...]
    """The cells of each row: its name and its numbers, without its `source`."""

    @property
    def is_measured(self) -> bool:
        return self.kind != "published"


def blocks(filled: FilledTable) -> Iterator[Block]:
    """The blocks of a table, the same for every format."""
    synthetic = (
        f"{DAGGER} Measured on synthetic data: these say that the program runs, and "
        "compare with nothing but each other"
    )
    for kind, title, rows in (
        ("published", "Published (Fu et al., ICCV 2023)", filled.published),
        ("recorded", "Measured on recordings", filled.recorded),
        ("synthetic", synthetic, filled.synthetic),
    ):
        if rows or kind == "published":
            yield _block(filled.table, kind, title, rows)


def _block(table: Table, kind: str, title: str, rows: tuple[Row, ...]) -> Block:
    headings = (heading(column, kind != "published") for column in table.columns)
    head = (table.first_heading, *(("Input",) if table.has_input else ()), *headings)
    words = tuple(
        (row.label, *((row.input,) if table.has_input else ()), *map(_cell_text, row.cells))
        for row in rows
    )
    return Block(kind, title, head, rows, words)


def heading(column: Column, is_measured: bool) -> str:
    """The heading of a column in a block of published or measured rows."""
    return (is_measured and column.measured_heading) or column.heading


def _cell_text(numbers: tuple[Number, ...]) -> str:
    """As the paper prints it: `5.22 (89.6)`."""
    first, *second = (number.text for number in numbers)
    return f"{first} ({second[0]})" if second else first


# ----------------------------------------------------------------------------------------- Markdown


def to_markdown(filled: FilledTable) -> str:
    """The table as Markdown, readable on a terminal too."""
    table = filled.table
    parts = [f"## Table {table.number}. {table.title}"]
    for block in blocks(filled):
        sources = [row.source for row in block.rows]  # the last column needs no padding
        lines = [
            [*padded, source]
            for padded, source in zip(_padded([block.head, *block.words]), ["Source", *sources],
                                      strict=True)
        ]  # fmt: skip
        parts += [f"**{block.title}**", grid(lines[0], lines[1:])]
    parts += table.notes
    if filled.unmeasured:
        name = _DATASET_NAMES[table.dataset]
        parts.append(f"Not measured on {name} {table.split} yet:")
        commands = filled.unmeasured.items()
        parts.append("\n".join(f"- {', '.join(rows)}: `{command}`" for command, rows in commands))
    return "\n\n".join(parts) + "\n"


def _padded(lines: list[Sequence[str]]) -> list[list[str]]:
    """Lines padded so that columns align."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [[word.ljust(w) for word, w in zip(line, widths, strict=True)] for line in lines]


def grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; empty heads give a table without headings."""
    rows = [head, ["-" * max(3, len(word)) for word in head], *lines]
    cells = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


# ---------------------------------------------------------------------------------------------- CSV


def to_csv(filled: FilledTable) -> str:
    """One line per number with its source; a dash of the table is an empty value.

    A row without a measurement is a line with the command that measures it.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    common = {"table": filled.table.number}
    for block in blocks(filled):
        for row in block.rows:
            command = " && ".join(e.command for e in row.evaluations)
            about = common | {"row": row.name, "kind": block.kind, "source": row.source,
                              "command": command}  # fmt: skip
            for number in (number for cell in row.cells for number in cell):
                if row.is_measured or number.value is not None:
                    writer.writerow(about | _fields(number, row.is_measured))
    for command, names in filled.unmeasured.items():
        for name in names:
            writer.writerow(common | {"row": name, "kind": "not measured", "command": command})
    return text.getvalue()


def _fields(number: Number, is_measured: bool) -> dict[str, str]:
    """Published values as printed, measured values to six digits."""
    low, high = number.interval or (None, None)
    exact = {"value": number.value, "low": low, "high": high, "deviation": number.deviation}
    shown = {name: "" if value is None else f"{value:.6g}" for name, value in exact.items()}
    if not is_measured:
        shown["value"] = number.text
    return {"column": number.column, "unit": number.unit, **shown}


# -------------------------------------------------------------------------------------------- LaTeX

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "✓": r"$\checkmark$", "✗": r"$\times$", "±": r"$\pm$", "×": r"$\times$", "²": r"$^2$",
    "–": "--", "†": r"$\dagger$",
    "[": "{[}",  # at the start of a line it would be an argument of the \\ before it
}  # fmt: skip
_ESCAPES = str.maketrans(_LATEX)


def to_latex(filled: FilledTable) -> str:
    """A `table` environment; it needs the packages booktabs and amssymb (for ✓)."""
    table = filled.table
    num_columns = 1 + table.has_input + len(table.columns)
    alignment = "c" * len(table.columns)

    def whole_line(text: str) -> str:
        return rf"\multicolumn{{{num_columns}}}{{l}}{{{text}}} \\"

    lines = [
        r"\begin{table}",
        rf"\caption{{{table.title.translate(_ESCAPES)}}}",
        rf"\begin{{tabular}}{{{alignment.rjust(num_columns, 'l')}}}",
        r"\toprule",
    ]
    for block in blocks(filled):
        lines += [r"\midrule"] if block.is_measured else []
        lines.append(whole_line(rf"\emph{{{block.title.translate(_ESCAPES)}}}"))
        lines += [_latex_line(block.head), r"\midrule"]
        for row, words in zip(block.rows, block.words, strict=True):
            lines.append(_latex_line(words))
            if block.is_measured:
                lines.append(whole_line(rf"\quad\scriptsize {row.source.translate(_ESCAPES)}"))
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {note.translate(_ESCAPES)}" for note in table.notes]
    lines.append(r"\end{table}")
    lines += [
        f"% not measured yet: {', '.join(rows)}: {command}"
        for command, rows in filled.unmeasured.items()
    ]
    return "\n".join(lines) + "\n"


def _latex_line(words: Sequence[str]) -> str:
    return " & ".join(word.translate(_ESCAPES) for word in words) + r" \\"
