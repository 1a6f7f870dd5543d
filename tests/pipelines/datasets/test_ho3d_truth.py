"""The truth of HO-3D's evaluation split: two JSON files beside the list of frames."""

import json
import os

import numpy as np
import pytest

from deformer.hand.conventions import DATASET_TO_MANO
from pipelines.datasets import ho3d, ho3d_files
from pipelines.datasets.source import (
    UnusableInputError,
)
from tests.pipelines.ho3d_root import (
    BOX,
    FLIP,
    evaluation_root,
    only_frame,
    write_truth,
)


def test_truth_follows_the_order_of_the_list(tmp_path):
    frames = ["SM1/0002", "MPM10/0005", "SM1/0000", "MPM10/0001"]  # not the order of clips
    joints, vertices = evaluation_root(tmp_path, frames)
    write_truth(tmp_path, joints, vertices)
    seen = {}
    for ref in ho3d.list_clips(tmp_path):
        for raw in ho3d.read_clip(tmp_path, ref):
            seen[f"{ref.sequence}/{raw.frame:04d}"] = raw
    assert seen.keys() == set(frames)
    for i, frame in enumerate(frames):
        raw = seen[frame]
        assert raw.reason == ""
        np.testing.assert_array_equal(raw.box_px, BOX)
        np.testing.assert_allclose(raw.joints_cam_m[DATASET_TO_MANO], joints[i] @ FLIP, atol=1e-6)
        np.testing.assert_allclose(raw.vertices_cam_m, vertices[i] @ FLIP, atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((slice(None), slice(2)), r"evaluation_verts.json holds 2 .* lists 3"),
        ((slice(None, None, -1), slice(None)), "does not belong to this"),
    ],
)
def test_truth_of_another_length_or_order_is_refused(tmp_path, rows, message):
    joints, vertices = evaluation_root(tmp_path, ["SM1/0000", "SM1/0001", "SM1/0002"])
    write_truth(tmp_path, joints[rows[0]], vertices[rows[1]])
    with pytest.raises(UnusableInputError, match=message):
        only_frame(tmp_path)


def test_truth_that_is_not_finite(tmp_path):
    joints, vertices = evaluation_root(tmp_path, ["SM1/0000"])
    vertices[0][5] = np.nan
    write_truth(tmp_path, joints, vertices)
    assert only_frame(tmp_path).reason == "labels_not_finite"


def test_truth_is_parsed_once(tmp_path, monkeypatch):
    joints, vertices = evaluation_root(tmp_path, ["SM1/0000", "MPM10/0000", "AP11/0000"])
    write_truth(tmp_path, joints, vertices)
    parsed, parse = [], ho3d_files._parse_numbers
    monkeypatch.setattr(
        ho3d_files, "_parse_numbers", lambda p, text: parsed.append(p.name) or parse(p, text)
    )
    for ref in ho3d.list_clips(tmp_path):
        list(ho3d.read_clip(tmp_path, ref))
    assert set(parsed) == {"evaluation_xyz.json", "evaluation_verts.json"}
    assert len(parsed) == 4  # each in one piece and its rest
    path = tmp_path / "evaluation_xyz.json"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
    list(ho3d.read_clip(tmp_path, ref))
    assert len(parsed) == 6


@pytest.mark.parametrize("piece_bytes", [1, 7, 64, 1 << 22])
@pytest.mark.parametrize("indent", [None, 1])
def test_json_numbers_wherever_the_pieces_end(tmp_path, monkeypatch, piece_bytes, indent):
    monkeypatch.setattr(ho3d_files, "_PIECE_SIGNS", piece_bytes)
    values = np.random.default_rng(0).normal(size=(3, 2, 3)) * 10.0 ** np.array([-7, 0, 7])
    values[1, 0] = np.nan
    path = tmp_path / "numbers.json"
    path.write_text(json.dumps(values.tolist(), indent=indent))
    points = ho3d_files.read_points(path, piece_bytes, 2)
    assert points.dtype == np.float32 and not points.flags.writeable
    np.testing.assert_array_equal(points, values.astype(np.float32))


@pytest.mark.parametrize("text", ["", "[[[1, 2, 3], [4, 5", "[[[1, 2, 3]]]", '[[["a", 2, 3]]]'])
def test_damaged_json(tmp_path, text):
    path = tmp_path / "evaluation_xyz.json"
    path.write_text(text)
    with pytest.raises(UnusableInputError, match="download.* it again"):
        ho3d_files.read_points(path, 0, 2)
