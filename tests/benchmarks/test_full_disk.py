"""Every file that is written here is whole or as it was, and a full disk is named."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from benchmarks.evaluation.predictions import add_vertices
from benchmarks.evaluation.result import read_evaluation, write_evaluation
from benchmarks.figures.style import save_figure
from benchmarks.submissions.file_order import dexycb_order, ho3d_order
from benchmarks.submissions.hpe import write_hpe
from benchmarks.submissions.pred_json import write_pred_json
from benchmarks.tables import __main__ as tables
from deformer.files.whole import NoRoomError
from tests.benchmarks.evaluations import make_evaluation
from tests.benchmarks.frame_tables import HO3D_LIST, dexycb_frames, ho3d_frames
from tests.benchmarks.hands_in_motion import random_hands, random_meshes
from tests.commands import call
from tests.full_disk import LINE, little_room, names


def _hpe(path):
    order = dexycb_order(dexycb_frames(), "s0_test")
    write_hpe(path, order, random_hands(np.random.default_rng(5), int(order.is_required.sum())))


def _pred(path):
    listed = path.parents[1] / "evaluation.txt"
    if not listed.exists():
        listed.write_text(HO3D_LIST)
    order, rng = ho3d_order(ho3d_frames(), listed), np.random.default_rng(5)
    joints = random_hands(rng, len(order.index))
    write_pred_json(path, order, joints, random_meshes(rng, joints))


def _figure(path):
    save_figure(Figure(), path.with_suffix(""))


WRITERS = {
    "evaluation.json": lambda path: write_evaluation(path, make_evaluation()),
    "hpe.txt": _hpe,
    "pred.json": _pred,
    "pred.zip": _pred,
    "figure.pdf": _figure,
}


@pytest.mark.parametrize("name", WRITERS)
def test_no_room(tmp_path, name):
    path, write = tmp_path / "out [v2]" / name, WRITERS[name]
    with little_room(400), pytest.raises(NoRoomError) as error:
        write(path)
    assert re.match(LINE.format(re.escape(str(path))), str(error.value))
    assert names(path.parent) == []
    write(path)
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    with little_room(400), pytest.raises(NoRoomError):
        write(path)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before


def test_no_room_for_vertices_leaves_the_predictions(tmp_path):
    path = tmp_path / "predictions.parquet"
    pq.write_table(pa.table({"row": [0, 1]}), path)
    before = path.read_bytes()
    with little_room(400), pytest.raises(NoRoomError):
        add_vertices(path, np.ones((2, 778, 3)))
    assert path.read_bytes() == before
    assert names(tmp_path) == [path.name]
    add_vertices(path, np.ones((2, 778, 3)))
    assert pq.read_table(path).column_names == ["row", "vertices_m"]


def test_a_command_tells_it_in_one_line(tmp_path, capsys):
    write_evaluation(tmp_path / "demo" / "evaluation.json", make_evaluation())
    with little_room(200):
        assert call(tables.main, "--results", tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    path = tmp_path / "tables" / "table1.md"
    assert re.match("error: " + LINE.format(re.escape(str(path))), line)
    assert names(tmp_path / "tables") == []
    read_evaluation(tmp_path / "demo" / "evaluation.json")
