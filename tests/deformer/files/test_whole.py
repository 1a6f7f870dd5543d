"""Files are written completely or not at all, and a full disk is reported in one line."""

import errno
import os
import stat
import threading

import pytest

from deformer.files.whole import (
    NoRoomError,
    room_for,
    sync_folder,
    whole_file,
    whole_folder,
    write_whole,
)
from tests.full_disk import little_room, names, refused


def test_a_file_is_written_with_its_folder(tmp_path):
    path = tmp_path / "new" / "run[v2]" / "tables.md"
    write_whole(path, "25–50 ×\n")
    assert path.read_bytes() == "25–50 ×\n".encode()
    write_whole(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names(path.parent) == [path.name]


@pytest.mark.parametrize("is_there", [False, True])
def test_no_room_leaves_what_was_there(tmp_path, is_there):
    path = tmp_path / "run[v2]" / "report.html"
    if is_there:
        write_whole(path, "before")
    message = (
        r"^no space left on the disk of .*run\[v2\]/report.html \(.*\); what is finished is kept"
    )
    with little_room(), pytest.raises(NoRoomError, match=f"{message}: make room and run the same"):
        write_whole(path, "x" * 1000)
    assert names(path.parent) == (["report.html"] if is_there else [])
    if is_there:
        assert path.read_text() == "before"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_every_kind_of_no_room_and_the_outermost_path(tmp_path, number):
    message = "disk of RUN .*--resume$"
    outer, inner = room_for("RUN", "go on with --resume"), whole_file(tmp_path / "file")
    with pytest.raises(NoRoomError, match=message), outer, inner as file:
        file.write(b"half")
        raise OSError(number, os.strerror(number))
    assert not names(tmp_path)


def test_another_error_leaves_what_was_there_and_is_itself(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "before")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file"]


def test_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="file/new cannot be written .Not a dir.*another path"):
        write_whole(tmp_path / "file" / "new", "")
    with pytest.raises(OSError, match="folder cannot be written .Is a dir.*another path"):
        write_whole(tmp_path / "folder", "")
    assert names(tmp_path) == ["file", "folder"]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "file")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "file").read_text() == "new"


def test_a_pipe_is_written_as_it_is(tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    write_whole(path, "through")
    reader.join()
    assert got == [b"through"]
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EPERM])
def test_a_file_system_that_cannot_sync_a_folder(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", _refuse(number))
    write_whole(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"


def test_a_disk_that_fails_is_no_such_file_system(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", _refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)


def _refuse(number: int):
    def fsync(_) -> None:
        raise OSError(number, os.strerror(number))

    return fsync


def test_a_folder_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "deep" / "folder"
    (tmp_path / "deep" / ".folder.part").mkdir(parents=True)  # of a program that was killed
    (tmp_path / "deep" / ".folder.part" / "rubbish").touch()
    with whole_folder(path) as unfinished:
        (unfinished / "old").touch()
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), whole_folder(path) as unfinished:
        (unfinished / "new").touch()
        raise KeyboardInterrupt
    assert [p.name for p in path.iterdir()] == ["old"]
    with whole_folder(path) as unfinished:
        (unfinished / "new").touch()
    assert [p.name for p in path.iterdir()] == ["new"]
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_get_its_name_leaves_the_old_one(tmp_path):
    path = tmp_path / "folder"
    with whole_folder(path) as unfinished:
        (unfinished / "old").touch()
    with refused("rename", 1), pytest.raises(NoRoomError), whole_folder(path) as unfinished:
        (unfinished / "new").touch()
    assert [p.name for p in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_whose_program_was_killed_between_two_names_comes_back(tmp_path):
    path = tmp_path / "folder"
    (tmp_path / ".folder.old").mkdir()
    (tmp_path / ".folder.old" / "old").touch()
    with pytest.raises(KeyboardInterrupt), whole_folder(path):
        raise KeyboardInterrupt
    assert [p.name for p in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]
