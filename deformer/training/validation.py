"""Validation: the error on a split while a run is trained. Tables come from `benchmarks`."""

import numpy as np
import torch

from deformer.data.batch import without_padding
from deformer.data.occlusion_bins import OCCLUDED
from deformer.data.stream import Stream
from deformer.hand.align import align_procrustes, align_root, point_errors_mm
from deformer.network.losses import POINT_LOSSES, deformer_losses, weighted_sum
from deformer.training.distributed import sum_over_ranks
from deformer.training.learner import Learner, move_batch


@torch.no_grad()
def validate(learner: Learner, stream: Stream) -> dict[str, float]:
    """Errors of the fused pose of the centre frames, over all processes.

    Returns `loss` (weighted, without the adversarial term), and in mm `mpjpe_mm` (root-aligned),
    `pa_mpjpe_mm` (Procrustes-aligned) and `pa_mpjpe_occluded_mm` (of occluded hands only; absent
    where there is none). Means over joints, then over windows, each window once.
    """
    learner.model.eval()
    weights = learner.experiment.losses
    point_loss = POINT_LOSSES[learner.experiment.point_loss]
    centre = learner.experiment.stream.window.centre
    sums = np.zeros(6)  # windows, loss, root-aligned, PA, occluded windows, their PA
    for read in stream.batches():
        if read.is_padding.all():
            continue
        batch = move_batch(without_padding(read), learner.place.device)
        output, targets = learner.predict(batch)
        num = len(batch.images)
        loss = weighted_sum(deformer_losses(output, targets, point_loss), weights)
        predicted, truth = (
            hand.joints_m[:, centre].double().cpu().numpy() for hand in (output.fused, targets.hand)
        )
        rooted = point_errors_mm(align_root(predicted), align_root(truth)).mean(-1)
        aligned = point_errors_mm(align_procrustes(predicted, truth), truth).mean(-1)
        hidden = batch.occlusion[:, centre].cpu().numpy() >= OCCLUDED
        sums += [
            num, num * loss.item(), rooted.sum(), aligned.sum(), hidden.sum(), aligned[hidden].sum()
        ]  # fmt: skip
    learner.model.train()
    total = sum_over_ranks(torch.from_numpy(sums).float().to(learner.place.device)).tolist()
    num, loss, rooted, aligned, num_hidden, aligned_hidden = total
    metrics = {"loss": loss / num, "mpjpe_mm": rooted / num, "pa_mpjpe_mm": aligned / num}
    if num_hidden:
        metrics["pa_mpjpe_occluded_mm"] = aligned_hidden / num_hidden
    return metrics
