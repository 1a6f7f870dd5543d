"""A training step: the model, then the motion discriminator, each with its own Adam."""

import math
from collections.abc import Collection
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from deformer.data.batch import Batch, to_input
from deformer.hand.mano import HandLayer, Hands
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.network.backbone_weights import load_backbone_weights
from deformer.network.discriminator import MotionDiscriminator, motion_features
from deformer.network.losses import (
    POINT_LOSSES,
    Targets,
    adversarial_loss,
    discriminator_loss,
    make_targets,
    weighted_sum,
)
from deformer.network.network import Network, Output
from deformer.network.output import FrameFeatures
from deformer.network.registry import network_class
from deformer.network.state_dict import load_state
from deformer.training.checkpoint import load_optimizer, optimizer_tensors
from deformer.training.cuda_graph import CudaGraphStep
from deformer.training.distributed import Place
from deformer.training.experiment import Experiment
from deformer.training.features import unpack
from deformer.training.motion import RealMotion


class NonFiniteError(FloatingPointError):
    """A gradient is NaN or infinite; the weights are those before the step."""

    def __init__(self, step: int, terms: dict[str, float]) -> None:
        """terms: unweighted losses of this process."""
        self.terms = terms
        self.bad = [name for name, value in terms.items() if not math.isfinite(value)]
        said = ", ".join(f"{name} {terms[name]:.3g}" for name in self.bad or terms)
        which = "not finite are" if self.bad else "all finite:"
        super().__init__(f"step {step}: the gradient is not finite; loss terms: {which} {said}")


class _Piece(NamedTuple):
    """The windows of one forward pass: a part of a step's windows."""

    batch: Batch
    real: Tensor | None  # (b, T, 91)
    noise: Tensor | None  # (2, b, T, 91): for predicted, for real windows
    share: float  # of the step's windows


class Learner:
    """Model, discriminator and their optimizers, on one process of many."""

    def __init__(
        self,
        experiment: Experiment,
        hands: Hands,
        place: Place,
        motion: RealMotion | None,
        bf16: bool = False,
        compile: bool = False,
        cuda_graph: bool = False,
        frozen: Collection[str] = (),
    ) -> None:
        """Starts from the experiment's seed and backbone weights. motion: for the discriminator;
        None: no discriminator. cuda_graph: record the model's part of a step and replay it. frozen:
        names of weights that stay as they are, those that made the experiment's features.

        Raises as `load_backbone_weights`, and `ValueError` where graphs are impossible."""
        self.experiment, self.place, self.motion, self.bf16 = experiment, place, motion, bf16
        torch.manual_seed(experiment.stream.seed)
        layer = HandLayer(hands, experiment.vertex_stride)
        self.model = network_class(experiment.network)(experiment.model, layer)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name not in frozen)
        if experiment.features is None and experiment.start_from is None:
            # else `start`, `start_behind` or `load` fills the model
            load_backbone_weights(self.model.backbone, experiment.backbone_weights)
        self.model.to(place.device, memory_format=torch.channels_last)
        optim = experiment.optim
        is_cuda = place.device.type == "cuda"
        if cuda_graph and (not is_cuda or place.num_ranks > 1):
            raise ValueError(
                f"--cuda-graph is for one process on a GPU, not {place.num_ranks} on "
                f"{place.device.type}: train without it"
            )
        rate = torch.tensor(optim.lr, device=place.device) if cuda_graph else optim.lr
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), rate, fused=is_cuda, capturable=cuda_graph
        )
        self.discriminator = None
        if motion is not None:
            self.discriminator = MotionDiscriminator(experiment.discriminator).to(place.device)
            rate = optim.lr_discriminator
            self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), lr=rate)
        if compile:
            _compile_training(self.model)
        self._model, self._discriminator = self.model, self.discriminator
        if place.num_ranks > 1:
            # Buffers are the hand model, and statistics that are frozen or synchronised
            self._model = DistributedDataParallel(self.model, broadcast_buffers=False)
            if self.discriminator is not None:
                self._discriminator = DistributedDataParallel(self.discriminator)
        self._recorded = None
        if cuda_graph:
            self._recorded = CudaGraphStep(self._backward, self.optimizer)

    def start(self, tensors: dict[str, Tensor]) -> None:
        """Take the model of another run, without its optimizer and discriminator.

        Raises `ValueError` for weights of another network."""
        misfit = (
            f"--start-from {self.experiment.start_from} is of another network: choose an "
            "experiment with the same --model options, or another start; its weights do not fit"
        )
        load_state(self.model, tensors, misfit)

    def start_behind(self, spatial: dict[str, Tensor]) -> None:
        """Take the weights that made the features; what comes behind them is random."""
        state = self.model.state_dict()
        load_state(self.model, state | spatial, "the features are of another network")

    # ------------------------------------------------------------------------------- one step

    def step(self, batch: Batch, step: int, rate: float) -> dict[str, Tensor]:
        """Learn from this process's windows of a step. Returns its unweighted losses and
        diagnostics, as scalars on the device.

        rate: factor on both learning rates. Raises `NonFiniteError` before anything changes.
        """
        self._set_rates(step, rate)
        self.model.train()
        pieces = self._pieces(batch, step)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(False)  # the model's turn
        learn_from = self._recorded.learn_from if self._recorded else self._backward
        terms, norm, fused = learn_from(pieces)
        # All processes have the same norm, so they stop together. Waiting for the device in every
        # step is the price of never losing weights to a bad batch
        self._check_finite(norm, step, terms)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
            self._step_discriminator(pieces, fused, step, terms)
        if self._recorded:
            self._recorded.apply()
        else:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return {**terms, "grad_norm": norm}

    def _backward(self, pieces: list[_Piece]) -> tuple[dict[str, Tensor], Tensor, list[Tensor]]:
        """Compute and clip the gradient over all pieces. Returns unweighted losses, the norm before
        clipping, and for a discriminator the rotations of each piece."""
        terms: dict[str, Tensor] = {}
        fused = []
        for k, piece in enumerate(pieces):
            with self._synchronised(self._model, k == len(pieces) - 1):
                output, losses = self._losses(piece)
                total = self.weighted(losses)
                (piece.share * total).backward()
            if self.discriminator is not None:
                fused.append(output.hands.rotmats.detach())
            _add(terms, {**losses, "total": total}, piece.share)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.experiment.optim.clip_norm)
        return terms, norm, fused

    def _check_finite(self, norm: Tensor, step: int, terms: dict[str, Tensor]) -> None:
        if torch.isfinite(norm):
            return
        self.optimizer.zero_grad(set_to_none=True)
        if self.discriminator is not None:
            self.optimizer_d.zero_grad(set_to_none=True)
        raise NonFiniteError(step, {name: value.item() for name, value in terms.items()})

    def _set_rates(self, step: int, rate: float) -> None:
        optim = self.experiment.optim
        warm = min(1.0, (step + 1) / optim.warmup_steps) if optim.warmup_steps else 1.0
        rate_now = optim.lr * rate * warm
        if self._recorded:
            self.optimizer.param_groups[0]["lr"].fill_(rate_now)
        else:
            self.optimizer.param_groups[0]["lr"] = rate_now
        if self.discriminator is not None:
            self.optimizer_d.param_groups[0]["lr"] = optim.lr_discriminator * rate

    def _losses(self, piece: _Piece) -> tuple[Output, dict[str, Tensor]]:
        output, targets = self.predict(piece.batch)
        losses = self.losses(output, targets)
        if self.discriminator is not None:
            seen = motion_features(output.hands.rotmats, piece.batch.is_left) + piece.noise[0]
            with self._autocast():
                scores = self.discriminator(seen)
            losses["adversarial"] = adversarial_loss(scores)
        return output, losses

    def predict(self, batch: Batch) -> tuple[Output, Targets]:
        """Predictions and ground truth of a batch of `move_batch`."""
        if self.experiment.features is None:
            images = to_input(batch, self.place.device)
        else:
            images = unpack(batch.images.to(self.place.device, non_blocking=True))
        occlusion = batch.occlusion if self.experiment.model.fusion == "occlusion" else None
        model = self._model if self.model.training else self.model
        with self._autocast():
            output = model(
                images, batch.boxes_px, batch.is_left, occlusion, batch.is_repeat, batch.K
            )
        return output, self.targets(batch)

    def targets(self, batch: Batch) -> Targets:
        """Ground truth of a batch of `move_batch`."""
        return make_targets(
            self.model.hand_layer,
            batch.pose_rotvec,
            batch.betas,
            batch.is_left,
            batch.joints_px,
            batch.boxes_px,
            batch.joints_in_image,
            batch.is_repeat.to(self.place.device),
            batch.joints_cam_m,
            batch.K,
            self.experiment.model.tips,
        )

    def losses(self, output: Output, targets: Targets) -> dict[str, Tensor]:
        """All terms except the adversarial one, unweighted."""
        return self.model.losses(output, targets, POINT_LOSSES[self.experiment.point_loss])

    def weighted(self, losses: dict[str, Tensor]) -> Tensor:
        """Their weighted sum."""
        return weighted_sum(losses, self.experiment.losses, self.model.own_weights)

    def _step_discriminator(
        self, pieces: list[_Piece], fused: list[Tensor], step: int, terms: dict[str, Tensor]
    ) -> None:
        num = sum(len(rotmats) for rotmats in fused)
        for k, (piece, rotmats) in enumerate(zip(pieces, fused, strict=True)):
            share = len(rotmats) / num
            predicted = motion_features(rotmats, piece.batch.is_left)
            both = torch.cat([predicted, piece.real]) + piece.noise.flatten(0, 1)
            with self._synchronised(self._discriminator, k == len(pieces) - 1):
                with self._autocast():
                    scores = self._discriminator(both)
                loss = discriminator_loss(*scores.chunk(2))
                (share * loss).backward()
            _add(terms, {"discriminator": loss}, share)
        norm = nn.utils.clip_grad_norm_(
            self.discriminator.parameters(), self.experiment.optim.clip_norm
        )
        self._check_finite(norm, step, terms)
        self.optimizer_d.step()
        self.optimizer_d.zero_grad(set_to_none=True)

    # -------------------------------------------------------------------------------- inputs

    def _pieces(self, batch: Batch, step: int) -> list[_Piece]:
        """Split a step's windows into pieces, each with this process's part of motion and noise."""
        device, num = self.place.device, len(batch.images)
        batch = move_batch(batch, device)
        size = self.experiment.optim.micro_batch or num
        real = noise = None
        if self.motion is not None:
            ours = slice(num * self.place.rank, num * (self.place.rank + 1))
            drawn = self.motion.draw(step, num * self.place.num_ranks)
            poses = drawn.pose_rotvec[ours].to(device).unflatten(-1, (16, 3))
            real = motion_features(rotvec_to_rotmat(poses), drawn.is_left[ours].to(device))
            noise = self.experiment.discriminator.noise * drawn.noise[:, ours].to(device)
        return [
            _Piece(
                Batch(*(value[i : i + size] for value in batch[:-1]), skipped=()),
                None if real is None else real[i : i + size],
                None if noise is None else noise[:, i : i + size],
                min(size, num - i) / num,
            )
            for i in range(0, num, size)
        ]

    def _autocast(self):
        return torch.autocast(self.place.device.type, torch.bfloat16, enabled=self.bf16)

    def _synchronised(self, module: nn.Module, is_last: bool):
        """Processes exchange gradients once, with the last piece."""
        if isinstance(module, DistributedDataParallel) and not is_last:
            return module.no_sync()
        return nullcontext()

    # ----------------------------------------------------------------------------- checkpoints

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything that a checkpoint must hold, by file."""
        saved = {"model": self.model.state_dict()}
        optimizer = optimizer_tensors(self.optimizer, self.model, "model")
        if self.discriminator is not None:
            saved["discriminator"] = self.discriminator.state_dict()
            optimizer |= optimizer_tensors(self.optimizer_d, self.discriminator, "discriminator")
        return {**saved, "optimizer": optimizer}

    def load(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        """The inverse of `tensors`."""
        load_state(self.model, tensors["model"], "the checkpoint is of another network")
        load_optimizer(self.optimizer, self.model, "model", tensors["optimizer"])
        if self.discriminator is not None:
            saved = tensors["discriminator"]
            load_state(self.discriminator, saved, "the checkpoint has another discriminator")
            load_optimizer(
                self.optimizer_d, self.discriminator, "discriminator", tensors["optimizer"]
            )


def _compile_training(model: Network) -> None:
    """Compile the spatial half for training only: for validation it would have to be compiled
    again, which takes longer than validation."""
    plain = model.encode_frames
    compiled = torch.compile(plain)

    def encode_frames(*frames: Tensor) -> FrameFeatures:
        if not model.training:
            return plain(*frames)
        for value in frames:
            if not value.is_cuda:  # there every step has as many frames: see `Network.forward`
                torch._dynamo.maybe_mark_dynamic(value, 0)
        return compiled(*frames)

    model.encode_frames = encode_frames


def move_batch(batch: Batch, device: torch.device) -> Batch:
    """Move tensors to the device, except those used on the CPU: images and their colour draws, for
    `to_input`, and `is_repeat`, which the model reads first."""
    stay = ("images", "photometric", "is_repeat", "skipped")
    return Batch(
        **{
            name: value if name in stay else value.to(device, non_blocking=True)
            for name, value in batch._asdict().items()
        }
    )


def _add(terms: dict[str, Tensor], losses: dict[str, Tensor], share: float) -> None:
    for name, value in losses.items():
        terms[name] = terms.get(name, 0) + share * value.detach()
