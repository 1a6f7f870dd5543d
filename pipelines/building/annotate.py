"""Raw frames of a clip → the clip as it is written: one hand model, one crop, one occlusion each.

Pure: no file is read or written here. `hand=None` makes everything that needs no hand model; MANO
fields, amodal masks and occlusion ratios are then null.
"""

from dataclasses import fields, replace

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from deformer.data.clip import FIELDS, Clip, ClipMeta
from deformer.hand.box import AugmentationRange, tight_box
from deformer.hand.camera import crop_intrinsics, project
from deformer.hand.conventions import NUM_JOINTS
from pipelines.building import occlusion
from pipelines.building.contradictions import (
    FRAMES_TO_REFUSE,
    STATED_SHAPES,
    Stated,
    find_contradictions,
)
from pipelines.building.crops import crop_depth, crop_image, crop_rectangle, mcu_size
from pipelines.building.hand_model import HandModel
from pipelines.building.silhouette import silhouette
from pipelines.datasets.source import (
    GRASPED_OBJECT,
    HAND,
    OTHER_OBJECT,
    BadFrameError,
    ClipRef,
    Mesh,
    RawFrame,
)

_POSED = {"pose_rotvec": (48,), "betas": (10,), "trans_m": (3,), "vertices_cam_m": (778, 3),
          "joints_cam_m": (NUM_JOINTS, 3)}  # fmt: skip
"""The arrays of a posed hand, and their shapes."""


def annotate_clip(
    ref: ClipRef,
    raw_frames: list[RawFrame],
    hand: HandModel | None,
    limits: AugmentationRange,
    least_frames: int = FRAMES_TO_REFUSE,
    with_depth: bool = False,
) -> Clip:
    """Make the clip of `ref` from its raw frames, in order.

    with_depth: crop depth images too; a frame without one is then not valid.
    Raises `ValueError` naming the clip where the raw frames are not those of `ref`, and
    `UnusableInputError` where the labels of most frames contradict each other, if those that can be
    judged are `least_frames` or more.
    """
    _check_frames(ref, raw_frames)
    if hand is not None:
        raw_frames = [_placed(raw, ref.side, hand) for raw in raw_frames]
    n = len(raw_frames)
    labels = empty_labels(n)
    labels["frame"][:] = ref.frames
    labels["is_halo"][:] = [frame in ref.halo for frame in ref.frames]
    labels["reason"][:] = [raw.reason or _not_usable(raw) for raw in raw_frames]
    images: list[bytes | None] = [None] * n
    depths: list[bytes | None] = [None] * n
    at = _with_labels(labels)
    posed = _pose(ref, raw_frames, at, hand)
    stated = _stated(ref, raw_frames, at, posed, hand)
    labels["reason"][find_contradictions(stated, least_frames)] = "labels_contradict"
    at = _with_labels(labels)
    for name in ("pose_rotvec", "betas", "trans_m"):
        labels[name][at] = posed[name][at]
    for i, raw in enumerate(raw_frames):
        if i in at:
            tight_px = _fill_geometry(labels, i, raw, ref.image_size)
        if not labels["reason"][i]:
            images[i], depths[i] = _fill_crop(
                labels, i, raw, tight_px, ref.image_size, limits, with_depth
            )
        _to_crop_pixels(labels, i)
        if images[i] is not None:
            mesh = _hand_mesh(posed["vertices_cam_m"][i], raw, ref.side, hand)
            _fill_masks(labels, i, raw, mesh)
    labels["valid"][:] = labels["reason"] == ""
    return Clip(_clip_meta(ref, n, hand), labels, images, depths if with_depth else None)


def _check_frames(ref: ClipRef, raw_frames: list[RawFrame]) -> None:
    if len(raw_frames) != len(ref.frames):
        raise ValueError(
            f"clip {ref.key!r}: its reader gave {len(raw_frames)} frames for {len(ref.frames)}"
        )
    for frame, raw in zip(ref.frames, raw_frames, strict=True):
        if raw.frame != frame:
            raise ValueError(f"clip {ref.key!r}: its reader gave frame {raw.frame} for {frame}")
        if raw.segmentation is not None and raw.segmentation.shape != ref.image_size[::-1]:
            raise ValueError(
                f"clip {ref.key!r}, frame {frame}: segmentation has shape "
                f"{raw.segmentation.shape}, the image {ref.image_size[::-1]}"
            )


def _placed(raw: RawFrame, side: str, hand: HandModel) -> RawFrame:
    """The frame with its pose's trans_m, where it states the wrist instead."""
    if raw.pose is None or raw.pose.wrist_cam_m is None:
        return raw
    rest_m = getattr(hand.hands, side).wrist_m(np.asarray(raw.pose.betas))
    trans_m = raw.pose.wrist_cam_m - rest_m
    return replace(raw, pose=replace(raw.pose, trans_m=trans_m, wrist_cam_m=None))


def _clip_meta(ref: ClipRef, num_frames: int, hand: HandModel | None) -> ClipMeta:
    known = vars(ref) | {
        "splits": dict(ref.splits),
        "num_frames": num_frames,
        "hand": hand.hands.name if hand else "none",
    }
    return ClipMeta(**{field.name: known[field.name] for field in fields(ClipMeta)})


def empty_labels(n: int) -> dict:
    """Every field of the contract for n frames, nothing known yet."""
    labels = {}
    for field in FIELDS:
        if field.dtype == "rle":
            labels[field.name] = [b""] * n
        else:
            dtype = "U32" if field.dtype == "str" else field.dtype
            unknown = np.nan if field.nullable else np.zeros((), dtype)
            labels[field.name] = np.full((n, *field.shape), unknown, dtype)
    labels["joints_in_image"][:] = -1
    return labels


def _not_usable(raw: RawFrame) -> str:
    """Why a frame that its reader accepted is still not usable; "" if it is."""
    if raw.K is None:
        return "intrinsics_missing"
    if raw.joints_cam_m is None and raw.box_px is None:
        return "no_hand"
    stated = [raw.K, raw.joints_cam_m, raw.joints_px, raw.box_px, raw.vertices_cam_m]
    if raw.pose is not None:
        stated += vars(raw.pose).values()
    if not all(np.isfinite(value).all() for value in stated if value is not None):
        return "labels_not_finite"
    return "" if raw.image is not None else "image_missing"


def _with_labels(labels: dict) -> list[int]:
    """The frames whose labels are worth keeping."""
    return [i for i, reason in enumerate(labels["reason"]) if not reason.startswith("labels")]


def _pose(
    ref: ClipRef, raw_frames: list[RawFrame], frames: list[int], hand: HandModel | None
) -> dict[str, np.ndarray]:
    """The arrays `_POSED` (F, …) float32 of those of `frames` that state MANO parameters, all in
    one batch; NaN for the others."""
    posed = {
        name: np.full((len(raw_frames), *shape), np.nan, np.float32)
        for name, shape in _POSED.items()
    }
    at = [i for i in frames if raw_frames[i].pose is not None]
    if hand is None or not at:
        return posed
    poses = [raw_frames[i].pose for i in at]
    mano = [
        np.array([hand.pose_rotvec(pose, ref.side) for pose in poses], np.float32),
        np.array([pose.betas for pose in poses], np.float32),
        np.array([pose.trans_m for pose in poses], np.float32),
    ]
    points = hand.hand_cam_m(*mano, ref.side, ref.tips)
    for name, values in zip(_POSED, (*mano, *points), strict=True):
        posed[name][at] = values
    return posed


def _stated(
    ref: ClipRef, raw_frames: list[RawFrame], frames: list[int], posed: dict, hand
) -> Stated:
    """What `frames` say; the others say nothing."""
    arrays = {}
    for name, shape in STATED_SHAPES.items():
        arrays[name] = np.full((len(raw_frames), *shape), np.nan)
        for i in frames:
            value = getattr(raw_frames[i], name)
            if value is not None and np.isfinite(value).all():
                arrays[name][i] = value
    joints_m = posed["joints_cam_m"].astype(float)
    joints_m[~np.isfinite(joints_m)] = np.nan
    return Stated(ref, raw_frames, **arrays, posed_cam_m=joints_m, hand=hand)


def _fill_geometry(labels: dict, i: int, raw: RawFrame, image_size: tuple[int, int]) -> np.ndarray:
    """Joints, intrinsics and box in the source's pixels; returns the tight box (4,) or NaN."""
    box = np.full(4, np.nan)
    if raw.K is not None:
        labels["K"][i] = raw.K
    if raw.joints_cam_m is not None and raw.K is not None:
        joints_px = project(raw.joints_cam_m, raw.K)
        labels["joints_cam_m"][i] = raw.joints_cam_m
        labels["joints_px"][i] = joints_px
        inside = ((joints_px >= 0) & (joints_px <= np.array(image_size) - 1)).all(-1)
        labels["joints_in_image"][i] = inside.sum()
        box = tight_box(joints_px)  # NaN where a joint has no image
        if not np.isfinite(joints_px).all():
            labels["reason"][i] = labels["reason"][i] or "joints_behind_camera"
        elif not inside.any():
            labels["reason"][i] = labels["reason"][i] or "hand_outside_image"
    elif raw.box_px is not None:
        box = np.asarray(raw.box_px, float)
    labels["box_px"][i] = box
    if raw.vertices_cam_m is not None:
        labels["vertices_cam_m"][i] = raw.vertices_cam_m
    return box


def _hand_mesh(posed_m: np.ndarray, raw: RawFrame, side: str, hand) -> Mesh | None:
    """The posed hand (778, 3), else the stated vertices; None where neither is known."""
    vertices = posed_m if np.isfinite(posed_m).all() else raw.vertices_cam_m
    if hand is None or vertices is None:
        return None
    return Mesh(vertices.astype(np.float32), getattr(hand.hands, side).faces)


def _fill_crop(
    labels: dict, i: int, raw: RawFrame, box, image_size, limits, with_depth: bool
) -> tuple[bytes | None, bytes | None]:
    """The crop's image and depth image; or None and None, with the reason filled in."""
    try:
        source = raw.image() if callable(raw.image) else raw.image
        rectangle = crop_rectangle(box, image_size, limits, mcu_size(source))
        if not rectangle[2]:
            raise BadFrameError("hand_outside_image")
        image = crop_image(source, rectangle, image_size)
        depth = _depth_crop(raw, rectangle, image_size) if with_depth else None
    except BadFrameError as error:
        labels["reason"][i] = error.reason
        return None, None
    labels["crop_xywh"][i] = rectangle
    return image, depth


def _depth_crop(raw: RawFrame, rectangle, image_size) -> bytes:
    if raw.depth is None:
        raise BadFrameError("depth_missing")
    return crop_depth(raw.depth(), rectangle, image_size)


def _to_crop_pixels(labels: dict, i: int) -> None:
    origin = labels["crop_xywh"][i, :2]
    labels["K"][i] = crop_intrinsics(labels["K"][i], origin)
    labels["joints_px"][i] -= origin
    labels["box_px"][i] -= np.tile(origin, 2)


def _fill_masks(labels: dict, i: int, raw: RawFrame, hand_mesh: Mesh | None) -> None:
    x, y, width, height = labels["crop_xywh"][i]
    K, size = labels["K"][i].astype(float), (int(width), int(height))
    segmentation = raw.segmentation
    if segmentation is not None:
        segmentation = segmentation[y : y + height, x : x + width]
    if hand_mesh is not None:
        if segmentation is None and raw.grasped_mesh is not None:
            hand_depth = occlusion.cast_depth(hand_mesh, K, size)
            object_depth = occlusion.cast_depth(raw.grasped_mesh, K, size)
            segmentation = occlusion.segmentation_from_depth(hand_depth, object_depth)
            amodal = np.isfinite(hand_depth)
        else:
            amodal = silhouette(hand_mesh, K, size)
        labels["mask_amodal"][i] = _encode_mask(amodal)
        if segmentation is not None:
            ratios = occlusion.occlusion_from_segmentation(amodal, segmentation)
            for name, ratio in ratios.items():
                labels[name][i] = ratio
    if segmentation is not None:
        labels["mask_hand"][i] = _encode_mask(segmentation == HAND)
        is_object = (segmentation == OTHER_OBJECT) | (segmentation == GRASPED_OBJECT)
        labels["mask_object"][i] = _encode_mask(is_object)


def _encode_mask(mask: np.ndarray) -> bytes:
    columns = cv2.transpose(mask.view(np.uint8))  # several times as fast as np.asfortranarray
    return coco_mask.encode(columns.T)["counts"]
