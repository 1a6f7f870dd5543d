"""Recorded motion: the stand-in does what recorded hands did, among the same objects."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deformer.hand import SIDES
from deformer.rotations import rotvec_to_rotmat
from pipelines.synthesize import SynthesisConfig, synthesize
from pipelines.synthetic.kinematics import HandRig
from pipelines.synthetic.motion import smooth_noise
from pipelines.synthetic.plan import dexycb_plan
from pipelines.synthetic.recording import Recordings
from pipelines.synthetic.retarget import Skeleton, fit_betas, fit_pose
from tests.pipelines.synth_motions import (
    FRAMES,
    HIDDEN,
    hand_poses,
    mirrored,
    sequences_of,
    write_motions,
)

BETAS = np.array([0.8, -1.0, 0.5, 0, 0, 0, 0, 0, 0, 0], np.float32)
RECORDED = Path(__file__).parents[3] / "shared" / "data" / "dexycb_motions.npz"


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
        turn = Rotation.from_rotvec(smooth_noise(rng, 30, 3, 15))
        wrist = 0.3 * smooth_noise(rng, 30, 3, 15)
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

    def test_residual_is_the_distance_of_the_posed_joints(self, hands, layer):
        rng = np.random.default_rng(1)
        joints = rng.normal(0, 0.05, (4, 21, 3))
        fit = fit_pose(hands.right, "right", BETAS, joints)
        rig = HandRig(hands, layer, "right", BETAS)
        _, posed = rig.pose(fit.finger_rotvec, fit.global_rotvec)
        distance = np.linalg.norm(posed + fit.wrist_m[:, None] - joints, axis=-1)
        np.testing.assert_allclose(distance, fit.residual_m, atol=1e-5)

    @pytest.mark.parametrize("side", SIDES)
    def test_skeleton_is_the_hand_layer(self, hands, layer, side):
        import torch

        rotmats = rotvec_to_rotmat(0.4 * torch.randn(5, 16, 3, generator=torch.manual_seed(0)))
        betas = torch.from_numpy(BETAS).expand(5, 10)
        _, joints = layer(rotmats, betas, torch.full((5,), side == "left"))
        mine = Skeleton(getattr(hands, side), side, BETAS)(rotmats)
        torch.testing.assert_close(mine, joints - joints[:, :1], atol=1e-5, rtol=0)


class TestFile:
    def test_motion_comes_back_on_the_table(self, motions, hands, layer):
        path, truth = motions
        recordings = Recordings(path)
        for folder, made in truth.items():
            recorded = recordings.retarget(folder, FRAMES, hands)
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

    def test_the_last_frames_are_taken(self, motions, hands, plans):
        recordings = Recordings(motions[0])
        whole, part = (recordings.retarget(plans[0].folder, n, hands).motion for n in (FRAMES, 3))
        assert part.num_frames == 3 and part.valid.all()
        np.testing.assert_allclose(part.object_m, whole.object_m[-3:], atol=1e-6)

    def test_what_is_wrong_with_it_is_named(self, motions, tmp_path):
        with pytest.raises(FileNotFoundError, match="no such file"):
            Recordings(tmp_path / "none.npz")
        with np.load(motions[0]) as file:
            arrays = dict(file)
        for key, value, message in (
            ("joints", None, "lacks joints"),
            ("joints", arrays["joints"][:, :16], r"joints has shape .*, not \(64, 21, 3\)"),
            ("sequence_length", arrays["sequence_length"] * 2, "beyond the file's 64 frames"),
            ("object_trans", arrays["object_trans"] * np.nan, "not finite"),
        ):
            changed = {k: v for k, v in (arrays | {key: value}).items() if v is not None}
            np.savez(tmp_path / "bad.npz", **changed)
            with pytest.raises(ValueError, match=message):
                Recordings(tmp_path / "bad.npz")
        with pytest.raises(ValueError, match="holds no sequence nobody/never"):
            Recordings(motions[0]).number("nobody/never")


def config(out: Path, motions: Path, **changes) -> SynthesisConfig:
    options = {"sequences": 2, "cameras": 1, "frames": 2, "workers": 1, "depth": False}
    return SynthesisConfig("dexycb", out, motions=motions, **(options | changes))


def files_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory, motions) -> Path:
    root = tmp_path_factory.mktemp("recorded") / "root"
    synthesize(config(root, motions[0]))
    return root


class TestRoot:
    def test_mark_names_the_file_and_the_residual(self, root, motions):
        mark = json.loads((root / "synthetic.json").read_text())
        assert mark["motions_sha256"] == Recordings(motions[0]).sha256
        residual = mark["retargeting_residual_mm"]
        assert set(residual) == {"mean", "p90", "right", "left"}
        assert 0 < residual["mean"] < 2

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

    @pytest.mark.slow
    def test_number_of_workers_changes_no_byte(self, root, motions, tmp_path):
        synthesize(config(tmp_path / "two", motions[0], workers=2))
        assert files_of(tmp_path / "two") == files_of(root)

    def test_rerun_changes_nothing_and_other_motion_is_refused(self, root, motions, tmp_path):
        before = files_of(root)
        synthesize(config(root, motions[0]))
        assert files_of(root) == before
        with pytest.raises(FileExistsError, match="motions_sha256"):
            synthesize(config(root, None))

    def test_only_dexycb_has_recordings(self, motions, tmp_path):
        with pytest.raises(ValueError, match="--motions .*for --layout dexycb only"):
            SynthesisConfig("ho3d-v3", tmp_path, motions=motions[0])


@pytest.mark.slow
def test_the_recorded_hands_are_met_within_8_mm(hands):
    if not RECORDED.is_file():
        pytest.skip(f"the recorded motions, which the project may not carry, are not at {RECORDED}")
    recordings = Recordings(RECORDED)
    residual_mm = {side: [] for side in SIDES}
    for plan in dexycb_plan(20):
        recorded = recordings.retarget(plan.folder, 72, hands)
        residual_mm[recorded.side].append(recorded.residual_m.mean() * 1000)
        assert recorded.motion.object_m[:, 2].min() > 0  # on or over the table
    print({side: np.round(values, 1).tolist() for side, values in residual_mm.items()})
    assert all(np.mean(values) < 8 for values in residual_mm.values())
