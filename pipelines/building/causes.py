"""The likely cause of labels that contradict each other, in words, with the next step.

Called only when a build is refused. It undoes each possible fault in turn; the first that makes the
labels agree is the answer.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from deformer.hand.camera import project
from deformer.hand.conventions import (
    DATASET_TO_MANO,
    JOINT_PARENTS,
    MANO_TO_DATASET,
    OPENGL_TO_OPENCV,
    SIDES,
    TIPS,
)
from pipelines.building.hand_model import HandModel
from pipelines.building.tolerances import MAX_OFF_M, ROUNDED_PX
from pipelines.datasets.source import ClipRef, ManoPose

_USUAL_BONE_M = 0.029
_UNITS = {"millimetres": 1000, "centimetres": 100, "decimetres": 10, "inches": 39.37,
          "kilometres": 0.001}  # fmt: skip
_FAR_M = 10
_FITTED = "; where MANO was but fitted to measured joints, state the joints of the posed hand"
_FLIPS = (
    (OPENGL_TO_OPENCV, "OpenGL's (y up, z backward)"),
    (np.array([-1, 1, 1]), "mirrored in x"),
    (np.array([1, -1, 1]), "mirrored in y"),
)
_ORDERS = (MANO_TO_DATASET, DATASET_TO_MANO)
_MOST_FRAMES = 20
_BONES = [j for j in range(1, 21) if j % 4]
"""Joints at the end of a bone, without the fingertips."""


def cause_of_bone_length(bone_length_m: float) -> str:
    """Likely cause of a wrong median bone length."""
    for unit, per_metre in _UNITS.items():
        if 0.6 < bone_length_m / per_metre / _USUAL_BONE_M < 1.6:
            return f"they look like {unit}; metres are wanted: divide by {per_metre}"
    return (
        "metres are wanted, and the joints in dataset order (wrist, then four of each finger from "
        "the palm to the tip, thumb first)"
    )


def cause_of_projection(joints_cam_m: np.ndarray, joints_px: np.ndarray, K: np.ndarray) -> str:
    """Likely cause where the joints (N, 21, 3) project to other 2D joints than stated."""

    def agree(joints: np.ndarray, pixels: np.ndarray = joints_px) -> bool:
        off = np.abs(project(joints, K) - pixels).max((1, 2))
        return bool(np.mean(off < ROUNDED_PX) > 0.5)  # NaN is far

    if agree(joints_cam_m, joints_px[..., ::-1]):
        return "the 2D joints are row, column; they must be x, y"
    if any(agree(joints_cam_m[:, order]) for order in _ORDERS):
        return "the 3D joints stand in another order than the 2D joints; both in dataset order"
    for signs, words in _FLIPS:
        if agree(joints_cam_m * signs):
            return f"the 3D joints are {words}; x right, y down, z forward is wanted"
    fitted = _fit_camera(joints_cam_m, joints_px)
    if fitted is None:
        return (
            "no camera makes these 2D joints of these 3D joints; are they of another frame, hand "
            "or camera?"
        )
    stated = np.concatenate([K[0, [0, 1], [0, 1]], K[0, :2, 2]])
    scale = stated[:2] / fitted[:2]
    is_scaled = np.ptp(scale) < 0.01 * scale[0] and abs(scale[0] - 1) > 0.05
    source = "another resolution" if is_scaled else "another camera, or of the depth sensor"
    return (
        "the 2D joints were made with fx {:.1f}, fy {:.1f}, cx {:.1f}, cy {:.1f}, K has {:.1f}, "
        "{:.1f}, {:.1f}, {:.1f}: intrinsics of {}; take the colour camera's at the size of the "
        "images"
    ).format(*fitted, *stated, source)


def _fit_camera(joints_cam_m: np.ndarray, joints_px: np.ndarray) -> np.ndarray | None:
    """fx, fy, cx, cy (4,), px, that project most joints right; None if no camera does."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = joints_cam_m[..., :2] / joints_cam_m[..., 2:]  # (N, 21, 2)
    is_known = (np.isfinite(slopes) & np.isfinite(joints_px)).all(-1)
    slopes, pixels = slopes[is_known], joints_px[is_known]
    if len(slopes) < 4:
        return None
    (fx, cx), (fy, cy) = (np.polyfit(slopes[:, k], pixels[:, k], 1) for k in range(2))
    off = np.abs(slopes * [fx, fy] + [cx, cy] - pixels).max(-1)
    return np.array([fx, fy, cx, cy]) if np.median(off) < ROUNDED_PX and min(fx, fy) > 0 else None


def cause_of_pose(
    poses: list[ManoPose], joints_cam_m: np.ndarray, ref: ClipRef, hand: HandModel
) -> str:
    """Likely cause of MANO parameters that pose a hand with other joints than stated (N, 21, 3)."""
    poses, joints_cam_m = poses[:_MOST_FRAMES], joints_cam_m[:_MOST_FRAMES]
    hands = hand.hands
    if np.array_equal(hands.left.v_template, hands.right.v_template):
        return "MANO_LEFT.pkl and MANO_RIGHT.pkl hold the same hand: take both from MANO v1.2 anew"
    for posed, stated, words in _suspects(poses, joints_cam_m, ref, hand):
        off_m = np.linalg.norm(posed - stated, axis=-1).max(-1)
        if np.mean(off_m < MAX_OFF_M) > 0.5:
            return words
    return _what_differs(_posed(poses, ref.side, ref.tips, hand), joints_cam_m)


def _posed(poses: list[ManoPose], side: str, tips: str, hand: HandModel) -> np.ndarray:
    """Their joints (N, 21, 3), m."""
    rotvecs = np.stack([hand.pose_rotvec(pose, side) for pose in poses])
    betas = np.stack([pose.betas for pose in poses]).astype(float)
    trans_m = np.stack([pose.trans_m for pose in poses]).astype(float)
    return hand.hand_cam_m(rotvecs, betas, trans_m, side, tips)[1]


def _suspects(
    poses: list[ManoPose], joints: np.ndarray, ref: ClipRef, hand: HandModel
) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    """Posed and stated joints with one fault undone, and the fault's description."""
    side, tips, arrays = ref.side, ref.tips, getattr(hand.hands, ref.side)
    turned = replace(arrays, shapedirs=arrays.shapedirs * np.float32([-1, 1, 1])[:, None])
    turned = HandModel.from_hands(replace(hand.hands, **{side: turned}))
    words = (
        f"the shape directions of MANO_{side.upper()}.pkl have another sign of x than those that "
        "the labels were made with: take the file as published, not a mended one"
    )
    yield _posed(poses, side, tips, turned), joints, words
    (other,) = {*SIDES} - {side}
    words = f"the labels are a {other} hand's, and the clip is said to be of a {side} one"
    yield _posed(poses, other, tips, hand), joints, words
    (other,) = {*TIPS} - {tips}
    words = f"the joints end in the fingertips of {other!r}, and the clip says {tips!r}"
    yield _posed(poses, side, other, hand), joints, words
    for change, words in _changes(arrays.hands_mean, poses[0].fingers_are_pca):
        yield _posed([replace(p, **change(p)) for p in poses], side, tips, hand), joints, words
    posed = _posed(poses, side, tips, hand)
    words = (
        "the joints stand in another order, such as MANO's; dataset order is wanted "
        "(deformer.hand.conventions.MANO_TO_DATASET)"
    )
    for order in _ORDERS:
        yield posed, joints[:, order], words
    for signs, flip in _FLIPS:
        words = f"the joints are {flip}, MANO's parameters are not: bring both into "
        yield posed, joints * signs, words + "x right, y down, z forward"
    words = (
        "the translation is the wrist itself; MANO's wrist stands at translation + J₀(betas): "
        "subtract J₀(betas)"
    )
    yield np.stack([pose.trans_m for pose in poses])[:, None], joints[:, :1], words
    if len(posed) > 1:
        words = "joints and MANO's parameters are a frame apart"
        yield posed[1:], joints[:-1], words
        yield posed[:-1], joints[1:], words


def _changes(
    mean: np.ndarray, fingers_are_pca: bool
) -> Iterator[tuple[Callable[[ManoPose], dict], str]]:
    """Possible faults of MANO's parameters: the fields that undo each, and its description."""
    read = "and were read as PCA coefficients: take the label files as published"
    if fingers_are_pca:
        yield from (
            (lambda p: {"fingers_are_pca": False},
             f"the fingers are axis-angles, {read} (DexYCB: pose_m)"),
            (lambda p: {"fingers": p.fingers + mean, "fingers_are_pca": False},
             f"the fingers are axis-angles from MANO's mean pose, {read}"),
        )  # fmt: skip
    else:
        yield from (
            (lambda p: {"fingers_are_pca": True},
             "the fingers are PCA coefficients, and were read as axis-angles: say fingers_are_pca"),
            (lambda p: {"fingers": p.fingers + mean},
             "the fingers' axis-angles lack MANO's mean pose (flat_hand_mean): add hands_mean"),
            (lambda p: {"fingers": p.fingers - mean},
             "the fingers' axis-angles have MANO's mean pose twice: subtract hands_mean"),
        )  # fmt: skip
    angles = ["global_rotvec"] if fingers_are_pca else ["global_rotvec", "fingers"]
    yield from (
        (lambda p: {name: np.deg2rad(getattr(p, name)) for name in angles},
         "the rotations are in degrees: radians are wanted"),
        (lambda p: {"betas": np.zeros(10)},
         "the labels were made with betas of 0, and others are stated"),
        (lambda p: {"trans_m": p.trans_m / 1000},
         "the translation is in millimetres: metres are wanted, divide by 1000"),
        (lambda p: {"trans_m": p.trans_m / 100},
         "the translation is in centimetres: metres are wanted, divide by 100"),
    )  # fmt: skip


def _what_differs(posed: np.ndarray, joints: np.ndarray) -> str:
    """Which of MANO's parameters does not fit."""
    parents = [JOINT_PARENTS[j] for j in _BONES]
    lengths, stated = (
        np.linalg.norm(x[:, _BONES] - x[:, parents], axis=-1) for x in (posed, joints)
    )
    if np.median(np.abs(lengths - stated).max(1)) > MAX_OFF_M / 5:
        scale = np.median(stated / lengths)
        if np.median(np.ptp(stated / lengths, axis=1)) < 0.005:
            return f"the joints are those of a hand {scale:.3f} times as large: check their unit"
        return (
            "the bones have other lengths: the shape is another person's (DexYCB: mano_calib in "
            "meta.yml, betas in its mano.yml), or the hand model is another" + _FITTED
        )
    relative = (posed - posed[:, :1]) - (joints - joints[:, :1])
    if np.median(np.linalg.norm(relative, axis=-1).max(1)) < MAX_OFF_M:
        x, y, z = offset = np.median(joints[:, 0] - posed[:, 0], 0)
        is_far = np.linalg.norm(offset) > _FAR_M
        whose = "is in another unit than metres" if is_far else "belongs to another camera or frame"
        return (
            f"the hand is right and stands elsewhere, {x:z.3f}, {y:z.3f}, {z:z.3f} m off: the "
            f"translation {whose}"
        )
    return (
        "the shape is right, the pose is not: it belongs to another frame, hand or camera, or its "
        "rotations were read wrongly" + _FITTED
    )
