from pathlib import Path

import numpy as np
import pytest

from deformer.data.index import FrameIndex, WindowTable
from deformer.data.order import OrderConfig, clips_mixed, epoch_order, step_places, steps_per_epoch

RANKS = (1, 2, 4, 8)


def make_index(*shards: tuple[int, ...]) -> tuple[FrameIndex, WindowTable]:
    """An index of clips of so many frames each, shard by shard; every frame is a window."""
    sizes = [size for shard in shards for size in shard]
    shard_of_clip = np.repeat(np.arange(len(shards)), [len(shard) for shard in shards])
    clip = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    index = FrameIndex(
        folder=Path(), info={}, numbers={}, clip=clip, shard=shard_of_clip[clip].astype(np.int32),
        clips=tuple(f"clip-{k}" for k in range(len(sizes))),
        shards=tuple(f"{k:06d}.tar" for k in range(len(shards))),
        is_left=np.zeros(len(clip), bool),
    )  # fmt: skip
    return index, WindowTable(np.arange(len(clip), dtype=np.int32)[:, None], 0)


REGULAR = make_index(*[(30,) * 5] * 12)  # 12 shards, 60 clips, 1800 windows
_rng = np.random.default_rng(0)
UNEVEN = make_index(*[tuple(_rng.integers(1, 60, _rng.integers(1, 9))) for _ in range(15)])


def num_open(units: np.ndarray) -> np.ndarray:
    """At each place of a circular order, the units that are in use: met both up to here and later.

    units (W,): the unit of each item. A unit's stretch is the circle without its longest gap.
    """
    n = len(units)
    is_open = np.zeros(n, int)
    for unit in np.unique(units):
        places = np.flatnonzero(units == unit)
        gaps = np.diff(places, append=places[0] + n)
        start = places[(gaps.argmax() + 1) % len(places)]
        is_open[(start + np.arange(n - gaps.max() + 1)) % n] += 1
    return is_open


SMALL = [[(1,)], [(3,)], [(1, 1)], [(1,), (1,), (1,)], [(2, 5), (1,)]]


@pytest.mark.parametrize("made", [REGULAR, UNEVEN, *(make_index(*shards) for shards in SMALL)])
@pytest.mark.parametrize(("mix_clips", "mix_shards"), [(1, 1), (4, 2), (64, 8), (999, 999)])
def test_each_epoch_is_a_permutation_of_its_own(made, mix_clips, mix_shards):
    config = OrderConfig(mix_clips=mix_clips, mix_shards=mix_shards)
    orders = [epoch_order(*made, config, seed=3, epoch=epoch) for epoch in range(3)]
    for order in orders:
        assert np.sort(order).tolist() == list(range(len(made[1])))
    if len(made[1]) > 10:
        assert (orders[0] != orders[1]).mean() > 0.9 and (orders[1] != orders[2]).mean() > 0.9


def test_the_order_depends_on_seed_and_epoch_and_mixing_alone():
    config = OrderConfig(mix_clips=4, mix_shards=2)
    order = epoch_order(*REGULAR, config, seed=3, epoch=5)
    same = OrderConfig(global_batch=64, streams=16, mix_clips=4, mix_shards=2)
    assert (epoch_order(*REGULAR, same, seed=3, epoch=5) == order).all()
    assert (epoch_order(*REGULAR, config, seed=5, epoch=3) != order).any()
    assert (epoch_order(*REGULAR, config, seed=4, epoch=5) != order).any()


@pytest.mark.parametrize("epoch", range(3))
@pytest.mark.parametrize(
    ("unit", "reach", "config"),
    [
        *(("clip", n, OrderConfig(mix_clips=n, mix_shards=3)) for n in (1, 2, 5, 12)),
        *(("shard", n, OrderConfig(mix_clips=1, mix_shards=n)) for n in (1, 2, 4)),
    ],
)
def test_as_many_clips_and_shards_are_open_as_are_mixed(unit, reach, config, epoch):
    """At any place one more at most, so that a reader that keeps so many reads few twice."""
    order = epoch_order(*REGULAR, config, seed=0, epoch=epoch)
    is_open = num_open(getattr(REGULAR[0], unit)[order])
    assert is_open.max() <= reach + 1
    assert is_open.mean() >= 0.6 * reach  # and so many are indeed mixed
    assert unit == "shard" or np.median(is_open) >= reach - 1


@pytest.mark.parametrize("num_ranks", RANKS)
@pytest.mark.parametrize("num_windows", [1, 7, 8, 15, 16, 17, 1000])
def test_ranks_share_every_place_once_with_less_than_one_batch_of_padding(num_windows, num_ranks):
    config = OrderConfig(global_batch=16, streams=8)
    steps = steps_per_epoch(num_windows, config)
    places = np.array(
        [
            [step_places(step, num_windows, config, rank, num_ranks) for rank in range(num_ranks)]
            for step in range(steps)
        ]
    )
    assert places.shape == (steps, num_ranks, 16 // num_ranks)
    assert np.sort(places.reshape(-1)).tolist() == list(range(16 * steps))
    assert 0 <= 16 * steps - num_windows < 16
    # whatever the number of ranks, a step consists of the same places in the same order
    alone = [step_places(step, num_windows, config) for step in range(steps)]
    assert (places.reshape(steps, 16) == alone).all()


def test_a_rank_keeps_to_stretches_of_its_own():
    config = OrderConfig(global_batch=16, streams=8)
    for rank in range(4):
        places = [step_places(step, 800, config, rank, 4) for step in range(50)]
        assert np.unique(places).tolist() == list(range(200 * rank, 200 * (rank + 1)))


@pytest.mark.parametrize("num_ranks", [3, 5, 6, 7, 12, 16])
def test_ranks_that_do_not_divide_the_streams_are_told_which_do(num_ranks):
    with pytest.raises(ValueError, match=r"do not divide the 8 .* among 1, 2, 4, 8, or") as error:
        step_places(0, 100, OrderConfig(global_batch=16), 0, num_ranks)
    assert str(error.value).startswith(f"{num_ranks} processes")


def test_mixing_counts_the_clips_of_64_neighbours():
    in_order = np.repeat(np.arange(50), 64)
    mixed, full = clips_mixed(in_order)
    assert 1 <= mixed <= 2
    assert 34 < full < 38  # 50 (1 − 0.98⁶⁴) = 36.3
    assert clips_mixed(np.tile(np.arange(64), 50))[0] == 64
    for fewer, expected in ([0], 1), ([0, 0, 0], 1), ([0, 1, 2], 3):
        assert clips_mixed(np.array(fewer)) == (expected, expected)
