"""A recorded step; where no GPU is, that a step could be recorded."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from deformer.data.batch import Batch
from deformer.training.distributed import Place
from deformer.training.learner import Learner, _Piece
from tests.deformer.small_runs import VERY_SMALL


def test_a_step_looks_at_no_value(hands, stream, monkeypatch):
    """On the device `meta`, which has no values: reading one fails."""
    batch = next(stream.batches())
    learner = Learner(
        replace(VERY_SMALL, adversarial=False), hands, Place(torch.device("meta")), None
    )
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # unknown to `meta`
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda _: True))
    on_device = Batch(*(value.to("meta") for value in batch[:-1]), skipped=())
    terms, norm, _ = learner._backward([_Piece(on_device, None, None, 1.0)])
    assert "total" in terms and norm.device.type == "meta"
    assert any(p.grad is not None for p in learner.model.parameters())


def test_a_recorded_step_is_for_one_gpu(hands):
    with pytest.raises(ValueError, match="one process on a GPU, not 1 on cpu"):
        Learner(VERY_SMALL, hands, Place(torch.device("cpu")), None, cuda_graph=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_recorded_steps_are_the_steps(hands, stream):
    batches = list(stream.batches(0, 4))
    trained = []
    for cuda_graph in (False, True):
        experiment, place = replace(VERY_SMALL, adversarial=False), Place(torch.device("cuda"))
        learner = Learner(experiment, hands, place, None, cuda_graph=cuda_graph)
        losses = [learner.step(batch, i, 1.0)["total"].item() for i, batch in enumerate(batches)]
        trained.append((losses, learner.model.state_dict()))
    (eager, one), (recorded, other) = trained
    assert recorded == pytest.approx(eager, rel=1e-3)
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-5)
