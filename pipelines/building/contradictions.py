"""Find labels that contradict each other: single frames get a reason, a whole clip stops the build.

A dataset states the same thing more than once: joints in metres, their image, the camera matrix,
the parameters that pose a hand, a segmentation or a box. A reader may mistake one for another
(millimetres, another camera's intrinsics, axis-angles as PCA coefficients, the other hand); no
later step can tell such numbers from right ones. So the labels of a clip are compared here before
anything is made of them. `pipelines.building.tolerances` says how far apart they may be,
`pipelines.building.causes` what probably went wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deformer.hand.box import hand_box, tight_box
from deformer.hand.camera import project
from deformer.hand.conventions import NUM_VERTICES, TIP_VERTICES
from pipelines.building.causes import cause_of_bone_length, cause_of_pose, cause_of_projection
from pipelines.building.hand_model import HandModel
from pipelines.building.tolerances import (
    BONE_LENGTH_M,
    MAX_OFF_M,
    MAX_OFF_PX,
    MIN_BENDING,
    ROUNDED_PX,
    bending_to_the_right,
    bone_length_m,
    is_no_hand,
    off_m_and_px,
)
from pipelines.datasets.source import BACKGROUND, HAND, ClipRef, RawFrame, UnusableInputError

_MAX_TIP_OFF_M = 0.02
"""Between a stated fingertip and its vertex, where vertices are stated: datasets choose vertices
up to 1 cm apart."""
_JOINTS_TO_JUDGE = 7
"""A third: that many must lie in the image to be compared with a segmentation or box."""
FRAMES_TO_REFUSE = 3
"""Fewer labelled frames of a clip prove nothing; the whole shard's may."""
_TIPS = [4, 8, 12, 16, 20]
STATED_SHAPES = {"K": (3, 3), "joints_cam_m": (21, 3), "joints_px": (21, 2), "box_px": (4,),
                 "vertices_cam_m": (NUM_VERTICES, 3)}  # fmt: skip
"""Fields of `RawFrame` that are compared with the rest, and their shapes."""


@dataclass(frozen=True, eq=False)
class Stated:
    """What a clip's frames state about the hand, (F, …); NaN where a frame does not state it."""

    ref: ClipRef
    frames: list[RawFrame]
    K: np.ndarray  # (F, 3, 3)
    joints_cam_m: np.ndarray  # (F, 21, 3)
    joints_px: np.ndarray  # (F, 21, 2), as the dataset states them
    box_px: np.ndarray  # (F, 4)
    vertices_cam_m: np.ndarray  # (F, 778, 3)
    posed_cam_m: np.ndarray  # (F, 21, 3), of the hand that the MANO parameters pose
    hand: HandModel | None

    @property
    def any_joints_cam_m(self) -> np.ndarray:
        """The stated joints, else the posed ones."""
        return np.where(np.isfinite(self.joints_cam_m), self.joints_cam_m, self.posed_cam_m)


@dataclass(frozen=True, eq=False)
class Rule:
    """What must hold between the labels of a frame."""

    judge: Callable[[Stated], tuple[np.ndarray, np.ndarray]]
    """How far off each frame is (F,), NaN where it cannot be judged, and whether that is too far
    (F,) bool."""
    text: str
    """What is wrong; {off} is how far off the worst frame is, {side} and {camera} the clip's."""
    cause: str | Callable[[Stated, np.ndarray], str]
    """What probably went wrong, and the next step; a function gets the broken frames (N,)."""
    spoils: bool = True
    """Whether a frame that breaks the rule loses its labels. If not, the rule judges whole clips
    only."""


def find_contradictions(stated: Stated, least_frames: int = FRAMES_TO_REFUSE) -> np.ndarray:
    """(F,) bool: the frames whose labels contradict each other.

    Raises `UnusableInputError` with the likely cause where more than half of the frames that a rule
    can judge break it, and the rule can judge `least_frames` or more.
    """
    contradicts = np.zeros(len(stated.frames), bool)
    clip = {"side": stated.ref.side, "camera": stated.ref.camera}
    for rule in _RULES:
        off, is_broken = rule.judge(stated)
        num_judged, broken = np.count_nonzero(np.isfinite(off)), np.flatnonzero(is_broken)
        if num_judged >= least_frames and 2 * len(broken) > num_judged:
            text = rule.text.format(off=off[broken].max(), **clip)
            is_text = isinstance(rule.cause, str)
            cause = rule.cause.format(**clip) if is_text else rule.cause(stated, broken)
            raise UnusableInputError(
                f"clip {stated.ref.key!r}: {text} in {len(broken)} of {num_judged} frames: {cause}"
            )
        contradicts[broken] |= rule.spoils
    return contradicts


# -------------------------------------------------------------------------------------- the rules


def _camera(x: Stated) -> tuple[np.ndarray, np.ndarray]:
    is_known = np.isfinite(x.K).all((1, 2))
    is_camera = (x.K[:, 2] == [0, 0, 1]).all(1) & (x.K[:, [0, 1], [0, 1]] > 0).all(1)
    return np.where(is_known, ~is_camera, np.nan), is_known & ~is_camera


def _before_the_camera(x: Stated) -> tuple[np.ndarray, np.ndarray]:
    nearest = x.any_joints_cam_m[..., 2].max(1)
    return nearest, nearest <= 0


def _size(x: Stated) -> tuple[np.ndarray, np.ndarray]:
    length_m = bone_length_m(x.any_joints_cam_m)
    return length_m, is_no_hand(length_m)


def _image(x: Stated) -> tuple[np.ndarray, np.ndarray]:
    off_px = np.abs(project(x.joints_cam_m, x.K) - x.joints_px).max(-1)
    is_known = np.isfinite(off_px).any(1)
    off_px = np.where(is_known, np.nan_to_num(off_px).max(1), np.nan)
    return off_px, off_px > ROUNDED_PX


def _posed(x: Stated) -> tuple[np.ndarray, np.ndarray]:
    off_m, off_px = off_m_and_px(x.posed_cam_m, x.joints_cam_m, x.K)
    return off_m * 1000, (off_m > MAX_OFF_M) | (np.isfinite(off_m) & (off_px > MAX_OFF_PX))


def _bending(x: Stated) -> tuple[np.ndarray, np.ndarray]:
    bending = bending_to_the_right(x.joints_cam_m) * (1 if x.ref.side == "right" else -1)
    off = np.where(np.abs(bending) > MIN_BENDING, -bending, np.nan)
    return off, off > 0


def _tips(x: Stated) -> tuple[np.ndarray, np.ndarray]:
    tips = x.vertices_cam_m[:, list(TIP_VERTICES[x.ref.tips, x.ref.side])]
    off_m = np.linalg.norm(tips - x.joints_cam_m[:, _TIPS], axis=-1).max(-1)
    return off_m * 1000, off_m > _MAX_TIP_OFF_M


def _seen(x: Stated) -> tuple[np.ndarray, np.ndarray]:
    """Joints lie in the hand's box, or on the pixels of hand or object; off in %."""
    off = np.full(len(x.frames), np.nan)
    joints_px = project(x.any_joints_cam_m, x.K)
    for i in np.flatnonzero(np.isfinite(joints_px).all((1, 2))):
        px, box, segmentation = joints_px[i], x.box_px[i], x.frames[i].segmentation
        inside = px[((px >= 0) & (px <= np.array(x.ref.image_size) - 1)).all(1)]
        if np.isfinite(box).all():
            if len(inside) >= _JOINTS_TO_JUDGE:
                off[i] = 100 * np.mean(((inside < box[:2]) | (inside > box[2:])).any(1))
        elif segmentation is not None:
            off[i] = 100 * _off_segmentation(px, inside, segmentation)
    return off, off > 50


def _off_segmentation(px: np.ndarray, inside: np.ndarray, segmentation: np.ndarray) -> float:
    """The share of joints `inside` the image that lie on the background. If it is smaller, the
    share of the hand's pixels that are far from the joints (21, 2): a hand that is hidden or mostly
    outside the image shows few pixels, but all near the joints."""
    columns, rows = np.rint(inside).astype(int).T
    share = 1.0
    if len(rows) >= _JOINTS_TO_JUDGE:
        share = np.mean(segmentation[rows, columns] == BACKGROUND)
    if share > 0.5:
        step = 4  # a sixteenth of the pixels says as much
        rows, columns = np.nonzero(segmentation[::step, ::step] == HAND)
        if not len(rows):
            return np.nan
        centre, side = hand_box(tight_box(px))
        is_far = np.abs(step * np.column_stack([columns, rows]) - centre).max(1) > side / 2
        share = min(share, np.mean(is_far))
    return share


_RULES = (
    Rule(_camera, "K is no camera matrix", lambda x, broken: (
        "it must be fx s cx, 0 fy cy, 0 0 1 in pixels, fx and fy above 0, and is "
        f"{x.K[broken[0]].tolist()}; is it transposed, or an extrinsic matrix?")),
    # a single frame keeps its own reason, joints_behind_camera
    Rule(_before_the_camera, "all joints lie behind the camera",
         "z must point forward and y down, as in OpenCV; labels of OpenGL (y up, z backward) are "
         "to be multiplied by (1, −1, −1)", spoils=False),
    Rule(_size, "the joints make no hand: its bones are {off:.3g} m long in the median "
         f"({BONE_LENGTH_M[0]} to {BONE_LENGTH_M[1]} m allowed)",
         lambda x, broken: cause_of_bone_length(
             np.median(bone_length_m(x.any_joints_cam_m[broken])))),
    Rule(_image, "the 3D joints, projected by K of camera {camera}, are up to {off:.1f} px from "
         "the dataset's own 2D joints",
         lambda x, broken: cause_of_projection(
             x.joints_cam_m[broken], x.joints_px[broken], x.K[broken])),
    Rule(_posed, "the joints of the hand that the MANO parameters pose are up to {off:.1f} mm from "
         "the dataset's own joints",
         lambda x, broken: cause_of_pose(
             [x.frames[i].pose for i in broken], x.joints_cam_m[broken], x.ref, x.hand)),
    # whole clips only, as a finger may bend backwards for a moment
    Rule(_bending, "the fingers bend backwards, if this is a {side} hand,",
         "the side is the other one, an axis of the joints is flipped (x right, y down, z forward "
         "is wanted), or they are not in dataset order (thumb first, palm to tip)", spoils=False),
    Rule(_tips, "the stated vertices of the fingertips are up to {off:.1f} mm from the stated "
         "joints", "joints and vertices are of different frames, hands, units, or orders of joints "
         "(dataset order goes from the thumb to the little finger)"),
    # whole clips only: an unlabelled thing may hide the hand, and another hand may be visible
    Rule(_seen, "the projected joints are not where the dataset's segmentation or box shows the "
         "hand, up to {off:.0f} % of them,", "K of camera {camera} may be of another resolution or "
         "camera, or the labels of another frame", spoils=False),
)  # fmt: skip
