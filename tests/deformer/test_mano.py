"""The conventions of the hand model, and the reading of MANO's files."""

import pickle

import numpy as np
import pytest
import torch

from deformer.hand import SIDES, TIP_VERTICES
from deformer.mano import HandLayer, load_hands
from deformer.rotations import rotvec_to_rotmat
from deformer.safe_pickle import UnsafePickleError, load_pickle

KEYS = ("v_template", "shapedirs", "posedirs", "weights", "hands_components", "hands_mean")


def random_pose(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rotvec = 0.5 * torch.randn(n, 16, 3, generator=generator)
    return rotvec_to_rotmat(rotvec), torch.randn(n, 10, generator=generator)


def test_shapes_and_sides_in_one_batch(layer):
    rotmats, betas = random_pose(4)
    is_left = torch.tensor([False, True, False, True])
    vertices, joints = layer(rotmats, betas, is_left)
    assert vertices.shape == (4, 778, 3)
    assert joints.shape == (4, 21, 3)
    for i in range(4):
        alone, _ = layer(rotmats[i : i + 1], betas[i : i + 1], is_left[i : i + 1])
        assert torch.allclose(alone[0], vertices[i], atol=1e-6)


def test_left_is_mirrored_right(layer):
    rotmats, betas = random_pose(3)
    mirror = torch.diag(torch.tensor([-1.0, 1, 1]))
    right, _ = layer(rotmats, betas, torch.zeros(3, dtype=torch.bool))
    left, _ = layer(mirror @ rotmats @ mirror, betas, torch.ones(3, dtype=torch.bool))
    assert torch.allclose(right @ mirror, left, atol=1e-6)


def test_global_rotation_turns_about_the_wrist(layer, hands):
    rotmats, betas = random_pose(2)
    still = rotmats.clone()
    still[:, 0] = torch.eye(3)
    is_left = torch.zeros(2, dtype=torch.bool)
    turned, _ = layer(rotmats, betas, is_left)
    rest, _ = layer(still, betas, is_left)
    wrist = torch.from_numpy(hands.right.wrist_m(betas.numpy()))[:, None]
    expected = (rest - wrist) @ rotmats[:, 0].mT + wrist
    assert torch.allclose(turned, expected, atol=1e-6)


def test_wrist_joint_is_j0_of_beta_whatever_the_pose(layer, hands):
    rotmats, betas = random_pose(4)
    _, joints = layer(rotmats, betas, torch.tensor([False, True, False, True]))
    for i, side in enumerate(("right", "left", "right", "left")):
        wrist = getattr(hands, side).wrist_m(betas[i].numpy())
        assert np.allclose(joints[i, 0], wrist, atol=1e-6)


@pytest.mark.parametrize("tips", ["dexycb", "ho3d"])
@pytest.mark.parametrize("side", SIDES)
def test_tips_are_the_datasets_vertices(layer, tips, side):
    rotmats, betas = random_pose(1)
    vertices, joints = layer(rotmats, betas, torch.tensor([side == "left"]), tips=tips)
    expected = vertices[0, list(TIP_VERTICES[tips, side])]
    assert torch.equal(joints[0, [4, 8, 12, 16, 20]], expected)


def test_pca_expands_with_the_mean(hands):
    zero = hands.right.pca_to_rotvec(np.zeros((2, 45)))
    assert np.allclose(zero, hands.right.hands_mean)
    one = hands.right.pca_to_rotvec(np.eye(45)[3])
    assert np.allclose(one - hands.right.hands_mean, hands.right.hands_components[3], atol=1e-6)


def test_gradient_is_finite_at_the_rest_pose(layer):
    rotvec = torch.zeros(1, 16, 3, requires_grad=True)
    vertices, _ = layer(rotvec_to_rotmat(rotvec), torch.zeros(1, 10), torch.tensor([False]))
    vertices.square().sum().backward()
    assert torch.isfinite(rotvec.grad).all()
    assert rotvec.grad.abs().max() > 0


def test_no_array_of_the_hand_model_enters_a_checkpoint(layer):
    assert not layer.state_dict()
    assert not list(layer.parameters())


# ------------------------------------------------------------------------------- MANO's own files


def test_published_pickles_load_without_chumpy(mano_folder, hands):
    loaded = load_hands(mano_folder)
    assert loaded.name == "mano"
    assert loaded.sha256 == hands.sha256  # the hash is of the numbers, not of the file
    assert np.array_equal(loaded.left.shapedirs, hands.left.shapedirs)
    HandLayer(loaded)


def test_folder_from_the_environment_and_models_subfolder(mano_folder, monkeypatch):
    (mano_folder / "models").mkdir()
    for path in mano_folder.glob("*.pkl"):
        path.rename(mano_folder / "models" / path.name)
    monkeypatch.setenv("MANO_DIR", str(mano_folder))
    assert load_hands().name == "mano"


def test_missing_files_say_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.delenv("MANO_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match=r"mano\.is\.tue\.mpg\.de.*--hand none"):
        load_hands()
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load_hands(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.pop("weights"), "'weights' is missing"),
        (lambda raw: raw.update(v_template=np.zeros((10, 3))), r"v_template has shape \(10, 3\)"),
        (lambda raw: raw["v_template"].fill(np.nan), "not finite"),
        (lambda raw: raw.update(kintree_table=np.zeros((2, 16), int)), "kintree_table"),
        (lambda raw: raw.update(kintree_table=np.zeros(16, int)), "kintree_table"),
        (lambda raw: raw["f"].fill(778), "f names a vertex outside 0 to 777"),
        (lambda raw: raw.update(weights=np.array(["a"])), "weights holds <U1, not numbers"),
        (lambda raw: raw.update(weights=[[1], [1, 2]]), "weights is no array"),
        (lambda raw: raw.update(weights={"x": 1}), "weights holds object, not numbers"),
    ],
)
def test_files_that_are_not_mano_are_named(mano_folder, change, message):
    path = mano_folder / "MANO_RIGHT.pkl"
    raw = dict(load_pickle(path))
    raw["shapedirs"] = np.asarray(raw["shapedirs"])
    change(raw)
    path.write_bytes(pickle.dumps(raw))
    with pytest.raises(ValueError, match=message):
        load_hands(mano_folder)


class _Evil:
    def __reduce__(self):
        return print, ("this must not run",)


def test_a_pickle_that_runs_code_is_refused_and_named(tmp_path, capsys):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps({"v_template": _Evil()}))
    with pytest.raises(UnsafePickleError, match=r"MANO_RIGHT\.pkl is refused: .*print"):
        load_pickle(path)
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"", b"not a pickle", pickle.dumps(np.zeros(1000))[:-100]])
def test_broken_pickles_are_no_crash(tmp_path, data):
    path = tmp_path / "broken.pkl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="not a whole pickle"):
        load_pickle(path)
