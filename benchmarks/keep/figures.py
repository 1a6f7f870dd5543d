"""The figures that are kept, as small pictures."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from benchmarks.claims.findings import make_blocks
from benchmarks.compare.comparable import group_by_split
from benchmarks.evaluation.scored import Scored
from benchmarks.figures.catalogue import Drawn, draw_run, draw_split
from benchmarks.figures.style import MAX_LINES, PNG_DPI, figure_bytes, title_of
from benchmarks.figures.training_curves import CAPTION, training_curves
from benchmarks.keep.runs import log_of
from benchmarks.material import Material
from benchmarks.words import data_kind, seeds_text

MAX_FIGURE_BYTES = 150_000
OF_A_SPLIT = ("error_by_occlusion", "gain_by_occlusion", "pck")
OF_A_RUN = ("joint_errors", "confidence", "borrowing", "borrowed_error", "headroom")
"""Names of figures without pictures, which would be large, and without the motion of a recording,
which is not ours to pass on."""


def draw(material: Material) -> Iterator[Drawn]:
    """The figures that are kept: of every split, of its first run, of its trainings."""
    problems: dict[str, str] = {}
    for group in group_by_split(material.scored):
        yield from (d for d in draw_split(group) if Path(d.name).name in OF_A_SPLIT)
        for drawn in draw_run(group[0], group, material.mano_dir, problems):
            if Path(drawn.name).name in OF_A_RUN:
                yield replace(drawn, heading=f"{drawn.heading}, {group[0].name}")
    yield from draw_trainings(material)
    if problems:
        words = "; ".join(f"{name}: {why}" for name, why in problems.items())
        raise ValueError(f"not all figures can be drawn: {words}")


def draw_trainings(material: Material) -> Iterator[Drawn]:
    """Of each kind of run its first seed; evaluated on two splits, it is one training."""
    trainings: dict[tuple[str, str, int], dict[str, Scored]] = {}
    for block in make_blocks(material.scored):
        found = trainings.setdefault((block.data.name, block.base, block.like.step), {})
        for runs in block.runs.values():
            first = runs[min(runs)]
            found.setdefault(first.evaluation.run.checkpoint, first)
    for (data, base, step), found in trainings.items():
        logs = {s.name: log_of(s.name, s.evaluation, material.logs) for s in found.values()}
        shown = [log for log in logs.values() if log is not None][:MAX_LINES]
        if not shown:
            continue
        left_out = [name for name, log in logs.items() if log not in shown]
        note = f" Not drawn: {', '.join(left_out)}." if left_out else ""
        runs = [s.evaluation for s in found.values()]
        seeds = seeds_text({e.run.seed for e in runs})
        yield Drawn(
            f"training-{data}-{base}-step{step}",
            f"Training of {base}, {seeds}",
            f"{CAPTION}{note}",
            training_curves(shown, f"{base}, {seeds} · {data_kind(runs[0].data)} · {data}"),
        )


def small_png(figure: Figure) -> bytes:
    """As all figures are; where that is too large in 256 colours, and then at a lower resolution.
    Raises `ValueError` where nothing helps."""
    data = figure_bytes(figure, "png")
    for dpi in (PNG_DPI, 120, 90, 60):
        if len(data) >= MAX_FIGURE_BYTES:
            data = _with_palette(figure_bytes(figure, "png", dpi))
    if len(data) < MAX_FIGURE_BYTES:
        return data
    raise ValueError(
        f"a figure of {len(data):,} bytes at {dpi} dpi ({title_of(figure)!r}) must be below "
        f"{MAX_FIGURE_BYTES:,} to be kept: evaluate fewer runs, or raise MAX_FIGURE_BYTES"
    )


def _with_palette(png: bytes) -> bytes:
    image, buffer = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
