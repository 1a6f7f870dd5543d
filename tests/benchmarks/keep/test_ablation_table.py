"""The ablations side by side: which rows, in which order, with which numbers."""

import csv
import io
from dataclasses import replace

import pytest
from benchmarks.keep.ablation_table import ablation_tables, title, to_csv, to_markdown

from tests.benchmarks.evaluations import SYNTHETIC, make_evaluation, make_metrics


def run(name: str, seed: int = 0, shift_mm: float = 0.0, data: dict | None = None, **more):
    """An ablation of `tiny_occluded` by name, its PA-MPJPE shifted."""
    fields = {"experiment": f"tiny_occluded_{name}".removesuffix("_"), "seed": seed, **more}
    metrics = make_metrics(shift_mm, empty=("75-100",))
    return make_evaluation(fields, SYNTHETIC if data is None else data, metrics)


CONSTANT = replace(
    make_evaluation({"method": "constant hand", "predictions": "a mean"}, SYNTHETIC),
    metrics=make_metrics(2.0, empty=("75-100",)),
)
RUNS = [
    run("nearby", fusion="nearby"),
    run("", 1, 0.2),
    run("", 0),
    run("mse", point_loss="mse"),
    run("mse_noadv", point_loss="mse", adversarial=False),
    run("noadv", adversarial=False),
    run("center", fusion="center"),
    CONSTANT,
    run("windows", fusion="center"),  # others begin with it
]


def test_rows_are_in_the_order_of_kinds_and_seeds_are_taken_together():
    (table,) = ablation_tables(RUNS)
    assert title(table) == "tiny_occluded, step 1,234 · SYNTHETIC data · demo s0_test"
    lines = to_markdown(table).splitlines()
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]
    assert names == [
        "frames", "constant hand †", "Dynamic †", "Nearby †", "Center †",
        "Dynamic, no discriminator †", "Dynamic, MSE †", "Dynamic, MSE, no discriminator †",
    ]  # fmt: skip
    assert lines[2] == "| frames | 10 | 10 | 10 | 0 | – | – |  |"
    assert lines[3].endswith("| 8.54 / 14.57 | 8.54 / 14.57 | – | 2.22 | – | – |")
    both = "6.64 ± 0.14 / 14.57 ± 0.00"
    assert lines[4] == f"| Dynamic † | {both} | {both} | {both} | – | 2.22 ± 0.00 | – | 0, 1 |"


def test_what_was_trained_otherwise_or_scored_elsewhere_has_a_table_of_its_own():
    other = {**SYNTHETIC, "split": "s0_val"}
    runs = [*RUNS, run("", config="1"), run("", step=9), run("", data=other)]
    tables = ablation_tables(runs)
    assert [(t.setup.config, t.setup.step, t.data.split, len(t.rows)) for t in tables] == [
        ("0", 9, "s0_test", 2), ("0", 1234, "s0_test", 7), ("1", 1234, "s0_test", 2),
        ("0", 1234, "s0_val", 1),
    ]  # fmt: skip
    (alone,) = ablation_tables([CONSTANT])
    assert title(alone) == "SYNTHETIC data · demo s0_test"
    assert ablation_tables([]) == []


def test_the_same_run_twice_is_no_second_sample():
    with pytest.raises(ValueError, match="are both of tiny_occluded, seed 0, step 1,234 on s0_tes"):
        ablation_tables([*RUNS, run("")])


def test_the_file_has_all_digits():
    lines = list(csv.DictReader(io.StringIO(to_csv(ablation_tables(RUNS)))))
    assert len(lines) == 7 * 3 * 4
    found = {(x["row"], x["metric"], x["occlusion"]): x for x in lines}
    whole = found["Dynamic", "pa_mpjpe_mm", "25-50"]
    assert (whole["experiment"], whole["seeds"], whole["frames"]) == ("tiny_occluded", "0 1", "10")
    assert (whole["unit"], whole["synthetic"], whole["split"]) == ("mm", "yes", "s0_test")
    assert float(whole["value"]) == pytest.approx(6.6432)
    assert float(whole["deviation"]) == pytest.approx(0.141421, rel=1e-5)
    assert whole["per_seed"] == "6.5432 6.7432"
    one = found["Center", "accel_mm_per_frame2", "all"]
    assert (one["value"], one["deviation"], one["unit"]) == ("2.222", "", "mm/frame²")
    empty = found["Center", "ra_mpjpe_mm", "75-100"]
    assert (empty["value"], empty["per_seed"], empty["frames"]) == ("", "", "0")
    constant = found["constant hand", "pa_mpjpe_mm", "all"]
    assert (constant["experiment"], constant["step"], constant["seeds"]) == ("", "", "")
