"""Builds and predictions of many videos that are killed again and again end as if nothing was."""

import hashlib
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deformer.data.dataset import DATASET_FILE
from deformer.data.official import SERIALS
from deformer.data.windows import WindowConfig
from pipelines.building.marks import BUILD_FOLDER
from tests.deformer.video.networks import write_random_weights
from tests.faults.dask_cluster import Cluster
from tests.faults.fork_server import Life
from tests.faults.kills import Kill, kill_until_done
from tests.pipelines.dexycb_root import write_root
from tests.pipelines.test_predict_videos import FAKE, make_video

MANY = [
    pytest.param(range(k, k + 10), id=f"{k}-{k + 9}", marks=pytest.mark.soak)
    for k in range(0, 100, 10)
]
FEW_SLOW = pytest.param(range(2), id="few", marks=pytest.mark.slow)  # the network takes seconds
SMALL_PARTS = "from pipelines.building import shard; shard.PART_FRAMES = 1\n"


@dataclass(frozen=True)
class Case:
    """A program whose lives are cut short."""

    name: str
    start: Callable[..., Life]
    """Of the output folder and further options."""
    check: Callable[[Path], None]
    """What must hold of the output folder at any moment."""
    cluster: Cluster | None
    whole: dict[str, bytes | None]
    """Its files and folders when nothing interrupts it."""
    seconds: float
    """What that takes."""


def contents(folder: Path) -> dict[str, bytes | None]:
    """By path: a file's bytes, None for a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def make_case(
    name: str, start: Callable[..., Life], check: Callable[[Path], None],
    cluster: Cluster | None, folder: Path,
) -> Iterator[Case]:  # fmt: skip
    life = start(folder / "whole", "--workers", 2)
    began = time.monotonic()
    assert life.end() == 0, life.said
    seconds = time.monotonic() - began
    yield Case(name, start, check, cluster, contents(folder / "whole"), seconds)
    if cluster:
        cluster.end()


@pytest.fixture(scope="module")
def building(server, tmp_path_factory, hands, layer) -> Iterator[Case]:
    """Eight clips in three shards, each clip a part of its shard."""
    folder = tmp_path_factory.mktemp("building")
    clips = [(0, sequence, serial) for serial in SERIALS[:2] for sequence in range(4)]
    root = write_root(folder / "dexycb", hands, layer, clips)

    def start(out: Path, *more: object) -> Life:
        line = ("--dataset", "dexycb", "--root", root, "--out", out, "--frames-per-shard", 18)
        return server.start("pipelines.build_shards", *line, *more, before=SMALL_PARTS)

    def check(out: Path) -> None:
        marks = [json.loads(path.read_text()) for path in (out / BUILD_FOLDER).glob("*.tar.json")]
        if (out / DATASET_FILE).exists():
            marks += json.loads((out / DATASET_FILE).read_text())["shards"]
        for mark in marks:
            data = (out / mark["name"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == mark["sha256"], mark["name"]

    cluster = Cluster(server, folder, SMALL_PARTS)
    yield from make_case("build", start, check, cluster, folder)


@pytest.fixture(scope="module")
def predicting(server, tmp_path_factory) -> Iterator[Case]:
    """Five videos in two folders."""
    folder = tmp_path_factory.mktemp("predicting")
    for number in range(5):
        make_video(folder / "videos" / "ab"[number % 2] / f"{number}.mp4", seed=number)
    weights = write_random_weights(folder / "small.safetensors", WindowConfig(3, 2))
    fake = FAKE.replace("DELAY", "0.05")

    def start(out: Path, *more: object) -> Life:
        line = ("--root", folder / "videos", "--out", out, "--checkpoint", weights)
        more = ("--device", "cpu", "--no-render", *more)
        return server.start("pipelines.predict_videos", *line, *more, before=fake)

    cluster = Cluster(server, folder, fake)
    yield from make_case("prediction", start, lambda out: None, cluster, folder)


@pytest.fixture(scope="module")
def synthesizing(server, tmp_path_factory) -> Iterator[Case]:
    """Three short sequences."""
    folder = tmp_path_factory.mktemp("synthesizing")

    def start(out: Path, *more: object) -> Life:
        line = ("--layout", "hands", "--sequences", 3, "--cameras", 1, "--frames", 3)
        return server.start("pipelines.synthesize", *line, "--out", out, *more)

    yield from make_case("synthesis", start, lambda out: None, None, folder)


@pytest.mark.parametrize("seeds", [pytest.param((2, 5, 8), id="few"), *MANY])
def test_a_build_killed_until_done(building, seeds, tmp_path, count_faults):
    for seed in seeds:
        survive_kills(building, seed, tmp_path / str(seed), count_faults)


@pytest.mark.parametrize("seeds", [FEW_SLOW, *MANY])
def test_a_prediction_killed_until_done(predicting, seeds, tmp_path, count_faults):
    for seed in seeds:
        survive_kills(predicting, seed, tmp_path / str(seed), count_faults)


@pytest.mark.soak
@pytest.mark.parametrize("seeds", [range(2), range(2, 4)], ids=["0-1", "2-3"])
def test_a_synthesis_killed_until_done(synthesizing, seeds, tmp_path, count_faults):
    """Fewer: its workers start by spawn, which costs seconds."""
    for seed in seeds:
        survive_kills(synthesizing, seed, tmp_path / str(seed), count_faults)


def survive_kills(case: Case, seed: int, out: Path, count_faults: Callable[..., None]) -> None:
    rng = random.Random(f"{case.name} {seed}")
    cluster = rng.choice((None, case.cluster))

    def start() -> Life:
        on = ("--scheduler", cluster.address()) if cluster else ("--workers", 2)
        return case.start(out, *on)

    def check() -> None:
        case.check(out)
        for name, content in contents(out).items():
            assert content == case.whole.get(name, content), f"{name} is not whole"

    kills: list[Kill] = []
    is_same = False
    try:
        kill_until_done(rng, out, start, case.seconds, cluster, check, kills)
        differ = {name for name, _ in contents(out).items() ^ case.whole.items()}
        assert not differ, f"{[*map(str, kills)]}: {sorted(differ)} differ"
        is_same = True
    except BaseException as error:
        error.add_note(f"{case.name}, seed {seed}")
        raise
    finally:
        for kind, number in Counter(map(str, kills)).items():
            count_faults(f"{case.name}: {kind}", number, number * is_same)
    shutil.rmtree(out)
