"""All figures of evaluations, with their captions.

`benchmarks.figures` writes them to files, `benchmarks.report` into its page.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.compare.comparable import group_by_data, group_by_kind, label_of
from benchmarks.evaluation.scored import Scored
from benchmarks.figures import curves, hands
from benchmarks.figures.curves import Line
from benchmarks.figures.examples import GROUPS, largest_gain, typical_frames, view_window
from deformer.data.store import CorruptMemberError
from deformer.hand.mano import Hands, load_hands_of


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure with its heading and caption."""

    name: str
    """The path of its files, relative to the folder of all figures, without a suffix."""
    heading: str
    caption: str
    """What it shows and what to look for."""
    figure: Figure
    is_photo: bool = False
    """It has photos, so PNG suits it better than SVG."""


def lines_of(group: list[Scored]) -> list[Line]:
    """A line per kind of run, pooled over the seeds of a setup."""
    setups = group_by_kind(group).values()
    found = [list(seeds.values()) for kinds in setups for seeds in kinds.values()]
    labels = [label_of(runs[0].evaluation.run) for runs in found]
    lines = []
    for runs, label in zip(found, labels, strict=True):
        apart = f" [{runs[0].name}]" if labels.count(label) > 1 else ""
        seeds = f" ({len(runs)} runs)" if len(runs) > 1 else ""
        parts = [(run.occlusion, run.values["pa_mpjpe_mm"], run.values["ra_mpjpe_mm"])
                 for run in runs]  # fmt: skip
        lines.append(Line(f"{label}{apart}{seeds}", *map(np.concatenate, zip(*parts, strict=True))))
    return lines


def draw_split(group: list[Scored]) -> Iterator[Drawn]:
    """Figures that compare all runs of a split."""
    lines, data = lines_of(group), group[0].evaluation.data
    folder = f"{data.name}-{_file_name(data.split)}"
    yield Drawn(
        f"{folder}/error_by_occlusion",
        "Error against occlusion (the paper's Fig. 5)",
        "The mean Procrustes-aligned error of the frames in each range of 10 % occlusion. A single "
        "run also shows the standard deviation over frames; with several runs the axis does not "
        "begin at 0. Look at how the lines part to the right. A range without frames is a gap.",
        curves.error_by_occlusion(lines, data),
    )
    yield Drawn(
        f"{folder}/pck",
        "PCK curves",
        "The share of joints nearer to the truth than a distance. Higher and further left is "
        "better. The area under the curve is the AUC of the tables, root-aligned and Procrustes-"
        "aligned. After root alignment the wrist is always right, so that curve begins at 1 of 21 "
        "joints.",
        curves.pck_curves(lines, data),
    )


def draw_run(scored: Scored, mano_dir: Path | None, problems: dict[str, str]) -> Iterator[Drawn]:
    """Figures with the hands of one run. If they cannot be drawn, `problems` gets the reason, by
    the run's name."""
    try:
        models = load_hands_of(scored.truth.info, mano_dir)
        yield from _draw_hands(scored, models)
        yield from _draw_window(scored, models)
    except (ValueError, OSError, CorruptMemberError) as error:
        problems[scored.name] = str(error)


def _draw_hands(scored: Scored, models: Hands) -> Iterator[Drawn]:
    chosen = {name: typical_frames(scored, limits) for name, limits in GROUPS.items()}
    groups = {
        name: [view_window(scored, models, at, whole=False)[0] for at in frames]
        for name, frames in chosen.items()
        if frames
    }
    if groups:
        yield Drawn(
            f"{_file_name(scored.name)}/hands",
            "Predicted hands, seen and hidden",
            "Frames with the predicted mesh (or its joints, of networks without one) over them and "
            "the Procrustes-aligned error of the joints. Their "
            "errors are nearest to the median of their group, the hands seen well or hidden.",
            hands.predicted_hands(groups, scored.evaluation.data),
            is_photo=True,
        )


def _draw_window(scored: Scored, models: Hands) -> Iterator[Drawn]:
    if (gain := largest_gain(scored)) is None:
        return
    (about,) = scored.truth.frames.slice(int(scored.at[gain.at]), 1).to_pylist()
    where = " / ".join(str(about[key]) for key in ("subject", "sequence", "camera"))
    frames = view_window(scored, models, gain.at)
    yield Drawn(
        f"{_file_name(scored.name)}/window",
        "A window, frame by frame (the paper's Figs. 4 and 6)",
        f"The window with the largest gain from fusion: {gain.reason}. Each frame is shown as its "
        "own window predicts it; the middle frame has a border. A frame's weight is its share in "
        "the pose of the middle frame, and should be low if much is hidden. Compare the third row "
        "with the second.",
        hands.window_strip(frames, where, scored.evaluation.data),
        is_photo=True,
    )


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def draw_all(
    scored: list[Scored], mano_dir: Path | None, problems: dict[str, str]
) -> Iterator[Drawn]:  # fmt: skip
    """Every figure of every run. If one cannot be drawn, `problems` gets the reason, by run."""
    for group in group_by_data(scored):
        yield from draw_split(group)
        for s in group:
            yield from draw_run(s, mano_dir, problems)
