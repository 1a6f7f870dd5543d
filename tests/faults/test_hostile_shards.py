"""Hostile bytes to the readers of built datasets and of files with a row per frame: tars, labels,
`dataset.json`, indices, predictions, hands, boxes."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.evaluation.predictions import SCHEMA as PREDICTIONS
from benchmarks.evaluation.predictions import read_predictions
from benchmarks.evaluation.truth import pair_predictions, predicted_meshes, read_truth
from deformer.data.clip import decode_labels, decode_meta, encode_labels
from deformer.data.dataset import check_reach, labels_of, read_info, tips_of
from deformer.data.index import make_windows, select_rows
from deformer.data.store import ClipReader, open_store
from deformer.data.windows import WindowConfig
from deformer.video.boxes_file import read_boxes
from deformer.video.export import npz as npz_export
from deformer.video.export.clip import Clip
from deformer.video.hands_file import SCHEMA as HANDS
from deformer.video.hands_file import HandsInfo
from pipelines import verify
from pipelines.building import finish
from pipelines.building.finish import TABLES
from pipelines.building.marks import BUILD_FOLDER, ShardMark, write_mark
from pipelines.building.shard import read_clips
from pipelines.datasets.source import UnusableInputError
from pipelines.inspection.checks import check_clip
from tests.faults.crafted import HOSTILE_JSON
from tests.faults.damage import changed, damaged, of_json, one_of, rebuilt
from tests.faults.hostile import SEEDS, Reader, assert_harmless, from_path, fuzz
from tests.faults.wholes import (
    HOSTILE_NPZ,
    HOSTILE_TAR,
    clip_labels,
    hostile_parquet,
    npz_members,
    npz_of,
    parquet_of,
    tables,
    tar_members,
    tar_of,
)
from tests.pipelines.handmade import small_dataset

FEW, MANY = 50, 1000
WINDOW = WindowConfig(num_frames=3, gap=1)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, bytes]:
    """The files of a small dataset."""
    folder = small_dataset(tmp_path_factory.mktemp("whole") / "small")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def folder(tmp_path, built) -> Path:
    for name, data in built.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def use_index(folder: Path) -> None:
    """What training does with the index."""
    store, index = open_store(folder)
    check_reach(index.info, 3, str(folder))
    tips_of(index.info), labels_of(index.info)
    chosen = select_rows(index, "s0_train", "occlusion > 0.1 or side == 'left'")
    windows = make_windows(index, WINDOW, chosen)
    store.check_shards(index, index.shards)
    reader = ClipReader(store, index, 2)
    for row in windows.centre_rows[:1]:
        reader.image(row), reader.labels(index.clip[row])


def use_verify(folder: Path) -> None:
    """What verification does, but for the shards' own content."""
    info = read_info(folder)
    verify.check_indices(folder)
    verify.check_dataset(folder, [])
    for table in ("frames.parquet", "annotations.parquet"):
        verify._check_rows(folder / table, 0, pa.table({"a": [1]}))
    verify._hand_to_check(info, None)


def shard_readers(folder: Path, built: dict[str, bytes]) -> list[Reader]:
    tar = built["000001.tar"]
    labels = encode_labels(clip_labels(), 3)
    meta = json.loads(tar_members(tar)["clip-c.json"])
    path = folder / "000001.tar"

    def read_tar(path: Path) -> None:
        for clip in read_clips(path, path.name):
            check_clip(clip, path.name, None)

    def report(path: Path) -> None:
        shard = json.loads(built["dataset.json"])["shards"][1]
        verify._check_shard((folder, 1, shard, None, False))

    return [
        Reader("labels.npz of a clip", rebuilt(npz_members(labels), npz_of), decode_labels,
               HOSTILE_NPZ),
        Reader("json of a clip", of_json(meta), decode_meta, HOSTILE_JSON),
        Reader("tar", damaged({"x": tar}), from_path(path, read_tar), HOSTILE_TAR,
               says="000001.tar", cost=4),
        Reader("members of a tar", rebuilt(tar_members(tar), tar_of), from_path(path, read_tar),
               says="000001.tar", cost=8),
        Reader("verify: tar", damaged({"x": tar}), from_path(path, report), HOSTILE_TAR, (),
               cost=8),
        build_reader(folder, built),
    ]  # fmt: skip


def build_reader(folder: Path, built: dict[str, bytes]) -> Reader:
    """The rows that an unfinished build keeps of a shard."""
    shard = json.loads(built["dataset.json"])["shards"][0]
    mark = ShardMark(**{field.name: shard[field.name] for field in fields(ShardMark)})
    frames, annotations = (pq.read_table(pa.BufferReader(built[name])) for name in TABLES)
    (folder / BUILD_FOLDER).mkdir()
    write_mark(folder, mark, (frames.slice(0, 3), annotations.slice(0, 3)))
    rows = folder / BUILD_FOLDER / f"{mark.name}.arrow"

    def use(path: Path) -> None:
        for table in finish._rows(folder, mark):
            parquet_of(table)

    errors = ValueError, OSError, UnusableInputError
    return Reader("rows of a shard", damaged({"x": rows.read_bytes()}), from_path(rows, use),
                  documented=errors, says=mark.name, cost=4)  # fmt: skip


def index_readers(folder: Path, built: dict[str, bytes]) -> list[Reader]:
    info = json.loads(built["dataset.json"])
    info["shards"] = info["shards"][:2]
    readers = []
    for use, what in ((use_index, "training"), (use_verify, "verify")):
        inputs = of_json(info)
        readers.append(Reader(f"{what}: dataset.json", inputs,
                              from_path(folder / "dataset.json", lambda path, use=use: use(folder)),
                              HOSTILE_JSON))  # fmt: skip

    def restored(use):
        def read(path: Path) -> None:
            (folder / "dataset.json").write_bytes(built["dataset.json"])
            use(folder)

        return read

    frames = built["frames.parquet"]
    truth = built["annotations.parquet"]
    whole_frames = pq.read_table(pa.BufferReader(frames))
    whole_truth = pq.read_table(pa.BufferReader(truth))
    for what, use in (("training", use_index), ("verify", use_verify),
                      ("evaluation", lambda folder: read_truth(folder, "s0_train"))):  # fmt: skip
        inputs = one_of(damaged({"x": frames}), tables(whole_frames))
        readers.append(Reader(f"{what}: frames.parquet", inputs,
                              from_path(folder / "frames.parquet", restored(use)),
                              hostile_parquet(), cost=2))  # fmt: skip

    def annotations(path: Path) -> None:
        (folder / "frames.parquet").write_bytes(frames)
        read_truth(folder, "s0_train")

    readers.append(
        Reader("evaluation: annotations.parquet",
               one_of(damaged({"x": truth}), tables(whole_truth)),
               from_path(folder / "annotations.parquet", annotations), hostile_parquet(), cost=2)
    )  # fmt: skip
    return readers


def _values(field: pa.Field, rows: int) -> pa.Array:
    if pa.types.is_fixed_size_list(field.type):
        return pa.array([[0.1] * field.type.list_size] * rows, field.type)
    if pa.types.is_list(field.type):
        return pa.array([[0.2, 0.3, 0.5]] * rows, field.type)
    if pa.types.is_string(field.type):
        return pa.array(["right"] * rows)
    return pa.array(np.arange(rows)).cast(field.type, safe=False)


def _whole(schema: pa.Schema, rows: int = 4, lacks: tuple[str, ...] = ()) -> pa.Table:
    kept = [field for field in schema if field.name not in lacks]
    return pa.table({f.name: _values(f, rows) for f in kept}, pa.schema(kept))


def table_readers(folder: Path, hands) -> list[Reader]:
    truth = read_truth(folder, "s0_train")
    predicted = _whole(PREDICTIONS, lacks=("vertices_m",))

    def score(path: Path) -> None:
        predictions = read_predictions(path)
        paired = pair_predictions(truth, predictions["row"])
        source = paired.source[paired.source >= 0]
        predicted_meshes(predictions, source, hands, truth.is_left[paired.at][paired.source >= 0])

    info = HandsInfo(
        source="a.mp4", fps=30.0, width=64, height=48, num_frames=4,
        K=((60.0, 0.0, 32.0), (0.0, 60.0, 24.0), (0.0, 0.0, 1.0)), K_from="given",
        checkpoint="lite", checkpoint_sha256="0", licence="", hand_model="standin", 
        hand_model_sha256=hands.sha256,
        detector="", fitted=False, smoothed=False, config_sha256="0",
    )  # fmt: skip
    footer = {"format": 1, **info.__dict__}
    found = _whole(HANDS)
    whole = found.replace_schema_metadata({b"deformer_hands": json.dumps(footer)})

    def with_footer(footer: bytes) -> bytes:
        return parquet_of(found.replace_schema_metadata({b"deformer_hands": footer}))

    def use_hands(path: Path) -> None:
        clip = Clip.read(path)
        npz_export.write(clip, folder / "exported")

    boxes = pa.table({"frame": [0, 1, 0], "track": [0, 0, 1], "side": ["right", "right", "left"],
                      "x0": [1.0, 2, 3], "y0": [1.0, 2, 3], "x1": [11.0, 12, 13],
                      "y1": [11.0, 12, 13]})  # fmt: skip
    csv = b"frame,track,side,x0,y0,x1,y1\n0,0,right,310.5,200,402,331\n1,0,right,310,200,402,331\n"

    def boxes_of(path: Path) -> None:
        read_boxes(path, 2, (640, 480), 3)

    return [
        Reader("predictions.parquet",
               one_of(damaged({"x": parquet_of(predicted)}), tables(predicted)),
               from_path(folder / "predictions.parquet", score), hostile_parquet(),
               says="predictions.parquet", cost=2),
        Reader("hands.parquet", one_of(damaged({"x": parquet_of(whole)}), tables(whole)),
               from_path(folder / "a.hands.parquet", use_hands), hostile_parquet(),
               says="a.hands.parquet"),
        Reader("footer of hands.parquet", changed(of_json(footer), with_footer),
               from_path(folder / "a.hands.parquet", use_hands)),
        Reader("boxes as Parquet", one_of(damaged({"x": parquet_of(boxes)}), tables(boxes)),
               from_path(folder / "b.parquet", boxes_of), hostile_parquet(), says="b.parquet"),
        Reader("boxes as CSV", damaged({"x": csv}), from_path(folder / "b.csv", boxes_of),
               says="b.csv"),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("what", ["shards", "index", "tables"])
def test_a_hostile_dataset_is_refused_or_read(what, seed, folder, built, hands, count_faults):
    if what == "tables":
        readers = table_readers(folder, hands)
    else:
        readers = {"shards": shard_readers, "index": index_readers}[what](folder, built)
    outcome = fuzz(readers, MANY if seed else FEW, seed, folder)
    assert_harmless(count_faults, f"built datasets and tables ({what})", outcome)
