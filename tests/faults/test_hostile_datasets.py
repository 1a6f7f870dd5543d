"""Hostile bytes to the readers of raw datasets: DexYCB, HO-3D, `hands`, `videos`, motions, MANO."""

import json
import pickle

import numpy as np
import pytest

from deformer.hand.conventions import NUM_JOINTS
from deformer.hand.mano import load_hands
from pipelines.datasets import dexycb, hands, ho3d, videos
from pipelines.datasets.ho3d_files import read_obj, read_points
from pipelines.datasets.source import BadFrameError, ClipRef, synthetic_mark
from pipelines.synthetic.recorded.motions_file import read_motions_file
from tests.faults.crafted import HOSTILE_JSON, HOSTILE_PICKLES, HOSTILE_YAML, shared_lists
from tests.faults.damage import damaged, of_json, of_yaml, rebuilt
from tests.faults.hostile import SEEDS, Reader, assert_harmless, from_path, fuzz
from tests.faults.wholes import HOSTILE_NPZ, npz, npz_members, npz_of, of_npz
from tests.pipelines.ho3d_root import OBJ, evaluation_meta, train_meta

FEW, MANY = 50, 700
BAD_FRAME = (ValueError, OSError, BadFrameError)
SERIAL = "836212060125"
META = {
    "serials": [SERIAL, "839512060362"], "num_frames": 6, "ycb_ids": [5, 6, 13],
    "ycb_grasp_ind": 1, "mano_sides": ["left"], "mano_calib": ["20200709-subject-01_left"],
    "extrinsics": "20200702_151821",
}  # fmt: skip
COLOR = {"color": {"fx": 616.0, "fy": 615.5, "ppx": 312.5, "ppy": 241}, "depth": {}}


def dexycb_readers(folder) -> list[Reader]:
    calibration = folder / "calibration"
    (calibration / "intrinsics").mkdir(parents=True)
    (calibration / "mano_x").mkdir()
    labels = npz(
        seg=np.zeros((480, 640), np.uint8)[:, :], pose_m=np.ones((1, 51), np.float32),
        joint_3d=np.ones((1, 21, 3), np.float32), joint_2d=np.ones((1, 21, 2), np.float32),
    )  # fmt: skip
    K = from_path(
        calibration / "intrinsics" / f"{SERIAL}_640x480.yml",
        lambda path: dexycb.read_intrinsics(folder, SERIAL),
    )
    betas = from_path(
        calibration / "mano_x" / "mano.yml", lambda path: dexycb._read_betas(folder, "x")
    )
    meta = from_path(folder / "meta.yml", lambda path: dexycb._read_meta(folder))
    read_labels = from_path(folder / "labels.npz", dexycb._read_labels)
    parts = npz_members(labels)
    parts["seg"] = parts["seg"][:4096]
    return [
        Reader("DexYCB's meta.yml", of_yaml(META), meta, HOSTILE_YAML, says="meta.yml"),
        Reader("DexYCB's intrinsics", of_yaml(COLOR), K, HOSTILE_YAML, says=SERIAL),
        Reader(
            "DexYCB's betas", of_yaml({"betas": [0.5] * 10}), betas, HOSTILE_YAML, says="mano.yml"
        ),
        Reader("DexYCB's labels", rebuilt(parts, npz_of), read_labels, HOSTILE_NPZ, BAD_FRAME),
    ]


def ho3d_readers(folder) -> list[Reader]:
    def labels_of(split):
        def read(data: bytes) -> object:
            path = folder / split / "ABF1" / "meta" / "0000.pkl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            return ho3d._read_labels(folder, split, ref, 0, {})

        return read

    ref = ClipRef(
        "k", "ho3d_v3", "ABF", "ABF1", "1", "right", "", (("split", "train"),), (0,), (640, 480)
    )
    (folder / "models" / train_meta()["objName"]).mkdir(parents=True)
    (folder / "models" / train_meta()["objName"] / "textured_simple.obj").write_text(OBJ)
    lists = {
        f"shared lists for {key}": pickle.dumps(make() | {key: shared_lists(29)})
        for make in (train_meta, evaluation_meta)
        for key in make()
    }
    train = {f"protocol {p}": pickle.dumps(train_meta(), p) for p in (0, 2, 4)}
    evaluation = {f"protocol {p}": pickle.dumps(evaluation_meta(), p) for p in (0, 2, 5)}
    points = np.round(np.random.default_rng(0).normal(size=(2, NUM_JOINTS, 3)), 3).tolist()
    read_json_points = from_path(
        folder / "xyz.json", lambda path: read_points.__wrapped__(path, 0, NUM_JOINTS)
    )
    read_mesh = from_path(folder / "a.obj", lambda path: read_obj.__wrapped__(path, 0))
    listed = from_path(folder / "train.txt", ho3d.read_frame_list)
    return [
        Reader("HO-3D's training label", damaged(train), labels_of("train"),
               HOSTILE_PICKLES | lists, BAD_FRAME),
        Reader("HO-3D's evaluation label", damaged(evaluation), labels_of("evaluation"),
               HOSTILE_PICKLES | lists, BAD_FRAME),
        Reader("HO-3D's points", of_json(points), read_json_points, HOSTILE_JSON, says="xyz.json"),
        Reader("HO-3D's mesh", damaged({"x": OBJ.encode()}), read_mesh, says="a.obj"),
        Reader("HO-3D's list", damaged({"x": b"ABF1/0000\nABF1/0001\nMC2/0100\n"}), listed,
               says="train.txt"),
    ]  # fmt: skip


def hands_readers(folder) -> list[Reader]:
    camera = folder / "train" / "000000" / "0"
    camera.mkdir(parents=True)
    labels = npz(
        K=np.eye(3), joints_cam_m=np.ones((2, 21, 3)), valid=np.ones(2, bool),
        pose_rotvec=np.ones((2, 48)), betas=np.ones(10), trans_m=np.ones((2, 3)),
        segmentation=np.zeros((2, 6, 8), np.uint8),
    )  # fmt: skip
    (camera / "right.npz").write_bytes(labels)
    for k in range(2):
        (camera / f"{k:06d}.jpg").write_bytes(b"x")
    meta = {"subject": "a", "objects": {"right": "mug"}, "num_frames": 2, "image_size": [8, 6],
            "frame_step": 2, "tips": "ho3d"}  # fmt: skip
    (ref,) = _list_hands(folder, meta)
    read_labels = from_path(camera / "left.npz", lambda path: hands._read_labels(path, ref))

    def read_all(path) -> list:
        return [raw for ref in hands.list_clips(folder) for raw in hands.read_clip(folder, ref)]

    read_meta = from_path(folder / "train" / "000000" / "meta.json", read_all)
    return [
        Reader("hands: labels", of_npz(labels), read_labels, HOSTILE_NPZ, BAD_FRAME),
        Reader("hands: meta.json", of_json(meta), read_meta, HOSTILE_JSON),
    ]


def _list_hands(folder, meta: dict) -> list[ClipRef]:
    (folder / "train" / "000000" / "meta.json").write_text(json.dumps(meta))
    return hands.list_clips(folder)


def other_readers(folder, mano: dict[str, bytes]) -> list[Reader]:
    settings = {"min_detection": 0.5, "max_spread_mm": 20, "labels": "corrected"}
    mark = {"hand": "standin", "hand_sha256": "0" * 64, "generator": 1}
    read_settings = from_path(
        folder / videos.SETTINGS_FILE, lambda path: videos.read_settings(folder)
    )
    read_mark = from_path(folder / "synthetic.json", lambda path: synthetic_mark(folder))
    F = 8
    joints = np.cumsum(np.full((F, 21, 3), 0.01), 1)
    motions = npz(
        joints=joints, object_rotvec=np.ones((F, 3)), object_trans=np.ones((F, 3)),
        valid=np.ones(F, bool), sequence_subject=np.array(["20200709-subject-01"]),
        sequence_name=np.array(["20200709_141754"]), sequence_side=np.array(["right"]),
        sequence_object=np.array(["002_master_chef_can"]), sequence_start=np.array([0]),
        sequence_length=np.array([F]), object_rotvec_is=np.array("axis-angle"),
    )  # fmt: skip
    models = folder / "mano"
    models.mkdir()
    for name, data in mano.items():
        (models / name).write_bytes(data)
    pickles = {k: v for k, v in mano.items() if "RIGHT" in k}
    read_mano = from_path(models / "MANO_RIGHT.pkl", lambda path: load_hands(models))
    return [
        Reader("videos.json", of_json(settings), read_settings, HOSTILE_JSON, says="videos.json"),
        Reader("synthetic.json", of_json(mark), read_mark, HOSTILE_JSON, says="synthetic.json"),
        Reader("motions", of_npz(motions), from_path(folder / "m.npz", read_motions_file),
               HOSTILE_NPZ, says="m.npz"),
        Reader("MANO", damaged(pickles), read_mano, HOSTILE_PICKLES, says="MANO_RIGHT.pkl",
               cost=10),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("source", ["dexycb", "ho3d", "hands", "others"])
def test_a_dataset_of_hostile_files_is_refused_or_read(
    source, seed, tmp_path, count_faults, mano_files
):
    if source == "others":
        readers = other_readers(tmp_path, mano_files)
    else:
        make = {"dexycb": dexycb_readers, "ho3d": ho3d_readers, "hands": hands_readers}[source]
        readers = make(tmp_path)
    outcome = fuzz(readers, MANY if seed else FEW, seed, tmp_path)
    assert_harmless(count_faults, f"files of raw datasets ({source})", outcome)
