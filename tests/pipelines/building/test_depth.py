"""A build with depth: the very pixels of the crops, and what happens where some are missing."""

import json
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from deformer.data.clip import Clip, depth_member
from deformer.data.dataset import read_info
from deformer.data.index import read_index
from deformer.data.store import ClipReader, open_store
from deformer.files.images import decode_depth, decode_jpeg, encode_png
from deformer.files.sealed import write_json
from pipelines.build_shards import Options, build
from pipelines.building.shard import read_clips
from pipelines.datasets import dexycb
from pipelines.datasets.source import UnusableInputError
from pipelines.verify import Options as VerifyOptions
from pipelines.verify import run
from tests.conftest import CLIPS
from tests.pipelines.dexycb_root import write_root
from tests.pipelines.rewriting import bytes_of, problems, rewrite

NUM_FRAMES = 6


def depth_files(root: Path) -> list[Path]:
    """Names of the depth image of each colour image, there or not."""
    return [
        path.with_name(f"aligned_depth_to_color_{path.stem[-6:]}.png")
        for path in sorted(root.glob("2*/*/*/color_*.jpg"))
    ]


@pytest.fixture(scope="module")
def depth_root(tmp_path_factory, hands, layer) -> Path:
    """Two clips with a depth image for every frame, of random pixels."""
    root = tmp_path_factory.mktemp("raw") / "dexycb"
    write_root(root, hands, layer, CLIPS[:2], NUM_FRAMES)
    for seed, path in enumerate(depth_files(root)):
        pixels = np.random.default_rng(seed).integers(0, 2**16, (480, 640), np.uint16)
        path.write_bytes(encode_png(pixels))
    return root


def options(root: Path, out: Path, **changes) -> Options:
    return Options("dexycb", root=root, out=out, workers=0, frames_per_shard=6, **changes)


@pytest.fixture(scope="module")
def built_with_depth(tmp_path_factory, depth_root) -> Path:
    out = tmp_path_factory.mktemp("built") / "depth"
    build(options(depth_root, out, depth=True))
    return out


@pytest.fixture
def own(tmp_path, built_with_depth) -> Path:
    return Path(shutil.copytree(built_with_depth, tmp_path / "built"))


def test_the_reader_gives_the_very_pixels_of_the_crop(built_with_depth, depth_root):
    frames = pq.read_table(built_with_depth / "frames.parquet").to_pylist()
    reader = ClipReader(*open_store(built_with_depth), num_clips=2)
    for row, frame in enumerate(frames):
        has_depth = frame["depth_size"] is not None
        assert has_depth == frame["valid"] == (frame["size"] is not None)
        if frame["valid"]:
            folder = depth_root / frame["subject"] / frame["sequence"] / frame["camera"]
            source = folder / f"aligned_depth_to_color_{frame['frame']:06d}.png"
            x, y, width, height = frame["crop_xywh"]
            expected = cv2.imread(str(source), cv2.IMREAD_UNCHANGED)[y : y + height, x : x + width]
            depth = decode_depth(reader.depth(row))
            np.testing.assert_array_equal(depth, expected)
            assert decode_jpeg(reader.image(row)).shape[:2] == depth.shape
    assert sum(frame["valid"] for frame in frames) == 10
    assert problems(built_with_depth) == []


def test_a_build_with_depth_is_the_build_without_and_the_depth_images(
    built_with_depth, depth_root, tmp_path
):
    build(options(depth_root, tmp_path / "plain"))
    for name in ("000000.tar", "000001.tar"):
        plain, depth = (
            list(read_clips(folder / name, name))
            for folder in (tmp_path / "plain", built_with_depth)
        )
        for one, other in zip(plain, depth, strict=True):
            more = other.members.keys() - one.members.keys()
            assert len(more) == 5 and all(member.endswith(".depth.png") for member in more)
            assert one.members == {k: v for k, v in other.members.items() if k not in more}
    parameters = read_info(tmp_path / "plain")["parameters"]
    assert read_info(built_with_depth)["parameters"] == parameters | {"depth": True}
    assert "depth" not in json.dumps(parameters)
    names = pq.read_schema(tmp_path / "plain" / "frames.parquet").names
    more = ["depth_offset", "depth_size", "depth_crc32"]
    assert pq.read_schema(built_with_depth / "frames.parquet").names == names + more


def test_depth_images_that_nobody_asks_for_change_no_byte(depth_root, tmp_path, hands, layer):
    build(options(depth_root, tmp_path / "there"))
    without = write_root(tmp_path / "raw", hands, layer, CLIPS[:2], NUM_FRAMES)
    build(options(without, tmp_path / "absent"))
    assert bytes_of(tmp_path / "there") == bytes_of(tmp_path / "absent")


def test_the_same_bytes_at_every_build(built_with_depth, depth_root, tmp_path):
    build(options(depth_root, tmp_path / "again", depth=True))
    assert bytes_of(tmp_path / "again") == bytes_of(built_with_depth)


def test_a_frame_without_whole_depth_is_not_valid_in_a_build_with_depth(depth_root, tmp_path):
    root = Path(shutil.copytree(depth_root, tmp_path / "root"))
    paths = depth_files(root)
    size = (480, 640)
    paths[1].unlink()
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    paths[3].write_bytes(encode_png(np.zeros((480, 320), np.uint16)))
    paths[4].write_bytes(cv2.imencode(".png", np.zeros(size, np.uint8))[1].tobytes())
    paths[5].write_bytes(cv2.imencode(".png", np.zeros((*size, 3), np.uint16))[1].tobytes())
    flipped = bytearray(paths[7].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    paths[7].write_bytes(flipped)
    invalid = {"depth_corrupt": 5, "depth_missing": 1, "no_hand": 2}
    assert build(options(root, tmp_path / "depth", depth=True))["counts"]["invalid"] == invalid
    assert problems(tmp_path / "depth") == []
    assert build(options(root, tmp_path / "plain"))["counts"]["invalid"] == {"no_hand": 2}


def test_depth_that_is_not_there_is_told_before_the_build(
    raw_root, depth_root, tmp_path, monkeypatch
):
    with pytest.raises(
        UnusableInputError, match=r"--depth: .* holds no depth image .* leave it out"
    ):
        build(options(raw_root, tmp_path / "out", depth=True))
    monkeypatch.delattr(dexycb, "has_depth")
    with pytest.raises(UnusableInputError, match="--depth: of dexycb no depth images are read"):
        build(options(depth_root, tmp_path / "out", depth=True))
    assert not (tmp_path / "out").exists()


def test_a_reader_that_gives_no_depth_for_a_frame(depth_root, tmp_path, monkeypatch):
    real = dexycb.read_clip

    def without_depth(root, ref):
        return (replace(raw, depth=None) for raw in real(root, ref))

    monkeypatch.setattr(dexycb, "read_clip", without_depth)
    with pytest.raises(UnusableInputError, match=r"10 depth_missing.*; or build without --depth"):
        build(options(depth_root, tmp_path / "out", depth=True))


def test_a_build_with_depth_does_not_go_on_one_without(built_with_depth, depth_root):
    with pytest.raises(UnusableInputError, match=r"other parameters \(depth: True → None\)"):
        build(options(depth_root, built_with_depth))


# -------------------------------------------------------------------------------------- verifying


def test_a_flipped_bit_is_found_and_repaired(own, built_with_depth, depth_root):
    index = read_index(own)
    row = int(np.flatnonzero(index.numbers["valid"])[3])
    at = index.numbers["depth_offset"][row] + index.numbers["depth_size"][row] // 2
    path = own / index.shards[index.shard[row]]
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    found = "\n".join(problems(own))
    assert "has sha256" in found
    assert f"frame {index.numbers['clip_index'][row]}: the depth image does not decode" in found
    assert "column depth_crc32 is not what the shard holds" in found
    assert run(VerifyOptions(own, repair=True, root=depth_root, workers=0)) == 0
    assert bytes_of(own) == bytes_of(built_with_depth)


def put(value: bytes | None, frame: int, clips: list[Clip]) -> None:
    clips[0].depths[frame] = value


@pytest.mark.parametrize(
    ("value", "frame", "message"),
    [
        (None, 2, r"frame 2: crop \[.*\], depth image absent$"),
        (encode_png(np.zeros((8, 9), np.uint16)), 3, r"the depth image is \(9, 8\), its crop \["),
        (
            encode_png(np.zeros((8, 9, 3), np.uint8)),
            3,
            "the depth image does not decode: .* 16 bits",
        ),
        (encode_png(np.zeros((8, 9), np.uint16)), 0, r"frame 0: crop .*, depth image there$"),
    ],
    ids=["absent", "size", "kind", "extra"],
)
def test_wrong_depth_members_are_found(own, value, frame, message):
    rewrite(own, partial(put, value, frame))
    (found,) = problems(own)
    assert re.search(message, found), found


def test_depth_members_in_a_build_without_are_found(own):
    info = read_info(own)
    del info["parameters"]["depth"]
    write_json(own / "dataset.json", info)
    (meta, *_) = next(read_clips(own / "000000.tar", "000000.tar"))
    assert any(f"{depth_member(meta.key, 1)} is no member of this clip" in p for p in problems(own))
