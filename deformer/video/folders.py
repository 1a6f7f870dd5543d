"""Many videos in folders, and where the hands of a video lie."""

import os
from functools import partial
from pathlib import Path

from deformer.files.patient import is_folder, is_visible, patiently, status
from deformer.video.draw import OVERLAY_SUFFIX
from deformer.video.frames import PICTURES, VIDEOS, find_videos
from deformer.video.hands_file import HANDS_SUFFIX
from deformer.video.results import stem_of


def videos_below(root: Path, without: Path | None = None) -> list[Path]:
    """Every video in a folder and its subfolders, in the order of their paths. A subfolder of
    pictures is a video, or, if these have several sizes, each of them is one.

    without: a folder below root to leave out. Hidden folders are left out too, and overlays. Raises
    `FileNotFoundError` if there is none, `OSError` if a folder cannot be read.
    """
    videos, visited, folders = [], set(), [root]
    for folder in folders:  # grows
        state = status(folder)
        if (state.st_dev, state.st_ino) in visited:  # a link to a folder above
            continue
        visited.add((state.st_dev, state.st_ino))
        within, files = patiently(folder, partial(_folders_and_files, folder))
        folders += [folder / f for f in within if is_visible(f) and folder / f != without]
        suffixes = {Path(f).suffix.lower() for f in files if f[0] != "."}
        has_pictures = folder != root and bool(suffixes & set(PICTURES))
        if has_pictures or suffixes & set(VIDEOS):
            videos += _videos_in(folder, files, has_pictures)
    if not videos:
        raise FileNotFoundError(
            f"{root} and its subfolders hold no video ({' '.join(VIDEOS[:4])} …): name another "
            "folder by --root"
        )
    return sorted(videos)


def _folders_and_files(folder: Path) -> tuple[list[str], list[str]]:
    """Names, sorted; raises `OSError`, where os.walk would leave the folder out."""
    with os.scandir(folder) as found:
        folders = {entry.name: _is_folder(entry) for entry in found}
    names = sorted(folders)
    return [n for n in names if folders[n]], [n for n in names if not folders[n]]


def _is_folder(entry: os.DirEntry) -> bool:
    is_link = entry.is_symlink()  # perhaps to itself, which `entry.is_dir` raises
    return is_folder(Path(entry.path)) if is_link else entry.is_dir()


def _videos_in(folder: Path, files: list[str], has_pictures: bool) -> list[Path]:
    ours = [f for f in files if f[0] != "." and not f.endswith(OVERLAY_SUFFIX)]
    videos = [folder / f for f in ours if Path(f).suffix.lower() in VIDEOS]
    return find_videos(str(folder)) if has_pictures and not videos else videos


def hands_beside(video: Path) -> Path:
    """The path of the hands of a video, in the video's folder."""
    return video.with_name(f"{stem_of(video)}{HANDS_SUFFIX}")
