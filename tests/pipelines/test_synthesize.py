"""The synthesizer: official layouts, labels that agree with pixels, the same bytes every time."""

import itertools
import json
import shutil
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from deformer.data.official import SERIALS
from deformer.files.whole import NoRoomError
from deformer.hand.camera import project
from deformer.hand.conventions import SIDES
from deformer.hand.rotations import rotvec_to_rotmat
from pipelines.rays import RayScene
from pipelines.synthesize import VERSION, SynthesisConfig, run, synthesize
from pipelines.synthetic.plans import dexycb_plan, dexycb_serials, ho3d_plan
from pipelines.synthetic.things.ycb import YCB_OBJECTS
from tests.full_disk import LINE, little_room, names
from tests.pipelines.synthetic.roots import files_of
from tests.processes import assert_nothing_is_left, start_python

FRAMES, CAMERAS = 4, 2


def dexycb_config(out: Path, **changes) -> SynthesisConfig:
    options = {"sequences": 3, "cameras": CAMERAS, "frames": FRAMES, "seed": 5, "workers": 1}
    return SynthesisConfig("dexycb", out, **(options | changes))


@pytest.fixture(scope="module")
def dexycb_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "dexycb"
    synthesize(dexycb_config(root))
    return root


def read_yaml(path: Path):
    return yaml.load(path.read_text(), Loader=yaml.FullLoader)  # as DexYCB's toolkit reads them


def each_frame(root: Path):
    """(sequence's meta, K, serial folder, frame number) of every frame of a DexYCB root."""
    for path in sorted(root.glob("2*/*/meta.yml")):
        meta = read_yaml(path)
        for serial in meta["serials"]:
            color = read_yaml(root / f"calibration/intrinsics/{serial}_640x480.yml")["color"]
            fx, fy, cx, cy = (color[key] for key in ("fx", "fy", "ppx", "ppy"))
            K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
            for frame in range(meta["num_frames"]):
                yield meta, K, path.parent / serial, frame


def posed_hand(root: Path, hands, layer, meta, pose_m) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and joints of pose_m (1, 51), computed as a user of the labels would."""
    side = meta["mano_sides"][0]
    arrays = getattr(hands, side)
    betas = read_yaml(root / f"calibration/mano_{meta['mano_calib'][0]}/mano.yml")["betas"]
    fingers = arrays.pca_to_rotvec(pose_m[:, 3:48]).astype(np.float32)
    rotvec = np.concatenate([pose_m[:, :3], fingers], 1).reshape(1, 16, 3)
    with torch.no_grad():
        vertices, joints = layer(
            rotvec_to_rotmat(torch.from_numpy(rotvec)),
            torch.tensor([betas]),
            torch.tensor([side == "left"]),
        )
    return vertices[0].numpy() + pose_m[0, 48:], joints[0].numpy() + pose_m[0, 48:]


class TestProgram:
    """As it is called: where it ends before its end."""

    @pytest.mark.parametrize("workers", [1, 2])
    def test_no_room(self, tmp_path, workers):
        out = tmp_path / "raw[v2]"
        named = LINE.format(r".*raw\[v2\]/\.partial/train/00000\d/0/000000\.jpg")
        config = SynthesisConfig("hands", out, sequences=2, frames=2, workers=workers)
        with little_room(2000), pytest.raises(NoRoomError, match=named):
            run(config)
        assert names(out) == ["synthetic.json"]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("kind", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
    )
    def test_nobody_outlives_it_and_it_goes_on(self, dexycb_root, tmp_path, kind, status):
        out = tmp_path / "raw"
        line = f"--layout dexycb --out {out} --sequences 3 --cameras {CAMERAS} --seed 5 "
        line += f"--frames {FRAMES} --workers 2"
        code = "import sys; from pipelines.synthesize import main; sys.exit(main())"
        process = start_python(code, *line.split())
        deadline = time.monotonic() + 200
        while not list(out.glob(".partial/*/*/*/color_*")):
            assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(kind)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == status, errors
        assert "Traceback" not in errors
        assert "run the same command to go on" in errors or kind == signal.SIGKILL
        assert_nothing_is_left(process.pid)
        process = start_python(code, *line.split())
        assert process.wait(300) == 0
        assert files_of(out) == files_of(dexycb_root)


class TestPlan:
    def test_all_is_the_thousand(self):
        plans = dexycb_plan(None)
        assert len(plans) == len({p.folder for p in plans}) == 1000
        subjects = sorted({p.subject for p in plans})
        assert len(subjects) == 10
        assert all(sum(p.subject == s for p in plans) == 100 for s in subjects)
        assert len(ho3d_plan(None)) == len({p.name for p in ho3d_plan(None)}) == 68
        assert sum(p.split == "evaluation" for p in ho3d_plan(None)) == 13

    @pytest.mark.parametrize("count", [3, 10, 20, 50])
    def test_every_cell_of_every_setup_is_populated(self, count):
        everything = dexycb_plan(None)
        subjects = sorted({p.subject for p in everything})
        names = {s: sorted(p.name for p in everything if p.subject == s) for s in subjects}
        cells, sides = set(), set()
        for plan in dexycb_plan(count):
            s, i = subjects.index(plan.subject), names[plan.subject].index(plan.name)
            cells.add(("s0", "train" if i % 5 != 4 else "val" if s < 2 else "test"))
            cells.add(("s1", {6: "val", 7: "test", 8: "test"}.get(s, "train")))
            s3 = {3: "val", 19: "val", 7: "test", 11: "test", 15: "test"}
            cells.add(("s3", s3.get(i // 5, "train")))
            sides.add(plan.side)
        assert cells == {(s, part) for s in ("s0", "s1", "s3") for part in ("train", "val", "test")}
        assert sides == {"right", "left"}

    def test_few_cameras_still_serve_the_setup_of_unseen_cameras(self):
        assert dexycb_serials(3) == [SERIALS[0], SERIALS[6], SERIALS[7]]
        assert dexycb_serials(8) == list(SERIALS)

    def test_impossible_counts_are_named(self, tmp_path):
        with pytest.raises(ValueError, match="--sequences 1001"):
            dexycb_config(tmp_path, sequences=1001)
        with pytest.raises(ValueError, match="--cameras 9"):
            dexycb_config(tmp_path, cameras=9)
        with pytest.raises(ValueError, match="--cameras 2"):
            SynthesisConfig("ho3d-v2", tmp_path, cameras=2)


class TestDexYcb:
    def test_files(self, dexycb_root):
        plans = dexycb_plan(3)
        serials = dexycb_serials(CAMERAS)
        expected = {"synthetic.json"}
        for plan in plans:
            expected |= {f"{plan.folder}/meta.yml", f"{plan.folder}/pose.npz"}
            for serial in serials:
                names = "color_{}.jpg", "labels_{}.npz", "aligned_depth_to_color_{}.png"
                for name, k in itertools.product(names, range(FRAMES)):
                    expected.add(f"{plan.folder}/{serial}/{name.format(f'{k:06d}')}")
            expected |= {f"calibration/mano_{plan.subject}_{s}/mano.yml" for s in SIDES}
            expected.add(f"calibration/extrinsics_{plan.subject[:8]}_000000/extrinsics.yml")
        expected |= {f"calibration/intrinsics/{serial}_640x480.yml" for serial in SERIALS}
        for thing in YCB_OBJECTS.values():
            names = (
                "textured_simple.obj",
                "textured_simple.obj.mtl",
                "texture_map.png",
                "points.xyz",
            )
            expected |= {f"models/{thing.name}/{name}" for name in names}
        assert set(files_of(dexycb_root)) == expected

    def test_meta_and_calibration(self, dexycb_root):
        for plan in dexycb_plan(3):
            meta = read_yaml(dexycb_root / plan.folder / "meta.yml")
            keys = "serials num_frames ycb_ids ycb_grasp_ind mano_sides mano_calib extrinsics"
            assert set(meta) == set(keys.split())
            assert meta["num_frames"] == FRAMES and meta["mano_sides"] == [plan.side]
            grasped = YCB_OBJECTS[meta["ycb_ids"][meta["ycb_grasp_ind"]]]
            assert grasped.name == plan.object_name
            extrinsics = read_yaml(
                dexycb_root / f"calibration/extrinsics_{meta['extrinsics']}/extrinsics.yml"
            )
            assert set(extrinsics["extrinsics"]) == {*SERIALS, "apriltag"}
            master = extrinsics["extrinsics"][extrinsics["master"]]
            assert np.reshape(master, (3, 4)) == pytest.approx(np.eye(4)[:3])
        entry = read_yaml(dexycb_root / f"calibration/intrinsics/{SERIALS[0]}_640x480.yml")
        assert set(entry) == {"color", "depth", "extrinsics"}
        assert isinstance(entry["extrinsics"], tuple) and len(entry["extrinsics"]) == 12

    def test_types_and_shapes(self, dexycb_root):
        for meta, _, folder, k in each_frame(dexycb_root):
            image = cv2.imread(str(folder / f"color_{k:06d}.jpg"))
            depth = cv2.imread(str(folder / f"aligned_depth_to_color_{k:06d}.png"), -1)
            assert image.shape == (480, 640, 3) and image.dtype == np.uint8
            assert depth.shape == (480, 640) and depth.dtype == np.uint16
            with np.load(folder / f"labels_{k:06d}.npz") as labels:
                found = {key: (labels[key].dtype, labels[key].shape) for key in labels}
                codes = set(np.unique(labels["seg"]).tolist())
            n = len(meta["ycb_ids"])
            f = np.dtype(np.float32)
            assert found == {
                "seg": (np.dtype(np.uint8), (480, 640)),
                "pose_y": (f, (n, 3, 4)),
                "pose_m": (f, (1, 51)),
                "joint_3d": (f, (1, 21, 3)),
                "joint_2d": (f, (1, 21, 2)),
            }
            assert codes <= {0, 255, *meta["ycb_ids"]}
        for path in dexycb_root.glob("2*/*/pose.npz"):
            n = len(read_yaml(path.parent / "meta.yml")["ycb_ids"])
            with np.load(path) as poses:
                assert poses["pose_y"].shape == (FRAMES, n, 7)
                assert poses["pose_m"].shape == (FRAMES, 1, 51)

    def test_joints_follow_from_the_pose_and_pixels_from_the_joints(
        self, dexycb_root, hands, layer
    ):
        seen = set()
        for meta, K, folder, k in each_frame(dexycb_root):
            labels = np.load(folder / f"labels_{k:06d}.npz")
            if not labels["pose_m"].any():
                assert (labels["joint_3d"] == -1).all() and (labels["joint_2d"] == -1).all()
                assert not (labels["seg"] == 255).any()
                seen.add("nobody")
                continue
            _, joints = posed_hand(dexycb_root, hands, layer, meta, labels["pose_m"])
            np.testing.assert_allclose(joints, labels["joint_3d"][0], atol=1e-5)
            np.testing.assert_allclose(
                project(labels["joint_3d"][0].astype(float), K), labels["joint_2d"][0], atol=2e-3
            )
            seen.add(meta["mano_sides"][0])
        assert seen == {"nobody", "right", "left"}

    def test_segmentation_and_depth_agree_with_the_posed_meshes(self, dexycb_root, hands, layer):
        compared = 0
        for meta, K, folder, k in each_frame(dexycb_root):
            labels = np.load(folder / f"labels_{k:06d}.npz")
            if k != FRAMES - 1:
                continue
            vertices, _ = posed_hand(dexycb_root, hands, layer, meta, labels["pose_m"])
            meshes = [(vertices, getattr(hands, meta["mano_sides"][0]).faces)]
            for class_id, pose in zip(meta["ycb_ids"], labels["pose_y"], strict=True):
                mesh = YCB_OBJECTS[class_id].mesh
                meshes.append((mesh.vertices_m @ pose[:, :3].T + pose[:, 3], mesh.faces))
            x, y = np.meshgrid(np.arange(640), np.arange(480))
            rays = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3) @ np.linalg.inv(K).T
            hits = RayScene(meshes).cast(np.zeros(3), rays)
            codes = np.array([255, *meta["ycb_ids"], 0])
            expected, seg = codes[hits.mesh], labels["seg"].reshape(-1)
            # the arm is not in the labels, so what it hides is the only hand or object missing
            different = (expected != seg) & (seg != 0)
            assert different.sum() <= 40
            assert ((expected == 255) & (seg == 255)).sum() >= 0.9 * (seg == 255).sum()
            depth = cv2.imread(str(folder / f"aligned_depth_to_color_{k:06d}.png"), -1).reshape(-1)
            same = (seg > 0) & (expected == seg)
            assert np.median(np.abs(depth[same] / 1000 - hits.depth[same])) < 1e-3
            compared += int((seg == 255).any())
        assert compared >= 3

    def test_pictures_have_content(self, dexycb_root):
        for _, _, folder, k in each_frame(dexycb_root):
            image = cv2.imread(str(folder / f"color_{k:06d}.jpg"))
            assert 25 < image.mean() < 235 and image.std() > 12

    def test_shared_pose_file_is_the_masters_view(self, dexycb_root):
        path = next(iter(sorted(dexycb_root.glob("2*/*/meta.yml"))))
        meta = read_yaml(path)
        extrinsics = read_yaml(
            dexycb_root / f"calibration/extrinsics_{meta['extrinsics']}/extrinsics.yml"
        )
        serial = meta["serials"][0]
        to_world = np.reshape(extrinsics["extrinsics"][serial], (3, 4))
        labels = np.load(path.parent / serial / f"labels_{FRAMES - 1:06d}.npz")
        world = labels["pose_y"][:, :, 3] @ to_world[:, :3].T + to_world[:, 3]
        shared = np.load(path.parent / "pose.npz")["pose_y"][FRAMES - 1, :, 4:]
        np.testing.assert_allclose(world, shared, atol=1e-5)


class TestRoot:
    def test_mark(self, dexycb_root, hands):
        mark = json.loads((dexycb_root / "synthetic.json").read_text())
        assert mark == {
            "generator": "pipelines.synthesize",
            "version": VERSION,
            "layout": "dexycb",
            "hand": "standin",
            "hand_sha256": hands.sha256,
            "seed": 5,
            "sequences": 3,
            "cameras": CAMERAS,
            "frames": FRAMES,
            "depth": True,
        }

    def test_other_parameters_and_a_foreign_folder_are_refused(self, dexycb_root, tmp_path):
        with pytest.raises(FileExistsError, match="seed: there 5, asked 6"):
            synthesize(dexycb_config(dexycb_root, seed=6))
        (tmp_path / "precious.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="not a synthesized dataset"):
            synthesize(dexycb_config(tmp_path))
        assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]

    def test_interrupted_run_goes_on(self, dexycb_root, tmp_path):
        config = dexycb_config(Path(shutil.copytree(dexycb_root, tmp_path / "again")))
        done, half, _ = config.plan()
        kept = (config.out / done.folder / "meta.yml").stat().st_mtime_ns
        unfinished = config.out / ".partial" / half.folder
        unfinished.parent.mkdir(parents=True)
        (config.out / half.folder).rename(unfinished)
        (unfinished / "meta.yml").write_text("half")
        synthesize(config)
        assert (config.out / done.folder / "meta.yml").stat().st_mtime_ns == kept
        assert files_of(config.out) == files_of(dexycb_root)

    @pytest.mark.slow
    def test_without_depth(self, dexycb_root, tmp_path):
        config = dexycb_config(tmp_path / "flat", sequences=1, depth=False)
        synthesize(config)
        mine, theirs = files_of(config.out), files_of(dexycb_root)
        folder = config.plan()[0].folder
        assert {k for k in mine if k.startswith(folder)} == {
            k for k in theirs if k.startswith(folder) and "depth" not in k
        }
        assert all(mine[k] == theirs[k] for k in mine if k.startswith(folder))


class TestModels:
    def test_model_files_load_as_one_mesh_with_one_material(self, dexycb_root):
        for thing in YCB_OBJECTS.values():
            folder = dexycb_root / "models" / thing.name
            lines = (folder / "textured_simple.obj").read_text().splitlines()
            rows = [line.split()[1:] for line in lines if line.startswith("v ")]
            vertices = np.array(rows, float)
            np.testing.assert_allclose(vertices, thing.mesh.vertices_m, atol=1e-6)
            assert sum(line.startswith("usemtl") for line in lines) == 1
            faces = [line.split()[1:] for line in lines if line.startswith("f ")]
            assert all(len(set(corner.split("/"))) == 1 for face in faces for corner in face)
            assert np.loadtxt(folder / "points.xyz").shape == (2621, 3)
