"""Statistics of a LeRobot dataset's features, of an episode and of all."""

import numpy as np

Stats = dict[str, list]
"""Under min, max, mean, std, q01 … q99 a list as long as the feature; of images, a list per channel
of a list of a list of one number; under count, the number of rows."""

_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def of_values(values: np.ndarray, is_counted: np.ndarray | None = None) -> Stats:
    """Of values (F, n), of which `is_counted` (F,) rows count; all are 0 where none does."""
    counted = values if is_counted is None else values[is_counted]
    num_rows = len(counted)
    counted = counted.astype(np.float64) if num_rows else np.zeros((1, values.shape[1]))
    stats = {"min": counted.min(0), "max": counted.max(0)}
    stats |= {"mean": counted.mean(0), "std": counted.std(0)}
    stats |= {name: np.quantile(counted, share, 0) for name, share in _QUANTILES.items()}
    return {name: value.tolist() for name, value in stats.items()} | {"count": [num_rows]}


def of_histogram(histogram: np.ndarray, num_frames: int) -> Stats:
    """Of the channels of images in [0, 1], from how often (3, 256) each value of a pixel occurs."""
    levels, shares = np.arange(256) / 255, histogram / histogram.sum(1, keepdims=True)
    mean = shares @ levels
    stats = {
        "min": np.array([levels[row > 0].min() for row in shares]),
        "max": np.array([levels[row > 0].max() for row in shares]),
        "mean": mean,
        "std": np.sqrt(shares @ levels**2 - mean**2),
    }
    reached = shares.cumsum(1)
    for name, share in _QUANTILES.items():
        stats[name] = levels[(reached < share).sum(1).clip(max=255)]
    return {name: value[:, None, None].tolist() for name, value in stats.items()} | {
        "count": [num_frames]
    }


def combine(stats: list[Stats]) -> Stats:
    """Of all episodes, from each one's. Quantiles are their mean, as in LeRobot itself."""
    counts = np.array([one["count"][0] for one in stats], float)
    if not counts.any():
        return stats[0]
    stats = [one for one, count in zip(stats, counts, strict=True) if count]
    counts = counts[counts > 0]
    arrays = {name: np.array([one[name] for one in stats]) for name in stats[0] if name != "count"}

    def average(values: np.ndarray) -> np.ndarray:
        return np.average(values, 0, counts)

    mean = average(arrays["mean"])
    spread = average(arrays["std"] ** 2 + (arrays["mean"] - mean) ** 2)
    total = {"min": arrays["min"].min(0), "max": arrays["max"].max(0), "mean": mean}
    total["std"] = np.sqrt(spread)
    total |= {name: average(arrays[name]) for name in _QUANTILES}
    return {name: value.tolist() for name, value in total.items()} | {"count": [int(counts.sum())]}
