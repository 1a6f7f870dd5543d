"""Validation: the error on a split during training. Tables come from `benchmarks`."""

from collections import Counter

import torch

from deformer.data.batch import without_padding
from deformer.data.occlusion_bins import OCCLUDED
from deformer.data.stream import Stream
from deformer.hand.align import align_procrustes, align_root, point_errors_mm
from deformer.training.distributed import sum_over_ranks
from deformer.training.learner import Learner, move_batch


@torch.no_grad()
def validate(learner: Learner, stream: Stream) -> dict[str, float]:
    """Errors of the hands in centre frames, over all processes.

    Returns `loss` (weighted, without the adversarial term), and in mm `mpjpe_mm` (root-aligned),
    `pa_mpjpe_mm` (Procrustes-aligned) and `pa_mpjpe_occluded_mm` (of occluded hands; absent if
    there are none). Means over joints, then over windows, each window once.
    """
    learner.model.eval()
    centre = learner.experiment.stream.window.centre
    sums: Counter[str] = Counter()
    for read in stream.batches():
        if read.is_padding.all():
            continue
        batch = move_batch(without_padding(read), learner.place.device)
        output, targets = learner.predict(batch)
        num = len(batch.images)
        loss = learner.weighted(learner.losses(output, targets))
        predicted, truth = (
            hand.joints_m[:, centre].double().cpu().numpy() for hand in (output.hands, targets.hand)
        )
        rooted = point_errors_mm(align_root(predicted), align_root(truth)).mean(-1)
        aligned = point_errors_mm(align_procrustes(predicted, truth), truth).mean(-1)
        hidden = batch.occlusion[:, centre].cpu().numpy() >= OCCLUDED
        sums.update(
            windows=num, loss=num * loss.item(), rooted=rooted.sum(), aligned=aligned.sum(),
            occluded=hidden.sum(), aligned_occluded=aligned[hidden].sum(),
        )  # fmt: skip
    learner.model.train()
    names = ("windows", "loss", "rooted", "aligned", "occluded", "aligned_occluded")
    values = torch.tensor([float(sums[name]) for name in names], device=learner.place.device)
    total = dict(zip(names, sum_over_ranks(values).tolist(), strict=True))
    results = {"loss": "loss", "mpjpe_mm": "rooted", "pa_mpjpe_mm": "aligned"}
    metrics = {metric: total[name] / total["windows"] for metric, name in results.items()}
    if total["occluded"]:
        metrics["pa_mpjpe_occluded_mm"] = total["aligned_occluded"] / total["occluded"]
    return metrics
