"""A full disk is reported for every file of a synthesized dataset, and no file is left cut."""

import re

import pytest

from deformer.files.whole import NoRoomError
from pipelines.synthesize import SynthesisConfig, make_sequence, run
from pipelines.synthetic.layouts import dexycb_layout, ho3d_layout
from pipelines.synthetic.layouts.dexycb_layout import Subject
from tests.full_disk import LINE, little_room


def _config(layout, out):
    return SynthesisConfig(layout, out, sequences=3, cameras=1, frames=2, workers=1)


def _told(root, path):
    return pytest.raises(NoRoomError, match=LINE.format(re.escape(str(root)) + "/" + path))


def _left(root):
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("room", "path", "left"),
    [
        (100, r"synthetic\.json", set()),
        (2000, r"models/002_master_chef_can/texture_map\.png", {"synthetic.json"}),
    ],
)
@pytest.mark.parametrize("layout", ["dexycb", "ho3d-v3"])
def test_no_room(tmp_path, layout, room, path, left):
    with little_room(room), _told(tmp_path, path):
        run(_config(layout, tmp_path))
    assert _left(tmp_path) == left


def test_no_room_for_calibration(tmp_path):
    with little_room(), _told(tmp_path, r"calibration/intrinsics/\d+_640x480\.yml"):
        dexycb_layout.write_shared(tmp_path, [Subject.drawn(0, "20200709-subject-01")])
    assert _left(tmp_path) == set()


@pytest.mark.parametrize("layout", ["dexycb", "ho3d-v2", "ho3d-v3", "hands"])
@pytest.mark.parametrize("room", [50, 3000])
def test_no_room_in_a_sequence_names_its_file(tmp_path, layout, room):
    config = _config(layout, tmp_path)
    plan = config.plan()[0]
    subject = Subject.drawn(0, plan.subject) if layout == "dexycb" else None
    with little_room(room), _told(tmp_path, rf"\.partial/{plan.folder}/.*\.\w+"):
        make_sequence(config, plan, subject, None)
    assert not (tmp_path / plan.folder).exists()


def test_no_room_for_the_truth_of_a_sequence(tmp_path):
    config = SynthesisConfig("ho3d-v3", tmp_path, sequences=3, frames=40, depth=False)
    plan = config.plan()[0]
    with little_room(300_000), _told(tmp_path, rf"\.evaluation/{plan.name}\.npz"):
        ho3d_layout.write_sequence(tmp_path / "made", plan, config)
    assert list((tmp_path / ".evaluation").iterdir()) == []
