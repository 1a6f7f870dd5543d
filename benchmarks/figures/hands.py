"""Figures with hands: predicted meshes over seen and hidden frames, and over a window."""

from collections.abc import Callable

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from benchmarks.evaluation.result import Data
from benchmarks.figures.examples import FrameView
from benchmarks.figures.style import (
    ERROR_MAP,
    FAINT,
    PALETTE,
    WIDTH_IN,
    new_figure,
    no_data,
    set_title,
    styled,
)
from deformer.hand.align import align_procrustes, point_errors_mm
from deformer.hand.camera import project
from deformer.video.ink import draw_skeleton
from deformer.video.meshes import Look, draw_mesh, is_in_front

_HAND_RGB, _TRUTH_RGB = (86, 156, 214), (190, 193, 199)

_SMALL = 10.5
_BONE_PX = 2.0
_WORST_MM = 20.0
"""The darkest colour of an error."""


@styled
def predicted_hands(groups: dict[str, list[FrameView]], data: Data) -> Figure:
    """Images, and the predicted hands over them: two rows for each named group."""
    columns = max(map(len, groups.values()))
    figure = new_figure(max(WIDTH_IN, 1.7 * columns), 3.7 * len(groups) + 0.8)
    set_title(figure, "Predicted hands, seen and hidden", data)
    axes = figure.subplots(2 * len(groups), columns, squeeze=False)
    for ax in axes.ravel():
        ax.set_axis_off()
    for k, (name, frames) in enumerate(groups.items()):
        _fill(axes[2 * k : 2 * k + 2], frames, {name: _image, "predicted": _predicted})
    return figure


@styled
def window_strip(frames: list[FrameView], name: str, data: Data) -> Figure:
    """Figs. 4 and 6: the images of a window with the weights of its frames; below each the true
    mesh, the predicted mesh and its error. name: the place of the window in the dataset."""
    figure = new_figure(max(WIDTH_IN, 1.45 * len(frames) + 1.0), 1.42 * 4 + 1.7)
    set_title(figure, f"A window, frame by frame (Figs. 4 and 6)\n{name}", data)
    axes = figure.subplots(4, len(frames), squeeze=False)
    rows = {"image": _image, "true": _true, "predicted": _predicted, "error": _error}
    _fill(axes, frames, rows)
    figure.colorbar(
        ScalarMappable(Normalize(0, _WORST_MM), ERROR_MAP), ax=list(axes[3]), label="mm",
        extend="max", fraction=0.03, pad=0.01,
    )  # fmt: skip
    return figure


def _fill(
    axes: np.ndarray, frames: list[FrameView],
    rows: dict[str, Callable[[FrameView], np.ndarray | None]],
) -> None:  # fmt: skip
    """A column of pictures for each frame, with its numbers above and its error below."""
    for column, frame in zip(axes.T, frames, strict=False):
        for ax, draw in zip(column, rows.values(), strict=True):
            _show(ax, draw(frame), frame.is_centre and not np.isnan(frame.weight))
        lines = [f"frame {frame.frame}"]
        lines += [] if np.isnan(frame.occlusion) else [f"{frame.occlusion:.0%} hidden"]
        lines += [] if np.isnan(frame.weight) else [f"weight {frame.weight:.0%}"]
        column[0].set_title("\n".join(lines), fontsize=_SMALL)
        words = "–" if np.isnan(frame.pa_mm) else f"{frame.pa_mm:.1f} mm"
        column[-1].set_xlabel(words, fontsize=_SMALL)
    for ax, label in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(label)


def _image(frame: FrameView) -> np.ndarray:
    return frame.image


def _true(frame: FrameView) -> np.ndarray | None:
    return _drawn(frame.image, frame, frame.true_m, _TRUTH_RGB, 0.9)


def _predicted(frame: FrameView) -> np.ndarray | None:
    """The mesh; the skeleton of a network that predicts joints alone."""
    if frame.predicted_m is not None or frame.joints_m is None:
        return _drawn(frame.image, frame, frame.predicted_m, _HAND_RGB, 0.9)
    image = frame.image.copy()
    draw_skeleton(image, project(frame.joints_m, frame.K), _HAND_RGB, _BONE_PX, 1.0)
    return image


def _error(frame: FrameView) -> np.ndarray | None:
    """The prediction, aligned with the truth and coloured by its errors."""
    if frame.true_m is None or frame.predicted_m is None:
        return None
    aligned_m = align_procrustes(frame.predicted_m[None], frame.true_m[None])[0]
    colours = _error_colours(point_errors_mm(aligned_m, frame.true_m))
    return _drawn(np.full_like(frame.image, 255), frame, aligned_m, colours)


def _error_colours(errors_mm: np.ndarray) -> np.ndarray:
    """RGB 0-255 (..., 3)."""
    return 255 * colormaps[ERROR_MAP](np.clip(errors_mm / _WORST_MM, 0, 1))[..., :3]


def _drawn(
    image: np.ndarray, frame: FrameView, vertices_m: np.ndarray | None, rgb, opacity: float = 1.0
) -> np.ndarray | None:
    """The image with a mesh over it; None without a mesh in front of the camera."""
    if vertices_m is None or not is_in_front(vertices_m):
        return None
    return draw_mesh(image, vertices_m, frame.faces, frame.K, rgb, Look(opacity, opacity))


def _show(ax: Axes, image: np.ndarray | None, is_marked: bool = False) -> None:
    """Show a picture without ticks; is_marked: with a border."""
    ax.set_axis_on()
    if image is None:
        ax.set_facecolor(FAINT)
        no_data(ax, "none")
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect=1)
    else:
        ax.imshow(image, interpolation="antialiased")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(is_marked)
        spine.set(color=PALETTE[1], linewidth=2.2)
