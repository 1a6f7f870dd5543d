"""Speed of pairing predictions with the truth, and of all metrics of joints in all bins."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from benchmarks.evaluation.protocol import Comparison, score
from benchmarks.evaluation.truth import Truth, pair_predictions
from benchmarks.speed.figure import Figure, processor_seconds
from benchmarks.speed.material import Material

_NUM_FRAMES = 400_000
_CLIP_FRAMES, _CAMERAS = 72, 8


def scoring(_: Material) -> Iterator[Figure]:
    """Seconds for made-up frames, as many as DexYCB's s0_train has."""
    rng = np.random.default_rng(0)
    truth_m = rng.normal(0, 0.05, (_NUM_FRAMES, 21, 3))
    number = np.arange(_NUM_FRAMES)
    clip, frame = number // _CLIP_FRAMES, number % _CLIP_FRAMES
    columns = {"clip": clip.astype(str), "frame": frame, "valid": rng.random(_NUM_FRAMES) < 0.9}
    truth = Truth({}, pa.table(columns), number, truth_m, *[None] * 3)
    predicted = number[columns["valid"]]
    comparison = Comparison(
        joints_m=truth_m + rng.normal(0, 0.01, truth_m.shape),
        truth_joints_m=truth_m,
        sequence=clip // _CAMERAS,
        camera_sequence=clip,
        frame=frame,
        occlusion=rng.random(_NUM_FRAMES),
    )
    pairing = processor_seconds(lambda: pair_predictions(truth, predicted), 1)
    yield Figure("scoring", f"pairing {_NUM_FRAMES:,} frames", pairing, "s", 60)
    scored = processor_seconds(lambda: score(comparison), 1)
    yield Figure("scoring", "all metrics of joints, all bins", scored, "s", 60)
