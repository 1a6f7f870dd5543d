from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from deformer.data.augment import AugmentConfig, Draw, draw
from deformer.data.batch import Batch, collate, read_window, to_input, without_padding
from deformer.data.clip import Clip
from deformer.data.order import OrderConfig
from deformer.data.store import ClipReader, open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.data.windows import WindowConfig
from deformer.hand.box import hand_box, tight_box
from deformer.hand.camera import project
from tests.deformer.data.conftest import labelled_clip
from tests.pipelines.handmade import CROP_SIZE, build_dataset

SIZE = 64
CONFIG = StreamConfig(
    split="all", size=SIZE, window=WindowConfig(3, 2), order=OrderConfig(8, shuffle=False)
)
PLAIN = CONFIG.for_evaluation("all")


def whole(folder: Path, config: StreamConfig) -> Batch:
    """An epoch as one batch, without padding."""
    parts = [without_padding(batch) for batch in Stream(config, *open_store(folder)).batches()]
    return Batch(*(torch.cat(values) for values in zip(*(p[:-1] for p in parts), strict=True)), ())


@pytest.fixture(scope="module")
def augmented(dataset) -> Batch:
    return whole(dataset, CONFIG)


@pytest.fixture(scope="module")
def plain(dataset) -> Batch:
    return whole(dataset, PLAIN)


@pytest.fixture(scope="module")
def rows(dataset, plain) -> list[list[dict]]:
    """What the tables hold of the frames of each window."""
    tables = [pq.read_table(dataset / f"{name}.parquet") for name in ("frames", "annotations")]
    frames = [a | b for a, b in zip(*(table.to_pylist() for table in tables), strict=True)]
    return [[frames[row] for row in window] for window in plain.rows.tolist()]


def column(rows: list[list[dict]], name: str, *shape: int) -> np.ndarray:
    values = np.array([[frame[name] for frame in window] for window in rows], float)
    return values.reshape(*values.shape[:2], *shape)


def read(folder: Path, drawn: Draw, window: list[int], size: int = SIZE) -> Batch:
    """The window of these rows as a batch of one."""
    store, index = open_store(folder)
    images = np.empty((3, size, size, 3), np.uint8)
    read = read_window(ClipReader(store, index, 9), np.array(window), 1, drawn, images)
    return collate(images[None], [read], [False])


def test_every_field_has_the_shape_and_type_that_is_documented(augmented):
    B, T = 52, 3
    expected = {
        "images": ((B, T, SIZE, SIZE, 3), torch.uint8), "photometric": ((B, 5), torch.float32),
        "boxes_px": ((B, T, 4), torch.float32), "is_left": ((B,), torch.bool),
        "occlusion": ((B, T), torch.float32), "pose_rotvec": ((B, T, 48), torch.float32),
        "betas": ((B, 10), torch.float32), "joints_cam_m": ((B, T, 21, 3), torch.float32),
        "joints_px": ((B, T, 21, 2), torch.float32),
        "joints_in_image": ((B, T, 21), torch.bool), "K": ((B, T, 3, 3), torch.float32),
        "rows": ((B, T), torch.int64), "is_repeat": ((B, T - 1), torch.bool),
        "is_padding": ((B,), torch.bool),
    }  # fmt: skip
    shapes = {
        name: (tuple(getattr(augmented, name).shape), getattr(augmented, name).dtype)
        for name in Batch._fields[:-1]
    }
    assert shapes == expected


def test_what_augmentation_does_not_change_is_what_the_tables_hold(augmented, rows):
    np.testing.assert_array_equal(augmented.occlusion, column(rows, "occlusion").astype("f4"))
    np.testing.assert_array_equal(augmented.betas, column(rows, "betas", 10)[:, 1].astype("f4"))
    assert augmented.is_left.tolist() == [window[1]["side"] == "left" for window in rows]
    assert augmented.is_left.any() and not augmented.is_left.all()
    assert len(torch.unique(augmented.photometric, dim=0)) == 52  # a draw for each
    is_same = augmented.rows[:, 1:] == augmented.rows[:, :-1]
    assert is_same.any() and not is_same.all() and torch.equal(augmented.is_repeat, is_same)


def test_augmented_joints_are_projected_onto_augmented_pixels(augmented):
    projected = project(augmented.joints_cam_m.double().numpy(), augmented.K.double().numpy())
    assert np.abs(projected - augmented.joints_px.numpy()).max() < 0.1
    fx, fy = augmented.K[..., 0, 0], augmented.K[..., 1, 1]
    assert (fx - fy).abs().max() > 1  # they are not alike, so K has a skew
    assert augmented.K[..., 0, 1].abs().max() > 1


def test_boxes_are_square_and_stand_around_the_joints(augmented):
    x0, y0, x1, y1 = augmented.boxes_px.unbind(-1)
    np.testing.assert_allclose(x1 - x0, y1 - y0, atol=1e-3)
    centre, side = hand_box(tight_box(augmented.joints_px.numpy()))
    np.testing.assert_allclose(torch.stack([x0 + x1, y0 + y1], -1) / 2, centre, atol=1e-3)
    np.testing.assert_allclose(x1 - x0, side, rtol=1e-5)


def test_without_augmentation_the_hand_box_fills_the_input(plain, rows):
    expected = np.broadcast_to([-0.5, -0.5, SIZE - 0.5, SIZE - 0.5], (52, 3, 4))
    np.testing.assert_allclose(plain.boxes_px, expected, atol=1e-3)
    pose = column(rows, "pose_rotvec", 48).astype("f4")
    np.testing.assert_array_equal(plain.pose_rotvec, pose)
    np.testing.assert_array_equal(
        plain.joints_cam_m, column(rows, "joints_cam_m", 21, 3).astype("f4")
    )


def test_joints_in_image_are_in_the_source_and_in_the_input(tmp_path):
    clip = labelled_clip("clip", seed=1, num_frames=3)
    clip.labels["joints_px"] += [-20, 22]  # some are left of the crop, some below it
    clip.labels["box_px"] = tight_box(clip.labels["joints_px"])
    folder = build_dataset(tmp_path / "dataset", [[clip]])
    x, y = np.moveaxis(clip.labels["joints_px"], -1, 0)
    is_in_source = (x >= 0) & (x <= 95) & (y >= 0) & (y <= 79)
    for shift in (0.0, 0.4):
        batch = read(folder, Draw(shift=(shift, 0.0)), [0, 1, 2])
        px = batch.joints_px[0].numpy()
        is_in_input = ((px >= -0.5) & (px <= SIZE - 0.5)).all(-1)
        np.testing.assert_array_equal(batch.joints_in_image[0], is_in_source & is_in_input)
        assert (is_in_input & ~is_in_source).any()
    assert (is_in_source & ~is_in_input).any()


def painted_clip(joint: int) -> Clip:
    """A clip of black images with a red disc at a joint, to a fraction of a pixel."""
    clip = labelled_clip("painted", seed=8, num_frames=3)
    for k in range(3):
        image = np.zeros((CROP_SIZE[1], CROP_SIZE[0], 3), np.uint8)
        centre = np.rint(clip.labels["joints_px"][k, joint] * 16).astype(int).tolist()
        cv2.circle(image, centre, 4 * 16, (0, 0, 255), -1, cv2.LINE_AA, shift=4)
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
        clip.images[k] = data.tobytes()
    return clip


def test_a_mark_at_a_joint_is_found_where_the_augmented_labels_say(tmp_path):
    size, joint = 256, 4
    folder = build_dataset(tmp_path / "dataset", [[painted_clip(joint)]])
    found = 0
    for seed in range(40):
        drawn = draw(AugmentConfig(), np.random.default_rng(seed))
        batch = read(folder, drawn, [0, 1, 2], size)
        for image, px in zip(batch.images[0].numpy(), batch.joints_px[0, :, joint], strict=True):
            if px.min() < 16 or px.max() > size - 16:
                continue
            weight = np.where(image[..., 0] > 64, image[..., 0], 0).astype(float)
            y, x = np.mgrid[:size, :size]
            centroid = [(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()]
            assert np.abs(np.array(centroid) - px.numpy()).max() < 0.5
            found += 1
    assert found > 60


def test_labels_that_a_dataset_does_not_give_are_nan(tmp_path):
    clip = labelled_clip("clip", seed=1, num_frames=3, hand="none")
    for name in ("pose_rotvec", "betas", "joints_cam_m", "joints_px", "K"):
        del clip.labels[name]
    folder = build_dataset(tmp_path / "dataset", [[clip]])
    batch = read(folder, Draw(), [0, 1, 2])
    for name in ("occlusion", "pose_rotvec", "betas", "joints_cam_m", "joints_px", "K"):
        assert getattr(batch, name).isnan().all(), name
    assert not batch.joints_in_image.any()
    # the tight box alone says where the hand is
    np.testing.assert_allclose(batch.boxes_px[0], [[-0.5, -0.5, 63.5, 63.5]] * 3, atol=1e-3)
    turned = read(folder, Draw(angle=np.pi / 2), [0, 1, 2])
    np.testing.assert_allclose(turned.boxes_px, batch.boxes_px, atol=1e-3)
    smaller = read(folder, Draw(scale=1.25), [0, 1, 2]).boxes_px[0]
    np.testing.assert_allclose(smaller[:, 2] - smaller[:, 0], SIZE / 1.25, rtol=1e-4)


def test_the_input_is_fractions_channels_last_coloured_by_the_draw_of_each_window(plain):
    expected = plain.images.permute(0, 1, 4, 2, 3).float() / 255
    assert torch.equal(to_input(plain), expected)
    photometric = plain.photometric.clone()
    photometric[1, 0] = 0.5
    images = to_input(plain._replace(photometric=photometric))
    assert images.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    expected[1] *= 0.5
    assert torch.allclose(images, expected, atol=1e-5)
