"""Which runs have a line in the figures of a split, and how the lines are told apart."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.compare.comparable import is_start
from benchmarks.figures.catalogue import draw_split, lines_of
from benchmarks.figures.curves import error_by_occlusion, pck_curves
from benchmarks.figures.style import DASHES, MARKERS, MAX_LINES, PALETTE, title_of
from deformer.experiments import VARIANTS
from tests.benchmarks.evaluations import make_evaluation


def of(experiment: str, seed: int = 0, **changed) -> SimpleNamespace:
    """What is needed of a `Scored`, of three frames."""
    return SimpleNamespace(
        name=f"{experiment}-seed{seed}",
        evaluation=make_evaluation({"experiment": experiment, "seed": seed, **changed}),
        row=np.arange(3),
        comparison=SimpleNamespace(sequence=np.array(["a", "b", "b"])),
        occlusion=np.array([0.1, 0.5, 0.9]),
        values=dict.fromkeys(
            ("pa_mpjpe_mm", "ra_mpjpe_mm"),
            np.full((3, 21), 6.0 + (changed.get("fusion") == "center")),
        ),
    )


def test_all_kinds_have_a_line_and_starts_take_no_place():
    base, loss = "tiny_occluded", {"point_loss": "mse"}
    _, *ablations = VARIANTS.values()
    runs = [of(base), of(base, 1)]
    runs += [
        of(f"{base}_{v.name}", fusion=v.fusion, point_loss=v.point_loss, adversarial=v.adversarial)
        for v in ablations
    ]
    starts = [of(f"{base}_{name}", fusion="center", adversarial=False, **loss)
              for name in ("frames", "windows")]  # fmt: skip
    assert [is_start(s.evaluation.run) for s in (*starts, *runs)] == [True] * 2 + [False] * 10
    drawn = {Path(d.name).name: d for d in draw_split([*starts, *runs])}
    lines = drawn["pck"].figure.axes[0].lines
    assert len({(line.get_color(), str(line.get_linestyle())) for line in lines}) == 9
    assert sum("Dynamic (2 runs)" in line.get_label() for line in lines) == 1
    label = f"Center, MSE, no discriminator [{base}_{{}}-seed0]"
    note = f" Not drawn: {label.format('frames')}, {label.format('windows')}."
    assert all(drawn[name].caption.endswith(note) for name in ("error_by_occlusion", "pck"))
    alone = next(draw_split(starts))
    assert "Not drawn" not in alone.caption and len(alone.figure.axes[0].containers) == 2
    gains = drawn["gain_by_occlusion"].figure.axes[0].containers
    order = ["Dynamic", "Pairwise", "Nearby", "Weighted", "Average"]
    assert [bars.get_label() for bars in gains] == order
    differences = gains[0].lines[0].get_ydata()
    assert differences[[1, 5, 9]].tolist() == [-1.0] * 3  # 0.5 is in the upper of two ranges
    assert np.isnan(differences).sum() == 7


def test_gains_need_runs_without_fusion_that_compare():
    average = of("tiny_average", fusion="average")
    names = [Path(d.name).name for d in draw_split([of("tiny"), average])]
    assert "gain_by_occlusion" not in names
    apart = of("tiny_center", fusion="center", step=9)
    assert "gain_by_occlusion" not in [Path(d.name).name for d in draw_split([of("tiny"), apart])]
    moved = of("tiny_center", fusion="center")
    moved.row = moved.row + 1  # the claims tell of it
    assert "gain_by_occlusion" not in [Path(d.name).name for d in draw_split([of("tiny"), moved])]


def test_nine_lines_are_told_apart():
    assert MAX_LINES == 9
    assert all(len(set(map(str, kinds))) == 9 for kinds in (PALETTE, DASHES, MARKERS))


def test_seeds_are_taken_together_where_they_were_trained_alike():
    group = [of("tiny", 0), of("tiny", 1), of("tiny", 2, step=9), of("tiny", 3, config="1")]
    lines = lines_of(group)
    assert [(line.label, line.num_runs) for line in lines] == [
        ("Dynamic [tiny-seed2]", 1), ("Dynamic [tiny-seed0]", 2), ("Dynamic [tiny-seed3]", 1),
    ]  # fmt: skip
    (ax,) = error_by_occlusion(lines[:2], group[0].evaluation.data).axes
    _, legend = ax.get_legend_handles_labels()
    assert legend == ["Dynamic [tiny-seed2] (1 run)", "Dynamic [tiny-seed0] (2 runs)"]


def test_what_is_the_same_for_all_lines_stands_in_the_title():
    group = [of("tiny", 0), of("tiny", 1)]
    for make in (error_by_occlusion, pck_curves):
        title = title_of(make(lines_of(group), group[0].evaluation.data))
        assert title.partition("\n")[0].endswith(", 2 runs each")
        assert "runs each" not in title_of(make(lines_of(group[:1]), group[0].evaluation.data))
