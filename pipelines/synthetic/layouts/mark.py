"""What a synthesized root says of itself: `synthetic.json`."""

import json
from pathlib import Path

from deformer.files.foreign import read_json
from deformer.files.whole import write_whole
from pipelines.datasets.source import SYNTHETIC_MARK


def claim_root(root: Path, mark: dict) -> None:
    """Mark the folder as synthetic before anything else is in it, or check that it is ours."""
    path = root / SYNTHETIC_MARK
    if path.is_file():
        found = read_json(path)
        differences = [
            f"{key}: there {found.get(key)!r}, asked {mark.get(key)!r}"
            for key in sorted({*found, *mark})
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
    write_whole(path, json.dumps(mark, indent=2) + "\n")
