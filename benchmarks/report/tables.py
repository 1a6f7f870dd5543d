"""Tables 1 to 6 and the list of evaluations, as HTML: published, measured and synthetic apart."""

from benchmarks.compare.comparable import run_label
from benchmarks.evaluation.result import Evaluation, Run
from benchmarks.report.html_parts import escape, heading, paragraph, scrolling, table, unbroken
from benchmarks.tables.render import blocks, cell_text
from benchmarks.tables.render import heading as column_heading
from benchmarks.tables.rows import FilledTable, Number
from benchmarks.words import DASH, SYNTHETIC_MARK


def results_table(evaluations: dict[str, Evaluation]) -> str:
    """Every evaluation in a line, by name."""
    headings = (
        "result", "PA-MPJPE, mm", "95 % interval", "root-aligned, mm", "accel., mm/frame²",
        "frames", "data", "what",
    )  # fmt: skip
    rows = [_result_row(*item) for item in evaluations.items()]
    return table(headings, rows, words=(0, 6, 7))


def _result_row(name: str, evaluation: Evaluation) -> tuple[str, ...]:
    data, scores = evaluation.data, evaluation.metrics["all"]
    mark = f" {SYNTHETIC_MARK}" if data.synthetic else ""
    pa = scores["pa_mpjpe_mm"]
    interval = pa.get("interval") if pa else None
    run = evaluation.run
    what = run_label(run)
    if isinstance(run, Run):
        what += f" ({run.experiment}, step {run.step:,}, seed {run.seed})"
    return (
        name + mark,
        _number(pa),
        f"{interval[0]:.2f}\u00a0to\u00a0{interval[1]:.2f}" if interval else DASH,
        _number(scores["ra_mpjpe_mm"]),
        _number(scores["accel_mm_per_frame2"]),
        f"{data.frames:,}",
        f"{data.name}, {data.split}{', SYNTHETIC' if data.synthetic else ''}",
        what,
    )


def _number(summary: dict | None) -> str:
    return DASH if summary is None else f"{summary['mean']:.2f}"


# -------------------------------------------------------------------------- the tables of the paper


def paper_table(filled: FilledTable) -> str:
    """One table: a block of published rows, of those measured on recordings, of synthetic ones."""
    layout = filled.table
    num_words = 1 + layout.has_input
    num_columns = num_words + len(layout.columns)
    bodies = []
    for block in blocks(filled):
        heads = [layout.first_heading, *(["Input"] if layout.has_input else [])]
        numbers = [column_heading(column, block.is_measured) for column in layout.columns]
        body = (
            f'<tr><th class="block" colspan="{num_columns}" scope="rowgroup">'
            f"<span>{escape(block.title)}</span></th></tr>"
            f'<tr class="heads">{_cells(heads, numbers, "th")}</tr>'
        )
        for row in block.rows:
            words = [row.label, *([row.input or DASH] if layout.has_input else [])]
            line = _cells(words, [_numbers_text(cell) for cell in row.cells], "td")
            if block.is_measured:
                body += f'<tr class="has-source">{line}</tr><tr><td class="source" colspan='
                body += f'"{num_columns}"><span>{escape(row.source)}</span></td></tr>'
            else:
                body += f"<tr>{line}</tr>"
        bodies.append(f'<tbody class="{block.kind}">{body}</tbody>')
    parts = [heading(f"Table {layout.number}. {layout.title}")]
    parts.append(scrolling(f"<table>{''.join(bodies)}</table>"))
    parts += [paragraph(note, "note") for note in layout.notes]
    return "".join(parts)


def _cells(words: list[str], numbers: list[str], tag: str) -> str:
    left = "".join(f"<{tag}>{escape(word)}</{tag}>" for word in words)
    right = "".join(f'<{tag} class="number">{escape(number)}</{tag}>' for number in numbers)
    return left + right


def _numbers_text(cell: tuple[Number, ...]) -> str:
    """`5.22 (89.6)` in a line; with deviations it may be broken before the parenthesis."""
    text = cell_text(cell)
    return unbroken(text) if "±" in text else text.replace(" ", "\u00a0")


def unmeasured(tables: list[FilledTable]) -> dict[str, list[str]]:
    """Command → what it measures that nobody measured yet, as `Table 1: A, B`."""
    commands: dict[str, list[str]] = {}
    for filled in tables:
        for command, rows in filled.unmeasured.items():
            line = f"Table {filled.table.number}: {'; '.join(rows)}"
            commands.setdefault(command, []).append(line)
    return commands
