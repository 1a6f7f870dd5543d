"""Every part of the work in one run: its speed, beside its floor and the aim."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.speed.figure import Figure, write_measured
from benchmarks.speed.inference import inference
from benchmarks.speed.large_index import large_index
from benchmarks.speed.material import Material
from benchmarks.speed.pipeline import build, synthesizer, verifying
from benchmarks.speed.scoring import scoring
from benchmarks.speed.step import large_window, step
from benchmarks.speed.stream import stream
from deformer.program.console import PlainConsole
from deformer.program.pool import single_threaded
from deformer.program.processor import processor

PARTS: dict[str, Callable[[Material], Iterator[Figure]]] = {
    "synthesizer": synthesizer,
    "build": build,
    "verify": verifying,
    "stream": stream,
    "index": large_index,
    "step": step,
    "window": large_window,
    "inference": inference,
    "scoring": scoring,
}


@dataclass(frozen=True)
class Parts:
    """Measure every part, on drawn data, and print a table."""

    only: tuple[str, ...] = ()
    """Some parts; by default all."""
    root: Path | None = None
    """Your own raw dataset, in DexYCB's layout, to build from; by default one is drawn."""
    data: Path | None = None
    """Your own shards, for what reads shards; by default they are built of drawn frames."""
    work: Path = Path("data/speed")
    """The folder for what is drawn and built; it is kept."""
    out: Path = Path("results/speed")
    """The folder for parts.json."""

    def __post_init__(self) -> None:
        if unknown := set(self.only) - PARTS.keys():
            raise ValueError(
                f"--only {' '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}"
            )


def measure_parts(config: Parts) -> dict:
    """All figures. Each is printed when it is there, and those of a part are written."""
    single_threaded()
    console, figures = PlainConsole(), []
    material = Material(config.work, config.root, config.data)
    for name in config.only or PARTS:
        for figure in PARTS[name](material):
            figures.append(figure)
            told = f"{figure.part}: {figure.what}: {figure.value:.3g} {figure.unit}"
            console.print(told, soft_wrap=True)
        measured = {"machine": processor(), "figures": [asdict(figure) for figure in figures]}
        write_measured(config.out / "parts.json", measured)
    console.print(as_table(figures))
    return measured


def as_table(figures: list[Figure]) -> Table:
    """For people."""
    table = Table("part", "what", "measured", "aim", "floor", "of the floor")
    for figure in figures:
        compare = "≥" if figure.is_rate else "≤"
        share = figure.share_of_floor
        table.add_row(
            figure.part,
            figure.what,
            f"{figure.value:.3g} {figure.unit}",
            "" if figure.aim is None else f"{compare} {figure.aim:.3g}",
            "" if figure.floor is None else f"{figure.floor:.3g} ({figure.floor_is})",
            "" if share is None else f"{share:.0%}",
        )
    return table
