"""The rules that labels keep: each is broken in a dataset that is else consistent, and is found."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from deformer.data.clip import Clip, image_member
from pipelines.building.shard import read_clips
from pipelines.inspection.checks import check_clip, mask_areas
from tests.pipelines.handmade import build_dataset, make_clip, write_shard
from tests.pipelines.rewriting import problems, rewrite


def put(name: str, index, value) -> Callable[[dict], None]:
    return lambda labels: labels[name].__setitem__(index, value)


def shift(name: str, by: float) -> Callable[[dict], None]:
    return lambda labels: labels[name].__iadd__(np.float32(by))


def nan(*names: str, frame=slice(1, None)) -> Callable[[dict], None]:
    return lambda labels: [labels[name].__setitem__(frame, np.nan) for name in names]


def without(*names: str) -> Callable[[dict], None]:
    return lambda labels: [labels.pop(name) for name in names]


def another_unit(scale: float) -> Callable[[dict], None]:
    """Of everything, so that projections agree with it."""

    def change(labels: dict) -> None:
        labels["joints_cam_m"] *= np.float32(scale)
        without("pose_rotvec", "betas", "trans_m")(labels)

    return change


@pytest.fixture(scope="module")
def clip(built) -> Clip:
    """The only clip of the first shard, whose first frame has no hand."""
    ((meta, labels, members, _),) = read_clips(built / "000000.tar", "000000.tar")
    images = [members.get(image_member(meta.key, i)) for i in range(meta.num_frames)]
    return Clip(meta, labels, images)


WRONG_LABELS = [
    (put("occlusion", 1, 1.5), "occlusion outside 0 … 1: occlusion 1.5"),
    (put("visibility", 2, -0.5), "frame 2: visibility outside 0 … 1"),
    (put("occlusion_grasped", 1, 0.999), "occlusion_grasped exceeds occlusion"),
    (put("visibility", 1, 1.0), "occlusion and visibility add up to more than 1"),
    (put("pose_rotvec", (1, 4), 2.0), "MANO's joints are up to .* px"),
    (shift("trans_m", 0.01), "MANO's joints are up to"),
    (nan("pose_rotvec", "betas", "trans_m"), r"neither all of MANO's .* \(5 such frames\)"),
    (nan("betas", frame=3), "frame 3: a valid frame has neither all of MANO's"),
    (without("pose_rotvec", "betas", "trans_m"), "neither all of MANO's"),
    (nan("joints_cam_m", "joints_px", frame=2), "frame 2: joints are null in a valid frame"),
    (without("joints_cam_m", "joints_px"), "joints are null in a valid frame"),
    (nan("joints_px", frame=2), "frame 2: joints_px are not the projection"),
    (shift("joints_px", 0.1), "joints_px are not the projection"),
    (put("joints_in_image", 1, 99), "not the number of joints inside .*: joints_in_image 99"),
    (put("joints_in_image", 0, 21), "frame 0: not the number of joints inside"),
    (put("joints_in_image", 1, -1), "frame 1: not the number of joints inside"),
    (shift("box_px", 0.5), "box_px is not the tight box"),
    (nan("box_px", frame=1), "box_px is null in a valid frame"),
    (nan("K", frame=1), "K is null in a valid frame"),
    (put("valid", 1, False), "valid must be true just where no reason is given"),
    (put("reason", 0, "rain"), "frame 0: no known reason: reason rain"),
    (put("frame", 3, 2), "frame 3: frame numbers must rise"),
    (put("crop_xywh", (1, 2), 999), "its crop"),
    (put("crop_xywh", (1, 0), 9999), "frame 1: the crop must lie inside the source image"),
    (put("crop_xywh", (1, 1), -16), "frame 1: the crop must lie inside the source image"),
    (put("crop_xywh", (1, 2), 0), "frame 1: a valid frame without a crop"),
    (put("crop_xywh", (0, 0), 16), "frame 0: a frame that is not valid has a crop"),
    (put("mask_hand", 1, b""), "occlusion is known, but a mask is absent"),
    (without("mask_hand", "mask_object", "mask_amodal"), "a mask is absent"),
    (put("mask_hand", 1, b"garbage"), "frame 1: mask_hand is no RLE of the crop's size"),
    (put("mask_amodal", 2, b"\xff\x00"), "frame 2: mask_amodal is no RLE of the crop's size"),
    (put("mask_object", 0, b"11"), "frame 0: mask_object is no RLE of the crop's size"),
    (another_unit(1000), "no hand in metres: the median of its bones must be 0.008 to 0.08 m long"),
    (another_unit(100), "no hand in metres"),
    (another_unit(0.001), "no hand in metres"),
    (
        lambda labels: labels["joints_cam_m"].__imul__(np.float32(1.01)),  # along the rays
        r"MANO's joints are up to 0\.00 px and .* mm from the stated ones",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG_LABELS)
def test_wrong_labels_are_found(clip, model, tmp_path, change, message):
    labels = {name: value.copy() for name, value in clip.labels.items()}
    change(labels)
    write_shard(tmp_path, "000000.tar", [replace(clip, labels=labels)])
    (stored,) = read_clips(tmp_path / "000000.tar", "000000.tar")
    found = check_clip(stored, "000000.tar", model)
    assert any(re.search(message, p) for p in found), found
    assert all(p.startswith(f"000000.tar: {clip.meta.key}: ") for p in found)


def test_a_clip_without_a_valid_frame_is_well(tmp_path):
    clip = make_clip(num_frames=2, invalid=[0, 1], hand="none")
    assert problems(build_dataset(tmp_path / "none", [[clip]]), None) == []


def test_an_evaluation_frame_may_have_a_box_alone(own_built):
    def box_only(clips: list[Clip]) -> None:
        for i, clip in enumerate(clips):
            clips[i] = replace(clip, meta=replace(clip.meta, splits={"split": "evaluation"}))
            names = ("joints_cam_m", "joints_px", "pose_rotvec", "betas", "trans_m")
            without(*names)(clip.labels)
            clip.labels["joints_in_image"][:] = -1

    rewrite(own_built, box_only)
    assert problems(own_built) == []


def test_wrong_constants_are_found(own_built):
    def change(clips: list[Clip]) -> None:
        clips[0] = replace(clips[0], meta=replace(clips[0].meta, side="both", hand="glove"))

    rewrite(own_built, change)
    found = "\n".join(problems(own_built, None))
    assert "side is 'both', must be one of right, left" in found
    assert "hand is 'glove'" in found


def test_an_image_too_many(own_built):
    def change(clips: list[Clip]) -> None:
        clips[0].images.append(clips[0].images[1])

    rewrite(own_built, change)
    assert any("000006.jpg is no member of this clip" in p for p in problems(own_built))


def test_areas_of_masks():
    rng = np.random.default_rng(0)
    masks, areas = [], []
    for share in (0, 0.001, 0.03, 0.5, 1):
        for height, width in ((1, 1), (7, 5), (400, 300)):
            mask = np.asfortranarray(rng.random((height, width)) < share, np.uint8)
            masks.append(coco_mask.encode(mask)["counts"])
            areas.append(height * width)
    for garbage in (b"", b"\x00", b"abc", b"P" * 9 + b"0", b"O", "é".encode()):
        masks += garbage, masks[5]  # it does not spoil its neighbour
        areas += -1, areas[5]
    assert mask_areas(masks).tolist() == areas
    assert [mask_areas([mask]).item() for mask in masks] == areas
    assert len(mask_areas([])) == 0
