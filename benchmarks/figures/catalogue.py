"""What is drawn of which evaluations, and what to say of it: figures with their captions.

The figures themselves are in `curves`, `gains`, `windows`, `diagnostics` and `deformation`; here is
chosen what they are of. `benchmarks.figures` writes them to files, `benchmarks.report` into its
page.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.claims.findings import make_blocks
from benchmarks.compare.comparable import group_by_split, is_start, partner, results_by_kind
from benchmarks.evaluation.result import Evaluation
from benchmarks.evaluation.scored import Scored
from benchmarks.figures import curves, deformation, diagnostics, gains, windows
from benchmarks.figures.curves import Line
from benchmarks.figures.examples import Choice, largest_gain, steadiest_sequence, worst_failures
from benchmarks.figures.style import MAX_LINES
from benchmarks.figures.window_view import WindowView, view_window
from deformer.data.store import CorruptMemberError
from deformer.hand.mano import HandLayer, Hands
from deformer.training.label_check import load_hands_of


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure, and what to say of it."""

    name: str
    """Of its files, from the folder of all figures, without a suffix."""
    heading: str
    caption: str
    """What it shows, and what to look at."""
    figure: Figure
    is_photo: bool = False
    """It holds pictures, so PNG suits it better than SVG."""
    is_wide: bool = False


# ------------------------------------------------------------------------------- of a whole split


def lines_of(group: list[Scored]) -> list[Line]:
    """A line per kind of run, the seeds that were trained alike together; kinds in their order."""
    setups = results_by_kind(group).values()
    kinds = [(kind, tuple(seeds.values())) for setup in setups for kind, seeds in setup.items()]
    labels = [kind.label for kind, _ in kinds]
    lines = []
    for kind, runs in sorted(kinds, key=lambda item: item[0].rank):
        apart = f" [{runs[0].name}]" if labels.count(kind.label) > 1 else ""
        lines.append(
            Line(
                f"{kind.label}{apart}",
                np.concatenate([s.occlusion for s in runs]),
                np.concatenate([s.values["pa_mpjpe_mm"] for s in runs]),
                np.concatenate([s.values["ra_mpjpe_mm"] for s in runs]),
                len(runs),
            )
        )
    return lines


def draw_split(group: list[Scored]) -> Iterator[Drawn]:
    """Figures that show all runs of a split; what others only start from where there is no more."""
    starts = [s for s in group if is_start(s.evaluation.run)]
    compared = [s for s in group if not is_start(s.evaluation.run)]
    lines, data = lines_of(compared or starts), group[0].evaluation.data
    left_out = lines[MAX_LINES:] + (lines_of(starts) if compared else [])
    note = f" Not drawn: {', '.join(line.label for line in left_out)}." if left_out else ""
    folder = f"{data.name}-{_file_name(data.split)}"
    yield Drawn(
        f"{folder}/error_by_occlusion",
        "Error against occlusion (the paper's Fig. 5)",
        "The mean Procrustes-aligned error of the frames in each range of 10 % occlusion; of a run "
        "alone with its standard deviation over frames, of several on an axis that does not begin "
        "at 0. Look at how the lines part to the right. A range without frames is a gap." + note,
        curves.error_by_occlusion(lines, data),
    )
    yield from _draw_gains(group, folder)
    yield Drawn(
        f"{folder}/pck",
        "PCK curves",
        "The share of joints nearer to the truth than a distance. Higher and further left is "
        "better; the area under the curve is the AUC of the tables. Root-aligned, the wrist is "
        "always right, so the curve begins at 1 of 21 joints." + note,
        curves.pck_curves(lines, data),
    )
    yield Drawn(
        f"{folder}/occlusion",
        "Occlusion of the evaluated frames",
        "How many frames are hidden how much, and how many fall into each range of the tables. A "
        "range with few frames gives a number that chance has a large part in.",
        curves.occlusion_histogram(group[0].occlusion, data),
    )


def _draw_gains(group: list[Scored], folder: str) -> Iterator[Drawn]:
    """Of the runs that compare, where fusions and no fusion are among them."""
    try:
        found = [gains.fusion_gains(block) for block in make_blocks(group)]
    except ValueError:  # runs of different frames, as the claims tell by name
        return
    if not (most := max(found, key=len, default=[])):
        return
    yield Drawn(
        f"{folder}/gain_by_occlusion",
        "Gain of fusion by occlusion",
        "Error of each fusion − error of the same method without fusion, on the same frames, by "
        "ranges of 10 % occlusion: below 0 fusion errs less. Fusion is meant to help where the "
        "hand is hidden. Bars are 95 % intervals as in the claims, each of its point alone: of "
        "many, one in twenty misses by chance.",
        gains.gain_by_occlusion(most, group[0].evaluation.data),
    )


# ------------------------------------------------------------------------------------ of one run


def draw_run(
    scored: Scored, group: list[Scored], mano_dir: Path | None, problems: dict[str, str]
) -> Iterator[Drawn]:
    """Figures of one run of a group; why others cannot be drawn is told in `problems`, by run."""
    try:
        hands = load_hands_of(scored.truth.info, mano_dir)
    except (ValueError, OSError) as error:
        problems[scored.name] = str(error)
        return
    try:
        yield _draw_joint_errors(scored, loss_partner(scored, group), hands)
        yield from _draw_frames(scored, hands, partner(scored, group, fusion="center"))
    except (CorruptMemberError, FileNotFoundError) as error:
        problems[scored.name] = str(error)


def loss_partner(scored: Scored, group: list[Scored]) -> Scored | None:
    """The run of a group that differs from this one by the loss alone."""
    is_mse = scored.evaluation.run.point_loss == "mse"
    return partner(scored, group, point_loss="max_mse" if is_mse else "mse")


def _draw_joint_errors(scored: Scored, partner: Scored | None, hands: Hands) -> Drawn:
    """Fig. 3 of one evaluation, beside the one with the other loss where there is one."""
    evaluation = scored.evaluation
    shown = [evaluation, *([partner.evaluation] if partner else [])]
    errors = {
        _loss_name(e): np.array(e.metrics["all"]["pa_mpjpe_mm"]["per_joint"])
        for e in sorted(shown, key=_loss_name)  # MSE, which maxMSE is compared with, first
    }
    eye = torch.eye(3).expand(1, 16, 3, 3)
    _, joints = HandLayer(hands)(eye, torch.zeros(1, 10), torch.tensor([False]))
    caption = (
        "Mean error of each joint after Procrustes alignment, drawn on the hand at rest; numbers "
        "at the wrist and the fingertips. maxMSE is meant to even the errors out: the tips should "
        "stand out less, so standard deviation ÷ mean over joints should be smaller."
    )
    if partner is None:
        caption += " The run with the other loss is not there, so there is nothing to compare with."
    return Drawn(
        f"{_file_name(scored.name)}/joint_errors",
        "Error of every joint (the paper's Fig. 3)",
        caption,
        windows.joint_errors(errors, hands.right, joints[0].numpy(), evaluation.data),
        is_photo=True,
    )


def _loss_name(evaluation: Evaluation) -> str:
    return "MSE" if evaluation.run.point_loss == "mse" else "maxMSE"


def _draw_frames(scored: Scored, hands: Hands, unfused: Scored | None) -> Iterator[Drawn]:
    """A sequence over time, the window with the largest gain, failures, confidence."""
    folder, data = _file_name(scored.name), scored.evaluation.data
    if (sequence := steadiest_sequence(scored)) is not None:
        yield _draw_acceleration(scored, sequence, folder)
    gain = largest_gain(scored, unfused)
    if gain is not None:
        yield from _draw_gain(scored, hands, gain, folder)
    if worst := worst_failures(scored):
        views = [view_window(scored, hands, at, whole=False) for at in worst]
        yield Drawn(
            f"{folder}/failures",
            "The worst failures",
            "The frames with the largest errors, one per recording at most. Look for what they "
            "have in common: heavy occlusion, a hand at the border, an unusual view."
            + _star(views),
            windows.failures(views, data),
            is_photo=True,
        )
    if (c := diagnostics.confidence(scored)) is not None:
        yield Drawn(
            f"{folder}/confidence",
            "Confidence against occlusion and blur",
            "How much a frame counts in its window, against how much more of the hand is hidden in "
            "it than in the window's other frames, how much faster it moves in the image, which "
            "blurs it, and how much nearer its true pose is to the window's mean pose. ρ is of "
            "ranks within a window, bars and brackets are 95 % intervals over recordings; at equal "
            "motion or time (the place in the window) it is what is left of ρ between frames that "
            "are alike in that. A confidence that learned what it is for falls to the right in the "
            "first two; flat at 1 means that all frames count alike.",
            diagnostics.confidence_figure(c, data),
        )
    if (b := diagnostics.borrowing(scored)) is not None:
        yield Drawn(
            f"{folder}/borrowing",
            "Which frames poses are borrowed from",
            "The mean weight of each place in the window, over windows that repeat no frame. "
            "Equal bars are a plain average.",
            diagnostics.borrowing_figure(b, data),
        )
    yield from _draw_lending(scored, folder)


def _draw_lending(scored: Scored, folder: str) -> Iterator[Drawn]:
    """Of an evaluation with sources."""
    if (found := deformation.lending(scored)) is None:
        return
    data = scored.evaluation.data
    yield Drawn(
        f"{folder}/borrowed_error",
        "What a borrowed pose is worth, by its distance",
        "The error of the poses that frames lend to the centre of their window, before any mean, "
        "less that of the centre's own pose: below 0 another frame's is better. Deforming is worth "
        "its name where the first line lies below the second; the third is of the error that the "
        "pose had at home. At the bottom: 100 % if the deformed hand moved as the true one "
        "did, 0 as if it had stood still, less is worse than that. Bands and bars are 95 % "
        "intervals over recordings.",
        deformation.borrowed_error_figure(found, data),
    )
    yield Drawn(
        f"{folder}/headroom",
        "What there is to borrow, by occlusion of the centre",
        "Errors less that of the frame's own pose: of the fused pose, of that of the frame in the "
        "window which is hidden least, and of the best single pose, chosen by the truth. The last "
        "is low by being chosen, and no bound: a mean of several poses can err less than each of "
        "them. Bands are 95 % intervals over recordings.",
        deformation.headroom_figure(found, data),
    )


def _draw_acceleration(scored: Scored, sequence: str, folder: str) -> Drawn:
    c = scored.comparison
    inside = c.camera_sequence == sequence
    return Drawn(
        f"{folder}/acceleration",
        "Acceleration over time",
        "One camera-sequence, the one with the most consecutive frames. Predictions that jitter "
        "lie above the true line; look at whether the peaks stand where the hand is hidden.",
        curves.acceleration_over_time(
            c.joints_m[inside], c.truth_joints_m[inside], c.frame[inside], c.occlusion[inside],
            sequence, scored.evaluation.data,
        ),
    )  # fmt: skip


def _draw_gain(scored: Scored, hands: Hands, gain: Choice, folder: str) -> Iterator[Drawn]:
    """Figs. 4 and 6 of the window with the largest gain from fusion."""
    view, data = view_window(scored, hands, gain.at), scored.evaluation.data
    chosen = f"The window with the largest gain from fusion: {gain.reason}. "
    yield Drawn(
        f"{folder}/window",
        "A window, frame by frame (the paper's Fig. 4)",
        chosen + "Each frame as its own window predicts it, the one in the middle framed. Compare "
        "the third row with the second, and look at where on the hand the error is dark. Black "
        "is outside the image." + _star([view]),
        windows.window_strip(view, data),
        is_photo=True,
        is_wide=True,
    )
    yield Drawn(
        f"{folder}/weights",
        "Weights of the window's frames (the paper's Fig. 6)",
        "The same window: how much of the middle frame's pose comes from each frame. Bars "
        "should be low where the hatched ones, occlusion, are high. A frame at the border of the "
        "recording stands in the window more than once, and counts as often.",
        windows.window_weights(view, data),
        is_photo=True,
        is_wide=True,
    )


def _star(views: list[WindowView]) -> str:
    if not any(frame.is_placed for view in views for frame in view.frames):
        return ""
    return " * stands at the true wrist: its predicted depth is behind the camera."


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


# ------------------------------------------------------------------------------------ of all runs


def draw_all(
    scored: list[Scored], mano_dir: Path | None, problems: dict[str, str]
) -> Iterator[Drawn]:  # fmt: skip
    """Every figure of every run; what cannot be drawn is told in `problems`, by run."""
    for group in group_by_split(scored):
        yield from draw_split(group)
        for s in group:
            yield from draw_run(s, group, mano_dir, problems)
