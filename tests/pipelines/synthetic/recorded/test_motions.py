"""Recorded motion: the stand-in does what recorded hands did, among the same objects."""

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.spatial.transform import Rotation

from deformer.hand.conventions import DATASET_TO_MANO, SIDES
from deformer.hand.rotations import rotvec_to_rotmat
from pipelines.synthesize import SynthesisConfig, synthesize
from pipelines.synthetic.hand.kinematics import HandRig
from pipelines.synthetic.hand.motion import smooth_noise
from pipelines.synthetic.plans import dexycb_plan
from pipelines.synthetic.recorded.inverse_kinematics import JointModel, fit_betas, fit_pose
from pipelines.synthetic.recorded.recording import Recordings, at_rest_first, sunk_m
from pipelines.synthetic.recorded.retargeting import retarget_all
from tests.pipelines.synthetic.recorded.synth_motions import (
    CAMERA_ROTATION,
    FRAMES,
    HIDDEN,
    hand_poses,
    mirrored,
    sequences_of,
    write_motions,
)
from tests.pipelines.synthetic.roots import files_of
from tests.shared_data import SHARED

BETAS = np.array([0.8, -1.0, 0.5, 0, 0, 0, 0, 0, 0, 0], np.float32)
RECORDED = SHARED / "data" / "dexycb_motions.npz"


@pytest.fixture(scope="module")
def plans():
    return dexycb_plan(2)


@pytest.fixture(scope="module")
def motions(tmp_path_factory, plans, hands, layer):
    """A motions file of two subjects, and what it was made from."""
    path = tmp_path_factory.mktemp("motions") / "motions.npz"
    everything = sequences_of([plan.subject for plan in plans])
    return path, write_motions(path, everything, hands, layer, BETAS)


class TestFit:
    @pytest.mark.parametrize("side", SIDES)
    def test_known_motion_of_the_stand_in_comes_back(self, hands, layer, side):
        rng, arrays = np.random.default_rng(3), getattr(hands, side)
        fingers = hand_poses(rng, 30)
        fingers = fingers if side == "right" else mirrored(fingers)
        turn = Rotation.from_rotvec(smooth_noise(rng, np.arange(30), 3, 15))
        wrist = 0.3 * smooth_noise(rng, np.arange(30), 3, 15)
        _, joints = HandRig(hands, layer, side, BETAS).pose(fingers, turn.as_rotvec())
        joints = joints + wrist[:, None]
        fit = fit_pose(arrays, side, BETAS, joints)
        assert fit.residual_m.mean() < 0.001 and fit.residual_m.max() < 0.006
        missed = (Rotation.from_rotvec(fit.global_rotvec).inv() * turn).magnitude()
        assert np.rad2deg(missed).max() < 5
        # and where the shape has to be found too
        betas = fit_betas(arrays, side, joints)
        assert np.abs(betas - BETAS)[:2].max() < 0.6
        assert fit_pose(arrays, side, betas, joints).residual_m.mean() < 0.002

    @pytest.mark.parametrize("side", SIDES)
    def test_skeleton_is_the_hand_layer(self, hands, layer, side):
        import torch

        rotmats = rotvec_to_rotmat(0.4 * torch.randn(5, 16, 3, generator=torch.manual_seed(0)))
        betas = torch.from_numpy(BETAS).expand(5, 10)
        _, joints = layer(rotmats, betas, torch.full((5,), side == "left"))
        mine = JointModel(getattr(hands, side), side, BETAS)(rotmats)
        torch.testing.assert_close(mine, joints - joints[:, :1], atol=1e-5, rtol=0)


def changed(path: Path, motions: Path, **changes) -> Path:
    """A copy of a motions file with other arrays; without those that are None."""
    with np.load(motions) as file:
        arrays = dict(file) | changes
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return path


def any_way_up(rotvec: np.ndarray) -> np.ndarray:
    return Rotation.random(len(rotvec), random_state=5).as_rotvec()


class TestFile:
    def test_motion_comes_back_on_the_table(self, motions, plans, hands):
        path, truth = motions
        recordings = Recordings(path, hands)
        for plan in sequences_of([plan.subject for plan in plans]):
            made, recorded = truth[plan.folder], recordings.retarget(plan, FRAMES)
            motion = recorded.motion
            assert motion.valid.tolist() == [k >= HIDDEN for k in range(FRAMES)]
            assert recorded.residual_m.shape == (FRAMES - HIDDEN, 21)
            assert recorded.residual_m.mean() < 0.002
            shift = made["object_m"][0] - motion.object_m[0]  # the table's middle is the file's own
            assert abs(shift[2]) < 1e-3
            np.testing.assert_allclose(motion.object_rotation, made["object_rotation"], atol=2e-2)
            np.testing.assert_allclose(motion.object_m + shift, made["object_m"], atol=6e-3)
            wrist = made["joints"][HIDDEN:, 0]
            np.testing.assert_allclose(motion.wrist_m[HIDDEN:] + shift, wrist, atol=6e-3)

    def test_a_gap_parts_the_hand_in_two(self, motions, hands, plans, tmp_path):
        with np.load(motions[0]) as file:
            valid = file["valid"].copy()
        valid[HIDDEN + 2 :: FRAMES] = False
        path = changed(tmp_path / "gap.npz", motions[0], valid=valid)
        motion = Recordings(path, hands).retarget(plans[0], FRAMES).motion
        assert motion.valid.sum() == FRAMES - HIDDEN - 1
        np.testing.assert_array_equal(motion.wrist_m[HIDDEN + 1], motion.wrist_m[HIDDEN + 2])

    @pytest.mark.parametrize(
        ("key", "change", "message"),
        [
            ("joints", lambda a: None, "lacks joints"),
            ("joints", lambda a: a[:, :16], r"joints has shape .*, not \(96, 21, 3\)"),
            ("joints", lambda a: a * 1000, "give metres"),
            ("object_trans", lambda a: a * 1000, "give metres"),
            ("object_trans", lambda a: a * np.nan, "not finite"),
            ("valid", lambda a: a.astype(int), "valid holds int64, not bools"),
            ("valid", lambda a: a & False, "holds no frame with a hand"),
            ("sequence_length", lambda a: a * 2, "beyond the file's 96 frames"),
            ("sequence_start", lambda a: a.astype(float), "sequence_start holds float64, not int"),
            ("sequence_side", np.char.title, "sequence_side has 'Left', .* right"),
            ("sequence_object", lambda a: np.char.add(a, "s"), "which is none of 002_master"),
            ("sequence_name", lambda a: a.astype("S"), "sequence_name holds .S15, not strings"),
            ("sequence_name", lambda a: a[[0] * len(a)], "6 times; keep one"),
            ("sequence_name", lambda a: a.astype(object), "no npz of plain arrays"),
            ("object_rotvec_is", lambda a: np.array("euler"), "euler: it has to be axis-angle"),
            ("object_rotvec", any_way_up, "only .*%.* in the frame of an upright"),
        ],
    )
    def test_what_is_wrong_with_it_is_named(self, motions, hands, tmp_path, key, change, message):
        with np.load(motions[0]) as file:
            value = change(file.get(key))
        with pytest.raises(ValueError, match=message):
            Recordings(changed(tmp_path / "bad.npz", motions[0], **{key: value}), hands)

    def test_what_is_no_npz_is_named(self, motions, hands, tmp_path):
        path = tmp_path / "bad.npz"
        with pytest.raises(FileNotFoundError, match="no such file"):
            Recordings(path, hands)
        content = motions[0].read_bytes()
        single = tmp_path / "single.npy"
        np.save(single, np.zeros(3))
        for wrong in (content[: len(content) // 2], b"joints", b"", single.read_bytes()):
            path.write_bytes(wrong)
            with pytest.raises(ValueError, match="no npz of plain arrays, or a part of one"):
                Recordings(path, hands)
        with np.load(motions[0]) as file:
            few = {key: file[key][:2] for key in file if key.startswith("sequence_")}
        with pytest.raises(ValueError, match="2 sequences of .* do not say where the table is"):
            Recordings(changed(path, motions[0], **few), hands)

    def test_a_plan_of_something_else_is_refused(self, motions, hands, plans):
        recordings = Recordings(motions[0], hands)
        with pytest.raises(ValueError, match="holds no sequence .*/never"):
            recordings.recording(replace(plans[0], name="never"))
        with pytest.raises(ValueError, match="in DexYCB a .* hand with 025_mug; correct the file"):
            recordings.recording(replace(plans[0], object_name="025_mug"))


class TestCourse:
    def test_an_object_is_released_without_a_jump(self):
        rng, frames = np.random.default_rng(0), np.arange(30)
        tremor = rng.uniform(-0.001, 0.001, (30, 3))
        position = tremor + np.maximum(frames - 10, 0)[:, None] * [0, 0, 0.002]
        turn = Rotation.from_rotvec(np.maximum(frames - 10, 0)[:, None] * [0, 0.01, 0])
        rotation, quiet = at_rest_first(turn.as_matrix(), position)
        assert (quiet[:11] == position[0]).all() and (rotation[:11] == turn[0].as_matrix()).all()
        np.testing.assert_array_equal(quiet[22:], position[22:])
        steps = np.linalg.norm(np.diff(quiet, axis=0), axis=1)
        assert steps.max() < 0.006
        assert steps[np.flatnonzero(steps)[0]] < 0.004
        turns = Rotation.from_matrix(rotation[:-1].transpose(0, 2, 1) @ rotation[1:]).magnitude()
        assert turns.max() < 0.025

    def test_a_hand_in_the_table_is_raised_onto_it(self, motions, hands, layer, plans, tmp_path):
        with np.load(motions[0]) as file:
            down = np.array([0, 0, -0.2]) @ CAMERA_ROTATION.T
            joints = (file["joints"] + down).astype(np.float32)
        path = changed(tmp_path / "low.npz", motions[0], joints=joints)
        recordings = Recordings(path, hands)
        motion = recordings.retarget(plans[0], FRAMES).motion
        plan = plans[0]
        rig = HandRig(hands, layer, plan.side, recordings.betas[plan.subject, plan.side])
        vertices, _ = rig.pose(motion.finger_rotvec, motion.global_rotvec)
        assert sunk_m(vertices + motion.wrist_m[:, None])[HIDDEN:].max() < 1e-5


def config(out: Path, motions: Path, **changes) -> SynthesisConfig:
    options = {"sequences": 2, "cameras": 1, "frames": 2, "workers": 1, "depth": False}
    return SynthesisConfig("dexycb", out, motions=motions, **(options | changes))


@pytest.fixture(scope="module")
def root(tmp_path_factory, motions) -> Path:
    root = tmp_path_factory.mktemp("recorded") / "root"
    synthesize(config(root, motions[0]))
    return root


class TestRoot:
    def test_mark_names_the_file(self, root, motions, hands):
        mark = json.loads((root / "synthetic.json").read_text())
        assert mark["motions_sha256"] == Recordings(motions[0], hands).sha256

    def test_labels_are_the_recorded_course(self, root, motions, plans):
        for plan in plans:
            pose = np.load(root / plan.folder / "pose.npz")
            made = motions[1][plan.folder]
            grasped = np.load(next((root / plan.folder).glob("*/labels_000001.npz")))
            assert (grasped["seg"] == 255).any()
            # the way between two frames is the same in every frame of reference
            steps = np.diff(pose["pose_y"][..., 4:], axis=0)[0]
            way = np.linalg.norm(np.diff(made["object_m"][-2:], axis=0))
            assert np.isclose(np.linalg.norm(steps, axis=1).max(), way, atol=1e-3)

    def test_rerun_changes_nothing_and_other_motion_is_refused(self, root, motions, tmp_path):
        before = files_of(root)
        synthesize(config(root, motions[0]))
        assert files_of(root) == before
        with pytest.raises(FileExistsError, match="motions_sha256"):
            synthesize(config(root, None))

    def test_interrupted_run_goes_on_and_says_how_near_it_comes(self, root, motions, tmp_path):
        again = Path(shutil.copytree(root, tmp_path / "again"))
        shutil.rmtree(next(again.glob("*-subject-*")))
        said = io.StringIO()
        synthesize(config(again, motions[0]), Console(file=said, width=200))
        (mean,) = re.findall(r"joints from the recorded, mm: mean ([0-9.]+), p90", said.getvalue())
        assert 0 < float(mean) < 2
        assert files_of(again) == files_of(root)

    def test_joints_in_another_order_are_warned_of(self, motions, plans, tmp_path):
        with np.load(motions[0]) as file:
            joints = file["joints"][:, DATASET_TO_MANO]
        path, said = changed(tmp_path / "mano.npz", motions[0], joints=joints), io.StringIO()
        retarget_all(path, 2, 1, plans, Console(file=said, width=200))
        assert "warning: the stand-in's joints are more than 8 mm" in said.getvalue()

    def test_only_dexycb_has_recordings(self, motions, tmp_path):
        with pytest.raises(ValueError, match="--motions .*for --layout dexycb only"):
            SynthesisConfig("ho3d-v3", tmp_path, motions=motions[0])


@pytest.mark.slow
def test_the_recorded_hands_are_met_within_8_mm(hands):
    if not RECORDED.is_file():
        pytest.skip(f"the recorded motions, which the project may not carry, are not at {RECORDED}")
    recordings = Recordings(RECORDED, hands)
    residual_mm = {side: [] for side in SIDES}
    for plan in dexycb_plan(20):
        recorded = recordings.retarget(plan, 72)
        residual_mm[plan.side].append(recorded.residual_m.mean() * 1000)
        assert recorded.motion.object_m[:, 2].min() > 0  # on or over the table
    print({side: np.round(values, 1).tolist() for side, values in residual_mm.items()})
    assert all(np.mean(values) < 8 for values in residual_mm.values())
