"""The benchmark `occluded-hands`: parts that share nothing, much hidden, blurred, reproducible."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from deformer.data.official import SERIALS, official_splits
from pipelines.synthesize import SynthesisConfig, synthesize
from pipelines.synthetic import benchmark
from pipelines.synthetic.benchmark import PARTS, benchmark_plan, setting
from pipelines.synthetic.layouts.dexycb_layout import Subject
from pipelines.synthetic.paint.backgrounds import plain_room
from pipelines.synthetic.paint.patterns import texture
from pipelines.synthetic.recorded.recording import Recordings
from pipelines.synthetic.scene.cameras import rig
from pipelines.synthetic.scene.clutter import Clutter, SweptPath, place_upright
from pipelines.synthetic.scene.sequence import compose_recorded
from pipelines.synthetic.scene.setting import EVERYTHING
from pipelines.synthetic.scene.world import SequenceSpec
from pipelines.synthetic.things.objects import surface_samples_m
from pipelines.synthetic.things.ycb import CLASS_IDS, YCB_OBJECTS
from tests.pipelines.synthetic.recorded.test_motions import RECORDED
from tests.pipelines.synthetic.roots import files_of
from tests.pipelines.synthetic.scene.test_scene import composed, occlusions

PALETTES = ("table_hues", "table_woods", "walls", "clothes")


def part_of(plan) -> str:
    return official_splits(plan.subject, plan.name, SERIALS[0])[benchmark.SETUP]


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
            assert len(set(together)) == len(together) and min(map(len, pools)) >= 4
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


def surface_m(placed) -> np.ndarray:
    return surface_samples_m(placed.thing, 0.008) @ placed.rotation.T + placed.position_m


def distance_m(placed, points_m: np.ndarray) -> np.ndarray:
    return placed.thing.signed_distance_m((points_m - placed.position_m) @ placed.rotation)


@pytest.fixture(scope="module")
def cluttered() -> list[Clutter]:
    """The clutter of some scenes of every part, round a hand that comes low and rises."""
    way = np.linspace([0.0, -0.1, 0.12], [0.05, 0.05, 0.28], 30)
    found = []
    for part, seed in itertools.product(PARTS, range(3)):
        rng = np.random.default_rng(seed)
        cameras = [c for c in rig(rng) if c.name in benchmark.serials(2)]
        thing = YCB_OBJECTS[setting(part).classes[-1]]
        grasped = place_upright(thing, 0.0, np.array([0, 0, -thing.bottom_m]))
        path = SweptPath(grasped.rotation, grasped.position_m, way, way)
        clutter = Clutter([grasped], path, cameras, 1.0, setting(part))
        clutter.add_piles(rng)
        clutter.add_others(rng, 6, keep_clear=False)
        found.append(clutter)
    return found


class TestClutter:
    def test_piles_stand_on_each_other_and_touch_nothing(self, cluttered):
        num_raised = 0
        for clutter in cluttered:
            for upper in clutter.objects:
                points = surface_m(upper)
                bottom = points[:, 2].min()
                others = [o for o in clutter.objects if o is not upper]
                assert all(distance_m(o, points).min() > -1e-3 for o in others)
                if bottom < 1e-3:
                    continue
                num_raised += 1
                (lower,) = [
                    o
                    for o in others
                    if distance_m(o, points).min() < 1e-3
                    and surface_m(o)[:, 2].max() < bottom + 1e-3
                ]
                assert np.isclose(surface_m(lower)[:, 2].max(), bottom, atol=1e-4)
                foot = points[points[:, 2] < bottom + 0.003]
                middle = (foot.min(0) + foot.max(0)) / 2
                below = np.array([*middle[:2], bottom - 0.006])
                assert distance_m(lower, below[None])[0] < 0
                assert (distance_m(lower, foot - [0, 0, 0.008]) < 0).mean() > 0.7
        assert num_raised >= 3

    def test_it_is_of_its_part_and_nothing_stands_before_a_lens(self, cluttered):
        for clutter in cluttered:
            assert {o.thing.class_id for o in clutter.objects} <= set(clutter._setting.classes)
            for camera, thing in itertools.product(clutter.cameras, clutter.objects[1:]):
                assert np.linalg.norm(surface_m(thing) - camera.center_m, axis=1).min() > 0.39


def test_what_is_drawn_from_a_pool_of_colours_has_no_other():
    for seed in range(20):
        table = texture(np.random.default_rng(seed), 96, 96, ("a00000", "700000"), 0.7)
        assert table[..., 2].mean() > 60 and table[..., :2].max() < 40
        walls = plain_room(np.random.default_rng(seed), 480, 640, ("a00000",))
        assert walls[..., 2].mean() > 30 and walls[..., :2].max() < 40
    for part in PARTS:
        subject = Subject.drawn(0, "20200709-subject-01")
        assert subject.person("right", 0, setting(part)).clothes in setting(part).clothes


def hidden_shares(sequences) -> np.ndarray:
    found = []
    for sequence in sequences:
        found += occlusions(sequence, np.flatnonzero(sequence.motion.valid)[::6])
    shares = np.histogram(found, [0, 0.25, 0.5, 0.75, 1.001])[0] / len(found)
    print(f"{len(found)} pictures with a hand; hidden 0-25-50-75-100 %: {shares.round(3)}")
    assert (np.array(found) > 0.98).mean() < 0.03  # what shows no hand measures the prior
    return shares


def with_recorded_motion(recordings, plan, num_cameras: int):
    subject = Subject.drawn(0, plan.subject, recordings)
    cameras = [c for c in subject.cameras if c.name in benchmark.serials(num_cameras)]
    person = subject.person(plan.side, 0, plan.setting)
    grasped = CLASS_IDS[plan.object_name]
    spec = SequenceSpec(0, plan.folder, person, plan.side, grasped, cameras, plan.setting)
    return compose_recorded(spec, recordings.retarget(plan, 72).motion)


@pytest.mark.slow
@pytest.mark.parametrize("num_cameras", [2, 4])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_every_bin_of_the_test_part_is_populated(num_cameras, is_recorded, hands):
    if is_recorded and not RECORDED.is_file():
        pytest.skip(f"the recorded motions, which the project may not carry, are not at {RECORDED}")
    plans = [p for p in benchmark_plan(80) if part_of(p) == "test"]
    recordings = Recordings(RECORDED, hands) if is_recorded else None
    if is_recorded:
        made = (with_recorded_motion(recordings, plan, num_cameras) for plan in plans)
    else:
        made = (composed(plan, 72, benchmark.serials(num_cameras)) for plan in plans)
    assert (hidden_shares(made)[1:] > 0.05).all()


@pytest.mark.slow
def test_root_says_what_it_is_and_is_the_same_for_any_number_of_workers(tmp_path):
    def make(out: Path, workers: int) -> dict[str, bytes]:
        size = {"sequences": 3, "cameras": 1, "frames": 2, "depth": False}
        kind = {"benchmark": "occluded-hands", "workers": workers}
        synthesize(SynthesisConfig("dexycb", out, **size, **kind))
        return files_of(out)

    files = make(tmp_path / "one", 1)
    mark = json.loads(files["synthetic.json"])
    assert mark["benchmark"] == "occluded-hands"
    assert mark["benchmark_version"] == benchmark.VERSION
    assert "motions_sha256" not in mark
    assert make(tmp_path / "two", 2) == files
