"""Crops of all tracks → encoded in batches → windows of each track → decoded in batches."""

import numpy as np
import torch

from deformer.data.windows import WindowConfig
from deformer.network.output import FrameFeatures
from deformer.video.hands import boxes_in_image, encode_crops
from deformer.video.network import VideoNetwork
from deformer.video.stream import ReadyWindow, StreamHands, WindowStream, decode_ready
from deformer.video.track import Track

_HANDS_AT_ONCE = 16
"""Crops per batch of the network, and windows likewise: few, so that memory stays small."""


class Decoding:
    """The crops of all tracks, encoded and decoded as they come."""

    def __init__(
        self, network: VideoNetwork, tracks: list[Track], K: np.ndarray, window: WindowConfig,
        delay: int | None,
    ) -> None:  # fmt: skip
        self._network, self._tracks = network, tracks
        self._streams = [WindowStream(track.is_left, K, window, delay) for track in tracks]
        self._next = [int(track.frames[0]) for track in tracks]
        """The frame that each stream expects."""
        self._crops: list[tuple[int, int, np.ndarray]] = []
        self._ready: list[tuple[int, ReadyWindow]] = []
        self._hands: list[list[StreamHands]] = [[] for _ in tracks]

    def push(self, i: int, row: int, crop: np.ndarray) -> None:
        """An input image (size, size, 3) uint8 for a row of track i; rows of a track in order."""
        self._crops.append((i, row, crop))
        if len(self._crops) >= _HANDS_AT_ONCE:
            self._encode()

    def finish(self) -> list[StreamHands | None]:
        """All hands of each track."""
        if self._crops:
            self._encode()
        for i, stream in enumerate(self._streams):
            self._ready += [(i, window) for window in stream.finish()]
            self._decode(_HANDS_AT_ONCE)
        self._decode(1)
        return [
            StreamHands(*map(np.concatenate, zip(*parts, strict=True))) if parts else None
            for parts in self._hands
        ]

    def _encode(self) -> None:
        tracks, rows, crops = zip(*self._crops, strict=True)
        self._crops.clear()
        is_left = torch.tensor([bool(self._tracks[i].is_left) for i in tracks])
        features = encode_crops(self._network.model, np.stack(crops), is_left)
        for k, (i, row) in enumerate(zip(tracks, rows, strict=True)):
            track = self._tracks[i]
            for _ in range(self._next[i], int(track.frames[row])):
                self._push(i, None, None)
            one = FrameFeatures(*(value[k : k + 1] for value in features))
            self._push(i, one, boxes_in_image(track.boxes_px[row][None])[0])
            self._next[i] = int(track.frames[row]) + 1
        self._decode(_HANDS_AT_ONCE)

    def _push(self, i: int, features: FrameFeatures | None, box_px: np.ndarray | None) -> None:
        window = self._streams[i].push(features, box_px)
        if window is not None:
            self._ready.append((i, window))

    def _decode(self, least: int) -> None:
        """Decode what is ready, in batches of `least` or more."""
        while len(self._ready) >= least:
            part, self._ready = self._ready[:_HANDS_AT_ONCE], self._ready[_HANDS_AT_ONCE:]
            tracks, windows = zip(*part, strict=True)
            hands = decode_ready(self._network.model, list(windows))
            for i in set(tracks):
                self._hands[i].append(hands.at(np.array(tracks) == i))
