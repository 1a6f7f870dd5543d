"""What fusion gains over none, on the same frames, by occlusion. Measure and figure."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.claims.findings import Block, common_seeds, compare_kinds
from benchmarks.compare.comparable import Kind
from benchmarks.compare.paired import Estimate
from benchmarks.evaluation.protocol import is_in_bin
from benchmarks.evaluation.result import Data
from benchmarks.figures.curves import OCCLUSION_EDGES
from benchmarks.figures.style import GREY, MARKERS, PALETTE, new_figure, set_title, styled
from benchmarks.words import METRIC_NAMES

METRICS = ("pa_mpjpe_mm", "ra_mpjpe_mm")
"""One above the other."""


@dataclass(frozen=True, eq=False)
class Gain:
    """Of one fusion."""

    label: str
    estimates: dict[str, tuple[Estimate | None, ...]]
    """By metric of `METRICS`: its error − that without fusion in each range of `OCCLUSION_EDGES`;
    None where no frame is."""


def fusion_gains(block: Block) -> list[Gain]:
    """Of each fusion that a block has beside runs without; empty where it has none."""
    center, occlusion = Kind("center"), block.first.occlusion
    parts = [is_in_bin(occlusion, pair) for pair in pairwise(OCCLUSION_EDGES)]
    gains = []
    for kind in block.runs if center in block.runs else ():
        is_fusion = kind == Kind(kind.fusion) != center
        if is_fusion and common_seeds(block, kind, center):
            gains.append(Gain(kind.label, {
                metric: tuple(compare_kinds(block, kind, center, metric, p) for p in parts)
                for metric in METRICS
            }))  # fmt: skip
    return gains


@styled
def gain_by_occlusion(gains: list[Gain], data: Data) -> Figure:
    """Differences with their 95 % intervals; a range with frames of one recording has none."""
    figure = new_figure(height_in=6.2)
    set_title(figure, "Error with fusion − without, on the same frames", data)
    middles = (OCCLUSION_EDGES[:-1] + OCCLUSION_EDGES[1:]) / 2
    axes = figure.subplots(2, 1, sharex=True)
    for ax, metric in zip(axes, METRICS, strict=True):
        ax.axhline(0, color=GREY, linewidth=0.9)
        for k, gain in enumerate(gains):
            differences, low, high = _numbers(gain.estimates[metric])
            x = middles + 0.02 * (k - (len(gains) - 1) / 2)  # beside each other
            ax.errorbar(
                x, differences, (differences - low, high - differences), color=PALETTE[k],
                marker=MARKERS[k], markersize=4.5, linestyle="none", elinewidth=1.2,
                label=gain.label,
            )  # fmt: skip
        ax.set(xlim=(0, 1), ylabel="mm")
        ax.set_title(METRIC_NAMES[metric], loc="left", color=GREY)
        ax.set_xticks(OCCLUSION_EDGES[::2])
    axes[1].set_xlabel("share of the hand that objects hide")
    axes[1].xaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _numbers(estimates: tuple[Estimate | None, ...]) -> np.ndarray:
    """Difference, lower and upper limit (3, ranges); NaN where not known."""
    unknown = (np.nan, np.nan)
    lines = [(np.nan, *unknown) if e is None else (e.difference, *(e.interval or unknown))
             for e in estimates]  # fmt: skip
    return np.array(lines).T
