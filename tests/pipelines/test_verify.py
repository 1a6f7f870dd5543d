"""What `verify` finds, and that `--repair` gives back the same bytes."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deformer.dataset import read_info
from pipelines import shard as shards
from pipelines.source import UnusableInputError
from pipelines.verify import Options, check_counts, run, verify


def problems(folder, hand="standin") -> list[str]:
    reports = verify(folder, hand, workers=0)
    found = [p for report in reports for p in (*report.shard_problems, *report.index_problems)]
    return found + check_counts(folder)


def test_a_built_dataset_is_well(built):
    assert problems(built) == []


def flip_byte(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "000001.tar").unlink(), "No such file"),
        (lambda d: truncate(d / "000001.tar", 3000), "is cut off|no whole tar|ends within"),
        (lambda d: flip_byte(d / "000001.tar", 5000), "has sha256"),
        (lambda d: (d / "000001.tar").write_bytes(b"\0" * 10240), "has 10240 bytes"),
    ],
)
def test_damaged_shards_are_found_and_repaired(raw_root, own_built, built, damage, message, capsys):
    import re

    damage(own_built)
    assert any(re.search(message, p) for p in problems(own_built))
    assert run(Options(own_built, workers=0)) == 1
    assert run(Options(own_built, repair=True, root=raw_root, workers=0)) == 0
    assert "all well" in capsys.readouterr().out
    for path in built.iterdir():
        assert (own_built / path.name).read_bytes() == path.read_bytes(), path.name


def truncate(path, size):
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize("table", ["frames", "annotations"])
def test_damaged_indices_are_found_and_made_again_without_the_raw_data(own_built, built, table):
    path = own_built / f"{table}.parquet"
    flip_byte(path, path.stat().st_size // 3)
    assert any(table in p for p in problems(own_built))
    assert run(Options(own_built, repair=True, workers=0)) == 0
    assert path.read_bytes() == (built / f"{table}.parquet").read_bytes()


def test_an_index_that_says_otherwise_than_the_shard(own_built):
    path = own_built / "frames.parquet"
    with pq.ParquetFile(path) as file:
        groups = [file.read_row_group(i) for i in range(file.num_row_groups)]
        schema = file.schema_arrow
    values = groups[0]["occlusion"].to_pylist()
    values[1] = 0.123
    column = pa.chunked_array([pa.array(values, pa.float32())])
    position = schema.get_field_index("occlusion")
    groups[0] = groups[0].set_column(position, schema.field(position), column)
    with pq.ParquetWriter(path, schema) as writer:
        for group in groups:
            writer.write_table(group)
    assert problems(own_built) == [
        "frames.parquet, row group 0: column occlusion is not what the shard holds"
    ]


def test_counts_that_do_not_add_up(own_built):
    path = own_built / "dataset.json"
    path.write_text(path.read_text().replace('"valid": 35', '"valid": 36'))
    assert problems(own_built) == ["dataset.json counts 36 valid, the index 35"]


def rewrite_labels(folder, change):
    """Change the labels of the first clip and make everything agree with them again."""
    from deformer.clip import Clip, ClipMeta, decode_labels, decode_meta

    name = "000000.tar"
    images, labels, clips = {}, None, []
    with (folder / name).open("rb") as file:
        for member, data, _ in shards.iterate_members(file, name):
            extension = member.partition(".")[2]
            if extension.endswith(".jpg"):
                images[int(extension.split(".")[0])] = data
            elif extension == "labels.npz":
                labels = decode_labels(data)
            else:
                meta: ClipMeta = decode_meta(data)
                clips.append(Clip(meta, labels, [images.get(i) for i in range(meta.num_frames)]))
                images = {}
    change(clips[0].labels)
    (folder / shards.BUILD_FOLDER).mkdir()
    mark = shards.write_shard(folder, name, clips)
    info = read_info(folder)
    info["shards"][0] = vars(mark)
    shards.write_json(folder / "dataset.json", info)
    shutil.rmtree(folder / shards.BUILD_FOLDER)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x["occlusion"].__setitem__(1, 1.5), "occlusion lies in .* outside 0 … 1"),
        (lambda x: x["pose_rotvec"].__setitem__((1, 4), 2.0), "MANO's joints are up to .* px"),
        (lambda x: x["trans_m"].__iadd__(np.float32([0, 0.01, 0])), "MANO's joints are up to"),
        (lambda x: x["joints_px"].__iadd__(np.float32(0.1)), "off the projection"),
        (lambda x: x["valid"].__setitem__(1, False), "without"),
        (lambda x: x["crop_xywh"].__setitem__((1, 2), 999), "its crop"),
        (lambda x: x["K"].__setitem__(1, np.nan), "K is null in a valid frame"),
    ],
)
def test_wrong_labels_are_found(own_built, change, message):
    import re

    rewrite_labels(own_built, change)
    found = [p for p in problems(own_built) if "000000.tar: " in p]
    assert any(re.search(message, p) for p in found), found


def test_repair_refuses_another_raw_dataset(own_root, own_built):
    (own_built / "000000.tar").unlink()
    shutil.rmtree(min(own_root.glob("2*")))
    with pytest.raises(UnusableInputError, match=r"num_clips: 7 → 5"):
        run(Options(own_built, repair=True, root=own_root, workers=0))


def test_repair_refuses_input_that_has_changed(own_root, own_built):
    for path in own_root.glob("2*/*/*/color_*.jpg"):
        shutil.copy(min(own_root.glob("2*/*/*/color_*.jpg")), path) if path.stem[-1] == "3" else 0
    (own_built / "000000.tar").unlink()
    with pytest.raises(UnusableInputError, match="comes out otherwise than before"):
        run(Options(own_built, repair=True, root=own_root, workers=0))


def test_not_a_dataset(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no built dataset"):
        run(Options(tmp_path))
    (tmp_path / "dataset.json").write_text('{"schema_version": 0}')
    with pytest.raises(ValueError, match="has schema version 0, this program reads 1"):
        run(Options(tmp_path))
