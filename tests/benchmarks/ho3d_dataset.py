"""A built HO-3D dataset of one sequence, evaluation split, for tests: three posed frames."""

import json
from pathlib import Path

import numpy as np

from deformer.hand.mano import Hands
from pipelines.build_shards import Options, build
from tests.pipelines.ho3d_root import add_posed_frames, write_truth


def build_ho3d(folder: Path, hands: Hands, truth: str = "xyz verts", bad: tuple = ()) -> Path:
    """The folder with `raw` and `shards` in it. truth: which of the two JSON files there are. bad:
    numbers of frames whose image is missing."""
    raw = folder / "raw"
    joints, vertices = add_posed_frames(raw, "evaluation", ".png", hands)
    write_truth(raw, joints, vertices)
    for name in {"xyz", "verts"} - set(truth.split()):
        (raw / f"evaluation_{name}.json").unlink()
    for number in bad:
        (raw / "evaluation" / "MC1" / "rgb" / f"{number:04d}.png").unlink()
    mark = {"hand": hands.name, "hand_sha256": hands.sha256}
    (raw / "synthetic.json").write_text(json.dumps(mark))
    build(Options("ho3d", root=raw, out=folder / "shards", workers=0))
    return folder


def truth_of(folder: Path) -> list[np.ndarray]:
    """Joints and vertices as the two files have them: OpenGL, joints in MANO's order."""
    names = ("xyz", "verts")
    return [
        np.array(json.loads((folder / "raw" / f"evaluation_{n}.json").read_text())) for n in names
    ]
