"""The synthesizer's HO-3D: files, lists, OpenGL labels and the truth of the evaluation set."""

import json
import pickle
import pickletools
from pathlib import Path

import cv2
import numpy as np
import pytest

from deformer.hand.camera import project
from deformer.hand.conventions import OPENGL_TO_OPENCV, TIP_VERTICES
from pipelines.synthesize import SynthesisConfig, synthesize
from pipelines.synthetic.hand.kinematics import HandRig
from pipelines.synthetic.plans import ho3d_plan
from tests.pipelines.synthetic.roots import files_of


def ho3d_config(out: Path, version: str) -> SynthesisConfig:
    return SynthesisConfig(f"ho3d-{version}", out, sequences=2, frames=5, seed=5, workers=1)


@pytest.fixture(scope="module")
def ho3d_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "ho3d"
    synthesize(ho3d_config(root, "v3"))
    return root


class TestHo3d:
    def metas(self, root: Path, split: str):
        for path in sorted((root / split).glob("*/meta/*.pkl")):
            with path.open("rb") as file:
                yield path, pickle.load(file, encoding="latin1")

    def test_label_files_name_only_what_numpy_1_and_2_know(self, ho3d_root):
        named = set()
        for path in ho3d_root.glob("*/*/meta/*.pkl"):
            for opcode, argument, _ in pickletools.genops(path.read_bytes()):
                assert opcode.name != "STACK_GLOBAL"  # not in protocol 2, which the scripts read
                if opcode.name == "GLOBAL":
                    named.add(argument)
        assert named == {
            "numpy.core.multiarray _reconstruct",
            "numpy ndarray",
            "numpy dtype",
            "_codecs encode",
        }

    def test_files_and_lists(self, ho3d_root):
        (train, evaluation) = ho3d_plan(2)
        assert (train.split, evaluation.split) == ("train", "evaluation")
        names = set(files_of(ho3d_root))
        for plan in (train, evaluation):
            for k in range(5):
                assert {
                    f"{plan.folder}/rgb/{k:04d}.jpg",
                    f"{plan.folder}/meta/{k:04d}.pkl",
                    f"{plan.folder}/depth/{k:04d}.png",
                } <= names
                assert (f"{plan.folder}/seg/{k:04d}.png" in names) == (plan.split == "train")
        lines = (ho3d_root / "evaluation.txt").read_text().split()
        assert lines == [f"{evaluation.name}/{k:04d}" for k in range(5)]
        assert not [n for n in names if n.startswith(".")]

    def test_only_frames_with_labels_are_listed(self, ho3d_root):
        listed = set((ho3d_root / "train.txt").read_text().split())
        labelled = {
            f"{p.parts[-3]}/{p.stem}"
            for p, meta in self.metas(ho3d_root, "train")
            if meta["handJoints3D"] is not None
        }
        everything = {f"{p.parts[-3]}/{p.stem}" for p, _ in self.metas(ho3d_root, "train")}
        assert listed == labelled and listed < everything

    def test_train_labels_round_trip_to_opencv(self, ho3d_root, hands, layer):
        for _, meta in self.metas(ho3d_root, "train"):
            if meta["handPose"] is None:
                assert all(value is None for value in meta.values())
                continue
            assert meta["handPose"].shape == (48,) and meta["handBeta"].shape == (10,)
            assert meta["objRot"].shape == (3, 1) and meta["objCorners3D"].shape == (8, 3)
            assert meta["handVertContact"].shape == (778,)
            assert (meta["handJoints3D"][:, 2] < 0).all()  # OpenGL: before the camera is −z
            rig = HandRig(hands, layer, "right", meta["handBeta"])
            pose = meta["handPose"][None]
            vertices, joints = rig.pose(pose[:, 3:], pose[:, :3])
            vertices = vertices[0] + meta["handTrans"] + rig.wrist_m
            np.testing.assert_allclose(
                joints[0, 0] + meta["handTrans"] + rig.wrist_m, meta["handJoints3D"][0], atol=1e-5
            )
            np.testing.assert_allclose(
                vertices[list(TIP_VERTICES["ho3d", "right"])], meta["handJoints3D"][16:], atol=1e-5
            )
            corners = meta["objCorners3DRest"] @ cv2.Rodrigues(meta["objRot"])[0].T
            np.testing.assert_allclose(corners + meta["objTrans"], meta["objCorners3D"], atol=1e-5)
            joints_cam = meta["handJoints3D"] * OPENGL_TO_OPENCV
            assert np.isfinite(project(joints_cam, meta["camMat"])).all()

    def test_masks_lie_where_the_hand_projects(self, ho3d_root):
        compared = 0
        for path, meta in self.metas(ho3d_root, "train"):
            if meta["handPose"] is None:
                continue
            mask = cv2.imread(str(path.parents[1] / "seg" / f"{path.stem}.png"))
            assert mask.shape == (120, 160, 3)
            colours = set(map(tuple, mask.reshape(-1, 3).tolist()))
            assert colours <= {(0, 0, 0), (255, 0, 0), (0, 255, 0)}
            joints_px = project(meta["handJoints3D"] * OPENGL_TO_OPENCV, meta["camMat"]) / 4
            rows, columns = np.nonzero(mask[..., 0])
            low, high = joints_px.min(0) - 8, joints_px.max(0) + 8
            assert (
                len(rows) and low[0] < columns.mean() < high[0] and low[1] < rows.mean() < high[1]
            )
            compared += 1
        assert compared

    def test_evaluation_holds_back_all_but_the_wrist(self, ho3d_root):
        lines = (ho3d_root / "evaluation.txt").read_text().split()
        xyz = np.array(json.loads((ho3d_root / "evaluation_xyz.json").read_text()))
        verts = np.array(json.loads((ho3d_root / "evaluation_verts.json").read_text()))
        assert xyz.shape == (len(lines), 21, 3) and verts.shape == (len(lines), 778, 3)
        for k, (path, meta) in enumerate(self.metas(ho3d_root, "evaluation")):
            assert lines[k] == f"{path.parts[-3]}/{path.stem}"
            assert not {"handPose", "handTrans", "handBeta"} & set(meta)
            np.testing.assert_allclose(meta["handJoints3D"], xyz[k, 0], atol=1e-6)
            box = meta["handBoundingBox"]
            image = project(verts[k] * OPENGL_TO_OPENCV, meta["camMat"])
            inside = np.clip(image, 0, [639, 479])
            np.testing.assert_allclose(box, [*inside.min(0), *inside.max(0)], atol=1)

    def test_depth_decodes_to_metres(self, ho3d_root):
        for path, meta in self.metas(ho3d_root, "evaluation"):
            image = cv2.imread(str(path.parents[1] / "depth" / f"{path.stem}.png")).astype(int)
            metres = (image[..., 2] + image[..., 1] * 256) * 0.00012498664727900177
            assert 0.2 < metres.min() < -meta["objTrans"][2] + 0.2 and metres.max() < 8

    def test_rerun_changes_nothing(self, ho3d_root):
        before = files_of(ho3d_root)
        synthesize(ho3d_config(ho3d_root, "v3"))
        assert files_of(ho3d_root) == before

    @pytest.mark.slow
    def test_v2_has_png_and_no_masks(self, tmp_path):
        synthesize(ho3d_config(tmp_path / "v2", "v2"))
        names = set(files_of(tmp_path / "v2"))
        assert f"{ho3d_plan(1)[0].folder}/rgb/0000.png" in names
        assert not [n for n in names if "/seg/" in n or n.endswith(".jpg")]
