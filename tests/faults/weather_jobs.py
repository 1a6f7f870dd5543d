"""Programs in bad weather: `python -m tests.faults.weather_jobs FOLDER OUT MOST_TRIES JOBS SEED …`.

Prints a line of JSON for every seed and job: seed, job, number of failed calls, of tries, and
hashes of what was made, or the error that ended the tries: one that names no file of the folder, or
the last. The first seed is of fair weather.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from deformer.data.store import open_store
from deformer.data.stream import Stream
from deformer.data.windows import WindowConfig
from deformer.files import patient
from deformer.hand.mano import HandLayer, load_hands
from pipelines import build_shards, predict_videos
from pipelines.build_shards import build
from tests.conftest import CLIPS
from tests.deformer.data.test_stream import TRAIN, bytes_of
from tests.deformer.video.networks import write_random_weights
from tests.pipelines import ho3d_root
from tests.pipelines.datasets.test_videos import add, both
from tests.pipelines.dexycb_root import write_root
from tests.pipelines.handmade import small_dataset
from tests.pipelines.test_predict_videos import FAKE, make_video

WEIGHTS = "weights.safetensors"


def prepare(folder: Path, jobs: Iterable[str]) -> None:
    """Write what some jobs read, and weights beside `folder`, outside the weather: they are mapped
    into memory, where a disk's error kills a process."""
    hands = load_hands("standin")
    makers = {
        "build of DexYCB": lambda: write_root(
            folder / "dexycb", hands, HandLayer(hands), CLIPS[:2], num_frames=3
        ),
        "build of HO-3D": lambda: _write_ho3d_root(folder / "ho3d", hands),
        "build of hands": lambda: _write_hands_root(folder / "hands", hands),
        "build of videos": lambda: add(folder / "videos", "val/a.mp4", both()),
        "prediction of videos": lambda: _write_clips(folder),
        "stream": lambda: small_dataset(folder / "shards"),
    }
    for job in jobs:
        makers[job]()


def _write_ho3d_root(root: Path, hands) -> None:
    ho3d_root.add_posed_frames(root, "train", ".jpg", hands)
    joints, vertices = ho3d_root.add_posed_frames(root, "evaluation", ".jpg", hands)
    ho3d_root.write_truth(root, joints, vertices)
    ho3d_root.add_model(root / "models")


def _write_clips(folder: Path) -> None:
    make_video(folder / "clips" / "deep" / "b.mp4")
    pictures = folder / "clips" / "pictures"
    pictures.mkdir()
    for k in range(4):
        cv2.imwrite(str(pictures / f"{k}.png"), np.full((64, 64, 3), 50 * k, np.uint8))
    write_random_weights(folder.parent / WEIGHTS, WindowConfig(3, 2))


def _write_hands_root(root: Path, hands) -> None:
    for sequence in ("one", "two"):
        camera = root / "train" / sequence / "a"
        camera.mkdir(parents=True)
        meta = {"subject": "s", "objects": {}, "image_size": [640, 480], "num_frames": 2}
        (camera.parent / "meta.json").write_text(json.dumps(meta))
        joints = [ho3d_root.posed(hands, np.zeros(48), np.zeros(10))[1] + [0, 0, 0.6]] * 2
        np.savez(camera / "right.npz", K=ho3d_root.K, joints_cam_m=np.array(joints))
        for k in range(2):
            (camera / f"{k:06d}.jpg").write_bytes(ho3d_root.IMAGES[".jpg"])


# ------------------------------------------------------------------------------------------ jobs


def _build(dataset: str, folder: Path, out: Path) -> None:
    hand = "none" if dataset in ("hands", "ho3d") else "standin"
    paths = {"root": folder / dataset, "out": out}
    build(build_shards.Options(dataset, **paths, workers=0, frames_per_shard=4, hand=hand))


def _predict(folder: Path, out: Path) -> None:
    rows = predict_videos.predict_videos(
        predict_videos.Options(
            root=folder / "clips", out=out, workers=0, device="cpu", render=False,
            checkpoint=str(folder.parent / WEIGHTS),
        )
    )  # fmt: skip
    for row in rows:
        if row.state == "failed" or row.reason:
            raise OSError(f"{folder}/{row.video}: {row.reason}")


def _stream(folder: Path, out: Path) -> None:
    batches = list(Stream(TRAIN, *open_store(folder / "shards")).batches())
    assert not any(batch.skipped for batch in batches)
    out.mkdir()
    (out / "windows").write_bytes(b"".join(chain.from_iterable(map(bytes_of, batches))))


JOBS: dict[str, Callable[[Path, Path], None]] = {
    "build of DexYCB": partial(_build, "dexycb"),
    "build of HO-3D": partial(_build, "ho3d"),
    "build of hands": partial(_build, "hands"),
    "build of videos": partial(_build, "videos"),
    "prediction of videos": _predict,
    "stream": _stream,
}


def _tried(job: str, folder: Path, out: Path, most: int) -> tuple[int, str]:
    """How many tries a job took, and the error of the last."""
    for tries in range(1, most + 1):
        try:
            JOBS[job](folder, out)
            return tries, ""
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
            if not isinstance(error, OSError | ValueError) or str(folder) not in fault:
                break
    return tries, fault


def _hashes(out: Path) -> dict[str, str]:
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def main(folder: Path, out: Path, most: int, jobs: list[str], seeds: list[str]) -> None:
    patient._WAITS_S = (0,) * 4
    predict_videos.PlainConsole = build_shards.PlainConsole = lambda **_: Console(quiet=True)
    if "prediction of videos" in jobs:
        exec(FAKE.replace("DELAY", "0"), {})
    one_in, count = os.environ["WEATHER_ONE_IN"], Path(os.environ["WEATHER_COUNT"])
    for k, seed in enumerate(seeds):
        for job in jobs:
            count.write_bytes(b"")
            os.environ |= {"WEATHER_SEED": seed, "WEATHER_ONE_IN": one_in if k else "0"}
            tries, fault = _tried(job, folder, out, most)
            os.environ["WEATHER_ONE_IN"] = "0"
            line = [seed, job, count.stat().st_size, tries, fault or _hashes(out)]
            print(json.dumps(line), flush=True)
            shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(","), sys.argv[5:]
    )
