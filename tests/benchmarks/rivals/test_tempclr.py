"""TempCLR's contrastive loss, by hand."""

import math

import pytest
import torch

from benchmarks.rivals.tempclr import contrastive_loss

E = torch.eye(3)
ONE = 10.0  # a cosine of 1 over the temperature


def _loss(*windows: list[int]) -> float:
    """Of windows whose frames have unit vectors of these axes, of any length."""
    embeddings = torch.stack([E[window] for window in windows])
    return contrastive_loss(3.0 * embeddings, _repeats(embeddings)).item()


def _repeats(embeddings: torch.Tensor) -> torch.Tensor:
    B, T, _ = embeddings.shape
    return torch.zeros(B, T - 1, dtype=torch.bool)


def test_neighbours_attract_and_other_windows_repel():
    alike = math.log(1 + 2 * math.exp(-ONE))  # of three candidates, the neighbour is near
    assert _loss([0, 0], [1, 1]) == pytest.approx(alike, abs=1e-6)
    confused = math.log(1 + math.exp(ONE) + 1)  # one of the other window's two is near instead
    assert _loss([0, 1], [0, 1]) == pytest.approx(confused, rel=1e-5)


def test_farther_frames_of_a_window_do_neither():
    assert _loss([0, 0, 0, 0], [1, 1, 1, 1]) < 1e-3
    near, far = _loss([0, 0, 1, 1], [2, 2, 2, 2]), _loss([0, 0, 1, 0], [2, 2, 2, 2])
    assert far > near  # frames 0 and 3 are alike in the second, and gain nothing by it


def test_a_window_alone_costs_nothing():
    for num_frames in (1, 3):
        embeddings = torch.randn(1, num_frames, 8, requires_grad=True)
        loss = contrastive_loss(embeddings, _repeats(embeddings))
        loss.backward()
        assert loss == 0 and torch.isfinite(embeddings.grad).all()


def test_a_repeated_frame_is_no_neighbour():
    embeddings = torch.stack([E[[0, 1, 1]], E[[2, 2, 2]]])
    counted = contrastive_loss(embeddings, _repeats(embeddings))
    is_repeat = torch.tensor([[False, True], [False, False]])
    assert contrastive_loss(embeddings, is_repeat) > 1.3 * counted  # it was an easy pair
    assert contrastive_loss(embeddings, torch.ones(2, 2, dtype=torch.bool)) == 0
