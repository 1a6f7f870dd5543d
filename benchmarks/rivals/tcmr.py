"""TCMR: a frame from its past and its future, integrated with what VIBE's GRU says of it.

Source: Choi, Moon, Chang, Lee, "Beyond Static Features for Temporally Consistent 3D Human Pose and
Shape from a Video", CVPR 2021.

Three GRUs read the feature vectors of a window: one in both directions, one only the frames before
the frame in question, one only those after it. No feature of the frame itself is added to what they
say, because it would tie the result to a single image. A softmax weighs the three features of a
frame, whose sum goes through HMR's iterative regressor. In training, the hands regressed from the
past alone and from the future alone learn from the frame's labels too.

Differs from the original: it predicts a window's centre frame, here every frame has its own past
and future in the window, which is the same for the centre frame. At a window's ends one of them is
empty: the softmax has to learn it, and such a forecast is not trained. MANO for SMPL; the
network of frames, 2D joints, sizes of the GRUs and losses are those of `benchmarks.rivals.vibe`,
for the same reasons, without the discriminator, as in the original.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.rivals.vibe import IterativeRegressor
from deformer.hand.mano import HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.frames import SpatialNetwork
from deformer.network.losses import PointLoss, Targets, hand_losses, joints_2d_loss
from deformer.network.output import FrameFeatures, Window
from deformer.network.posed_hands import HandMotion
from deformer.network.sides import mirror_joints_2d
from deformer.network.transformer import MLP


class TcmrOutput(NamedTuple):
    """Predictions for B windows of T frames."""

    hands: HandMotion
    forecasts: HandMotion
    """2 (T − 1) frames: the frames 1 … T − 1 from their past, then 0 … T − 2 from their future."""
    monocular: HandMotion
    """Of each frame alone; for supervision."""
    joints_2d: Tensor
    """(B, T, 21, 2) x, y in [0, 1] of the hand box."""


class OneWayGru(nn.Module):
    """A GRU that says of every frame what the frames before it say, or those after it."""

    def __init__(self, width: int, hidden: int, num_layers: int, *, backward: bool) -> None:
        super().__init__()
        self.gru = nn.GRU(width, hidden, num_layers, batch_first=True)
        self.to_feature = nn.Linear(hidden, width)
        self.backward_in_time = backward

    def forward(self, features: Tensor) -> Tensor:
        """features (B, T, width) → (B, T, width); where there are no such frames, the bias."""
        ordered = features.flip(1) if self.backward_in_time else features
        states, _ = self.gru(ordered)
        states = functional.pad(states[:, :-1], (0, 0, 1, 0))  # a frame does not see itself
        ordered = self.to_feature(states.relu())
        return ordered.flip(1) if self.backward_in_time else ordered


class Tcmr(SpatialNetwork):
    """Three GRUs over the frames of a window, integrated, then `IterativeRegressor`."""

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        width = config.width
        shape = {"hidden": 2 * width, "num_layers": 2}
        self.gru = nn.GRU(width, 2 * width, num_layers=2, bidirectional=True, batch_first=True)
        self.to_feature = nn.Linear(4 * width, width)
        self.past = OneWayGru(width, **shape, backward=False)
        self.future = OneWayGru(width, **shape, backward=True)
        self.attention = MLP(3 * width, width, 3, gain=1.0)
        self.regressor = IterativeRegressor(width, config.regressor)

    def decode(self, frames: FrameFeatures, window: Window) -> TcmrOutput:
        """As `Network`."""
        T = frames.hand.shape[1]
        integrated, past, future = self.integrate(frames.hand)
        rot6d, betas = self.regressor(torch.cat([integrated, past[:, 1:], future[:, :-1]], 1))
        posed = self.pose(rot6d, betas, window.is_left)
        parts = zip(*(value.split([T, 2 * T - 2], 1) for value in posed), strict=True)
        joints_2d = mirror_joints_2d(frames.joints_2d, window.is_left)
        return TcmrOutput(
            *(HandMotion(*part) for part in parts),
            self.monocular(frames, window.is_left),
            joints_2d,
        )

    def integrate(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """features (B, T, width) → integrated, from the past, from the future, (B, T, width)
        each."""
        states, _ = self.gru(features)
        parts = [self.to_feature(states.relu()), self.past(features), self.future(features)]
        shares = self.attention(torch.cat(parts, -1)).softmax(-1)  # (B, T, 3)
        integrated = (torch.stack(parts, -1) * shares[..., None, :]).sum(-1)
        return integrated, parts[1], parts[2]

    def losses(
        self, output: TcmrOutput, targets: Targets, point_loss: PointLoss
    ) -> dict[str, Tensor]:
        """Mesh, joints, pose and shape, of integrated hands and forecasts alike, and of the
        frames'; 2D joints."""
        both = zip(output.hands, output.forecasts, strict=True)
        hands = HandMotion(*(torch.cat(pair, 1) for pair in both))
        wanted = (torch.cat([value, value[:, 1:], value[:, :-1]], 1) for value in targets.hand)
        return {
            **hand_losses(hands, HandMotion(*wanted), point_loss),
            **hand_losses(output.monocular, targets.hand, point_loss, "monocular_"),
            "joints_2d": joints_2d_loss(
                output.joints_2d, targets.joints_2d, targets.joints_in_image
            ),
        }
