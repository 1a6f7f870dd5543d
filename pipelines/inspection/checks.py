"""Checks of the clips in a shard: members, images, and a table of checks of their labels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from deformer.data.clip import (
    FIELDS,
    REASONS,
    ClipMeta,
    depth_member,
    image_member,
    labels_member,
    meta_member,
)
from deformer.files.images import check_jpeg, decode_depth
from deformer.hand.box import tight_box
from deformer.hand.camera import project
from deformer.hand.conventions import NUM_JOINTS
from pipelines.building.hand_model import HandModel
from pipelines.building.shard import CorruptShardError, StoredClip
from pipelines.building.tolerances import (
    BONE_LENGTH_M,
    MAX_OFF_M,
    MAX_OFF_PX,
    bone_length_m,
    is_no_hand,
    off_m_and_px,
)

_ROUNDING_PX = 0.01
_MASKS = ("mask_hand", "mask_object", "mask_amodal")


def check_clip(
    clip: StoredClip, name: str, hand: HandModel | None, with_depth: bool = False
) -> list[str]:
    """What is wrong with a clip of the shard `name`.

    hand: the hand model that the labels were made with, or None: MANO's joints go unchecked.
    with_depth: every image has a depth image beside it.
    Raises `CorruptShardError` naming shard and member where the labels cannot be checked.
    """
    meta, n = clip.meta, clip.meta.num_frames
    # those fields that are null throughout the clip
    labels = {
        field.name: [b""] * n if field.dtype == "rle" else np.full((n, *field.shape), np.nan)
        for field in FIELDS
        if field.name not in clip.labels
    } | clip.labels
    try:
        problems = [*_check_images(labels, meta, clip.members, with_depth)]
        problems += _broken_rules(labels, meta)
        problems += _check_reprojection(labels, meta, hand)
    except Exception as error:  # damaged labels may fail anywhere: that is a finding
        raise CorruptShardError(f"{name}: {meta_member(meta.key)}: {error}") from error
    return [f"{name}: {meta.key}: {problem}" for problem in problems]


def _check_images(
    labels: dict, meta: ClipMeta, members: dict[str, bytes], with_depth: bool
) -> Iterator[str]:
    """An image exists exactly where a crop does, has its size, and nothing else is there."""
    kinds = {"image": (image_member, check_jpeg)}
    if with_depth:
        kinds["depth image"] = (depth_member, lambda png: decode_depth(png).shape[::-1])
    rest = members.keys() - {meta_member(meta.key), labels_member(meta.key)}
    for member_of, _ in kinds.values():
        rest -= {member_of(meta.key, i) for i in range(meta.num_frames)}
    for member in sorted(rest):
        yield f"{member} is no member of this clip"
    for i, crop in enumerate(labels["crop_xywh"]):
        for kind, (member_of, size_of) in kinds.items():
            yield from _check_image(i, crop, kind, members.get(member_of(meta.key, i)), size_of)


def _check_image(
    i: int, crop: np.ndarray, kind: str, image: bytes | None, size_of: Callable
) -> Iterator[str]:
    if (crop[2] > 0) != (image is not None):
        yield f"frame {i}: crop {crop.tolist()}, {kind} {'absent' if image is None else 'there'}"
    elif image is not None:
        try:
            size = size_of(image)
        except ValueError as error:
            yield f"frame {i}: the {kind} does not decode: {error}"
        else:
            if size != (crop[2], crop[3]):
                yield f"frame {i}: the {kind} is {size}, its crop {crop.tolist()}"


# ------------------------------------------------------------------------------ rules on the labels


@dataclass(frozen=True)
class Check:
    """A rule that every frame must keep."""

    text: str
    shows: tuple[str, ...]
    """Labels whose values the message gives."""
    is_broken: Callable[[dict, ClipMeta], np.ndarray]
    """All labels of a clip → (F,) bool, true where the rule is broken."""


def _broken_rules(labels: dict, meta: ClipMeta) -> Iterator[str]:
    """Messages of the rules that a clip breaks. `labels` holds every field of the contract."""
    for name, value, allowed in (
        ("side", meta.side, ("right", "left")),
        ("hand", meta.hand, ("mano", "standin", "none")),
        ("tips", meta.tips, ("dexycb", "ho3d")),
    ):
        if value not in allowed:
            yield f"{name} is {value!r}, must be one of {', '.join(allowed)}"
    for rule in RULES:
        broken = np.flatnonzero(rule.is_broken(labels, meta))
        if len(broken):
            first = broken[0]
            values = ", ".join(f"{n} {np.asarray(labels[n][first]).tolist()}" for n in rule.shows)
            more = f" ({len(broken)} such frames)" if len(broken) > 1 else ""
            yield f"frame {first}: {rule.text}" + (f": {values}" if values else "") + more


def _is_known(values: np.ndarray) -> np.ndarray:
    """(F, …) → (F,): every number of a frame's value is finite."""
    return np.isfinite(values.reshape(len(values), -1)).all(1)


def _has_mask(masks: list[bytes]) -> np.ndarray:
    return np.array([len(runs) > 0 for runs in masks], bool)


def _lacks_joints(x: dict, _: ClipMeta) -> np.ndarray:
    known = _is_known(x["joints_cam_m"]) & _is_known(x["joints_px"])
    states_a_box_alone = x["joints_in_image"] == -1
    return x["valid"] & ~known & ~states_a_box_alone


def _lacks_hand(x: dict, meta: ClipMeta) -> np.ndarray:
    """HO-3D's evaluation split states no MANO parameters."""
    has_mano = np.all([_is_known(x[name]) for name in ("pose_rotvec", "betas", "trans_m")], 0)
    is_expected = meta.hand != "none" and meta.splits.get("split") != "evaluation"
    return x["valid"] & ~has_mano & ~_is_known(x["vertices_cam_m"]) & is_expected


def _differs_px(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    is_close = np.isclose(values, expected, rtol=1e-5, atol=_ROUNDING_PX, equal_nan=True)
    return ~is_close.reshape(len(values), -1).all(1)


def _is_outside_image(x: dict, meta: ClipMeta) -> np.ndarray:
    crop = x["crop_xywh"].astype(np.int64)
    last = crop[:, :2] + crop[:, 2:]
    return (crop < 0).any(1) | (last > meta.image_size).any(1)


def _has_wrong_joints_in_image(x: dict, meta: ClipMeta) -> np.ndarray:
    """Joints on the image's very border may have been counted either way."""
    joints_px = x["joints_px"] + x["crop_xywh"][:, None, :2]
    first, last = -_ROUNDING_PX, np.array(meta.image_size) - 1 + _ROUNDING_PX
    most = ((joints_px >= first) & (joints_px <= last)).all(-1).sum(1)
    least = ((joints_px > -first) & (joints_px < last - 2 * _ROUNDING_PX)).all(-1).sum(1)
    stated, known = x["joints_in_image"], _is_known(x["joints_cam_m"])
    return np.where(known, (stated < least) | (stated > most), stated != -1)


def _lacks_masks(x: dict, _: ClipMeta) -> np.ndarray:
    return np.isfinite(x["occlusion"]) & ~np.all([_has_mask(x[name]) for name in _MASKS], 0)


def mask_areas(masks: list[bytes]) -> np.ndarray:
    """How many pixels the runs of compressed COCO RLEs cover, (N,); −1 for what is no RLE.

    pycocotools trusts its input and may write outside its memory, so this is asked first. A number
    is written in base 32 from its lowest digit on, sign included, as characters from "0" on; 32
    more marks that another digit follows. From the fourth on, numbers are differences to the last
    but one.
    """
    sizes = np.array([len(mask) for mask in masks])
    digits = np.frombuffer(b"".join(masks), np.uint8).astype(np.int64) - ord("0")
    if not len(digits):
        return np.full(len(masks), -1)
    owner = np.repeat(np.arange(len(masks)), sizes)
    is_end = np.diff(owner, append=-1) != 0
    last = np.flatnonzero(is_end | (digits & 32 == 0))
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(digits)) - np.repeat(first, last - first + 1)
    no_digit = (digits < 0) | (digits > 63) | (is_end & (digits & 32 > 0))
    is_broken = no_digit | (place > 6)  # more than 32 bits
    place = np.minimum(place, 6)
    runs = np.add.reduceat((digits & 31) << (5 * place), first)
    runs -= np.where(digits[last] & 16, 32 << (5 * place[last]), 0)
    owner_of_run = owner[first]
    number = np.arange(len(runs)) - np.searchsorted(owner_of_run, owner_of_run)
    for start in (1, 2):  # sums of every second number of each mask
        chosen = np.flatnonzero((number >= start) & (number % 2 == start % 2))
        total = runs[chosen].cumsum()
        begins = np.flatnonzero(number[chosen] == start)
        before = total[begins] - runs[chosen[begins]]
        runs[chosen] = total - np.repeat(before, np.diff(begins, append=len(chosen)))
    areas = np.bincount(owner_of_run, runs, len(masks)).astype(np.int64)
    areas[owner[is_broken]] = -1
    areas[owner_of_run[runs < 0]] = -1
    areas[sizes == 0] = -1
    return areas


def _does_not_cover(name: str) -> Callable[[dict, ClipMeta], np.ndarray]:
    def is_broken(x: dict, _: ClipMeta) -> np.ndarray:
        wanted = x["crop_xywh"][:, 2:].astype(np.int64).prod(1)
        return _has_mask(x[name]) & (mask_areas(x[name]) != wanted)

    return is_broken


RULES = (
    Check("valid must be true just where no reason is given", ("valid", "reason"),
          lambda x, _: x["valid"] != (x["reason"] == "")),
    Check("no known reason", ("reason",),
          lambda x, _: ~np.isin(x["reason"], ["", *REASONS])),
    Check("frame numbers must rise from frame to frame", ("frame",),
          lambda x, _: np.diff(x["frame"].astype(np.int64), prepend=x["frame"][:1] - 1) <= 0),
    Check("the crop must lie inside the source image", ("crop_xywh",), _is_outside_image),
    Check("a valid frame without a crop", ("crop_xywh",),
          lambda x, _: x["valid"] & (x["crop_xywh"][:, 2:] <= 0).any(1)),
    Check("a frame that is not valid has a crop", ("crop_xywh",),
          lambda x, _: ~x["valid"] & (x["crop_xywh"] != 0).any(1)),
    Check("K is null in a valid frame", (), lambda x, _: x["valid"] & ~_is_known(x["K"])),
    Check("box_px is null in a valid frame", (), lambda x, _: x["valid"] & ~_is_known(x["box_px"])),
    Check("joints are null in a valid frame", (), _lacks_joints),
    Check("a valid frame has neither all of MANO's parameters nor vertices", (), _lacks_hand),
    Check("joints_px are not the projection of joints_cam_m by K", (),
          lambda x, _: _differs_px(x["joints_px"], project(x["joints_cam_m"], x["K"]))),
    Check("joints_cam_m is no hand in metres: the median of its bones must be "
          f"{BONE_LENGTH_M[0]} to {BONE_LENGTH_M[1]} m long", (),
          lambda x, _: is_no_hand(bone_length_m(x["joints_cam_m"]))),
    Check("box_px is not the tight box of joints_px", ("box_px",),
          lambda x, _: _is_known(x["joints_px"])
          & _differs_px(x["box_px"], tight_box(x["joints_px"]))),
    Check(f"not the number of joints inside the image (0-{NUM_JOINTS}; −1 where none are known)",
          ("joints_in_image",), _has_wrong_joints_in_image),
    *(Check(f"{name} outside 0 … 1", (name,), lambda x, _, name=name: (x[name] < 0) | (x[name] > 1))
      for name in ("occlusion", "occlusion_grasped", "visibility")),
    Check("occlusion_grasped exceeds occlusion", ("occlusion_grasped", "occlusion"),
          lambda x, _: x["occlusion_grasped"] > x["occlusion"] + 1e-6),
    Check("occlusion and visibility add up to more than 1", ("occlusion", "visibility"),
          lambda x, _: x["occlusion"] + x["visibility"] > 1 + 1e-6),
    Check("occlusion is known, but a mask is absent", (), _lacks_masks),
    *(Check(f"{name} is no RLE of the crop's size", ("crop_xywh",), _does_not_cover(name))
      for name in _MASKS),
)  # fmt: skip


def _check_reprojection(labels: dict, meta: ClipMeta, hand: HandModel | None) -> Iterator[str]:
    """The joints of the MANO parameters must be the joints that the dataset states."""
    names = ("pose_rotvec", "betas", "trans_m", "K", "joints_cam_m")
    known = np.all([_is_known(labels[name]) for name in names], 0)
    if hand is None or not known.any():
        return
    *mano, K, joints_cam_m = (labels[name][known] for name in names)
    _, posed_cam_m = hand.hand_cam_m(*mano, meta.side, meta.tips)
    off_m, off_px = off_m_and_px(posed_cam_m, joints_cam_m, K)
    if off_m.max() > MAX_OFF_M or off_px.max() >= MAX_OFF_PX:
        frame = np.flatnonzero(known)[off_m.argmax()]
        yield (
            f"frame {frame}: MANO's joints are up to {off_px.max():.2f} px and "
            f"{1000 * off_m.max():.2f} mm from the stated ones"
        )
