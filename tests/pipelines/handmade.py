"""Small datasets made by hand: random but consistent labels, written by the real writer.

No raw dataset, no hand model: a hand is 21 joints in front of a camera, its silhouette is a disc
around each joint, and a box lies in front of it.
"""

from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from deformer.data.clip import SCHEMA_VERSION, Clip, ClipMeta
from deformer.files.images import encode_png
from deformer.hand.box import tight_box
from deformer.hand.camera import project
from deformer.hand.conventions import NUM_JOINTS
from deformer.program.lock import locked
from pipelines.building.annotate import empty_labels
from pipelines.building.finish import finish
from pipelines.building.marks import ShardMark
from pipelines.building.shard import assemble_shard, remove_parts, write_clips
from pipelines.datasets.source import GRASPED_OBJECT, HAND

CROP_SIZE = (96, 80)
K = np.array([[500.0, 0.0, 48.0], [0.0, 500.0, 40.0], [0.0, 0.0, 1.0]], np.float32)
TRAIN = {"s0": "train", "s1": "train", "s2": "train", "s3": "train"}
TEST = {"s0": "test", "s1": "train", "s2": "val", "s3": "test"}


def make_clip(
    key: str = "clip-0",
    *,
    seed: int = 0,
    num_frames: int = 6,
    side: str = "right",
    object: str = "003_cracker_box",
    splits: dict[str, str] | None = None,
    hand: str = "standin",
    invalid: Iterable[int] = (),
    halo: Iterable[int] = (),
    depth: bool = False,
) -> Clip:
    """A clip; with hand="none", amodal masks and occlusion are null, as in a real build.

    depth: with the depth images that `depth_of` gives.
    """
    rng = np.random.default_rng(seed)
    labels, images = empty_labels(num_frames), [None] * num_frames
    labels["frame"][:] = np.arange(num_frames)
    labels["is_halo"][list(halo)] = True
    labels["reason"][:] = "no_hand"
    for i in range(num_frames):
        fields, image = _make_frame(rng, hand != "none")
        if i not in invalid:
            images[i] = image
            for name, value in fields.items():
                labels[name][i] = value
    meta = ClipMeta(
        key=key, dataset="dexycb", subject="subject-01", sequence="20200101_000000", camera="a0",
        side=side, object=object, splits=TRAIN if splits is None else splits,
        num_frames=num_frames, image_size=(640, 480), hand=hand, tips="dexycb",
    )  # fmt: skip
    depths = [image and encode_png(depth_of(seed, i)) for i, image in enumerate(images)]
    return Clip(meta, labels, images, depths if depth else None)


def depth_of(seed: int, frame: int) -> np.ndarray:
    """A depth image of `make_clip`, no two pixels of a row or a column alike."""
    width, height = CROP_SIZE
    y, x = np.mgrid[:height, :width]
    return (1000 * (seed + 1) + 100 * frame + 7 * x + 311 * y).astype(np.uint16)


def write_shard(out: Path, name: str, clips: Iterable[Clip]) -> ShardMark:
    """Write clips as the shard `out/name`, and its mark."""
    mark = assemble_shard(out, name, [write_clips(out, name, clips)], clips[0].depths is not None)
    remove_parts(out, name)
    return mark


def build_dataset(out: Path, shards: list[list[Clip]], synthetic: dict | None = None) -> Path:
    """Write clips, shard by shard, as a finished dataset; returns its folder.

    Also where no frame is valid, which a build refuses and earlier versions did not.
    """
    with locked(out, "build"):
        marks = [write_shard(out, f"{i:06d}.tar", clips) for i, clips in enumerate(shards)]
        parameters = {
            "schema_version": SCHEMA_VERSION,
            "dataset": "dexycb",
            "hand": shards[0][0].meta.hand,
            "hand_sha256": None,
            "halo_frames": 30,
        }
        if shards[0][0].depths is not None:
            parameters["depth"] = True
        with patch("pipelines.building.finish.nothing_valid", return_value=""):
            finish(out, parameters, marks, synthetic)
    return out


def small_dataset(out: Path, hand: str = "standin") -> Path:
    """Two shards: two clips of s0_train, one with a bad and a halo frame; and one of s0_test."""
    train = [
        make_clip("clip-a", seed=1, hand=hand, invalid=[2], halo=[5]),
        make_clip("clip-b", seed=2, hand=hand, side="left", object="021_bleach_cleanser"),
    ]
    return build_dataset(out, [train, [make_clip("clip-c", seed=3, hand=hand, splits=TEST)]])


def _make_frame(rng: np.random.Generator, has_hand_model: bool) -> tuple[dict, bytes]:
    width, height = CROP_SIZE
    joints = rng.uniform([-0.07, -0.06, 0.8], [0.07, 0.06, 1.0], (NUM_JOINTS, 3))
    joints_px = project(joints, K)
    inside = ((joints_px >= 0) & (joints_px <= [width - 1, height - 1])).all(-1)
    amodal = np.zeros((height, width), np.uint8)
    for x, y in np.rint(joints_px).astype(int).tolist():
        cv2.circle(amodal, (x, y), 6, 1, -1)
    segmentation = amodal * np.uint8(HAND)
    x = int(rng.integers(0, width))
    segmentation[:, x : x + 40] = GRASPED_OBJECT
    area, seen = np.count_nonzero(amodal), segmentation[amodal > 0]
    occlusion = np.count_nonzero(seen == GRASPED_OBJECT) / area if has_hand_model else np.nan
    visibility = np.count_nonzero(seen == HAND) / area if has_hand_model else np.nan
    image = cv2.resize(rng.integers(60, 200, (6, 8, 3), np.uint8), CROP_SIZE)
    image[segmentation == HAND] = (150, 180, 225)
    fields = {
        "valid": True,
        "reason": "",
        "joints_in_image": inside.sum(),
        "crop_xywh": (64, 32, width, height),
        "occlusion": occlusion,
        "occlusion_grasped": occlusion,
        "visibility": visibility,
        "box_px": tight_box(joints_px),
        "K": K,
        "joints_cam_m": joints,
        "joints_px": joints_px,
        "mask_hand": _rle(segmentation == HAND),
        "mask_object": _rle(segmentation == GRASPED_OBJECT),
        "mask_amodal": _rle(amodal) if has_hand_model else b"",
    }
    return fields, cv2.imencode(".jpg", image)[1].tobytes()


def _rle(mask: np.ndarray) -> bytes:
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]
