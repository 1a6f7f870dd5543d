"""Hostile videos, and folders of them: nothing but the documented errors, and nothing is opened
but the file itself."""

import http.server
import os
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from deformer.files.foreign import UnreadableFileError
from deformer.video.folders import videos_below
from deformer.video.frames import Video, find_videos
from tests.faults import videos as made
from tests.faults.damage import damaged
from tests.faults.hostile import SEEDS, Reader, assert_harmless, from_path, fuzz
from tests.faults.images import pngs

FEW, MANY = 60, 400


def readers(folder: Path) -> list[Reader]:
    whole = made.videos(folder, made.FAST)
    bombs = made.mp4_bombs(whole["mp4, libx264"]) | made.other_bombs(whole)
    lists = {k: v.encode() for k, v in made.lists(folder / "whole.mp4", "http://[::1]:9/").items()}
    read = from_path(folder / "x.mp4", made.read_video)
    more = made.videos(folder, made.MORE)
    return [
        Reader("video", damaged(whole), read, bombs | lists, says="x.mp4"),
        Reader("video of a rarer kind", damaged(more), read, says="x.mp4"),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hostile_video_is_refused_or_read(seed, tmp_path, count_faults):
    outcome = fuzz(readers(tmp_path), MANY if seed else FEW, seed, tmp_path)
    assert_harmless(count_faults, "videos", outcome)


def test_frames_that_are_too_large_are_named(tmp_path):
    path = tmp_path / "large.y4m"
    path.write_bytes(made.Y4M % (8000, 8000))
    says = "large.y4m has frames of 8000 × 8000 px, and frames of up to 36,000,000 px are read"
    with pytest.raises(UnreadableFileError, match=says):
        Video(path)


# ---------------------------------------------------------------------------------- lists of files


@contextmanager
def server():
    """The address of an HTTP server, and what is asked of it."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/x.mp4", asked
        serving.shutdown()
        thread.join()


def test_a_list_of_other_videos_opens_none(tmp_path, monkeypatch, count_faults):
    made.write(tmp_path / "whole.mp4", *made.FAST["mp4"])
    monkeypatch.chdir(tmp_path)
    opened = {}
    with server() as (address, asked):
        lists = made.lists(tmp_path / "whole.mp4", address)
        for k, (name, text) in enumerate(lists.items()):
            path = tmp_path / f"{k}.{('mp4', 'mkv', 'ts')[k % 3]}"
            path.write_text(text)
            try:
                opened[name] = Video(path).info
            except UnreadableFileError as error:
                assert str(path) in str(error)
    survived = len(lists) - max(len(opened), len(asked))
    count_faults("hostile input: lists in place of videos", len(lists), survived)
    assert not opened and not asked


# ----------------------------------------------------------------------------------------- folders

_NAMES = (
    "-x", "--help", "%d", "%04d", "new\nline", "c:on", "concat:a", "file:a", "http:", "[1]", "*",
    "\x1b[31m", "\udcff\udcfe", "ü" * 100, " ", "$(touch x)", "a'b\"", "9" * 200,
)  # fmt: skip


def test_files_of_any_name_are_read_as_they_are(tmp_path, count_faults):
    video = made.write(tmp_path / "whole.mp4", *made.FAST["mp4"])
    videos, pictures = tmp_path / "videos", tmp_path / "pictures"
    for folder, suffix, data in ((videos, ".mp4", video), (pictures, ".png", pngs()["RGB"])):
        folder.mkdir()
        for name in _NAMES:
            (folder / f"{name}{suffix}").write_bytes(data)
    found = find_videos(str(videos))
    read = [path for path in found if len(list(Video(path))) == made.NUM]
    assert find_videos(str(pictures)) == [pictures]
    num_pictures = len(list(Video(pictures)))
    count_faults("hostile input: file names", 2 * len(_NAMES), len(read) + num_pictures)
    assert sorted(read) == videos_below(videos) and len(read) == num_pictures == len(_NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "videos", "whole.mp4"]


def test_what_is_no_file_is_neither_waited_for_nor_followed(tmp_path, count_faults):
    folder = tmp_path / "videos"
    folder.mkdir()
    made.write(tmp_path / "whole.mp4", *made.FAST["mp4"])
    os.mkfifo(folder / "pipe.mp4")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.mp4").mkdir()
    links = {
        "loop": ".",
        "again": "loop",
        "self.mp4": "self.mp4",
        "broken.mp4": "nowhere",
        "zeros.mp4": "/dev/zero",
        "noise.mp4": "/dev/urandom",
        "whole.mp4": "../whole.mp4",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    names = [path.name for path in folder.iterdir()]
    wanted = dict.fromkeys(("broken.mp4", "noise.mp4", "pipe.mp4", "self.mp4", "zeros.mp4"), True)
    wanted["whole.mp4"] = made.NUM
    found = {}
    for path in videos_below(folder):
        try:
            found[path.name] = len(list(Video(path)))
        except (UnreadableFileError, FileNotFoundError) as error:
            found[path.name] = str(path) in str(error)
    survived = sum(found.get(name) == wanted.get(name) for name in names)
    count_faults("hostile input: pipes, devices and links", len(names), survived)
    assert found == wanted
    assert find_videos(str(folder)) == [folder / "whole.mp4"]
