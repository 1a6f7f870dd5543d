"""The motion discriminator: tells real motion of hands from predicted motion.

It sees the bending of the fingers over a window, not the orientation or shape of the hand.
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
    """The discriminator. The sizes are the paper's; the noise is ours."""

    hidden: int = 1024
    layers: int = 2
    noise: float = 0.02
    """Standard deviation of the noise that training adds to real and predicted inputs; 0.02 is
    about a degree. Repeated frames are exactly equal only in real windows; without noise, that
    alone would tell real from predicted."""

    def __post_init__(self) -> None:
        check_least(self, hidden=1, layers=1, noise=0)


def motion_features(rotmats: Tensor, is_left: Tensor) -> Tensor:
    """The discriminator's input for a window, predicted or real.

    rotmats (B, T, 16, 3, 3): the first, the global orientation, is not used. is_left (B,) bool:
    left hands are mirrored. Returns (B, T, 91): 15 rot6d, then 1 for left and 0 for right. A left
    hand that moves like a right hand differs only in that last number.
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
            nn.Linear(hidden, 1, bias=False),  # softmax ignores a common bias
        )
        self.score = nn.Linear(config.hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        """features (B, T, 91) from `motion_features` → scores (B,) float32: 1 real, 0 predicted."""
        states, _ = self.gru(features)  # (B, T, hidden)
        # Softmax over the frames of a window
        pooled = (self.attention(states).softmax(1) * states).sum(1)
        return self.score(pooled).squeeze(-1).float()


def saturation(loss: float) -> float:
    """How clearly the discriminator wins, from its loss: 1 if it separates all windows perfectly, 0
    if it is no better than answering 1/2 for every window.

    If it stays near 1, with the generator's adversarial loss near 1, the generator learns nothing.
    """
    return max(0.0, 1 - loss / 0.5)
