import numpy as np
import torch
from scipy.spatial.transform import Rotation

from deformer.hand.rotations import (
    mirror_rot6d,
    rot6d_to_rotmat,
    rotmat_to_rot6d,
    rotmat_to_rotvec,
    rotvec_to_rotmat,
)


def test_agrees_with_scipy_from_tiny_to_beyond_pi():
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(200, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    angles = np.concatenate([np.geomspace(1e-9, 1e-2, 100), np.linspace(0.01, 2 * np.pi, 100)])
    rotvec = axes * angles[:, None]
    ours = rotvec_to_rotmat(torch.from_numpy(rotvec)).numpy()
    assert np.abs(ours - Rotation.from_rotvec(rotvec).as_matrix()).max() < 1e-12


def test_gradcheck_near_and_at_zero():
    for scale in (0.0, 1e-4, 1.0):
        rotvec = (scale * torch.randn(3, 3, dtype=torch.float64)).requires_grad_()
        assert torch.autograd.gradcheck(rotvec_to_rotmat, rotvec)


def _random_rotmats(num: int) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(num, random_state=0).as_matrix())


def test_rot6d_round_trip_and_scale():
    rotmats = _random_rotmats(100)
    rot6d = rotmat_to_rot6d(rotmats)
    assert torch.equal(rot6d[:, :3], rotmats[:, :, 0])
    assert torch.allclose(rot6d_to_rotmat(rot6d), rotmats, atol=1e-12)
    # Any positive scale, and any share of the first column in the second, give the same rotation
    skewed = torch.cat([3 * rot6d[:, :3], 0.1 * rot6d[:, 3:] + 2 * rot6d[:, :3]], -1)
    assert torch.allclose(rot6d_to_rotmat(skewed), rotmats, atol=1e-12)


def test_gradcheck_rot6d():
    torch.manual_seed(0)
    rot6d = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rot6d_to_rotmat, rot6d)
    identity = torch.tensor([[1.0, 0, 0, 0, 1, 0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rot6d_to_rotmat, identity)


def test_degenerate_rot6d_has_finite_value_and_gradient():
    rot6d = torch.tensor([[0.0] * 6, [1, 0, 0, 2, 0, 0], [0, 0, 0, 1, 0, 0]], requires_grad=True)
    rotmat = rot6d_to_rotmat(rot6d)
    rotmat.square().sum().backward()
    assert rotmat.isfinite().all() and rot6d.grad.isfinite().all()


def test_rotvec_round_trip_from_tiny_to_pi():
    rng = np.random.default_rng(1)
    axes = rng.normal(size=(300, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    angles = np.concatenate(
        [
            np.geomspace(1e-12, 1e-2, 100),
            np.linspace(0.01, 3.1, 100),
            np.pi - np.geomspace(1e-9, 0.1, 100),
        ]
    )
    rotvec = torch.from_numpy(axes * angles[:, None])
    assert (rotmat_to_rotvec(rotvec_to_rotmat(rotvec)) - rotvec).abs().max() < 1e-8
    assert torch.equal(rotmat_to_rotvec(torch.eye(3)), torch.zeros(3))


def test_rotvec_of_half_turns_and_in_float32():
    for axis in torch.cat([torch.eye(3), torch.ones(1, 3) / 3**0.5]):
        rotvec = rotmat_to_rotvec(2 * torch.outer(axis, axis) - torch.eye(3))  # turn by π about it
        assert torch.allclose(rotvec.abs(), torch.pi * axis, atol=1e-5)
    rotmats = _random_rotmats(100).float().reshape(4, 25, 3, 3)
    again = rotvec_to_rotmat(rotmat_to_rotvec(rotmats))
    assert (again - rotmats).abs().max() < 1e-5


def test_mirror_is_conjugation_by_the_flip_of_x():
    rotmats = _random_rotmats(20)
    flip = torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    mirrored = rot6d_to_rotmat(mirror_rot6d(rotmat_to_rot6d(rotmats)))
    assert torch.allclose(mirrored, flip @ rotmats @ flip, atol=1e-12)
    loose = torch.randn(20, 6, dtype=torch.float64)  # no columns of a rotation
    expected = flip @ rot6d_to_rotmat(loose) @ flip
    assert torch.allclose(rot6d_to_rotmat(mirror_rot6d(loose)), expected, atol=1e-12)
