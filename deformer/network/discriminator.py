"""The motion discriminator: does a hand move like this?

It sees how the fingers are bent over a window, not where the hand points nor what shape it has.
Source: the paper's section 3.2 and Kocabas et al., "VIBE", CVPR 2020, which it follows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deformer.hand.conventions import NUM_MANO_JOINTS
from deformer.hand.rotations import mirror_rot6d, rotmat_to_rot6d
from deformer.program.least import check_least

NUM_FEATURES = (NUM_MANO_JOINTS - 1) * 6 + 1


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator. The sizes are the paper's; the noise is not in it."""

    hidden: int = 1024
    layers: int = 2
    noise: float = 0.02
    """Standard deviation of the noise that training adds to its input, real and predicted alike;
    0.02 is about a degree. Repeated frames are exactly equal in real windows and never quite in
    predicted ones: without noise that alone would tell them apart."""

    def __post_init__(self) -> None:
        check_least(self, hidden=1, layers=1, noise=0)


def motion_features(rotmats: Tensor, is_left: Tensor) -> Tensor:
    """What the discriminator sees of a window, predicted or real.

    rotmats (B, T, 16, 3, 3): the first, the global orientation, is dropped. is_left (B,) bool:
    left hands are mirrored, and the side is given. Returns (B, T, 91): 15 rot6d, then 1 for left
    and 0 for right. A left hand moving as a right one differs in that last number alone.
    """
    B, T = rotmats.shape[:2]
    fingers = rotmat_to_rot6d(rotmats[:, :, 1:])  # (B, T, 15, 6)
    fingers = torch.where(is_left[:, None, None, None], mirror_rot6d(fingers), fingers)
    side = is_left[:, None, None].expand(B, T, 1).to(fingers)
    return torch.cat([fingers.flatten(2), side], -1)


class MotionDiscriminator(nn.Module):
    """GRU over the frames, attention pooling over time, one score per window."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.gru = nn.GRU(NUM_FEATURES, config.hidden, config.layers, batch_first=True)
        hidden = config.hidden
        self.attention = nn.Sequential(
            nn.Linear(hidden, hidden),
            nn.Tanh(),
            nn.Linear(hidden, 1, bias=False),  # softmax takes no notice of a common bias
        )
        self.score = nn.Linear(config.hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        """features (B, T, 91) from `motion_features` → scores (B,) float32: 1 real, 0 predicted."""
        states, _ = self.gru(features)  # (B, T, hidden)
        # The softmax is over the frames of a window
        pooled = (self.attention(states).softmax(1) * states).sum(1)
        return self.score(pooled).squeeze(-1).float()


def saturation(loss: float) -> float:
    """How far the discriminator has won, by its loss: 1 when it separates all windows perfectly, 0
    when it does no better than to say 1/2 to everything (0 also when it does worse).

    Near 1 over many steps, with the generator's adversarial loss near 1, the generator learns
    nothing from it: warn, and regularise.
    """
    return max(0.0, 1 - loss / 0.5)
