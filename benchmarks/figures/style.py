"""The look of every figure: sizes, fonts, colours for the colour-blind, titles, file formats."""

import functools
import io
from collections.abc import Callable
from pathlib import Path

from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evaluation.result import Data
from deformer.files.whole import write_whole

WIDTH_IN = 5.0
"""The width of most figures. A phone shows them almost at full size: 11 pt look like 10."""
FORMATS = ("pdf", "svg", "png")
PNG_DPI = 160

INK, GREY, FAINT = "#22262b", "#6a6e76", "#d9dce1"
PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a800", "#22262b",
    "#6b3fa0",
)  # fmt: skip
"""Okabe and Ito's colours, yellow darkened for white paper, black, and a violet."""
_DASHES = ("-", "--", "-.", ":")
ERROR_MAP = "YlOrRd"
"""Light = small, dark = large error; readable in grey."""

_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "figure.titlesize": 11.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    # 9 colours by 4 dashes: 36 different lines, and neighbours differ even without colour
    "axes.prop_cycle": cycler(color=PALETTE * 4) + cycler(linestyle=_DASHES * 9),
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "benchmarks",  # the same figure gives the same bytes
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}
_NO_DATE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator: the function draws its figure in this style."""

    @functools.wraps(draw)
    def inside(*args, **kwargs) -> Figure:
        with rc_context(_STYLE):
            return draw(*args, **kwargs)

    return inside


def new_figure(width_in: float = WIDTH_IN, height_in: float = 3.6) -> Figure:
    return Figure(figsize=(width_in, height_in), layout="constrained")


def set_title(figure: Figure, title: str, data: Data | str) -> None:
    """The title, and below it the data of the figure."""
    figure.suptitle(f"{title}\n{data}", x=0.012, ha="left", linespacing=1.35)


def no_data(ax: Axes, text: str) -> None:
    """Write into an empty panel why it is empty."""
    ax.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=ax.transAxes)


# ------------------------------------------------------------------------------------------ files


def save_figure(figure: Figure, stem: Path) -> None:
    """Write a figure in each of `FORMATS`."""
    for suffix in FORMATS:
        write_whole(stem.with_name(f"{stem.name}.{suffix}"), figure_bytes(figure, suffix))


def figure_bytes(figure: Figure, suffix: str, dpi: float = PNG_DPI) -> bytes:
    buffer = io.BytesIO()
    with rc_context(_STYLE):
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # compute the layout once, not per format
        figure.savefig(buffer, format=suffix, dpi=dpi, metadata=_NO_DATE[suffix])
    return buffer.getvalue()
