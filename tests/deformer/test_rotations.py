import numpy as np
import torch
from scipy.spatial.transform import Rotation

from deformer.rotations import rotvec_to_rotmat


def test_agrees_with_scipy_from_tiny_to_beyond_pi():
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(200, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    angles = np.concatenate([np.geomspace(1e-9, 1e-2, 100), np.linspace(0.01, 2 * np.pi, 100)])
    rotvec = axes * angles[:, None]
    ours = rotvec_to_rotmat(torch.from_numpy(rotvec)).numpy()
    assert np.abs(ours - Rotation.from_rotvec(rotvec).as_matrix()).max() < 1e-12


def test_identity_and_its_gradient_at_zero():
    rotvec = torch.zeros(2, 3, requires_grad=True)
    rotmat = rotvec_to_rotmat(rotvec)
    assert torch.equal(rotmat, torch.eye(3).expand(2, 3, 3))
    rotmat[:, 2, 1].sum().backward()  # ∂R₃₂/∂x is 1 at the identity
    assert torch.equal(rotvec.grad, torch.tensor([[1.0, 0, 0], [1, 0, 0]]))


def test_gradcheck_near_and_at_zero():
    for scale in (0.0, 1e-4, 1.0):
        rotvec = (scale * torch.randn(3, 3, dtype=torch.float64)).requires_grad_()
        assert torch.autograd.gradcheck(rotvec_to_rotmat, rotvec)
