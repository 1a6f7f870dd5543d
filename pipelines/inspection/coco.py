"""A built dataset as COCO: boxes, keypoints and masks that pycocotools reads.

`python -m pipelines.inspect shards/NAME --coco FILE.json` writes it. The images are the crops,
named by their place in the dataset's folder: `<shard>/<member>`.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco_mask

from deformer.data.clip import SCHEMA_VERSION, image_member
from deformer.data.dataset import (
    ANNOTATIONS_FILE,
    FRAMES_FILE,
    open_table,
    read_info,
    split_column,
)
from deformer.files.whole import whole_file
from deformer.hand.conventions import JOINT_NAMES, JOINT_PARENTS, NUM_JOINTS

CATEGORY_IDS = {"right": 1, "left": 2}
HIDDEN, VISIBLE = 1, 2

_FRAMES_COLUMNS = [
    "clip", "clip_index", "side", "frame", "is_halo", "occlusion", "box_px", "crop_xywh", "shard",
    "offset",
]  # fmt: skip
_ANNOTATIONS_COLUMNS = ["joints_px", "mask_hand"]


def write_coco(path: Path, folder: str | Path, split: str | None = None) -> int:
    """Write a dataset, or one split of it ("s0_train", "evaluation", …), as a JSON file for COCO.

    One image for each frame that has a crop, one annotation for each image. An image's id is its
    row in `frames.parquet` counted from 1, so it is the same whatever the split; halo rows are left
    out, each stands elsewhere as the centre of its own clip. Pixels are those of the crop, centres
    at integers. In an annotation

    - keypoints: v = 2 inside the crop and on the visible hand (or the visible hand is not known),
      1 inside the crop but hidden, 0 outside the crop or not known;
    - segmentation: the visible hand; absent where it is not known;
    - area: that of the segmentation; where that has no pixel or is absent, that of the box, since
      OKS divides by it;
    - occlusion: share of the hand that objects hide, null where it is not known.

    In memory there is never more than one row group; the file is there when it is whole.
    Returns the number of images. Raises `FileNotFoundError` when the folder is no dataset,
    `ValueError` for an unknown split.
    """
    info = read_info(folder)
    entries = _entries(Path(folder), split_column(info, split))
    num_images = 0
    with whole_file(path) as file, TemporaryFile(dir=path.parent) as later:
        head = json.dumps(_head(info, split)).removesuffix("}")
        file.write(f'{head}, "images": ['.encode())
        for image, annotation in entries:
            comma = ",\n" if num_images else "\n"
            file.write(f"{comma}{json.dumps(image)}".encode())
            later.write(f"{comma}{json.dumps(annotation)}".encode())
            num_images += 1
        file.write(b'\n], "annotations": [')
        later.seek(0)
        shutil.copyfileobj(later, file)
        file.write(b"\n]}\n")
    return num_images


def _head(info: dict, split: str | None) -> dict:
    """All of COCO's dictionary but images and annotations."""
    skeleton = [[JOINT_PARENTS[j] + 1, j + 1] for j in range(1, NUM_JOINTS)]
    return {
        "info": {
            "description": f"{info['parameters']['dataset']}: crops around hands",
            "version": f"schema {SCHEMA_VERSION}",
            "split": split or "all",
        },
        "licenses": [],
        "categories": [
            {
                "id": number,
                "name": f"hand_{side}",
                "supercategory": "hand",
                "keypoints": list(JOINT_NAMES),
                "skeleton": skeleton,
            }
            for side, number in CATEGORY_IDS.items()
        ],
    }


# -------------------------------------------------------------------------------------- the entries


def _entries(folder: Path, selected: tuple[str, str] | None) -> Iterator[tuple[dict, dict]]:
    """Images and their annotations, one row group in memory at a time."""
    with (
        open_table(folder / FRAMES_FILE) as frames,
        open_table(folder / ANNOTATIONS_FILE) as annotations,
    ):
        row = 0
        for group in range(frames.num_row_groups):
            columns = [*_FRAMES_COLUMNS, *([selected[0]] if selected else [])]
            narrow = frames.read_row_group(group, columns)
            wanted = np.asarray(narrow["offset"].is_valid()) & ~np.asarray(narrow["is_halo"])
            if selected:
                wanted &= np.array(narrow[selected[0]].to_pylist(), object) == selected[1]
            rows = np.flatnonzero(wanted)
            if len(rows):
                wide = annotations.read_row_group(group, _ANNOTATIONS_COLUMNS)
                if len(wide) != len(narrow):
                    raise ValueError(
                        f"{folder}: row group {group} has {len(narrow)} rows in {FRAMES_FILE}, "
                        f"{len(wide)} in {ANNOTATIONS_FILE}; run python -m pipelines.verify"
                    )
                yield from _group_entries(narrow.take(rows), wide.take(rows), row + rows + 1)
            row += len(narrow)


def _group_entries(narrow: pa.Table, wide: pa.Table, ids: np.ndarray) -> Iterator:
    table = {name: narrow[name].to_pylist() for name in narrow.column_names}
    table |= {name: wide[name].to_pylist() for name in wide.column_names}
    for i, image_id in enumerate(ids.tolist()):
        yield _entry(image_id, {name: values[i] for name, values in table.items()})


def _entry(image_id: int, row: dict) -> tuple[dict, dict]:
    _, _, width, height = row["crop_xywh"]
    image = {
        "id": image_id,
        "file_name": f"{row['shard']}/{image_member(row['clip'], row['clip_index'])}",
        "width": width,
        "height": height,
        "frame": row["frame"],
        "crop_xywh": row["crop_xywh"],
    }
    counts = row["mask_hand"]
    rle = counts and {"size": [height, width], "counts": counts}
    keypoints = _keypoints(row["joints_px"], width, height, rle)
    x0, y0, x1, y1 = np.clip(row["box_px"], 0, [width, height] * 2).tolist()
    annotation = {
        "id": image_id,
        "image_id": image_id,
        "category_id": CATEGORY_IDS[row["side"]],
        "iscrowd": 0,
        "bbox": [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)],
        "area": (int(coco_mask.area(rle)) if rle else 0) or round((x1 - x0) * (y1 - y0), 2),
        "keypoints": keypoints,
        "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
        "occlusion": row["occlusion"],
    }
    if rle:
        annotation["segmentation"] = {"size": [height, width], "counts": counts.decode("ascii")}
    return image, annotation


def _keypoints(joints_px: list | None, width: int, height: int, rle: dict | None) -> list:
    """x, y, v of the 21 joints in a row; see `write_coco`."""
    if joints_px is None:
        return [0] * (3 * NUM_JOINTS)
    joints = np.reshape(joints_px, (NUM_JOINTS, 2))
    inside = ((joints >= 0) & (joints <= [width - 1, height - 1])).all(-1)
    visibility = np.where(inside, VISIBLE, 0)
    if rle is not None:
        x, y = np.rint(joints[inside]).astype(int).T
        visibility[inside] = np.where(coco_mask.decode(rle)[y, x], VISIBLE, HIDDEN)
    rows = zip(joints.round(2).tolist(), visibility.tolist(), strict=True)
    return [value for (x, y), v in rows for value in ((x, y, v) if v else (0, 0, 0))]
