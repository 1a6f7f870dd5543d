"""Figures with hands in them: errors on the joints, a window's meshes and weights, failures.

Each is a pure function from arrays and images to a matplotlib figure.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.compare.paired import unevenness
from benchmarks.evaluation.result import Data
from benchmarks.figures.draw_hand import (
    HAND_RGB,
    TRUTH_RGB,
    draw_mesh,
    error_colours,
    is_in_front,
    rest_view,
    to_rest_view,
)
from benchmarks.figures.style import (
    ERROR_MAP,
    FAINT,
    GREY,
    INK,
    PALETTE,
    WIDTH_IN,
    new_figure,
    no_data,
    set_title,
    styled,
)
from benchmarks.figures.window_view import FrameView, WindowView
from benchmarks.words import signed
from deformer.hand.camera import project
from deformer.hand.conventions import JOINT_PARENTS
from deformer.hand.mano import HandArrays

_WHITE = 255


@styled
def joint_errors(
    errors_mm: dict[str, np.ndarray], hand: HandArrays, joints_m: np.ndarray, data: Data | str
) -> Figure:
    """Fig. 3: PA error per joint (21,), on the rest hand; one hand per name, at most two.

    hand: a right hand; joints_m (21, 3) its joints at rest. All hands share the scale of colours.
    """
    height = 4.9 if len(errors_mm) > 1 else 5.4
    figure = new_figure(height_in=height, layout="compressed")
    set_title(figure, "Error of every joint (Fig. 3), Procrustes-aligned", data)
    axes = np.atleast_1d(figure.subplots(1, len(errors_mm)))
    vertices, K = rest_view(hand.v_template)
    white = np.full((480, 480, 3), _WHITE, np.uint8)
    image = draw_mesh(white, vertices, hand.faces, K, (226, 229, 233))
    points = project(to_rest_view(joints_m), K)
    everything = np.concatenate([np.asarray(e, float) for e in errors_mm.values()])
    scale = Normalize(_round_down(everything.min()), _round_up(everything.max()))
    large = len(errors_mm) == 1
    for ax, (name, errors) in zip(axes, errors_mm.items(), strict=True):
        ax.imshow(image, interpolation="antialiased")
        for j, parent in enumerate(JOINT_PARENTS[1:], 1):
            ax.plot(*points[[parent, j]].T, color=GREY, linewidth=1.5, zorder=1)
        ax.scatter(
            *points.T, s=(190 if large else 95), c=errors, cmap=ERROR_MAP, norm=scale,
            edgecolors=INK, linewidths=0.7, zorder=2,
        )  # fmt: skip
        for j in (0, 4, 8, 12, 16, 20):
            below = j == 0
            ax.annotate(
                f"{errors[j]:.1f}", points[j], (0, -17 if below else 9),
                textcoords="offset points", ha="center", va="bottom", fontsize=10, zorder=3,
                bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.75},
            )  # fmt: skip
        words = f"{name}\nmean {errors.mean():.1f} mm{', ' if large else chr(10)}"
        words += f"deviation ÷ mean {unevenness(errors):.2f}"
        top = -95 if large else -155  # room above the fingers
        ax.text(240, top, words, ha="center", va="top")
        ax.set(xlim=(20, 460), ylim=(485, top))
        _bare(ax)
    figure.colorbar(
        ScalarMappable(scale, ERROR_MAP), ax=list(axes), label="mm", orientation="horizontal",
        shrink=0.6, aspect=30, pad=0.02,
    )  # fmt: skip
    return figure


def _round_up(value: float) -> float:
    step = 10.0 ** np.floor(np.log10(max(value, 1e-6))) / 2
    return float(step * np.ceil(value / step))


def _round_down(value: float) -> float:
    step = 10.0 ** np.floor(np.log10(max(value, 1e-6))) / 2
    return float(step * np.floor(value / step))


# ------------------------------------------------------------------------------------ one window


@styled
def window_strip(view: WindowView, data: Data) -> Figure:
    """Fig. 4: the window's images; the true mesh, the predicted mesh, its error, under each."""
    columns = len(view.frames)
    width = max(WIDTH_IN, 1.45 * columns + 1.0)
    figure = new_figure(width, 1.42 * 4 + 1.5)
    set_title(figure, f"A window, frame by frame (Fig. 4)\n{view.name}", data)
    axes = figure.subplots(4, columns, squeeze=False)
    top = view.largest_mm
    for column, frame in zip(axes.T, view.frames, strict=True):
        for ax, image in zip(column, _tiles(frame, top), strict=True):
            if image is None:
                ax.set_facecolor(FAINT)
                no_data(ax, "none")
                ax.set(xlim=(0, 1), ylim=(0, 1), aspect=1)
            else:
                ax.imshow(image, interpolation="antialiased")
            _bare(ax, "centre" if frame.is_centre else None)
        column[0].set_title(_above(frame), fontsize=10.5)
        below = f"{frame.pa_mm:.1f} mm" if np.isfinite(frame.pa_mm) else "–"
        column[3].set_xlabel(below, fontsize=10.5)
    for ax, label in zip(axes[:, 0], ("image", "true", "predicted", "error"), strict=True):
        ax.set_ylabel(label)
    _error_bar(figure, list(axes[3]), top)
    return figure


def _tiles(frame: FrameView, top_mm: float) -> tuple[np.ndarray | None, ...]:
    """Image, true mesh over it, predicted mesh over it, error map; None where not known."""
    faces, K, white = frame.hand.faces, frame.K, np.full_like(frame.image, _WHITE)
    true = predicted = error = None
    if frame.true_m is not None and is_in_front(frame.true_m):
        true = draw_mesh(frame.image, frame.true_m, faces, K, TRUTH_RGB, 0.9)
    if frame.predicted_m is not None and is_in_front(frame.predicted_m):
        predicted = draw_mesh(frame.image, frame.predicted_m, faces, K, HAND_RGB, 0.9)
    if frame.errors_mm is not None and is_in_front(frame.aligned_m):
        colours = error_colours(frame.errors_mm, top_mm)
        error = draw_mesh(white, frame.aligned_m, faces, K, colours)
    return frame.image, true, predicted, error


def _above(frame: FrameView) -> str:
    hidden = "" if np.isnan(frame.occlusion) else f"\n{frame.occlusion:.0%} hidden"
    return f"frame {frame.frame}{'*' if frame.is_placed else ''}{hidden}"


def _error_bar(figure: Figure, axes: list[Axes], top_mm: float) -> None:
    figure.colorbar(
        ScalarMappable(Normalize(0, top_mm), ERROR_MAP), ax=axes, label="mm", extend="max",
        fraction=0.03, pad=0.01,
    )  # fmt: skip


@styled
def window_weights(view: WindowView, data: Data) -> Figure:
    """Fig. 6: how much each frame of the window counts in the pose of the one in the middle."""
    columns = len(view.frames)
    width = max(WIDTH_IN, 1.45 * columns + 1.0)
    figure = new_figure(width, 4.6)
    set_title(figure, f"Weight of every frame of the window (Fig. 6)\n{view.name}", data)
    grid = figure.add_gridspec(2, columns, height_ratios=[1.0, 1.25])
    for i, frame in enumerate(view.frames):
        ax = figure.add_subplot(grid[0, i])
        ax.imshow(frame.image, interpolation="antialiased")
        ax.set_title(f"frame {frame.frame}", fontsize=10.5)
        _bare(ax, "centre" if frame.is_centre else None)
    ax = figure.add_subplot(grid[1, :])
    x = np.arange(columns)
    for k, (label, name, style) in enumerate((
        ("weight", "weight", {"color": PALETTE[0]}),
        ("hidden by objects", "occlusion",
         {"color": "white", "edgecolor": PALETTE[1], "hatch": "////"}),
    )):  # fmt: skip
        values = np.array([getattr(frame, name) for frame in view.frames])
        bars = ax.bar(x + (k - 0.5) * 0.36, np.nan_to_num(values), 0.32, label=label, **style)
        texts = ["–" if np.isnan(v) else f"{v:.0%}" for v in values]
        ax.bar_label(bars, texts, padding=2, fontsize=10)
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(0, 1.12), xticks=x, yticks=np.linspace(0, 1, 5))
    ax.set_xticklabels([_place(frame, view.centre) for frame in view.frames])
    ax.grid(False, axis="x")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _place(frame: FrameView, centre: FrameView) -> str:
    """Where a frame stands in the window, and how often."""
    place = "middle" if frame.is_centre else signed(frame.frame - centre.frame)
    return f"{place}, {frame.times}×" if frame.times > 1 else place


@styled
def failures(views: list[WindowView], data: Data) -> Figure:
    """The worst frames: true and predicted mesh over the image, and the error."""
    figure = new_figure(WIDTH_IN, 1.06 * len(views) + 0.9, layout="compressed")
    set_title(figure, "The worst failures, by Procrustes-aligned error", data)
    axes = figure.subplots(len(views), 4, squeeze=False)
    top = max(view.largest_mm for view in views)
    for line, view in zip(axes, views, strict=True):
        frame = view.centre
        for ax, image in zip(line, _tiles(frame, top), strict=True):
            if image is not None:
                ax.imshow(image, interpolation="antialiased")
            else:
                no_data(ax, "none")
            _bare(ax)
        hidden = "" if np.isnan(frame.occlusion) else f"\n{frame.occlusion:.0%} hidden"
        star = "*" if frame.is_placed else ""
        line[0].set_ylabel(f"{frame.pa_mm:.1f} mm{star}{hidden}", fontsize=10.5)
    for ax, label in zip(axes[0], ("image", "true", "predicted", "error"), strict=True):
        ax.set_title(label)
    _error_bar(figure, list(axes.ravel()), top)
    return figure


def _bare(ax: Axes, mark: str | None = None) -> None:
    """No ticks; the frame of the picture only where it is marked."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(mark is not None)
        spine.set(color=PALETTE[1], linewidth=2.2)
