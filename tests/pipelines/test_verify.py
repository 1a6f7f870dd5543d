"""What `verify` finds, and that `--repair` gives back the same bytes."""

import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deformer.data.clip import Clip
from deformer.data.dataset import read_info
from deformer.files.sealed import seal, sealed_parquet, write_json
from pipelines.building import shard as shards
from pipelines.building.marks import BUILD_FOLDER
from pipelines.datasets.source import UnusableInputError
from pipelines.verify import Options, run, verify
from tests.pipelines.rewriting import bytes_of, problems, rewrite


def test_a_built_dataset_is_well(built):
    assert problems(built) == []


def flip_byte(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "000001.tar").unlink(), "^000001.tar is missing$"),
        (lambda d: os.truncate(d / "000001.tar", 3000), "is cut off|no whole tar|ends within"),
        (lambda d: flip_byte(d / "000001.tar", 5000), "has sha256"),
        (lambda d: (d / "000001.tar").write_bytes(b"\0" * 10240), "has 10240 bytes"),
    ],
)
def test_damaged_shards_are_found_and_repaired(raw_root, own_built, built, damage, message, capsys):
    damage(own_built)
    assert any(re.search(message, p) for p in problems(own_built))
    assert run(Options(own_built, workers=0)) == 1
    assert run(Options(own_built, repair=True, root=raw_root, workers=0)) == 0
    assert "all well" in capsys.readouterr().out
    for path in built.iterdir():
        assert (own_built / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("table", ["frames", "annotations"])
def test_damaged_indices_are_found_and_made_again_without_the_raw_data(own_built, built, table):
    path = own_built / f"{table}.parquet"
    flip_byte(path, path.stat().st_size // 3)
    assert any(table in p for p in problems(own_built))
    assert run(Options(own_built, repair=True, workers=0)) == 0
    assert path.read_bytes() == (built / f"{table}.parquet").read_bytes()


def change_row_groups(path, change, writer=sealed_parquet):
    with pq.ParquetFile(path) as file:
        groups = [file.read_row_group(i) for i in range(file.num_row_groups)]
        schema = file.schema_arrow
    with writer(path, schema) as file:
        for group in change(groups):
            file.write_table(group)


def test_an_index_that_says_otherwise_than_the_shard(own_built):
    def change(groups):
        values = groups[0]["occlusion"].to_pylist()
        values[1] = 0.123
        position = groups[0].schema.get_field_index("occlusion")
        column = pa.chunked_array([pa.array(values, pa.float32())])
        first = groups[0].set_column(position, groups[0].schema.field(position), column)
        return [first, *groups[1:]]

    change_row_groups(own_built / "frames.parquet", change)
    assert problems(own_built) == [
        "frames.parquet, row group 0: column occlusion is not what the shard holds"
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"valid": 35', '"valid": 36', "dataset.json counts 36 valid, the index 35"),
        ('"clips": 7', '"clips": 8', "dataset.json counts 8 clips, the index 7"),
        ('"clips": 1,', '"clips": 2,', "000000.tar holds 1 clips, dataset.json says 2"),
        ('"frames": 6\n', '"frames": 5\n', "000000.tar holds 6 frames, dataset.json says 5"),
    ],
)
def test_counts_that_do_not_add_up(own_built, built, old, new, message):
    path = own_built / "dataset.json"
    path.write_bytes(seal(path.read_bytes().replace(old.encode(), new.encode(), 1)))
    assert problems(own_built) == [message]
    assert run(Options(own_built, repair=True, workers=0)) == 0
    assert path.read_bytes() == (built / "dataset.json").read_bytes()


def test_a_tar_that_is_none_of_the_dataset(own_built, capsys):
    shutil.copy(own_built / "000000.tar", own_built / "000099.tar")
    (found,) = problems(own_built)
    assert found.startswith("000099.tar is not in dataset.json")
    assert run(Options(own_built, repair=True, workers=0)) == 1
    assert (own_built / "000099.tar").exists()


@pytest.mark.parametrize("table", ["frames", "annotations"])
@pytest.mark.parametrize("change", [1, -1])
def test_row_groups_too_many_or_too_few(own_built, built, table, change):
    path = own_built / f"{table}.parquet"
    change_row_groups(path, lambda all: all[:-1] if change < 0 else [*all, all[0]])
    n = len(read_info(own_built)["shards"])
    found = problems(own_built)
    assert f"{table}.parquet has {n + change} row groups for {n} shards" in found
    assert run(Options(own_built, repair=True, workers=0)) == 0
    assert path.read_bytes() == (built / f"{table}.parquet").read_bytes()


def test_what_cannot_be_mended_by_building_again_is_said(own_built, raw_root, capsys):
    rewrite(own_built, lambda clips: clips[0].labels["K"].fill(np.nan))
    before = bytes_of(own_built)
    assert run(Options(own_built, repair=True, root=raw_root, workers=0)) == 1
    assert "it was wrong already then, and the same build gives the same" in capsys.readouterr().err
    assert bytes_of(own_built) == before


def test_a_shard_that_mixes_splits(own_built):
    def change(clips: list[Clip]) -> None:
        meta = replace(clips[0].meta, key="another", splits={"s0": "val"})
        clips.append(replace(clips[0], meta=meta))

    rewrite(own_built, change)
    (found,) = problems(own_built)
    assert found.startswith("000000.tar mixes parts of a split: {'s0': ")


def test_a_clip_that_stands_twice(own_built):
    taken: list[Clip] = []
    rewrite(own_built, taken.extend, "000001.tar")
    rewrite(own_built, lambda clips: clips.__setitem__(0, taken[0]))
    key = taken[0].meta.key
    assert f"clip {key} stands 2 times in the dataset: in 000000.tar, 000001.tar" in (
        problems(own_built)
    )


def test_flipped_bytes_never_end_verify(own_built):
    """Every member but the images, at random places; each is found and named."""
    info = read_info(own_built)
    path = own_built / "000000.tar"
    whole = path.read_bytes()
    places = {
        member: at
        for *_, clip_places in shards.read_clips(path, path.name)
        for member, at in clip_places.items()
        if not member.endswith("jpg")
    }
    for i in range(1, len(info["shards"])):  # one shard is enough
        (own_built / f"{i:06d}.tar").unlink()
    write_json(own_built / "dataset.json", info | {"shards": info["shards"][:1]})
    rng = np.random.default_rng(0)
    named = 0
    for n in range(60):
        member, at = list(places.items())[n % len(places)]
        data = bytearray(whole)
        data[at.offset + rng.integers(at.size)] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        (report,) = verify(own_built, "standin", workers=0)
        assert report.differs
        assert "000000.tar has sha256" in report.shard_problems[0]
        assert all(p.startswith("000000.tar") for p in report.shard_problems)
        named += member.split(".")[0] in "".join(report.shard_problems[1:])
    assert named > 50


def test_repair_refuses_another_raw_dataset(own_root, own_built):
    (own_built / "000000.tar").unlink()
    shutil.rmtree(min(own_root.glob("2*")))
    with pytest.raises(UnusableInputError, match=r"num_clips: 7 → 5"):
        run(Options(own_built, repair=True, root=own_root, workers=0))


def test_a_shard_that_comes_out_otherwise_is_left_as_it_is(own_root, own_built):
    for path in own_root.glob("2*/*/*/color_*.jpg"):
        shutil.copy(min(own_root.glob("2*/*/*/color_*.jpg")), path) if path.stem[-1] == "3" else 0
    flip_byte(own_built / "000000.tar", 5000)
    before = bytes_of(own_built)
    with pytest.raises(UnusableInputError, match="what is there was left as it is"):
        run(Options(own_built, repair=True, root=own_root, workers=0))
    assert bytes_of(own_built) == before
    assert not (own_built / BUILD_FOLDER).exists()


def test_repair_that_is_stopped_leaves_what_was_there(raw_root, own_built, monkeypatch):
    def stopped(task, report):
        raise KeyboardInterrupt

    flip_byte(own_built / "000000.tar", 5000)
    before = bytes_of(own_built)
    monkeypatch.setattr("pipelines.building.repair.build_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(Options(own_built, repair=True, root=raw_root, workers=0))
    assert bytes_of(own_built) == before


@pytest.mark.parametrize("damage", [lambda p: flip_byte(p, 700), lambda p: p.unlink()])
def test_a_damaged_or_lost_dataset_json_comes_back_from_the_index(own_built, built, damage):
    path = own_built / "dataset.json"
    damage(path)
    with pytest.raises((ValueError, FileNotFoundError), match=r"verify .* --repair restores it"):
        run(Options(own_built, workers=0))
    assert run(Options(own_built, repair=True, workers=0)) == 0
    assert bytes_of(own_built) == bytes_of(built)


def test_a_dataset_of_before_there_were_sums(own_built, raw_root):
    path = own_built / "dataset.json"
    info = read_info(own_built)
    del info["file_sha256"]
    write_json(path, info)
    for table in ("frames", "annotations"):  # without a sum too
        change_row_groups(own_built / f"{table}.parquet", lambda all: all, pq.ParquetWriter)
    assert problems(own_built) == []
    before = path.read_bytes()
    flip_byte(own_built / "000000.tar", 5000)
    assert run(Options(own_built, repair=True, root=raw_root, workers=0)) == 0
    assert path.read_bytes() == before  # its hash is the dataset's identity


def test_an_index_that_lost_its_sum(own_built, built):
    path = own_built / "frames.parquet"
    change_row_groups(path, lambda all: all, pq.ParquetWriter)
    assert problems(own_built) == ["frames.parquet has lost its own sum"]
    assert run(Options(own_built, repair=True, workers=0)) == 0
    assert path.read_bytes() == (built / path.name).read_bytes()


def test_a_dataset_json_without_what_must_be_in_it(own_built):
    path = own_built / "dataset.json"
    whole = {"schema_version": 1, "counts": {}}
    for more in ({}, {"parameters": {}}, {"parameters": {"hand": "x"}, "shards": [{}]}):
        path.write_text(json.dumps(whole | more))
        with pytest.raises(ValueError, match="is damaged .* build anew"):
            run(Options(own_built, workers=0))
    path.unlink()
    (own_built / "frames.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds tars, .* build anew into another folder"):
        run(Options(own_built, repair=True, workers=0))
    with pytest.raises(FileNotFoundError, match=r"holds tars, .* build anew into another folder"):
        run(Options(own_built, workers=0))
