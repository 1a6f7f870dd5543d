"""How numbers and data are called wherever they are told: tables, claims, figures, report."""

import statistics
from collections.abc import Iterable, Sequence

from benchmarks.evaluation.result import Counts, Data
from deformer.hand.camera import NEAREST_M

DASH = "–"
"""Stands where there is no number, as in an empty bin."""
SYNTHETIC = "SYNTHETIC data"
"""So loudly, wherever they are."""
SYNTHETIC_MARK = "†"
"""Stands at what was measured on synthetic data."""
DEVIATION = "± is the standard deviation over seeds"

HEADLINE = (
    ("PA-MPJPE", "pa_mpjpe_mm", "mm"),
    ("root-aligned MPJPE", "ra_mpjpe_mm", "mm"),
    ("acceleration error", "accel_mm_per_frame2", "mm/frame²"),
)
"""What is told first of a result: in words, the metric, its unit."""
METRIC_NAMES = {metric: name for name, metric, _ in HEADLINE}
METRIC_UNITS = {metric: unit for _, metric, unit in HEADLINE}


def common_start_text(starts: Iterable[str]) -> str:
    """What `DEVIATION` tells where all seeds of a kind of run began with one model, as a sentence.

    starts: the runs that these models are of."""
    return (
        f"All seeds began with one and the same model, that of {' or of '.join(starts)}: ± tells "
        "of chance in the training from there on, and nothing of chance before."
    )


def signed(value: float, decimals: int = 0) -> str:
    """With its sign, and a real minus."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def mean_text(values: Sequence[float], decimals: int = 2) -> str:
    """Of the values of seeds, mean ± standard deviation: `9.51 ± 0.03`; without any, a dash."""
    if not values:
        return DASH
    text = f"{statistics.fmean(values):.{decimals}f}".replace("-", "−")
    return f"{text} ± {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else text


def seeds_text(seeds: Iterable[int]) -> str:
    """`seed 0`, `seeds 0, 1`."""
    numbers = sorted(seeds)
    return f"seed{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def data_kind(data: Data) -> str:
    """Synthetic data are called so, loudly."""
    return SYNTHETIC if data.synthetic else "recordings"


def provenance(data: Data) -> str:
    """Of which data, in a line; synthetic data are called so first."""
    return f"{data_kind(data)} · {data.name}, {data.split} · {data.frames:,} frames"


def counts_words(counts: Counts, data: str) -> list[str]:
    """What became of labelled frames that were not simply predicted, a sentence each."""
    told = {
        f"{counts.corrupt} labelled frames are left out: they need corrupt members of {data}, "
        f"which python -m pipelines.verify {data} names": counts.corrupt,
        f"{counts.lost} labelled frames are left out: their clips have no image of the hand at "
        "all": counts.lost,
        f"{counts.borrowed} of {counts.scored} labelled frames have no image of the hand: each "
        "takes the prediction of the nearest frame of its clip": counts.borrowed,
        f"{counts.behind} hands fit best behind the camera: put {NEAREST_M} m away": counts.behind,
    }
    return [sentence for sentence, number in told.items() if number]
