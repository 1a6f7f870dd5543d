"""The overlay `<stem>.hands.mp4`: meshes, skeletons and tracks on a video, and two more views.

It needs the video and the file of its hands; no network, no OpenGL, no display.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from deformer.hand.camera import project
from deformer.hand.conventions import SIDES
from deformer.hand.mano import HandLayer
from deformer.video.frames import VideoFrame, video_writer
from deformer.video.hands_file import HandRows, HandsInfo
from deformer.video.ink import PALE, draw_label, draw_skeleton, track_rgb
from deformer.video.meshes import Look, hand_vertices, is_in_front, shade
from deformer.video.panel import FILLED, Panel

OVERLAY_SUFFIX = ".hands.mp4"
_LENGTHS = 640, 1920
"""Shortest and longest longer side of a drawn frame."""
_PANEL = 0.5
"""Width of the panel, in heights of the frame; at most half a frame wide."""
_OVER_IMAGE = Look(middle=0.58, edge=0.95, gloss=1.0)


class Artist:
    """Draws the hands of a video on its frames."""

    def __init__(
        self, hands: HandRows, info: HandsInfo, layer: HandLayer, faces: np.ndarray
    ) -> None:
        """layer, faces (F, 3): of the hand model of `info`."""
        self._hands, self._info = hands, info
        self._layer, self._faces = layer, faces
        longer = max(info.width, info.height)
        scale = float(np.clip(longer, *_LENGTHS)) / longer
        width, height = round(info.width * scale), round(info.height * scale)
        self._frame_wh = width, height
        self._scale = np.array([width / info.width, height / info.height])
        self._K = np.diag([*self._scale, 1.0]) @ np.array(info.K)
        self._K[:2, 2] += (self._scale - 1) / 2  # a pixel's corner keeps its place, not its centre
        self._unit = min(width, height) / 720
        panel_width = round(min(_PANEL * height, _PANEL * width))
        self._panel = Panel(hands, faces, (panel_width, height), self._unit)
        self.size = width + panel_width, height
        """(width, height) of the pictures."""

    def draw(self, image_rgb: np.ndarray, index: int) -> np.ndarray:
        """The picture of frame `index`, whose image (H, W, 3) is given; see `size`. Raises
        `ValueError` for an image of another size than the hands' video has."""
        _check_size(image_rgb, self._info)
        begin, end = np.searchsorted(self._hands.frame, [index, index + 1])
        hands = self._hands.at(slice(begin, end))
        vertices = hand_vertices(hands, self._layer)
        image = self._sized(image_rgb)
        for i in np.argsort(-hands.wrist_cam_m[:, 2]):  # far hands first
            self._draw_hand(image, hands.at(slice(i, i + 1)), vertices[i])
        panel = self._panel.draw(hands, vertices)
        return np.concatenate([image, panel], 1)

    def _sized(self, image_rgb: np.ndarray) -> np.ndarray:
        if image_rgb.shape[1::-1] == self._frame_wh:
            return image_rgb.copy()
        is_smaller = self._frame_wh[0] < image_rgb.shape[1]
        how = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
        return cv2.resize(image_rgb, self._frame_wh, interpolation=how)

    def _draw_hand(self, image: np.ndarray, hand: HandRows, vertices_m: np.ndarray) -> None:
        """hand: one row."""
        (track,), (is_observed,) = hand.track.tolist(), hand.is_observed
        rgb = track_rgb(track)
        if is_in_front(vertices_m):
            points = project(vertices_m, self._K)
            look = _OVER_IMAGE if is_observed else FILLED
            shade(image, points, vertices_m, self._faces, rgb, look)
        joints = (hand.joints_px[0] + 0.5) * self._scale - 0.5
        draw_skeleton(image, joints, PALE, 1.0 * self._unit, 0.9 if is_observed else 0.45)
        label = f"{track} {SIDES[int(hand.is_left[0])]}{'' if is_observed else ', filled in'}"
        above = np.array([joints[:, 0].mean(), joints[:, 1].min() - 14 * self._unit])
        draw_label(image, label, rgb, above, max(round(15 * self._unit), 10))


def _check_size(image_rgb: np.ndarray, info: HandsInfo) -> None:
    height, width, _ = image_rgb.shape
    if (width, height) != (info.width, info.height):
        raise ValueError(
            f"the video has {width}×{height} px, the hands are of {info.source} with "
            f"{info.width}×{info.height} px: name that video by --video"
        )


def draw_video(
    frames: Iterable[VideoFrame], hands: HandRows, info: HandsInfo, layer: HandLayer,
    faces: np.ndarray, out: Path,
) -> None:  # fmt: skip
    """Write the overlay of a video, whole or not at all; one frame is held at a time.

    frames: all of the video, in order. layer, faces (F, 3): of the hand model of `info`. Raises
    `ValueError` for frames of another size than the hands' video, `NoRoomError` when the disk is
    full.
    """
    artist, num_frames = Artist(hands, info, layer, faces), 0
    with video_writer(out, info.fps, artist.size) as write:
        for frame in frames:
            write(artist.draw(frame.image_rgb, frame.index), frame.time_s)
            num_frames += 1
    if num_frames != info.num_frames:
        logging.warning(
            f"{out}: the video has {num_frames} frames, its hands are of {info.source} with "
            f"{info.num_frames}: is it the same?"
        )
