"""The conventions of the hand model, and the reading of MANO's files."""

import bz2
import gzip
import pickle
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from smplx import MANOLayer
from smplx.utils import Struct

from deformer.files.foreign import UnreadableFileError
from deformer.files.safe_pickle import load_pickle
from deformer.hand.conventions import MANO_PARENTS, MANO_TO_DATASET, SIDES, TIP_VERTICES
from deformer.hand.mano import HandLayer, Hands, find_mano, load_hands, load_hands_of
from deformer.hand.rotations import rotvec_to_rotmat


def random_pose(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rotvec = 0.5 * torch.randn(n, 16, 3, generator=generator)
    return rotvec_to_rotmat(rotvec), torch.randn(n, 10, generator=generator)


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


def test_published_pickles_load_without_chumpy(mano_folder, hands):
    loaded = load_hands(mano_folder)
    assert loaded.name == "mano"
    assert loaded.sha256 == hands.sha256  # the hash is of the numbers, not of the file
    assert np.array_equal(loaded.left.shapedirs, hands.left.shapedirs)
    HandLayer(loaded)


FOLDERS = ["models", "mano_v1_2", "mano_v1_2/models", "MANO", "mano", "models/mano",
           "body_models/mano", "smplx/models/mano"]  # fmt: skip


@pytest.mark.parametrize("place", FOLDERS)
def test_files_are_found_where_downloads_and_smplx_put_them(mano_folder, tmp_path, place):
    inner = tmp_path / "data" / place
    inner.mkdir(parents=True)
    for path in mano_folder.glob("*.pkl"):
        path.rename(inner / path.name)
    assert find_mano(tmp_path / "data") == inner
    assert find_mano(inner) == find_mano(inner / "MANO_LEFT.pkl") == inner
    (tmp_path / "data" / "link").symlink_to(inner)  # the same place by another name
    assert find_mano(tmp_path / "data") == inner


def test_of_several_places_one_is_to_be_named(mano_folder, tmp_path):
    for place in ("mano_v1_1/models", "mano_v1_2/models"):
        shutil.copytree(mano_folder, tmp_path / "data" / place, ignore=lambda *_: ["data"])
    with pytest.raises(FileNotFoundError, match=r"mano_v1_1/models and in .*v1_2/models: name the"):
        find_mano(tmp_path / "data")
    for path in mano_folder.glob("*.pkl"):
        shutil.copy(path, tmp_path / "data")
    assert find_mano(tmp_path / "data") == tmp_path / "data"  # what is named comes first


def test_what_is_there_of_mano_is_named(mano_folder, tmp_path):
    def why(place: Path) -> str:
        with pytest.raises(FileNotFoundError) as caught:
            find_mano(place)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    (mano_folder / "MANO_LEFT.pkl").unlink()
    assert f"holds only {mano_folder / 'MANO_RIGHT.pkl'}" in why(mano_folder)
    assert f"holds only {mano_folder / 'MANO_RIGHT.pkl'}" in why(mano_folder / "MANO_RIGHT.pkl")
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "mano_v1_2.zip").write_bytes(b"PK")
    assert "packed holds only mano_v1_2.zip. Download" in why(packed)
    assert "mano_v1_2.zip is a file, not a folder" in why(packed / "mano_v1_2.zip")


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
        (lambda raw: raw["v_template"].fill(1e300), "not finite"),
        (lambda raw: raw.update(kintree_table=np.zeros((2, 16), int)), "kintree_table"),
        (lambda raw: raw["f"].fill(778), "f names a vertex outside 0 to 777"),
        (lambda raw: raw.update(weights=np.array(["a"])), "weights holds <U1, not numbers"),
        (lambda raw: raw.update(weights=[[1], [1, 2]]), "weights is no array"),
        (lambda raw: raw.update(shapedirs=np.zeros((10475, 3, 20))), r"shapedirs has .*\(10475"),
        (lambda raw: raw.update(v_template=-raw["v_template"]), r"is no right hand: .* along \+x"),
        (lambda raw: raw.update(weights=np.array([None])), r"MANO_RIGHT.pkl is refused: .*'O8'"),
        (lambda raw: raw.update(J_regressor=scipy.sparse.lil_matrix((16, 778))), "lil_matrix"),
    ],
)
def test_files_that_are_not_mano_are_named(mano_folder, change, message):
    path = mano_folder / "MANO_RIGHT.pkl"
    raw = dict(load_pickle(path))
    raw["shapedirs"] = np.asarray(raw["shapedirs"])
    change(raw)
    path.write_bytes(pickle.dumps(raw))
    with pytest.raises(UnreadableFileError, match=message) as caught:
        load_hands(mano_folder)
    _is_told_in_a_line(caught.value, path)


def _is_told_in_a_line(error: Exception, path: Path) -> None:
    assert str(error).count(str(path)) == 1
    assert "\n" not in str(error) and len(str(error)) < 600 + len(str(path))
    assert "weights_only" not in str(error)


def test_sides_that_changed_places_are_refused(mano_folder):
    left, right, aside = (mano_folder / f"{n}.pkl" for n in ("MANO_LEFT", "MANO_RIGHT", "aside"))
    left.rename(aside)
    shutil.copy(right, left)
    with pytest.raises(UnreadableFileError, match=r"MANO_LEFT.pkl is no left hand: .*-x"):
        load_hands(mano_folder)
    aside.rename(right)
    with pytest.raises(UnreadableFileError, match=r"MANO_RIGHT.pkl is no right hand: .*\+x"):
        load_hands(mano_folder)


DAMAGE = {
    "lfs pointer": (
        lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
        "git lfs",
    ),
    "web page": (lambda _: b"\n<!DOCTYPE html><html><body>Please log in", "web page.*logged in"),
    "empty": (lambda _: b"", "is empty"),
    "zeros": (lambda data: bytes(len(data)), "nothing but zeros"),
    "cut": (lambda data: data[:100_000], "damaged or cut off.*copy it again"),
    "windows": (lambda data: data.replace(b"\n", b"\r\n"), "line ends were changed"),
    "text": (lambda data: data.decode("latin-1").encode(), "saved as text"),
    "text with losses": (lambda data: data.decode(errors="replace").encode(), "saved as text"),
    "gzip": (gzip.compress, "gzip: unpack it"),
    "bzip2": (bz2.compress, "bzip2: unpack it"),
    "zip": (lambda data: b"PK\x03\x04" + data, "zip archive: unpack it"),
    "npy": (lambda _: b"\x93NUMPY\x01\x00", "single array"),
    "another pickle": (lambda _: pickle.dumps([1, 2]), "dictionary of arrays, not list"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_and_foreign_files_are_told_in_a_line(mano_folder, case):
    change, message = DAMAGE[case]
    path = mano_folder / "MANO_RIGHT.pkl"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UnreadableFileError, match=message) as caught:
        load_hands(mano_folder)
    _is_told_in_a_line(caught.value, path)
    assert "https://mano.is.tue.mpg.de" in str(caught.value)


def test_some_of_the_vertices_are_the_same_vertices_and_have_the_same_joints(hands):
    torch.manual_seed(0)
    rotmats = rotvec_to_rotmat(torch.randn(6, 16, 3))
    betas, is_left = torch.randn(6, 10), torch.arange(6) % 2 == 0
    some = HandLayer(hands, vertex_stride=8)
    for tips in ("dexycb", "ho3d"):
        vertices, joints = HandLayer(hands)(rotmats, betas, is_left, tips)
        few, same = some(rotmats, betas, is_left, tips)
        torch.testing.assert_close(same, joints, rtol=0, atol=1e-6)
        assert few.shape == (6, 107, 3)  # 98, and the tips that are not among them
        distance = torch.cdist(few, vertices, compute_mode="donot_use_mm_for_euclid_dist").min(2)
        assert distance.values.max() < 1e-5 and len(distance.indices[0].unique()) == 107
        assert set(range(0, 778, 8)) <= set(distance.indices[0].tolist())


def test_the_layer_is_smplx_s(hands):
    """The reference that the field uses, one layer a side."""
    torch.manual_seed(0)
    rotmats = rotvec_to_rotmat(torch.randn(8, 16, 3))
    betas, is_left = torch.randn(8, 10), torch.arange(8) % 2 == 1
    vertices, joints = HandLayer(hands)(rotmats, betas, is_left)
    for side, chosen in (("right", ~is_left), ("left", is_left)):
        hand = getattr(hands, side)
        kintree = np.stack([np.array(MANO_PARENTS), np.arange(16)])
        arrays = {f.name: getattr(hand, f.name) for f in fields(hand)}
        data = Struct(**arrays, f=hand.faces, kintree_table=kintree)
        layer = MANOLayer(
            "", is_rhand=side == "right", data_struct=data, num_betas=10, flat_hand_mean=True
        )
        expected = layer(
            betas=betas[chosen], global_orient=rotmats[chosen, :1], hand_pose=rotmats[chosen, 1:]
        )
        torch.testing.assert_close(vertices[chosen], expected.vertices, rtol=0, atol=1e-6)
        in_mano_order = joints[chosen][:, np.argsort(MANO_TO_DATASET)]
        torch.testing.assert_close(
            in_mano_order[:, :16], expected.joints[:, :16], rtol=0, atol=1e-6
        )


def test_the_hand_model_is_the_one_that_shards_were_built_with(hands, mano_folder, monkeypatch):
    def of(mano_dir: Path | None = None, **parameters) -> Hands:
        built_with = {"hand": "standin", "hand_sha256": hands.sha256}
        return load_hands_of({"parameters": built_with | parameters}, mano_dir)

    assert of().name == "standin"
    assert of(mano_folder, hand="mano").sha256 == hands.sha256  # with the stand-in's numbers
    monkeypatch.setenv("MANO_DIR", str(mano_folder))
    assert of(hand="mano").name == "mano"
    with pytest.raises(ValueError, match="mano 222222222222, here is mano .* --mano-dir"):
        of(hand="mano", hand_sha256="2" * 64)
    with pytest.raises(ValueError, match="another hand model: standin 111111111111, here is"):
        of(hand_sha256="1" * 64)
    with pytest.raises(ValueError, match="built with --hand none, so they hold no MANO labels"):
        of(hand="none", hand_sha256=None)
