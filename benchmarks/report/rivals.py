"""The section "Rivals": each method beside the whole method, its cost, and what it leaves out."""

from collections.abc import Iterable, Mapping

from benchmarks.compare.comparable import kind_of
from benchmarks.compare.published import read_published
from benchmarks.compare.versus import COMPARED, Difference, Opponent, Versus
from benchmarks.evaluation.result import Evaluation, Method, Run
from benchmarks.report.content import Grid, error_text, marked_label, signed, trained_as
from benchmarks.rivals import rival_of
from benchmarks.speed.networks import Cost, Costs
from benchmarks.tables.rows import DASH
from deformer.variants import FULL, VARIANTS

RIVALS_LEGEND = (
    "Other methods, written anew for this project and trained on the same data behind the same "
    "backbone, unless a name says another. What each does otherwise than its paper is in the last "
    "column, so these numbers judge what is here, not the papers. The differences are rival − ours "
    "in mm, on the same frames and of the seeds that both have: above 0 ours errs less. The "
    "verdict follows the 95 % "
    "interval, which covers the choice of recordings and, with several seeds, chance in training; "
    "where all seeds read features of one spatial half, its chance is not in it. By chance about "
    "one in twenty comparisons gets a verdict. A method without a checkpoint has no errors by "
    "frame here, so its difference has no interval and no verdict. Multiply-adds are those of "
    "matrix products and convolutions for one frame: encoded once, and one window decoded for it. "
    "Frames/s are of the machine in the title, without reading images; all networks took turns, so "
    "these compare with each other, but another measurement may have all of them a quarter off."
)
_NAMES = {"pa_mpjpe_mm": "PA", "ra_mpjpe_mm": "root-aligned"}
_BINS = tuple(dict.fromkeys(bin for _, bin in COMPARED))
_WHERE = {bin: "all" if bin == "all" else f"{bin} % hidden" for bin in _BINS}
_HEAD = (
    "method",
    *(f"{_WHERE[bin]}: PA / root-aligned, mm" for bin in _BINS),
    *(f"{_NAMES[metric]}, {_WHERE[bin]}: rival − ours [95 %]" for metric, bin in COMPARED),
    "parameters, M", "multiply-adds, G/frame", "frames/s",
    "fills", "trained as", "seeds", "remarks",
)  # fmt: skip
_WORDS = (
    0,
    *(i for i, head in enumerate(_HEAD) if "−" in head),
    *range(len(_HEAD) - 4, len(_HEAD)),
)


def rivals_grid(versus: Versus, costs: Mapping[str, Costs]) -> Grid:
    """The whole method, then a line for each opponent. costs: by base."""
    run, known = versus.run, costs.get(versus.base)
    title = f"{versus.data}. Ours is {trained_as(run)}"
    title += f". Frames/s: {known.machine}" if known else ""
    ours = VARIANTS[FULL].rows if kind_of(run) == FULL else {}
    filled = {n: row for n, row in ours.items() if n in (1, 2, 3)}
    rows = [_row(versus.ours, filled, {}, known, DASH)]
    rows += [_opponent(opponent, known) for opponent in versus.opponents]
    return Grid(_HEAD, rows, _WORDS, title)


def _opponent(opponent: Opponent, costs: Costs | None) -> tuple[str, ...]:
    evaluations, differences = opponent.evaluations, opponent.differences
    run = evaluations[0].run
    if isinstance(run, Method):
        rows = {n: run.method for n in (1, 2, 3) if run.method in read_published()[n]}
        return _row(evaluations, rows, differences, None, run.predictions)
    rival = rival_of(run.network)
    return _row(evaluations, rival.rows, differences, costs, rival.differs)


def _row(
    evaluations: tuple[Evaluation, ...], rows: dict[int, str],
    differences: dict[tuple[str, str], Difference], costs: Costs | None, differs: str,
) -> tuple[str, ...]:  # fmt: skip
    run = evaluations[0].run
    cost = costs.of(run.network) if costs else None
    seeds = ", ".join(str(e.run.seed) for e in evaluations if isinstance(e.run, Run))
    return (
        marked_label(evaluations[0]),
        *(error_text(evaluations, bin) for bin in _BINS),
        *(_difference_text(differences.get(of)) for of in COMPARED),
        *_cost_texts(cost), _rows_text(rows), trained_as(run), seeds or DASH, differs or DASH,
    )  # fmt: skip


def _rows_text(rows: dict[int, str]) -> str:
    """`VIBE [29] (Tables 1, 2)`."""
    by_name: dict[str, list[str]] = {}
    for number, name in rows.items():
        by_name.setdefault(name, []).append(str(number))
    texts = (
        f"{name} (Table{'s' if len(numbers) > 1 else ''} {', '.join(numbers)})"
        for name, numbers in by_name.items()
    )
    return "; ".join(texts) or DASH


def _difference_text(difference: Difference | None) -> str:
    if difference is None:
        return DASH
    text = signed(difference.mean, 2)
    if difference.interval is not None:
        text += f" [{', '.join(signed(end, 2) for end in difference.interval)}]"
    return f"{text}: {difference.verdict}" if difference.verdict else text


def _cost_texts(cost: Cost | None) -> tuple[str, str, str]:
    if cost is None:
        return (DASH,) * 3
    return (
        f"{cost.parameters_m:.2f}", f"{cost.multiply_adds_g:.3g}", f"{cost.frames_per_second:.3g}"
    )  # fmt: skip


def commands_of_costs(
    found: Iterable[Versus], costs: Mapping[str, Costs], results: str
) -> list[str]:
    """What measures the costs that are not there. results: the folder of all results."""
    lacking = sorted({versus.base for versus in found} - costs.keys())
    return [
        f"python -m benchmarks.speed networks --base {base} --out {results}/speed/{base}"
        for base in lacking
    ]
