"""Decoded clips as a `webdataset` pipeline, for your own loops.

    from deformer.data.wds import clips
    for clip in clips("shards/dexycb/{000000..000041}.tar").shuffle(16):
        for image, joints_px in zip(clip.images, clip.labels["joints_px"]): ...

`Stream` gives windows as batches, augmented, in an exact order; nothing of that is needed here.
Building and verifying read tars in `pipelines/building/shard.py` instead: the index stores each
member's offset and CRC, which `webdataset` does not give.
"""

from typing import NamedTuple

import numpy as np
import webdataset

from deformer.data.clip import ClipMeta, decode_labels, decode_meta
from deformer.files.images import decode_jpeg


class DecodedClip(NamedTuple):
    """One clip of N frames; `shards/README.md` lists its fields."""

    meta: ClipMeta
    labels: dict[str, np.ndarray]
    """Arrays (N, …) by field name; fields that the dataset lacks are absent. Masks are lists of N
    COCO RLEs, bytes."""
    images: list[np.ndarray | None]
    """(height, width, 3) uint8 RGB, as cropped; None for a frame without a crop."""


def clips(urls: str | list[str], **options) -> webdataset.WebDataset:
    """The clips of tars as `DecodedClip`s.

    urls: paths or URLs of shards, with braces or in a list; options: `webdataset.WebDataset`'s.
    Raises `ValueError` for a damaged member; handler=webdataset.warn_and_continue skips its clip.
    """
    options = {"shardshuffle": False, "handler": webdataset.reraise_exception} | options
    return webdataset.WebDataset(urls, **options).map(_decode, handler=options["handler"])


def _decode(sample: dict) -> DecodedClip:
    meta = decode_meta(sample["json"])
    jpegs = [sample.get(f"{k:06d}.jpg") for k in range(meta.num_frames)]
    images = [None if jpeg is None else decode_jpeg(jpeg) for jpeg in jpegs]
    return DecodedClip(meta, decode_labels(sample["labels.npz"]), images)
