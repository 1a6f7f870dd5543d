"""The export to COCO, read by pycocotools."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from deformer.hand.conventions import JOINT_NAMES
from pipelines.inspection import coco as export
from pipelines.inspection.coco import write_coco
from tests.pipelines.handmade import CROP_SIZE, build_dataset, make_clip, small_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("coco") / "small")


@pytest.fixture(scope="module")
def coco(dataset, tmp_path_factory) -> COCO:
    path = tmp_path_factory.mktemp("coco") / "new" / "all.json"
    assert write_coco(path, dataset) == 16
    return COCO(str(path))


def exported(tmp_path: Path, dataset: Path, split: str | None = None) -> dict:
    write_coco(tmp_path / "coco.json", dataset, split)
    return json.loads((tmp_path / "coco.json").read_text())


def built(tmp_path: Path, **changes) -> tuple[dict, dict]:
    """A dataset of one frame with changed labels → its labels and its annotation."""
    clip = make_clip(num_frames=1)
    clip.labels.update(changes)
    content = exported(tmp_path, build_dataset(tmp_path / "one", [[clip]]))
    return clip.labels, content["annotations"][0]


def test_every_frame_with_a_crop_is_there_once_and_no_halo(coco, dataset):
    frames = pq.read_table(dataset / "frames.parquet").to_pylist()
    expected = {
        f"{row['shard']}/{row['clip']}.{row['clip_index']:06d}.jpg": number
        for number, row in enumerate(frames, 1)
        if row["offset"] is not None and not row["is_halo"]
    }
    assert {image["file_name"]: image["id"] for image in coco.dataset["images"]} == expected
    assert {(i["width"], i["height"]) for i in coco.dataset["images"]} == {CROP_SIZE}
    assert sorted(a["image_id"] for a in coco.dataset["annotations"]) == sorted(coco.getImgIds())


def test_left_and_right_are_two_categories(coco):
    assert [(c["id"], c["name"]) for c in coco.loadCats([1, 2])] == [
        (1, "hand_right"),
        (2, "hand_left"),
    ]
    assert len(coco.getImgIds(catIds=[2])) == 6
    category = coco.loadCats(1)[0]
    assert category["keypoints"] == list(JOINT_NAMES)
    bones = {(JOINT_NAMES[a - 1], JOINT_NAMES[b - 1]) for a, b in category["skeleton"]}
    assert len(bones) == 20
    assert {("wrist", "thumb_1"), ("little_3", "little_tip")} <= bones


def test_masks_are_those_of_the_labels(coco):
    annotation = coco.loadAnns(1)[0]
    labels = make_clip("clip-a", seed=1, invalid=[2], halo=[5]).labels
    rle = {"size": CROP_SIZE[::-1], "counts": labels["mask_hand"][0]}
    assert np.array_equal(coco.annToMask(annotation), coco_mask.decode(rle))
    assert annotation["area"] == coco_mask.decode(rle).sum()


def test_keypoints_are_visible_on_the_hand_and_hidden_elsewhere(coco):
    for annotation in coco.dataset["annotations"]:
        mask = coco.annToMask(annotation)
        keypoints = np.reshape(annotation["keypoints"], (21, 3))
        inside = keypoints[:, 2] > 0
        assert annotation["num_keypoints"] == inside.sum()
        x, y = np.rint(keypoints[inside, :2]).astype(int).T
        assert np.array_equal(mask[y, x] == 1, keypoints[inside, 2] == 2)
        assert (keypoints[~inside] == 0).all()


def test_joints_outside_the_crop_are_zero_and_the_box_is_clipped(tmp_path):
    joints = make_clip(num_frames=1).labels["joints_px"].copy()
    joints[0, 3], joints[0, 4] = (-0.6, 10), (CROP_SIZE[0] - 1, 10)
    box = np.array([[-0.6, 10.0, 200.0, 70.0]])
    _, annotation = built(tmp_path, joints_px=joints, box_px=box)
    keypoints = np.reshape(annotation["keypoints"], (21, 3))
    assert keypoints[3].tolist() == [0, 0, 0]
    assert keypoints[4, 2] > 0
    assert annotation["bbox"] == [0, 10, CROP_SIZE[0], 60]


def test_what_is_unknown_or_wholly_hidden(tmp_path):
    _, no_mask = built(tmp_path / "mask", mask_hand=[b""])
    assert set(no_mask["keypoints"][2::3]) <= {0, 2} and "segmentation" not in no_mask
    _, _, width, height = no_mask["bbox"]
    assert no_mask["area"] == pytest.approx(width * height, abs=1)
    nothing = np.zeros(CROP_SIZE[::-1], np.uint8, order="F")
    _, hidden = built(tmp_path / "hidden", mask_hand=[coco_mask.encode(nothing)["counts"]])
    assert set(hidden["keypoints"][2::3]) <= {0, 1} and hidden["area"] > 0
    assert coco_mask.area({**hidden["segmentation"]}) == 0
    unknown = np.full((1, 21, 3), np.nan)
    _, no_joints = built(tmp_path / "joints", joints_px=unknown[..., :2], joints_cam_m=unknown)
    assert (no_joints["num_keypoints"], no_joints["keypoints"]) == (0, [0] * 63)


def test_split_selects_and_keeps_ids(dataset, coco, tmp_path):
    content = exported(tmp_path, dataset, "s0_test")
    assert {i["file_name"].split("/")[0] for i in content["images"]} == {"000001.tar"}
    assert content["images"] == coco.loadImgs([i["id"] for i in content["images"]])
    with pytest.raises(ValueError, match="split 'test' is not in this dataset; it has s0_test"):
        write_coco(tmp_path / "new.json", dataset, "test")
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_export_leaves_the_file_as_it_was(dataset, tmp_path, monkeypatch, error):
    path = tmp_path / "coco.json"
    entry = export._entry

    def interrupted(image_id, row):
        if image_id == 9:
            raise error
        return entry(image_id, row)

    monkeypatch.setattr(export, "_entry", interrupted)
    with pytest.raises(error):
        write_coco(path, dataset)
    assert list(tmp_path.iterdir()) == []
    path.write_text("the one before")
    with pytest.raises(error):
        write_coco(path, dataset)
    assert [p.name for p in tmp_path.iterdir()] == ["coco.json"]
    assert path.read_text() == "the one before"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pytest keeps every one of them
def test_memory_does_not_grow_with_the_dataset(tmp_path):
    def peak(num_shards: int) -> int:
        shards = [[make_clip(f"clip-{i}", seed=i, num_frames=40)] for i in range(num_shards)]
        folder = build_dataset(tmp_path / f"{num_shards}", shards)
        tracemalloc.start()
        assert write_coco(tmp_path / "coco.json", folder) == 40 * num_shards
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)  # what is imported and cached at first
    assert peak(8) < 1.5 * peak(2)


@pytest.mark.parametrize("kind", ["keypoints", "bbox", "segm"])
def test_perfect_predictions_score_one(coco, kind):
    predictions = coco.loadRes(
        [
            {
                "image_id": a["image_id"],
                "category_id": a["category_id"],
                "score": 1.0,
                **({"segmentation": a["segmentation"]} if kind == "segm" else {}),
                **({"keypoints": a["keypoints"]} if kind == "keypoints" else {"bbox": a["bbox"]}),
            }
            for a in coco.dataset["annotations"]
        ]
    )
    score = COCOeval(coco, predictions, kind)
    if kind == "keypoints":
        score.params.kpt_oks_sigmas = np.full(21, 0.05)
    score.evaluate()
    score.accumulate()
    score.summarize()
    assert score.stats[0] == pytest.approx(1)
