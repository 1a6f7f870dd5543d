"""The benchmark `occluded-hands`: parts that share nothing, much hidden, blurred, reproducible."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.dexycb import SERIALS, official_splits
from pipelines.synthesize import SynthesisConfig, synthesize
from pipelines.synthetic import benchmark
from pipelines.synthetic.benchmark import PARTS, benchmark_plan, setting
from pipelines.synthetic.cameras import rig
from pipelines.synthetic.sequence import compose, compose_recorded, generator
from pipelines.synthetic.setting import EVERYTHING, Setting
from pipelines.synthetic.world import Person
from pipelines.synthetic.ycb import CLASS_IDS
from tests.pipelines.test_synthesize_motions import RECORDED
from tests.pipelines.test_synthetic_scene import occlusions

PALETTES = ("table_hues", "table_woods", "walls", "clothes")


def part_of(plan) -> str:
    return official_splits(plan.subject, plan.name, SERIALS[0])[benchmark.SETUP]


def composed(plan, num_cameras: int, num_frames: int = 72):
    person = Person.drawn(generator(0, plan.subject, "person"), int(plan.subject[-2:]) - 1)
    cameras = rig(generator(0, plan.subject, "rig"))
    cameras = [c for c in cameras if c.name in benchmark.serials(num_cameras)]
    grasped = CLASS_IDS[plan.object_name]
    scene = 0, plan.folder, person, plan.side, grasped, cameras
    return compose(*scene, num_frames, setting=plan.setting)


class TestPlan:
    @pytest.mark.parametrize("count", [3, 40, None])
    def test_parts_are_those_of_the_official_setup(self, count):
        plans = benchmark_plan(count)
        assert len({plan.folder for plan in plans}) == len(plans)
        for plan in plans:
            assert plan.setting == setting(part_of(plan))
            assert CLASS_IDS[plan.object_name] in plan.setting.classes
        assert {part_of(plan) for plan in plans} == set(PARTS)

    def test_parts_share_no_class_and_no_colour(self):
        for name in ("classes", *PALETTES):
            pools = [getattr(setting(part), name) for part in PARTS]
            together = [value for pool in pools for value in pool]
            assert len(set(together)) == len(together) and all(pools)
            assert set(together) <= set(getattr(EVERYTHING, name))

    def test_a_small_one_is_part_of_a_large_one(self):
        small, large = ({p.folder for p in benchmark_plan(count)} for count in (40, 200))
        assert small < large
        assert {p.side for p in benchmark_plan(10)} == {"right", "left"}

    def test_sizes_that_cannot_be_are_named(self, tmp_path):
        for count in (2, 751):
            with pytest.raises(ValueError, match=f"--sequences {count}: the benchmark has 3 to"):
                benchmark_plan(count)
        with pytest.raises(ValueError, match="--benchmark .*for --layout dexycb only"):
            SynthesisConfig("ho3d-v2", tmp_path, benchmark="occluded-hands")
        with pytest.raises(ValueError, match="--cameras 9"):
            SynthesisConfig("dexycb", tmp_path, benchmark="occluded-hands", cameras=9)

    def test_an_empty_pool_and_an_impossible_shutter_are_named(self):
        with pytest.raises(ValueError, match="walls is empty"):
            Setting(walls=())
        with pytest.raises(ValueError, match="shutter"):
            Setting(shutter=(0.5, 1.5))


@pytest.fixture(scope="module")
def sequences():
    plans = benchmark_plan(10)
    chosen = [next(p for p in plans if part_of(p) == part) for part in PARTS]
    return {part_of(plan): composed(plan, 2, 12) for plan in chosen}


class TestScene:
    def test_scenes_keep_to_their_part(self, sequences):
        for part, sequence in sequences.items():
            world = sequence.world
            ids = [placed.thing.class_id for placed in world.objects]
            assert set(ids) <= set(setting(part).classes) and len(set(ids)) == len(ids) >= 2
            assert world.setting.shutter == (0.5, 1.0)

    def test_piles_stand_on_each_other_and_touch_nothing(self, sequences):
        for sequence in sequences.values():
            world = sequence.world
            for k, placed in enumerate(world.objects):
                bottom = placed.position_m[2] + placed.thing.bottom_m
                tops = [
                    o.position_m[2] + o.thing.mesh.vertices_m[:, 2].max() for o in world.objects
                ]
                assert k == world.grasped or bottom < 1e-6 or np.isclose(tops, bottom).any()


def hidden_shares(sequences) -> np.ndarray:
    found = []
    for sequence in sequences:
        found += occlusions(sequence, np.flatnonzero(sequence.motion.valid)[::6])
    shares = np.histogram(found, [0, 0.25, 0.5, 0.75, 1.001])[0] / len(found)
    print(f"{len(found)} pictures with a hand; hidden 0-25-50-75-100 %: {shares.round(3)}")
    return shares


@pytest.mark.slow
@pytest.mark.parametrize("num_cameras", [2, 4])
def test_every_bin_of_the_test_part_is_populated(num_cameras):
    plans = [p for p in benchmark_plan(40) if part_of(p) == "test"]
    assert (hidden_shares(composed(plan, num_cameras) for plan in plans)[1:] > 0.05).all()


@pytest.mark.slow
@pytest.mark.parametrize("num_cameras", [2, 4])
def test_every_bin_is_populated_with_recorded_motion(num_cameras, hands):
    if not RECORDED.is_file():
        pytest.skip(f"the recorded motions, which the project may not carry, are not at {RECORDED}")
    from pipelines.synthetic.dexycb_layout import Subject
    from pipelines.synthetic.recording import Recordings

    recordings = Recordings(RECORDED)

    def sequences():
        for plan in benchmark_plan(40):
            if part_of(plan) == "test":
                subject = Subject.drawn(0, plan.subject, recordings)
                chosen = benchmark.serials(num_cameras)
                cameras = [c for c in subject.cameras if c.name in chosen]
                person = subject.person(plan.side, 0, plan.setting)
                scene = 0, plan.folder, person, plan.side, CLASS_IDS[plan.object_name], cameras
                motion = recordings.retarget(plan.folder, 72, hands).motion
                yield compose_recorded(*scene, motion, plan.setting)

    assert (hidden_shares(sequences())[1:] > 0.05).all()


@pytest.mark.slow
def test_root_says_what_it_is_and_is_the_same_for_any_number_of_workers(tmp_path):
    def make(out: Path, workers: int) -> dict[str, bytes]:
        synthesize(
            SynthesisConfig(
                "dexycb",
                out,
                sequences=3,
                cameras=1,
                frames=2,
                benchmark="occluded-hands",
                depth=False,
                workers=workers,
            )
        )
        return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}

    files = make(tmp_path / "one", 1)
    mark = json.loads(files["synthetic.json"])
    assert mark["benchmark"] == "occluded-hands" and mark["benchmark_version"] == 1
    assert "motions_sha256" not in mark
    assert make(tmp_path / "two", 2) == files
