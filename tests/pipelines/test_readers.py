"""A built dataset is read by programs that know nothing of this project."""

import re
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset

from deformer.data.clip import FIELDS
from tests.pipelines.handmade import CROP_SIZE, make_clip, small_dataset

README = Path(__file__).parents[2] / "shards" / "README.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
READERS = ["webdataset", "huggingface", "duckdb", "polars", "offset"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("readers") / "shards" / "demo")


def test_webdataset_reads_every_member(dataset):
    shards = [str(path) for path in sorted(dataset.glob("*.tar"))]
    clips = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    assert [clip["__key__"] for clip in clips] == ["clip-a", "clip-b", "clip-c"]
    for clip in clips:
        labels, num_frames = clip["labels.npz"], clip["json"]["num_frames"]
        members = {name for name in clip if not name.startswith("__")}
        images = {f"{i:06d}.jpg" for i in np.flatnonzero(labels["valid"])}
        assert members == {"labels.npz", "json"} | images
        assert {clip[name].shape for name in images} == {(CROP_SIZE[1], CROP_SIZE[0], 3)}
        for field in FIELDS:
            if field.dtype != "rle" and field.name in labels:
                assert labels[field.name].shape == (num_frames, *field.shape)
    expected = make_clip("clip-a", seed=1, invalid=[2], halo=[5]).labels
    assert np.allclose(clips[0]["labels.npz"]["joints_px"], expected["joints_px"], equal_nan=True)


def test_offsets_of_the_index_are_those_of_tarfile(dataset):
    for row in pq.read_table(dataset / "frames.parquet").to_pylist():
        members = {"labels.npz": ("labels_offset", "labels_size", "labels_crc32")}
        if row["offset"] is not None:
            members[f"{row['clip_index']:06d}.jpg"] = ("offset", "size", "crc32")
        with tarfile.open(dataset / row["shard"]) as tar:
            for extension, (offset, size, crc32) in members.items():
                member = tar.getmember(f"{row['clip']}.{extension}")
                data = tar.extractfile(member).read()
                place = (member.offset_data, member.size, zlib.crc32(data))
                assert place == (row[offset], row[size], row[crc32])


@pytest.mark.parametrize("example", EXAMPLES, ids=READERS)
def test_example_of_the_readme_runs(dataset, example, monkeypatch):
    for library in ("duckdb", "datasets"):
        if library in example:
            pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.chdir(dataset.parents[1])
    names: dict = {}
    exec(example, names)
    if "hidden" in names:
        assert len(names["joints"]) == names["hidden"].height > 0
    if "hand" in names:
        assert names["hand"].shape == names["image"].shape[:2]
        assert names["hand"].any()
    if "clips" in names:
        _check_as_hugging_face_reads(list(names["clips"]))


def _check_as_hugging_face_reads(clips: list[dict]) -> None:
    """Clips of unequal length, one of which has a frame without image."""
    assert [clip["__key__"] for clip in clips] == ["clip-a", "clip-b", "clip-c"]
    expected = make_clip("clip-a", seed=1, invalid=[2], halo=[5])
    labels = clips[0]["labels.npz"]
    assert labels["valid"] == expected.labels["valid"].tolist()
    assert np.allclose(labels["joints_px"], expected.labels["joints_px"], equal_nan=True)
    for i, data in enumerate(expected.images):
        image = clips[0][f"{i:06d}.jpg"]
        assert (image is None) == (data is None)
        if data is not None:
            assert image.size == CROP_SIZE
