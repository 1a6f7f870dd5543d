"""Hosts with other clocks, names, homes and locales: results do not depend on them."""

import os
import socket
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest

from deformer import predict
from deformer.data.dataset import read_info
from deformer.data.store import DEFAULT_CACHE, ClipReader, open_store
from deformer.files import foreign
from deformer.files.foreign import UnreadableFileError, check_folder_name
from deformer.program.lock import locked
from deformer.training.log import Journal
from deformer.video.folders import videos_below
from tests.deformer.test_predict import Place
from tests.deformer.training.test_log import _journal
from tests.pipelines.handmade import build_dataset, make_clip

LONG_AGO, LATER = (0, 0), (2.2e9, 2.2e9)  # 1970, 2039


def test_a_cache_whose_files_have_wrong_times_serves_the_same(tmp_path):
    dataset = build_dataset(tmp_path / "d", [[make_clip(f"clip-{k}", seed=k)] for k in range(6)])
    fs, root = fsspec.url_to_fs("memory://weather/dataset")
    fs.put(str(dataset), root, recursive=True)
    store, index = open_store("memory://weather/dataset", tmp_path / "cache", cache_bytes=150_000)
    rows = np.flatnonzero(index.numbers["valid"])
    local = ClipReader(*open_store(dataset), 2)
    rng = np.random.default_rng(0)
    for row in rng.permutation(rows):
        for tar in store.folder.glob("*.tar"):
            os.utime(tar, LONG_AGO if rng.random() < 0.5 else LATER)
        reader = ClipReader(store, index, 2)  # opens files anew
        assert reader.image(row) == local.image(row)
    fs.rm(root, recursive=True)
    sizes = [shard["size"] for shard in read_info(dataset)["shards"]]
    assert sum(tar.stat().st_size for tar in store.folder.glob("*.tar")) < sum(sizes)


def test_tensorboard_reads_a_resumed_run_last_though_the_clock_is_behind(tmp_path, monkeypatch):
    boards = []
    for first_step, now in ((0, LATER[0]), (2, 1000.0), (4, 2000.0)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        journal: Journal = _journal(tmp_path, first_step)
        journal.log(first_step + 1, "train", {"total": 1.0})
        boards.append(journal.board)
    assert sorted(boards) == boards


def test_a_host_may_have_any_name(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "a/b \udcff\nc")
    assert _journal(tmp_path).board.parent == tmp_path / "tensorboard"
    with locked(tmp_path, "training"):
        pass


def test_a_user_without_a_home_is_told_where_a_cache_would_be(monkeypatch):
    def homeless(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(
        ValueError, match=rf"no home folder for the cache {DEFAULT_CACHE}: .*\$HOME"
    ):
        open_store("memory://weather/nowhere")


def test_a_locale_that_is_not_utf8_is_named(monkeypatch):
    monkeypatch.setattr(foreign.os, "fsencode", lambda path: str(path).encode("utf-8"))
    check_folder_name(Path("Küche"))
    monkeypatch.setattr(foreign.os, "fsencode", lambda path: str(path).encode("latin-1"))
    with pytest.raises(UnreadableFileError, match="and the locale is another: set PYTHONUTF8=1"):
        check_folder_name(Path("Küche".encode().decode("latin-1")))


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_in_which_a_disk_lists_names_does_not_matter(tmp_path, monkeypatch, order):
    for name in ("a/1.mp4", "b/2.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    real = os.scandir

    class Listed(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(
        os, "scandir", lambda path: Listed(sorted(real(path), key=lambda e: e.name)[::order])
    )
    assert videos_below(tmp_path) == [tmp_path / "a" / "1.mp4", tmp_path / "b" / "2.mp4"]


def test_prediction_does_not_begin_where_its_output_cannot_be_written(
    tmp_path, capsys, monkeypatch
):
    place = Place(tmp_path, capsys)
    (tmp_path / "file").write_text("")
    place.out = tmp_path / "file" / "out"
    begun = []
    monkeypatch.setattr(predict, "predict_video", lambda *given: begun.append(given))
    status, printed = place.run()
    assert status == 1 and not begun
    assert f"the output folder {place.out} cannot be written (Not a directory); give" in printed
