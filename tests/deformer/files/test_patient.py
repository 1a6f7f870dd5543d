"""Reads that fail for a moment."""

import errno
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deformer.data.dataset import read_table
from deformer.files import patient
from deformer.files.patient import (
    NoAnswerError,
    entries,
    folders,
    is_damage,
    is_file,
    is_folder,
    open_file,
    patiently,
    read_file,
)

TRIES = len(patient._WAITS_S) + 1


@pytest.fixture(autouse=True)
def waits(monkeypatch) -> list[float]:
    waits = []
    monkeypatch.setattr(patient.time, "sleep", waits.append)
    return waits


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)) * 100)
    return path


def failing(monkeypatch, owner, name: str, times: int, number: int = errno.ESTALE) -> list:
    """Let a function fail so many times, first of all."""
    real, calls = getattr(owner, name), []

    def fails(*args, **more):
        calls.append(args)
        if len(calls) <= times:
            raise OSError(number, os.strerror(number))
        return real(*args, **more)

    monkeypatch.setattr(owner, name, fails)
    return calls


def test_what_fails_for_a_moment_is_tried_again(path, monkeypatch, waits):
    calls = failing(monkeypatch, Path, "read_bytes", TRIES - 1)
    assert read_file(path) == bytes(range(200)) * 100
    assert len(calls) == TRIES and waits == list(patient._WAITS_S)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_what_goes_on_failing_names_the_file(path, monkeypatch, number):
    failing(monkeypatch, Path, "read_bytes", TRIES, number)
    with pytest.raises(NoAnswerError, match=rf"^{path} cannot be read .*tried {TRIES} times: see"):
        read_file(path)


def test_other_errors_are_raised_at_once(path, monkeypatch, waits):
    failing(monkeypatch, Path, "read_bytes", 1, errno.EACCES)
    with pytest.raises(PermissionError):
        read_file(path)
    with pytest.raises(FileNotFoundError):
        patiently(path, path.with_name("no").read_bytes)
    assert not waits


def test_an_open_file_is_opened_again_and_goes_on_where_it_was(path, monkeypatch):
    with open_file(path) as file:
        assert file.read(10) == bytes(range(10))
        opened = failing(monkeypatch, os, "open", 1)
        failing(monkeypatch, os, "preadv", 2)
        file.seek(15_000)
        assert file.read(3) == bytes([0, 1, 2])
        assert len(opened) == 3
        assert file.seek(-1, os.SEEK_END) == 19_999 and file.read() == bytes([199])
    with pytest.raises(IsADirectoryError, match=str(path.parent)):
        open_file(path.parent)


def test_there_or_not_is_never_guessed(path, monkeypatch):
    folder = path.parent
    assert is_file(path) and is_folder(folder) and entries(folder) == [path]
    assert not is_file(folder) and not is_folder(path) and not is_file(path / "below")
    assert not is_file(folder / "none")
    failing(monkeypatch, Path, "stat", TRIES)
    with pytest.raises(NoAnswerError, match=f"^{path} "):
        is_file(path)
    failing(monkeypatch, Path, "iterdir", TRIES)
    with pytest.raises(NoAnswerError, match=f"^{folder} "):
        entries(folder)


def test_folders_of_the_system_are_not_opened(tmp_path):
    for name in ("s2", "s1", ".hidden", "lost+found"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    assert [folder.name for folder in folders(tmp_path)] == ["s1", "s2"]


def test_a_table_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    failing(monkeypatch, pq, "read_table", TRIES - 1)
    assert read_table(path).to_pylist() == [{"a": 1}]
    failing(monkeypatch, pq, "read_table", TRIES)
    with pytest.raises(NoAnswerError, match=f"^{path} "):
        read_table(path)
    assert is_damage(OSError("Unexpected end of stream")) and is_damage(pa.ArrowInvalid("x"))
    assert not is_damage(PermissionError(errno.EACCES, "x"))
