"""The build: deterministic, resumable, and clear about input and output it cannot use."""

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from deformer.data.dataset import read_info
from deformer.data.official import SERIALS, official_sequences, official_splits
from deformer.files.foreign import UnreadableFileError
from deformer.program.lock import LockError, locked
from pipelines import build_shards
from pipelines.build_shards import Options, build
from pipelines.building import plan, shard
from pipelines.building.marks import BUILD_FOLDER
from pipelines.datasets.source import ClipRef, UnusableInputError

REPOSITORY = Path(__file__).parents[3]


def options(root: Path, out: Path, **changes) -> Options:
    return Options(
        "dexycb", root=root, out=out, **{"workers": 0, "frames_per_shard": 12, **changes}
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def build_all_but_the_end(root: Path, out: Path, monkeypatch) -> None:
    """A build interrupted when all shards are made, and no index yet."""
    with monkeypatch.context() as patch:
        patch.setattr(build_shards, "finish", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build(options(root, out))


def command(root: Path, out: Path, *more: str) -> list[str]:
    arguments = ["--dataset", "dexycb", "--root", str(root), "--out", str(out)]
    return [sys.executable, "-m", "pipelines.build_shards", *arguments, *more]


def test_counts_splits_and_purity(built):
    info = read_info(built)
    assert info["counts"]["clips"] == 7
    assert info["counts"]["frames"] == 42
    assert info["counts"]["valid"] == 35
    assert info["counts"]["invalid"] == {"no_hand": 7}
    assert set(info["counts"]["splits"]) == {
        f"{setup}_{part}" for setup in ("s0", "s1", "s2", "s3") for part in ("train", "val", "test")
    }
    frames = pq.read_table(built / "frames.parquet")
    for setup in ("s0", "s1", "s2", "s3"):
        parts = frames.group_by("shard").aggregate([(setup, "count_distinct")])
        assert set(parts[f"{setup}_count_distinct"].to_pylist()) == {1}


def test_only_what_belongs_there_remains(built):
    names = {path.name for path in built.iterdir()}
    shards = {mark["name"] for mark in read_info(built)["shards"]}
    assert names == shards | {"dataset.json", "frames.parquet", "annotations.parquet"}


def test_interrupted_anywhere_and_resumed_gives_the_same_bytes(
    raw_root, built, tmp_path, monkeypatch
):
    """Stopped within a shard and at its end, then taken up again."""
    real = shard.annotate_clip
    for stop_after in (1, 4):
        done = []

        def annotate(*args, stop_after=stop_after, done=done):
            if len(done) == stop_after:
                raise KeyboardInterrupt
            done.append(args)
            return real(*args)

        monkeypatch.setattr(shard, "annotate_clip", annotate)
        out = tmp_path / f"stopped_{stop_after}"
        with pytest.raises(KeyboardInterrupt):
            build(options(raw_root, out))
        assert not (out / "dataset.json").exists()
        monkeypatch.setattr(shard, "annotate_clip", real)
        build(options(raw_root, out))
        assert bytes_of(out) == bytes_of(built)


@pytest.mark.parametrize("num_frames", [[5], [1, 1, 1, 1], [3, 3, 1, 7, 2, 2]])
def test_groups_of_clips_keep_their_order_and_the_limit(num_frames):
    refs = [SimpleNamespace(frames=range(n)) for n in num_frames]
    groups = shard.group_by_frames(refs, 4)
    assert [ref for group in groups for ref in group] == refs
    sizes = [[len(ref.frames) for ref in group] for group in groups]
    assert all(len(group) == 1 or sum(group) <= 4 for group in sizes)
    assert all(sum(a) + b[0] > 4 for a, b in pairwise(sizes))


def rows_cut_off(build_folder: Path) -> None:
    first, second, *_ = sorted(build_folder.glob("*.arrow"))
    first.write_bytes(first.read_bytes()[:-1000])
    second.unlink()


def a_row_changed(build_folder: Path) -> None:
    path = build_folder / "000000.tar.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def tar_changed_and_a_mark_cut_off(build_folder: Path) -> None:
    (build_folder / "000001.tar.json").write_bytes(b"")
    path = build_folder.parent / "000000.tar"
    path.write_bytes(path.read_bytes()[:-10] + b"0123456789")


@pytest.mark.parametrize("damage", [rows_cut_off, a_row_changed, tar_changed_and_a_mark_cut_off])
def test_damage_by_a_power_failure(raw_root, built, tmp_path, monkeypatch, damage):
    out = tmp_path / "out"
    build_all_but_the_end(raw_root, out, monkeypatch)
    damage(out / BUILD_FOLDER)
    with pytest.raises(UnusableInputError, match=r"000000\.tar is no longer what was written"):
        build(options(raw_root, out))
    build(options(raw_root, out))
    assert bytes_of(out) == bytes_of(built)


def test_finished_shards_are_not_made_again(raw_root, built, tmp_path, monkeypatch):
    out = tmp_path / "out"
    build_all_but_the_end(raw_root, out, monkeypatch)
    monkeypatch.setattr(shard, "annotate_clip", lambda *a: pytest.fail("made again"))
    build(options(raw_root, out))
    assert bytes_of(out) == bytes_of(built)


def test_a_finished_dataset_is_not_rebuilt(raw_root, own_built, capsys):
    before = {p: p.stat().st_mtime_ns for p in own_built.iterdir()}
    build(options(raw_root, own_built))
    assert "already built" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in own_built.iterdir()} == before


def test_other_parameters_are_refused_with_the_difference_named(raw_root, own_built):
    with pytest.raises(UnusableInputError, match=r"frames_per_shard: 12 → 99.*another --out"):
        build(options(raw_root, own_built, frames_per_shard=99))
    with pytest.raises(UnusableInputError, match=r"hand: standin → none"):
        build(options(raw_root, own_built, hand="none"))


@pytest.mark.parametrize("limit", [12, 50])
def test_a_limited_build_has_every_part_of_every_setup(limit):
    refs = [
        ClipRef(
            f"{subject}_{sequence}_{serial}", "dexycb", subject, sequence, serial, "right", "",
            tuple(official_splits(subject, sequence, serial).items()), (0,), (640, 480),
        )
        for subject, sequences in official_sequences().items()
        for sequence in sequences
        for serial in SERIALS
    ]  # fmt: skip
    chosen = plan.choose_clips(refs, limit)
    assert len(chosen) == limit
    assert chosen == [ref for ref in refs if ref in set(chosen)]
    parts = {part for ref in chosen for part in ref.splits}
    assert parts == {part for ref in refs for part in ref.splits}
    assert len(parts) == 12


def test_mano_by_option_or_by_environment(raw_root, tmp_path, mano_folder, monkeypatch):
    """A recorded root with MANO: the same shards, with MANO's fields, however MANO is named."""
    recorded = Path(shutil.copytree(raw_root, tmp_path / "recorded"))
    (recorded / "synthetic.json").unlink()
    build(options(recorded, tmp_path / "by_option", mano_dir=mano_folder))
    monkeypatch.setenv("MANO_DIR", str(mano_folder))
    build(options(recorded, tmp_path / "by_environment"))
    assert bytes_of(tmp_path / "by_option") == bytes_of(tmp_path / "by_environment")
    rows = pq.read_table(tmp_path / "by_option" / "annotations.parquet").to_pylist()
    assert all((row["pose_rotvec"] is not None) == row["valid"] for row in rows)
    frames = pq.read_table(tmp_path / "by_option" / "frames.parquet").to_pylist()
    assert all((row["occlusion"] is not None) == row["valid"] for row in frames)


def test_another_hand_model_on_a_worker_is_refused(raw_root, tmp_path):
    (task, *_) = plan.make_plan(plan.PlanOptions("dexycb", raw_root, tmp_path)).tasks
    with pytest.raises(UnusableInputError, match="not the same on this worker"):
        shard.build_shard(replace(task, hand_sha256="0" * 64), lambda n: None)


def test_folders_that_cannot_be_used(raw_root, tmp_path, monkeypatch):
    monkeypatch.delenv("DEX_YCB_DIR", raising=False)
    with pytest.raises(UnusableInputError, match=r"--root, or set \$DEX_YCB_DIR.*from https"):
        build(Options("dexycb", out=tmp_path))
    with pytest.raises(UnusableInputError, match="is not a folder"):
        build(options(tmp_path / "nowhere", tmp_path))
    (tmp_path / "000000.tar").write_bytes(b"somebody's")
    with pytest.raises(UnusableInputError, match="nothing says what they were built with"):
        build(options(raw_root, tmp_path))
    assert (tmp_path / "000000.tar").read_bytes() == b"somebody's"
    with pytest.raises(LockError, match=r"cannot be written.*--out"):
        build(options(raw_root, tmp_path / "000000.tar" / "out"))


def test_two_builds_into_one_folder(raw_root, tmp_path):
    with locked(tmp_path, "build"), pytest.raises(LockError, match=r"another build \(process \d+"):
        build(options(raw_root, tmp_path))


def test_disk_full_keeps_what_is_finished(raw_root, built, tmp_path, monkeypatch):
    real = shard._samples
    written = []

    def samples(clip):
        for sample in real(clip):
            written.append(sample["__key__"])
            if len(written) > 4:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield sample

    monkeypatch.setattr(shard, "_samples", samples)
    out = tmp_path / "out"
    with pytest.raises(OSError, match=r"no space left on the disk of .*make room and run the same"):
        build(options(raw_root, out))
    assert (out / "000000.tar").exists()
    assert not list(out.rglob("*.tmp"))
    monkeypatch.setattr(shard, "_samples", real)
    build(options(raw_root, out))
    assert bytes_of(out) == bytes_of(built)


# ------------------------------------------------------------------------- which hand model it is


def test_a_synthesized_root_takes_its_own_hand_and_no_other(raw_root, tmp_path, monkeypatch):
    monkeypatch.setenv("MANO_DIR", str(tmp_path / "set by somebody for other work"))
    assert plan.choose_hand(raw_root, None, None).name == "standin"
    with pytest.raises(UnusableInputError, match=r"is synthesized.*leave --mano-dir out"):
        plan.choose_hand(raw_root, None, tmp_path)


@pytest.mark.parametrize(
    ("mark", "hand", "message"),
    [
        (None, "standin", "labels were made with MANO"),
        (None, None, r"mano\.is\.tue\.mpg\.de"),
        (
            f'{{"hand": "standin", "hand_sha256": "{"0" * 64}"}}',
            None,
            r"another version of .*again",
        ),
        ("{", None, r"synthetic\.json is damaged"),
    ],
)
def test_a_root_of_another_hand_is_refused(own_root, monkeypatch, mark, hand, message):
    monkeypatch.delenv("MANO_DIR", raising=False)
    path = own_root / "synthetic.json"
    path.write_text(mark) if mark else path.unlink()
    with pytest.raises((UnusableInputError, FileNotFoundError), match=message):
        build(options(own_root, own_root.parent / "out", hand=hand))


def test_other_or_damaged_parameters_of_an_unfinished_build(raw_root, tmp_path, monkeypatch):
    out = tmp_path / "out"
    build_all_but_the_end(raw_root, out, monkeypatch)
    with pytest.raises(UnusableInputError, match=r"unfinished build.*limit: None → 3"):
        build(options(raw_root, out, limit=3))
    (path,) = out.rglob("parameters.json")
    path.write_text("<html>")
    with pytest.raises(UnreadableFileError, match=r"parameters\.json is damaged: .*another --out"):
        build(options(raw_root, out))


def test_an_output_folder_whose_name_is_no_text_is_refused(raw_root, tmp_path):
    named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9"))
    with pytest.raises(UnreadableFileError, match=r"udcff.*is not UTF-8.*name another one"):
        build(options(raw_root, named))
    assert not named.exists()


def test_a_raw_folder_whose_name_is_no_text_can_be_built_from(raw_root, tmp_path):
    named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9"))
    shutil.copytree(raw_root, named)
    clips = build(options(raw_root, tmp_path / "a", limit=1))["counts"]
    assert build(options(named, tmp_path / "b", limit=1))["counts"] == clips


# ------------------------------------------------------------------------------- the command itself


@pytest.mark.parametrize(
    "wrong", [{"workers": -1}, {"limit": 0}, {"workers": 2, "scheduler": "tcp://x:1"}]
)
def test_wrong_options(tmp_path, wrong):
    with pytest.raises(ValueError, match="--"):
        options(tmp_path, tmp_path, **wrong)


def test_the_command_on_recorded_input_end_to_end(recorded_root, tmp_path):
    """The main job on the genuine frame: reader, crops, masks, tar, index, verification."""
    out = tmp_path / "out"
    run = subprocess.run(
        command(recorded_root, out, "--hand", "none", "--workers", "1"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "MANO fields, amodal masks and occlusion stay null" in run.stderr
    assert "12 valid of 12" in run.stdout
    frames = pq.read_table(out / "frames.parquet").to_pylist()
    assert [row["valid"] for row in frames] == [True] * 12
    assert 0 < frames[0]["joints_in_image"] < 11
    assert frames[0]["occlusion"] is None
    assert frames[0]["crop_xywh"][0] == 0
    row = pq.read_table(out / "annotations.parquet").to_pylist()[0]
    assert row["pose_rotvec"] is None
    assert row["mask_hand"]
    from pipelines.verify import verify

    assert not any(r.shard_problems or r.index_problems for r in verify(out, None, 0))
