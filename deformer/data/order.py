"""The order of an epoch, as pure functions, the same for any number of ranks.

The order depends only on seed, epoch and global batch size. It is cut into a fixed number of
*canonical streams*. A step takes the same number of windows from every stream, and each rank serves
some of the streams. So 1, 2, 4 or 8 ranks train on the same global batches, each rank reads its own
part of the shards, and any step follows from its number, without replaying earlier ones.
"""

from dataclasses import dataclass

import numpy as np

from deformer.data.index import FrameIndex, WindowTable
from deformer.program.least import check_least


@dataclass(frozen=True)
class OrderConfig:
    """Batches, streams and shuffling."""

    global_batch: int = 8
    """Windows per step over all ranks."""
    streams: int = 8
    """Canonical streams: a multiple of the number of ranks, a divisor of `global_batch`."""
    shuffle: bool = True
    """False: in the order of the index, for evaluation."""
    mix_clips: int = 64
    """Number of clips mixed at any place of the order. More keep more labels in memory."""
    mix_shards: int = 8
    """Number of shards mixed: each stream keeps this many remote shards in the cache."""

    def __post_init__(self) -> None:
        check_least(self, global_batch=1, streams=1, mix_clips=1, mix_shards=1)
        if self.global_batch % self.streams:
            raise ValueError(
                f"global_batch is {self.global_batch}, must be a multiple of the canonical "
                f"streams ({self.streams})"
            )


def epoch_order(
    index: FrameIndex, windows: WindowTable, config: OrderConfig, seed: int, epoch: int
) -> np.ndarray:
    """Windows (W,) int64 in the order of this epoch, each once.

    The shuffle has two bounded steps: clips move among neighbouring shards, windows among
    neighbouring clips. An item at place p of n moves to a random place in p … p + reach, modulo n.
    So at most reach + 1 shards or clips are in use at once, whatever the size of the dataset, and
    every place is mixed alike.
    """
    if not config.shuffle:
        return np.arange(len(windows))
    rng = np.random.default_rng([seed, epoch])
    clip_of_window = index.clip[windows.centre_rows]
    clips, window_clip = np.unique(clip_of_window, return_inverse=True)
    shard_of_clip = index.shard[index.clip_bounds[clips]]
    shards, clip_shard = np.unique(shard_of_clip, return_inverse=True)
    place_of_shard = rng.permutation(len(shards))
    clip_order = _mix(place_of_shard[clip_shard], len(shards), config.mix_shards, rng)
    place_of_clip = np.empty(len(clips), np.int64)
    place_of_clip[clip_order] = np.arange(len(clips))
    return _mix(place_of_clip[window_clip], len(clips), config.mix_clips, rng)


def _mix(places: np.ndarray, n: int, reach: int, rng: np.random.Generator) -> np.ndarray:
    """Order of items at places in n units, each moved ahead by up to `reach` units, modulo n."""
    moved = places + min(reach, n) * rng.random(len(places))
    return np.argsort(np.where(moved < n, moved, moved - n), kind="stable")


def steps_per_epoch(num_windows: int, config: OrderConfig) -> int:
    return -(-num_windows // config.global_batch)


def step_places(
    step: int, num_windows: int, config: OrderConfig, rank: int = 0, num_ranks: int = 1
) -> np.ndarray:
    """Places (batch of a rank,) in the epoch's order of a rank's windows at a step of the epoch.

    Places from `num_windows` on are padding and repeat the order's beginning; an epoch has less
    than one global batch of them. Raises `ValueError` when the ranks do not divide the streams.
    """
    if config.streams % num_ranks:
        raise ValueError(
            f"{num_ranks} processes do not divide the {config.streams} canonical streams: choose "
            f"--nproc-per-node among {_divisors(config.streams)}, or another number of streams"
        )
    steps = steps_per_epoch(num_windows, config)
    share = config.global_batch // config.streams
    streams = np.arange(config.streams).reshape(num_ranks, -1)[rank]
    return (streams[:, None] * steps * share + step * share + np.arange(share)).reshape(-1)


def _divisors(n: int) -> str:
    return ", ".join(str(k) for k in range(1, n + 1) if n % k == 0)


def clips_mixed(clip_in_order: np.ndarray) -> tuple[float, float]:
    """Mean number of clips among 64 consecutive windows: in this order, and in a full shuffle.

    clip_in_order (W,): the clip of each window, in the order of an epoch.
    """
    num = min(64, len(clip_in_order))
    shuffled = np.random.default_rng(0).permutation(clip_in_order)
    starts = np.linspace(0, len(clip_in_order) - num, 100).astype(int)
    counts = [
        np.mean([len(np.unique(order[start : start + num])) for start in starts])
        for order in (clip_in_order, shuffled)
    ]
    return float(counts[0]), float(counts[1])
