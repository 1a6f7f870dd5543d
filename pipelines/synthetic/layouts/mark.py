"""What a synthesized root says of itself: `synthetic.json`."""

import json
from pathlib import Path

from deformer.files.foreign import read_json
from deformer.files.whole import write_whole
from pipelines.datasets.source import SYNTHETIC_MARK

MEASURED = ("retargeting_residual_mm", "hand_in_object_mm")
"""What is measured while it is made, by names of the mark."""


def claim_root(root: Path, mark: dict) -> None:
    """Mark the folder as synthetic before anything else is in it, or check that it is ours.

    What was measured there (`MEASURED`) is not compared: another processor rounds otherwise.
    """
    path = root / SYNTHETIC_MARK
    if path.is_file():
        found = read_json(path)
        differences = [
            f"{key}: there {found.get(key)!r}, asked {mark.get(key)!r}"
            for key in sorted({*found, *mark} - {*MEASURED})
            if found.get(key) != mark.get(key)
        ]
        if differences:
            raise FileExistsError(
                f"{root} was synthesized with other parameters ({'; '.join(differences)}). "
                "Give the same ones to continue it, another --out, or delete the folder."
            )
        return
    if root.is_dir() and any(root.iterdir()):
        raise FileExistsError(
            f"{root} is not empty and holds no {SYNTHETIC_MARK}: it is not a synthesized dataset, "
            "and nothing is written into it. Give another --out."
        )
    write_mark(root, mark)


def write_mark(root: Path, mark: dict) -> None:
    write_whole(root / SYNTHETIC_MARK, json.dumps(mark, indent=2) + "\n")


def read_mark(root: Path) -> dict:
    return read_json(root / SYNTHETIC_MARK)
