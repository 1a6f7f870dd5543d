"""The hands of one file, as all formats take them."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np

from deformer.hand.conventions import OPENGL_TO_OPENCV, SIDES
from deformer.hand.mano import HandArrays, HandLayer, Hands, load_same_hands
from deformer.video.hands_file import HANDS_SUFFIX, HandRows, HandsInfo, read_hands
from deformer.video.meshes import hand_vertices

Y_UP = OPENGL_TO_OPENCV
"""Diagonal that turns the camera frame into that of meshes: x right, y up, z towards the camera."""


@dataclass(frozen=True, eq=False)
class Track:
    """The rows of one hand, in the order of frames."""

    hands: HandRows

    @property
    def side(self) -> str:
        return SIDES[int(self.hands.is_left[0])]

    @property
    def name(self) -> str:
        return f"track{self.hands.track[0]}_{self.side}"

    @cached_property
    def runs(self) -> list[slice]:
        """Rows without a gap between their frames."""
        cuts = np.flatnonzero(np.diff(self.hands.frame) > 1) + 1
        ends = [0, *cuts.tolist(), len(self.hands.frame)]
        return [slice(first, last) for first, last in pairwise(ends)]


@dataclass(frozen=True, eq=False)
class Clip:
    """A video's hands. The hand model is read when a format needs it."""

    path: Path
    hands: HandRows
    info: HandsInfo
    mano_dir: Path | None = None

    @classmethod
    def read(cls, path: Path, mano_dir: Path | None = None) -> Self:
        """Raises as `read_hands`."""
        return cls(path, *read_hands(path), mano_dir)

    @property
    def stem(self) -> str:
        """Name of the video without its ending."""
        name = self.path.name
        return name.removesuffix(HANDS_SUFFIX) if name.endswith(HANDS_SUFFIX) else self.path.stem

    @property
    def about(self) -> str:
        """Where the hands came from, as JSON."""
        return json.dumps(asdict(self.info))

    @property
    def K(self) -> np.ndarray:
        """(3, 3)."""
        return np.array(self.info.K)

    @cached_property
    def tracks(self) -> list[Track]:
        ids = np.unique(self.hands.track)
        return [Track(self.hands.at(self.hands.track == track)) for track in ids]

    @cached_property
    def model(self) -> Hands:
        """Raises `FileNotFoundError` or `ValueError` without the files of the same hand model."""
        info = self.info
        made = f"{self.path} was made"
        return load_same_hands(info.hand_model, info.hand_model_sha256, made, self.mano_dir)

    def model_of(self, track: Track) -> HandArrays:
        return getattr(self.model, track.side)

    @cached_property
    def _layer(self) -> HandLayer:
        return HandLayer(self.model)

    def vertices(self, hands: HandRows) -> np.ndarray:
        """(N, 778, 3), camera frame, metres."""
        return hand_vertices(hands, self._layer)


def arrays_of(clip: Clip, track: Track) -> Iterator[tuple[str, np.ndarray]]:
    """What files of arrays say about each row and about the video."""
    for name in ("frame", "time_s", "is_observed", "joints_cam_m", "wrist_cam_m"):
        yield name, getattr(track.hands, name)
    yield from (("side", np.array(track.side)), ("K", clip.K), ("about", np.array(clip.about)))
