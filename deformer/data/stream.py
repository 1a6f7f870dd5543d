"""Shards → batches: exact epochs, the same order for any number of ranks and workers, resumable.

    store, index = open_store("shards/dexycb")
    stream = Stream(StreamConfig(split="s0_train"), store, index)
    for batch in stream.batches(first_step=1200): ...

The batch of a step is a function of configuration, step and rank. So a run resumes at any step by
its number, without replaying earlier ones, and workers need not coordinate.
"""

import hashlib
import json
import logging
from collections.abc import Generator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from deformer.data.augment import NO_AUGMENTATION, AugmentConfig, draw
from deformer.data.batch import (
    Batch,
    Window,
    collate,
    empty_images,
    fill_images,
    read_crops,
    read_labels,
)
from deformer.data.crops import Crops, warp_crops
from deformer.data.dataset import check_reach, has_depth
from deformer.data.feature_frames import FeatureFrames
from deformer.data.index import FrameIndex, WindowTable, make_windows, select_rows
from deformer.data.order import OrderConfig, clips_mixed, epoch_order, step_places, steps_per_epoch
from deformer.data.store import ClipReader, CorruptMemberError, Prefetcher, Store
from deformer.data.windows import WindowConfig
from deformer.data.workers import read_ahead
from deformer.program.least import check_least
from deformer.program.pool import single_threaded_opencv

_PREFETCH_STEPS = 256
"""Remote shards are requested this many steps before their use."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamConfig:
    """Choice of windows, their order, and their images."""

    split: str = "s0_train"
    """A split named in `dataset.json` (counts.splits), or "all"."""
    where: str | None = None
    """A filter on the centre frames over the columns of `frames.parquet`, such as
    "occlusion > 0.5 and side == 'left'"."""
    limit: int | None = None
    """At most this many windows, spread evenly over the split."""
    size: int = 512
    """Side of the square images, px."""
    input: Literal["rgb", "depth"] = "rgb"
    """Which images: colour, or depth, which takes shards built with --depth."""
    seed: int = 0
    """Seed of order and augmentation, and of the weights of a training."""
    max_skipped: int = 100
    """Up to this many corrupt members are skipped and reported; one more is an error."""
    window: WindowConfig = field(default_factory=WindowConfig)
    order: OrderConfig = field(default_factory=OrderConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check_least(self, size=32, seed=0, max_skipped=0, limit=1)
        if self.input not in ("rgb", "depth"):
            raise ValueError(f"stream.input is {self.input!r}, must be rgb or depth")

    def for_evaluation(
        self, split: str, limit: int | None = None, where: str | None = None,
        order: OrderConfig | None = None,
    ) -> "StreamConfig":  # fmt: skip
        """The same input for other windows, without augmentation, in the order of the index.

        order: batch and streams, by default those of this configuration.
        """
        order = replace(order or self.order, shuffle=False)
        return replace(
            self, split=split, where=where, limit=limit, order=order, augment=NO_AUGMENTATION
        )


class Stream:
    """The windows of one split as batches, for one rank."""

    def __init__(
        self,
        config: StreamConfig,
        store: Store,
        index: FrameIndex,
        *,
        rank: int = 0,
        num_ranks: int = 1,
        workers: int = 0,
        windows: WindowTable | None = None,
        draw_by: Literal["window", "clip"] = "window",
        features: FeatureFrames | None = None,
        warp_on: torch.device | None = None,
    ) -> None:
        """workers: processes that read ahead; 0 reads in this process. windows: replace those that
        split, filter and limit choose. draw_by: every window, or every clip, gets one augmentation
        per epoch. features: replace images; each window draws a copy. They need no workers.
        warp_on: a device that warps the frames, which readers then only decode: images lie there,
        and equal those of readers to a grey level. None: readers warp.

        Raises `ValueError` when split or filter leave no window, the ranks do not divide the
        canonical streams, the windows reach beyond the halo of clips, the crops are too small for
        the augmentation, or depth is asked of shards without depth; `FileNotFoundError` or
        `ValueError` for missing or damaged shards.
        """
        if config.input == "depth":
            _check_depth(index, store.url, warp_on)
        limits = index.info["parameters"].get("augmentation", {})
        for name, most in limits.items():
            if (value := getattr(config.augment, name)) > most:
                raise ValueError(
                    f"augment.{name} is {value}, but the crops of {store.url} serve {most} at "
                    f"most: lower it, or build shards with --augmentation.{name} {value}"
                )
        check_reach(index.info, config.window.reach, store.url)
        self.config, self.store, self.index = config, store, index
        self.workers = workers if features is None else 0
        self.warp_on = warp_on
        if windows is None:
            is_centre = select_rows(index, config.split, config.where)
            windows = make_windows(index, config.window, is_centre, config.limit)
        self.windows = windows
        self.steps_per_epoch = steps_per_epoch(len(windows), config.order)
        self._steps = _Steps(
            config, store, index, windows, rank, num_ranks, draw_by, features, warp_on is not None
        )
        self._steps.places(0)  # raises where the ranks do not divide the streams
        self.skipped: dict[str, None] = {}
        """Corrupt members that this rank has met so far, in that order."""
        if features is not None:
            features.places(windows.rows)
        else:
            shards = np.unique(index.shard[windows.centre_rows])
            store.check_shards(index, [index.shards[k] for k in shards])

    def batches(
        self, first_step: int = 0, last_step: int | None = None
    ) -> Generator[Batch, None, None]:
        """Batches of the steps first_step … last_step − 1, counted over epochs.

        last_step None: until the end of the epoch. Raises `ValueError` for more than `max_skipped`
        corrupt members, `OSError` for a shard that is lost or cannot be fetched, and as
        `read_ahead` does.
        """
        if last_step is None:
            last_step = (first_step // self.steps_per_epoch + 1) * self.steps_per_epoch
        steps = range(first_step, last_step)
        batches = read_ahead(self._steps.read, steps, self.workers, torch.cuda.is_available())
        prefetcher = Prefetcher(self.store) if self.store.is_remote else None
        try:
            if prefetcher:
                for step in steps[:_PREFETCH_STEPS]:
                    prefetcher.ask(self._steps.shards(step))
            for step, batch in zip(steps, batches, strict=True):
                if prefetcher and step + _PREFETCH_STEPS < last_step:
                    prefetcher.ask(self._steps.shards(step + _PREFETCH_STEPS))
                self._note_skipped(batch)
                yield self._warped(batch)
        finally:
            batches.close()
            if prefetcher:
                prefetcher.close()

    def read(self, step: int) -> Batch:
        """The batch of a step as a reader gives it; its images are `Crops` where a device warps."""
        return self._steps.read(step)

    def _warped(self, batch: Batch) -> Batch:
        if not isinstance(batch.images, Crops):
            return batch
        return batch._replace(images=warp_crops(batch.images, self.config.size, self.warp_on))

    def _note_skipped(self, batch: Batch) -> None:
        for name in batch.skipped:
            if name not in self.skipped:
                self.skipped[name] = None
                _log.warning("corrupt, windows that need it are left out: %s", name)
        if len(self.skipped) > self.config.max_skipped:
            raise ValueError(
                f"{len(self.skipped)} members of {self.store.url} are corrupt, more than "
                f"max_skipped = {self.config.max_skipped}; the last is {list(self.skipped)[-1]}. "
                f"{self.store.advice(self.index)}"
            )

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that decides which window stands at which step."""
        digest = hashlib.sha256(self.windows.rows.tobytes())
        order = [asdict(self.config.order), self.config.seed, self.index.info["shards"]]
        digest.update(json.dumps(order, sort_keys=True).encode())
        return digest.hexdigest()

    def state(self, step: int) -> dict:
        """What to save for resuming at `step`; `check_state` reads it."""
        return {
            "step": step,
            "dataset": self.store.name,
            "windows": len(self.windows),
            "fingerprint": self.fingerprint,
        }

    def check_state(self, state: dict) -> None:
        """Raises `ValueError` for the state of another stream."""
        if state["fingerprint"] != self.fingerprint:
            raise ValueError(
                f"step {state['step']} is of another stream ({state['windows']:,} windows, here "
                f"{len(self.windows):,}): dataset, split, filter, window, seed, global batch size "
                "or canonical streams have changed; go on with what the run began with"
            )

    def clips_mixed(self) -> tuple[float, float]:
        """`clips_mixed` of the first epoch."""
        order = self._steps.window_ids(0, np.arange(len(self.windows)))
        return clips_mixed(self.index.clip[self.windows.centre_rows][order])


def _check_depth(index: FrameIndex, url: str, warp_on: torch.device | None) -> None:
    if not has_depth(index.info["parameters"]):
        raise ValueError(
            f"stream.input is depth, but {url} is built without depth: build shards with --depth "
            "into another folder"
        )
    if warp_on is not None:
        raise ValueError(f"warp_on is {warp_on}, but only readers warp depth images: leave it None")


@dataclass(eq=False)
class _Steps:
    """Step → the batch of this rank. Every worker has a copy with open files of its own."""

    config: StreamConfig
    store: Store
    index: FrameIndex
    windows: WindowTable
    rank: int
    num_ranks: int
    draw_by: str
    features: FeatureFrames | None
    keeps_crops: bool
    """Whether batches hold `Crops`, not images."""
    _orders: dict[int, np.ndarray] = field(default_factory=dict)
    _reader: ClipReader | None = None

    def places(self, step: int) -> tuple[int, np.ndarray]:
        """Epoch, and places in its order, as `step_places`."""
        order = self.config.order
        epoch, step = divmod(step, steps_per_epoch(len(self.windows), order))
        return epoch, step_places(step, len(self.windows), order, self.rank, self.num_ranks)

    def window_ids(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """The windows at places of an epoch's order; places wrap around."""
        if epoch not in self._orders:
            config = self.config
            order = epoch_order(self.index, self.windows, config.order, config.seed, epoch)
            # Reading ahead at the end of an epoch needs two orders
            self._orders = {epoch: order} | {
                e: o for e, o in self._orders.items() if e == epoch - 1
            }
        return self._orders[epoch][places % len(self.windows)]

    def shards(self, step: int) -> list[str]:
        """The shards that a step reads."""
        rows = self.windows.centre_rows[self.window_ids(*self.places(step))]
        return [self.index.shards[k] for k in np.unique(self.index.shard[rows])]

    def read(self, step: int) -> Batch:
        if self.features is not None:
            return self._feature_batch(*self.places(step))
        if self._reader is None:
            single_threaded_opencv()
            streams = self.config.order.streams // self.num_ranks
            pool = streams * (self.config.order.mix_clips + 2)
            self._reader = ClipReader(self.store, self.index, pool)
        epoch, places = self.places(step)
        skipped: list[str] = []
        shape = (len(places), self.windows.rows.shape[1])
        if self.keeps_crops:
            images = [[] for _ in places]  # filled by `_window`, as an array is
        else:
            images = empty_images(shape, self.config.size, self.config.input)
        windows, is_padding = zip(
            *(
                self._window(epoch, int(place), images[k], skipped)
                for k, place in enumerate(places)
            ),
            strict=True,
        )
        return collate(images, windows, is_padding, skipped)

    def _feature_batch(self, epoch: int, places: np.ndarray) -> Batch:
        """Each window is taken from a random copy."""
        rows = self.windows.rows[self.window_ids(epoch, places)]
        rngs = (np.random.default_rng([self.config.seed, epoch, place]) for place in places)
        copies = np.array([rng.integers(self.features.num_copies) for rng in rngs])
        return self.features.batch(rows, self.windows.centre, copies, places >= len(self.windows))

    def _window(
        self, epoch: int, place: int, images: np.ndarray | list, skipped: list[str]
    ) -> tuple[Window, bool]:
        """The window at a place, or the next whole one as padding; and whether it is padding.

        images: (T, size, size, C), filled; or a list, which gets the crops."""
        num, size = len(self.windows), self.config.size
        drawn_for = place
        if self.draw_by == "clip":
            (number,) = self.window_ids(epoch, np.array([place]))
            drawn_for = self.index.clip[self.windows.centre_rows[number]]
        rng = np.random.default_rng([self.config.seed, epoch, drawn_for])
        drawn = draw(self.config.augment, rng)
        met: set[str] = set()
        for attempt in range(num):
            (number,) = self.window_ids(epoch, np.array([place + attempt]))
            rows = self.windows.rows[number]
            try:
                window = read_labels(self._reader, rows, self.windows.centre, drawn, size)
                if self.keeps_crops:
                    images[:] = read_crops(self._reader, window)
                else:
                    fill_images(self._reader, window, images)
            except CorruptMemberError as error:
                skipped.append(str(error))
                met.add(str(error))
                if len(met) > self.config.max_skipped:
                    break
                continue
            return window, attempt > 0 or place >= num
        raise ValueError(
            f"{attempt + 1} windows in a row of {self.store.url} are corrupt, such as "
            f"{skipped[-1]}. {self.store.advice(self.index)}"
        )
