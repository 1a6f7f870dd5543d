"""The folder of what is kept: replaced whole, and only where an earlier call wrote it."""

import shutil
from pathlib import Path

from benchmarks.keep.page import FIRST_LINE
from deformer.files.whole import room_for, write_whole

PAGE = "README.md"


def check_is_ours(out: Path) -> None:
    """Raises `FileExistsError` for a folder with files whose page no earlier call wrote."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise FileExistsError(f"{out} is no folder: give another --out")
    if not out.exists() or not any(out.iterdir()):
        return
    path = out / PAGE
    if not path.is_file() or not path.read_bytes().startswith(f"{FIRST_LINE}\n".encode()):
        raise FileExistsError(
            f"{out} holds files and no {PAGE} that this program wrote, and the folder is replaced "
            "whole: give another --out"
        )


def replace_folder(out: Path, files: dict[str, bytes]) -> None:
    """Write all files beside the folder, then put them in its place."""
    unfinished = out.with_name(f".{out.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with room_for(out):
            for name, data in files.items():
                write_whole(unfinished / name, data)
        check_is_ours(out)  # drawing takes a while
        if out.exists():
            shutil.rmtree(out)
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
