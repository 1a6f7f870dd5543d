"""Numbers that the figures of runs show, as figures.csv: whom the confidence trusts, and how much
of the true motion the deformation explains.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields

import numpy as np

from benchmarks.evaluation.scored import Scored
from benchmarks.figures.deformation import explained_interval, explained_share, lending
from benchmarks.figures.diagnostics import confidence, rank_correlation


@dataclass(frozen=True)
class FigureNumber:
    """One number, with its 95 % interval over recordings; NaN: not known."""

    name: str
    """Of the evaluation."""
    data: str
    split: str
    figure: str
    """By its name: "confidence" or "borrowed_error"."""
    what: str
    value: float
    low: float
    high: float
    windows: int
    """That tell of it."""


def figure_numbers(runs: Iterable[Scored]) -> list[FigureNumber]:
    """Of every run that has them: learned weights for the first, sources for the second."""
    return [
        FigureNumber(run.name, run.evaluation.data.name, run.evaluation.data.split, *number)
        for run in runs
        for number in (*_correlations(run), *_explained(run))
    ]


def _correlations(run: Scored) -> Iterator[tuple]:
    """ρ of a frame's weight with what may have made it count more or less."""
    if (c := confidence(run)) is None:
        return
    for what, values, given in (
        ("occlusion", c.occlusion, None), ("occlusion at equal motion", c.occlusion, c.motion),
        ("occlusion at equal time", c.occlusion, c.place), ("motion", c.motion, None),
        ("likeness", c.likeness, None), ("time", c.place, None),
    ):  # fmt: skip
        found = rank_correlation(values, c.weight, c.recording, given)
        low, high = found.interval or (float("nan"), float("nan"))
        yield "confidence", f"rho of weight and {what}", found.value, low, high, found.num_windows


def _explained(run: Scored) -> Iterator[tuple]:
    """The share of the true motion that the deformation explains, by frames to the centre."""
    if (found := lending(run)) is None:
        return
    distance = np.where(found.is_lender, np.abs(found.offset), 0)
    for d in np.unique(distance[distance > 0]):
        chosen = distance == d
        what = f"explained share of the motion over {d} frames"
        numbers = explained_share(found, chosen), *explained_interval(found, chosen)
        yield "borrowed_error", what, *numbers, int(chosen.any(1).sum())


def figures_csv(numbers: Iterable[FigureNumber]) -> str:
    """A line per `FigureNumber`; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(FigureNumber))
    for number in numbers:
        writer.writerow(map(_cell, asdict(number).values()))
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return value
