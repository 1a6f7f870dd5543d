"""Why labels contradict each other: the likely cause in words, with the next step.

Asked only when a build is refused. Each possible fault is undone in turn; the first that makes the
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
)
from pipelines.building.hand_model import HandModel
from pipelines.building.tolerances import MAX_OFF_M, ROUNDED_PX
from pipelines.datasets.source import ManoPose

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
_MOST_FRAMES = 20
_PARENTS = np.array(JOINT_PARENTS[1:])
_IS_TIP = np.arange(21) % 4 == 0
_IS_TIP[0] = False


def of_size(bone_length_m: float) -> str:
    """Of joints whose median bone is so long."""
    for unit, per_metre in _UNITS.items():
        if 0.6 < bone_length_m / per_metre / _USUAL_BONE_M < 1.6:
            return f"they look like {unit}; metres are wanted: divide by {per_metre}"
    return (
        "metres are wanted, and the joints in dataset order (wrist, then four of each finger from "
        "the palm to the tip, thumb first)"
    )


def of_image(joints_cam_m: np.ndarray, joints_px: np.ndarray, K: np.ndarray) -> str:
    """Of joints (N, 21, 3), stated 2D joints (N, 21, 2) and camera matrices (N, 3, 3)."""

    def agree(joints: np.ndarray, pixels: np.ndarray) -> bool:
        off = np.abs(project(joints, K) - pixels).max((1, 2))
        return bool(np.mean(off < ROUNDED_PX) > 0.5)  # NaN is far

    if agree(joints_cam_m, joints_px[..., ::-1]):
        return "the 2D joints are row, column; they must be x, y"
    for order in (MANO_TO_DATASET, DATASET_TO_MANO):
        if agree(joints_cam_m[:, order], joints_px):
            return "the 3D joints stand in another order than the 2D joints; both in dataset order"
    for signs, words in _FLIPS:
        if agree(joints_cam_m * signs, joints_px):
            return f"the 3D joints are {words}; x right, y down, z forward is wanted"
    fitted = _fit_camera(joints_cam_m, joints_px)
    if fitted is None:
        return (
            "no camera makes these 2D joints of these 3D joints; are they of another frame, hand "
            "or camera?"
        )
    focal, centre = fitted
    stated_focal, stated_centre = K[0, [0, 1], [0, 1]], K[0, :2, 2]
    scale = stated_focal / focal
    is_scaled = np.ptp(scale) < 0.01 * scale[0] and abs(scale[0] - 1) > 0.05
    source = "another resolution" if is_scaled else "another camera, or of the depth sensor"
    return (
        f"the 2D joints were made with fx {focal[0]:.1f}, fy {focal[1]:.1f}, cx {centre[0]:.1f}, "
        f"cy {centre[1]:.1f}, K has {stated_focal[0]:.1f}, {stated_focal[1]:.1f}, "
        f"{stated_centre[0]:.1f}, {stated_centre[1]:.1f}: intrinsics of {source}; take the colour "
        "camera's at the size of the images"
    )


def _fit_camera(
    joints_cam_m: np.ndarray, joints_px: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Focal lengths (2,) and centre (2,), px, that project most of the joints right, if any do."""
    focal, centre = np.empty(2), np.empty(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = joints_cam_m[..., :2] / joints_cam_m[..., 2:]  # (N, 21, 2)
    known = np.isfinite(slopes).all(-1) & np.isfinite(joints_px).all(-1)
    if np.count_nonzero(known) < 4:
        return None
    for axis in range(2):
        A = np.column_stack([slopes[known][:, axis], np.ones(np.count_nonzero(known))])
        (focal[axis], centre[axis]), *_ = np.linalg.lstsq(A, joints_px[known][:, axis], rcond=None)
    off = np.abs(slopes[known] * focal + centre - joints_px[known]).max(-1)
    return (focal, centre) if np.median(off) < ROUNDED_PX and (focal > 0).all() else None


def of_pose(
    poses: list[ManoPose], joints_cam_m: np.ndarray, side: str, tips: str, hand: HandModel
) -> str:
    """Of MANO parameters and the stated joints (N, 21, 3) that are not those of the posed hand."""
    poses, joints_cam_m = poses[:_MOST_FRAMES], joints_cam_m[:_MOST_FRAMES]

    def pose(poses: list[ManoPose], side=side, tips=tips, hand=hand) -> np.ndarray:
        rotvecs = np.stack([hand.pose_rotvec(pose, side) for pose in poses])
        betas = np.stack([pose.betas for pose in poses]).astype(float)
        trans_m = np.stack([pose.trans_m for pose in poses]).astype(float)
        return hand.hand_cam_m(rotvecs, betas, trans_m, side, tips)[1]

    def agree(posed: np.ndarray, joints: np.ndarray = joints_cam_m) -> bool:
        off = np.linalg.norm(posed - joints, axis=-1).max(-1)
        return bool(np.mean(off < MAX_OFF_M) > 0.5)

    hands = hand.hands
    if np.array_equal(hands.left.v_template, hands.right.v_template):
        return "MANO_LEFT.pkl and MANO_RIGHT.pkl hold the same hand: take both from MANO v1.2 anew"
    if agree(pose(poses, hand=_with_basis_turned(hand, side))):
        return (
            f"the shape directions of MANO_{side.upper()}.pkl have another sign of x than those "
            "that the labels were made with: take the file as published, not a mended one"
        )
    other_side = "left" if side == "right" else "right"
    if agree(pose(poses, side=other_side)):
        return f"the labels are a {other_side} hand's, and the clip is said to be of a {side} one"
    other_tips = "ho3d" if tips == "dexycb" else "dexycb"
    if agree(pose(poses, tips=other_tips)):
        return f"the joints end in the fingertips of {other_tips!r}, and the clip says {tips!r}"
    for changed, words in _changes(getattr(hands, side).hands_mean):
        if agree(pose([changed(p) for p in poses])):
            return words
    return _of_joints(pose(poses), joints_cam_m, poses, agree)


def _with_basis_turned(hand: HandModel, side: str) -> HandModel:
    """The hand whose shape directions have the other sign of x."""
    arrays = getattr(hand.hands, side)
    turned = replace(arrays, shapedirs=arrays.shapedirs * np.float32([-1, 1, 1])[:, None])
    return HandModel.of(replace(hand.hands, **{side: turned}))


def _changes(mean: np.ndarray) -> Iterator[tuple[Callable[[ManoPose], ManoPose], str]]:
    """What may have been done to MANO's parameters: a function that undoes it, and its name."""

    def fingers(f: Callable, is_pca: bool) -> Callable[[ManoPose], ManoPose]:
        return lambda p: replace(p, fingers=f(p.fingers), fingers_are_pca=is_pca)

    axis_angle = "the fingers are axis-angles{}, and were read as PCA coefficients"
    yield (
        lambda p: fingers(lambda x: x, False)(p) if p.fingers_are_pca else p,
        axis_angle.format("") + ": take the label files as published (DexYCB: pose_m)",
    )
    yield (
        lambda p: fingers(lambda x: x + mean, False)(p) if p.fingers_are_pca else p,
        axis_angle.format(" from MANO's mean pose") + ": take the label files as published",
    )
    yield (
        lambda p: p if p.fingers_are_pca else fingers(lambda x: x, True)(p),
        "the fingers are PCA coefficients, and were read as axis-angles: say fingers_are_pca",
    )
    for sign, word in ((1, "lack"), (-1, "have")):
        yield (
            lambda p, sign=sign: (
                p if p.fingers_are_pca else fingers(lambda x: x + sign * mean, False)(p)
            ),
            f"the fingers' axis-angles {word} MANO's mean pose"
            + (" (flat_hand_mean): add hands_mean" if sign > 0 else " twice: subtract hands_mean"),
        )
    yield (
        lambda p: replace(
            p,
            global_rotvec=np.deg2rad(p.global_rotvec),
            fingers=p.fingers if p.fingers_are_pca else np.deg2rad(p.fingers),
        ),
        "the rotations are in degrees: radians are wanted",
    )
    yield (
        lambda p: replace(p, betas=np.zeros(10)),
        "the labels were made with betas of 0, and others are stated",
    )
    for unit in ("millimetres", "centimetres"):
        yield (
            lambda p, unit=unit: replace(p, trans_m=np.asarray(p.trans_m) / _UNITS[unit]),
            f"the translation is in {unit}: metres are wanted, divide by {_UNITS[unit]}",
        )


def _of_joints(
    posed: np.ndarray, joints: np.ndarray, poses: list[ManoPose], agree: Callable[..., bool]
) -> str:
    """What the stated joints themselves may be; else which of MANO's parameters does not fit."""
    for order in (MANO_TO_DATASET, DATASET_TO_MANO):
        if agree(posed, joints[:, order]):
            return (
                "the joints stand in another order, such as MANO's; dataset order is wanted "
                "(deformer.hand.conventions.MANO_TO_DATASET)"
            )
    for signs, words in _FLIPS:
        if agree(posed, joints * signs):
            return (
                f"the joints are {words}, MANO's parameters are not: bring both into x right, y "
                "down, z forward"
            )
    trans_m = np.stack([pose.trans_m for pose in poses])
    if np.mean(np.linalg.norm(trans_m - joints[:, 0], axis=-1) < MAX_OFF_M) > 0.5:
        return (
            "the translation is the wrist itself; MANO's wrist stands at translation + J₀(betas): "
            "subtract J₀(betas)"
        )
    if len(posed) > 1 and (agree(posed[1:], joints[:-1]) or agree(posed[:-1], joints[1:])):
        return "joints and MANO's parameters are a frame apart"
    lengths, stated = (
        np.linalg.norm(x[:, 1:] - x[:, _PARENTS], axis=-1)[:, ~_IS_TIP[1:]] for x in (posed, joints)
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
