"""The command and the formats of arrays and meshes."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import smplx
import torch
from scipy.spatial.transform import Rotation

from deformer import export as command
from deformer.export import Options, export
from deformer.hand.mano import HandLayer
from deformer.video.export.clip import Clip
from deformer.video.export.retarget import wrist_frame
from deformer.video.hands_file import read_hands
from tests.conftest import published_mano
from tests.deformer.video.hand_rows import (
    INFO,
    WITH_GAP,
    join,
    track_rows,
    two_hands,
    write_clip,
)

FORMATS = ("npz", "obj", "glb", "retarget")


def _run(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
    return command.main()


# ------------------------------------------------------------------------------------------- npz


def test_npz_gives_smplx_the_same_joints(tmp_path, hands):
    """MANO's own layer, turned about its wrist and moved by transl; then the scale."""
    first, second = export(Options((write_clip(tmp_path),), "npz", tmp_path / "out"))
    assert [first.name, second.name] == ["clip.track0_right.npz", "clip.track1_left.npz"]
    for path, is_rhand, scale in ((first, True, 1.0), (second, False, 1.1)):
        clip = np.load(path)  # without pickle
        hand = hands.right if is_rhand else hands.left
        layer = smplx.MANO(
            "", is_rhand=is_rhand, use_pca=False, flat_hand_mean=True, num_betas=10,
            data_struct=smplx.utils.Struct(**_struct(hand)), batch_size=len(clip["frame"]),
        )  # fmt: skip
        names = ("global_orient", "hand_pose", "betas")
        joints = layer(**{name: torch.from_numpy(clip[name]) for name in names}).joints
        placed = clip["scale"][:, None, None] * joints.detach().numpy() + clip["transl"][:, None]
        assert np.allclose(clip["scale"], scale)
        assert np.allclose(placed[:, 0], clip["wrist_cam_m"], atol=1e-5)
        index = clip["joints_cam_m"][:, 5:8]  # dataset order; MANO's joints 1 to 3
        assert np.allclose(placed[:, 1:4], index, atol=1e-5)


def _struct(hand) -> dict:
    raw = published_mano(hand)
    kept = {k: v for k, v in raw.items() if isinstance(v, np.ndarray)}
    return kept | {
        "shapedirs": hand.shapedirs, "posedirs": hand.posedirs, "J_regressor": hand.J_regressor,
    }  # fmt: skip


def test_npz_keeps_gaps_and_says_where_hands_came_from(tmp_path):
    path, _ = export(Options((write_clip(tmp_path, K_from="assumed 60 deg"),), "npz", tmp_path))
    clip = np.load(path)
    assert clip["frame"].tolist() == WITH_GAP
    assert clip["is_observed"].tolist() == [frame != 7 for frame in WITH_GAP]
    assert np.allclose(clip["time_s"], np.array(WITH_GAP) / 30) and str(clip["side"]) == "right"
    assert np.array_equal(clip["K"], INFO.K)
    assert json.loads(str(clip["about"]))["K_from"] == "assumed 60 deg"


# ------------------------------------------------------------------------------------------- obj


def test_objs_are_the_meshes_with_y_up(tmp_path, hands):
    (folder,) = export(Options((write_clip(tmp_path),), "obj", tmp_path))
    rows, _ = read_hands(tmp_path / "clip.hands.parquet")
    names = {
        f"frame{f:06d}_track{t}_{'left' if left else 'right'}.obj"
        for f, t, left in zip(rows.frame, rows.track, rows.is_left, strict=True)
    }
    assert {path.name for path in folder.iterdir()} == names and len(names) == 18
    clip = Clip(tmp_path / "clip.hands.parquet", rows, INFO)
    for track, hand in zip(clip.tracks, (hands.right, hands.left), strict=True):
        vertices, faces = _read_obj(folder / f"frame000003_{track.name}.obj")
        row = track.hands.frame.tolist().index(3)
        expected = clip.vertices(track.hands)[row]
        assert np.allclose(vertices * [1, -1, -1], expected, atol=1e-6)
        assert np.array_equal(faces - 1, hand.faces)
        a, b, c = (vertices[faces[:, k] - 1] for k in range(3))
        volume = (np.cross(a, b) * c).sum() / 6
        assert volume > 0  # not mirrored: faces are seen from outside


def _read_obj(path) -> tuple[np.ndarray, np.ndarray]:
    lines = [line.split() for line in path.read_text().splitlines()]
    return (
        np.array([line[1:] for line in lines if line[0] == "v"], float),
        np.array([line[1:] for line in lines if line[0] == "f"], int),
    )


def test_one_frame_as_obj(tmp_path, monkeypatch, capsys):
    path = write_clip(tmp_path)
    (folder,) = export(Options((path,), "obj", tmp_path, frame=1))
    assert [p.name for p in folder.iterdir()] == ["frame000001_track0_right.obj"]
    hidden = write_clip(tmp_path, "hidden", track_rows(0, WITH_GAP, False))
    assert _run(monkeypatch, hidden, "--format", "obj", "--out", tmp_path, "--frame", 4) == 1
    assert "has no hand in this frame, but in 8 of 12 others" in capsys.readouterr().err
    assert not (tmp_path / "hidden.hands.obj").exists()


# -------------------------------------------------------------------------------------- retarget


def test_retarget_gives_keypoints_and_wrist_poses(tmp_path):
    paths = export(Options((write_clip(tmp_path),), "retarget", tmp_path))
    assert [path.name for path in paths] == [
        "clip.track0_right.retarget.npz", "clip.track1_left.retarget.npz",
    ]  # fmt: skip
    for path in paths:
        clip = np.load(path)
        assert np.allclose(clip["joints_m"] + clip["wrist_cam_m"][:, None], clip["joints_cam_m"])
        rotmats = clip["wrist_rotmat"]
        assert np.allclose(rotmats @ rotmats.swapaxes(1, 2), np.eye(3), atol=1e-5)
        assert np.allclose(np.linalg.det(rotmats), 1, atol=1e-5)
        turns = Rotation.from_quat(clip["wrist_quat_wxyz"], scalar_first=True)
        apart = turns.inv() * Rotation.from_matrix(rotmats)  # the spread of the knuckles
        assert np.degrees(apart.magnitude()).max() < 25


def test_the_wrist_frame_is_manos_for_an_open_right_hand(hands, layer):
    """Of a left hand it is MANO's, turned by π about z: MANO's left fingers point the other way."""
    for is_left, turned in ((False, np.eye(3)), (True, np.diag([-1.0, -1, 1]))):
        eye = torch.eye(3).expand(1, 16, 3, 3)
        _, joints = HandLayer(hands)(eye, torch.zeros(1, 10), torch.tensor([is_left]))
        angle = np.arccos((np.trace(wrist_frame(joints.numpy())[0] @ turned.T) - 1) / 2)
        assert np.degrees(angle) < 25


def test_the_wrist_frame_turns_with_the_hand():
    joints = track_rows(0, [0, 1], False).joints_cam_m.astype(float)
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert np.allclose(wrist_frame(joints @ turn.T + 0.3), turn @ wrist_frame(joints))


# ------------------------------------------------------------------------------------ the command


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_is_repeated_to_the_byte(format, tmp_path):
    path = write_clip(tmp_path)
    contents = []
    for _ in range(2):
        export(Options((path,), format, tmp_path / "out"))
        files = sorted(p for p in (tmp_path / "out").rglob("*") if p.is_file())
        contents.append([(p.name, p.read_bytes()) for p in files])
    assert contents[0] == contents[1] != []


def test_a_video_without_hands(tmp_path, monkeypatch, capsys):
    path = write_clip(tmp_path, "empty", two_hands().at(np.zeros(18, bool)))
    for format in ("npz", "retarget"):
        assert _run(monkeypatch, path, "--format", format, "--out", tmp_path / format) == 0
        assert "no file is written, because there is no hand" in capsys.readouterr().err
    (folder,) = export(Options((path,), "obj", tmp_path))
    assert list(folder.iterdir()) == []


def test_hands_of_mano_need_its_files_only_for_what_uses_them(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MANO_DIR", raising=False)
    path = write_clip(tmp_path, hand_model="mano", hand_model_sha256="a" * 64)
    for format in ("npz", "obj", "glb"):
        assert _run(monkeypatch, path, "--format", format, "--out", tmp_path / "out") == 1
        error = capsys.readouterr().err
        assert "MANO's files" in error and error.count("\n") == 1
    assert not list((tmp_path / "out").glob("*"))
    for format in ("retarget", "lerobot"):
        assert _run(monkeypatch, path, "--format", format, "--out", tmp_path / format) == 0


def test_another_hand_model_is_refused(tmp_path, monkeypatch, capsys):
    path = write_clip(tmp_path, hand_model_sha256="a" * 64)
    assert _run(monkeypatch, path, "--format", "npz", "--out", tmp_path) == 1
    assert "was made with another hand model: standin aaaaaaaaaaaa" in capsys.readouterr().err


def test_options_of_other_formats_and_equal_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--frame is for --format obj, not glb"):
        Options((tmp_path,), "glb", tmp_path, frame=3)
    with pytest.raises(ValueError, match=r"--task is for --format lerobot, not npz"):
        Options((tmp_path,), "npz", tmp_path, task="wave")
    with pytest.raises(ValueError, match="no FILE is given"):
        Options((), "npz", tmp_path)
    (tmp_path / "b").mkdir()
    files = write_clip(tmp_path), write_clip(tmp_path / "b")
    with pytest.raises(ValueError, match="2 files are named clip"):
        export(Options(files, "npz", tmp_path))


def test_files_of_something_else_are_refused(tmp_path, monkeypatch, capsys):
    damaged = tmp_path / "ünï code.hands.parquet"
    damaged.write_bytes(write_clip(tmp_path).read_bytes()[:-100])
    for path, text in ((tmp_path / "none.hands.parquet", "none"), (damaged, "ünï code")):
        assert _run(monkeypatch, path, "--format", "glb", "--out", tmp_path) == 1
        error = capsys.readouterr().err
        assert error.startswith("error:") and text in error and error.count("\n") == 1


def test_names_with_spaces_and_other_letters(tmp_path):
    path = write_clip(tmp_path, "mein völliger clip.v2")
    paths = export(Options((path,), "npz", tmp_path))
    assert paths[0].name == "mein völliger clip.v2.track0_right.npz"


def test_runs_of_a_track():
    rows = join(track_rows(0, WITH_GAP, False))
    (track,) = Clip(INFO, rows, replace(INFO)).tracks
    assert [WITH_GAP[run] for run in track.runs] == [[0, 1, 2, 3], [6, 7, 8, 9]]
