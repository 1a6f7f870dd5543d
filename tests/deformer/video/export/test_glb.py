"""The animated scene, read back by the format's rules."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deformer.video.export.clip import Clip
from deformer.video.export.glb import main_directions, vertex_normals, write
from tests.deformer.video.hand_rows import INFO, LATER, WITH_GAP, join, track_rows, two_hands

_TYPES = {5126: np.float32, 5123: np.uint16}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
Y_UP = np.array([1.0, -1, -1])


def _read(path: Path) -> tuple[dict, list[np.ndarray]]:
    """The JSON, and the accessors; asserts what the format demands of the container."""
    content = path.read_bytes()
    assert struct.unpack("<4sII", content[:12]) == (b"glTF", 2, len(content))
    length, kind = struct.unpack("<I4s", content[12:20])
    assert kind == b"JSON" and length % 4 == 0
    scene = json.loads(content[20 : 20 + length])
    if 20 + length == len(content):
        return scene, []
    size, kind = struct.unpack("<I4s", content[20 + length : 28 + length])
    binary = content[28 + length :]
    assert kind == b"BIN\0" and size == len(binary) == scene["buffers"][0]["byteLength"]
    arrays = []
    for accessor in scene["accessors"]:
        view = scene["bufferViews"][accessor["bufferView"]]
        width = _WIDTHS[accessor["type"]]
        assert view["byteOffset"] % 4 == 0
        dtype = np.dtype(_TYPES[accessor["componentType"]])
        assert view["byteLength"] == accessor["count"] * width * dtype.itemsize
        values = np.frombuffer(binary, dtype, accessor["count"] * width, view["byteOffset"])
        arrays.append(values.reshape(-1, width))
    return scene, arrays


def _posed(scene: dict, arrays: list[np.ndarray], node: int, time_s: float) -> np.ndarray | None:
    """Vertices of a node at the time of a keyframe; None where it is hidden."""
    animation = scene["animations"][0]
    values = {}
    for channel in animation["channels"]:
        if channel["target"]["node"] == node:
            sampler = animation["samplers"][channel["sampler"]]
            times = arrays[sampler["input"]][:, 0]
            assert (np.diff(times) > 0).all() and times[0] >= 0
            k = np.searchsorted(times, np.float32(time_s + 1e-4)) - 1
            values[channel["target"]["path"]] = arrays[sampler["output"]].reshape(len(times), -1)[k]
    if values["scale"][0] == 0:
        return None
    (primitive,) = scene["meshes"][scene["nodes"][node]["mesh"]]["primitives"]
    points = arrays[primitive["attributes"]["POSITION"]].astype(float)
    for weight, target in zip(values.get("weights", ()), primitive.get("targets", ()), strict=True):
        points = points + weight * arrays[target["POSITION"]]
    return Rotation.from_quat(values["rotation"]).apply(points) + values["translation"]


@pytest.fixture
def clip(tmp_path) -> Clip:
    return Clip(tmp_path / "clip.hands.parquet", two_hands(), INFO)


def test_every_frame_comes_back_and_gaps_are_hidden(clip, tmp_path):
    (path,) = write(clip, tmp_path)
    scene, arrays = _read(path)
    for node, track in enumerate(clip.tracks):
        vertices = clip.vertices(track.hands)
        for frame in range(INFO.num_frames):
            shown = _posed(scene, arrays, node, frame / INFO.fps)
            rows = np.flatnonzero(track.hands.frame == frame)
            assert (shown is None) == (len(rows) == 0), (track.name, frame)
            if shown is not None:
                distance = np.linalg.norm(shown - vertices[rows[0]] * Y_UP, axis=1)
                assert distance.max() < 2.5e-4


def test_the_file_says_what_the_format_demands(clip, tmp_path, hands):
    scene, arrays = _read(write(clip, tmp_path)[0])
    assert scene["asset"]["version"] == "2.0" and scene["asset"]["extras"]["checkpoint"] == "lite"
    assert [node["name"] for node in scene["nodes"]] == ["track0_right", "track1_left", "camera"]
    assert scene["scenes"][0]["nodes"] == [0, 1, 2]
    colours = [m["pbrMetallicRoughness"]["baseColorFactor"] for m in scene["materials"]]
    assert colours[0] != colours[1]
    for mesh, hand in zip(scene["meshes"], (hands.right, hands.left), strict=True):
        (primitive,) = mesh["primitives"]
        place = scene["accessors"][primitive["attributes"]["POSITION"]]
        positions = arrays[primitive["attributes"]["POSITION"]]
        assert np.array_equal(place["min"], positions.min(0))
        assert np.array_equal(place["max"], positions.max(0))
        assert np.array_equal(arrays[primitive["indices"]].reshape(-1, 3), hand.faces)
        assert len(mesh["weights"]) == len(primitive["targets"]) > 0
        normals = arrays[primitive["attributes"]["NORMAL"]]
        assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    lens = scene["cameras"][0]["perspective"]
    assert np.isclose(np.tan(lens["yfov"] / 2), 32 / 100) and np.isclose(lens["aspectRatio"], 1.5)


def test_a_video_without_hands_and_one_of_one_frame(clip, tmp_path):
    empty = Clip(clip.path, clip.hands.at(np.zeros(18, bool)), INFO)
    scene, arrays = _read(write(empty, tmp_path)[0])
    assert [node["name"] for node in scene["nodes"]] == ["camera"] and arrays == []
    assert not {"meshes", "buffers", "animations"} & set(scene)  # empty lists are not allowed
    still = Clip(clip.path, track_rows(0, [0], False), replace(INFO, num_frames=1))
    scene, arrays = _read(write(still, tmp_path)[0])
    assert "targets" not in scene["meshes"][0]["primitives"][0]
    expected = still.vertices(still.hands)[0] * Y_UP
    assert np.allclose(_posed(scene, arrays, 0, 0.0), expected, atol=1e-6)


def test_a_gap_of_frames_that_lie_nearer_than_the_rate_says(clip, tmp_path):
    """Variable frame rate: the hand is hidden before it comes back."""
    rows = track_rows(0, WITH_GAP, False)
    rows = rows._replace(time_s=np.where(rows.frame >= 6, rows.time_s - 0.08, rows.time_s))
    scene, arrays = _read(write(Clip(clip.path, rows, INFO), tmp_path)[0])
    for time_s in rows.time_s:
        assert _posed(scene, arrays, 0, time_s) is not None
    assert _posed(scene, arrays, 0, (rows.time_s[3] + rows.time_s[4]) / 2) is None


def test_a_long_video_has_few_directions(tmp_path):
    """As many as its poses differ in, not as many as it has frames."""
    rows = join(track_rows(0, list(range(200)), False))
    slow = rows._replace(pose_rotvec=np.sin(rows.pose_rotvec))
    clip = Clip(tmp_path / "x", slow, replace(INFO, num_frames=200))
    vertices = clip.vertices(slow) - slow.wrist_cam_m[:, None]
    weights, directions = main_directions(vertices)
    assert len(directions) < 60 and np.abs(weights).max() <= 1 + 1e-6 and not weights[0].any()
    again = vertices[0] + np.tensordot(weights, directions, 1)
    assert np.linalg.norm(again - vertices, axis=-1).max() < 2.5e-4


def test_normals_point_outwards(hands):
    triangle = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    assert np.allclose(vertex_normals(triangle, np.array([[0, 1, 2]])), [0, 0, 1])
    vertices = hands.right.v_template[None].astype(float)
    normals = vertex_normals(vertices, hands.right.faces)
    a, b, c = (vertices[0][hands.right.faces[:, k]] for k in range(3))
    inside = np.cross(b - a, c - a)
    of_faces = (normals[0][hands.right.faces].mean(1) * inside).sum(1)
    assert (of_faces > 0).mean() > 0.95


def test_later_tracks_are_hidden_at_first_and_shown_to_the_end(clip, tmp_path):
    scene, arrays = _read(write(clip, tmp_path)[0])
    assert LATER[-1] == INFO.num_frames - 1
    assert _posed(scene, arrays, 1, 0.0) is None
    assert _posed(scene, arrays, 1, 99.0) is not None and _posed(scene, arrays, 0, 99.0) is None
