"""What rivals share that regress MANO's parameters from one vector for each frame."""

from torch import Tensor

from deformer.hand.mano import HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.frames import NUM_BETAS, POSE, SMALL, start_open
from deformer.network.losses import PointLoss, Targets, hand_losses, joints_2d_loss
from deformer.network.network import HandOutput, Network
from deformer.network.output import FrameFeatures, Window
from deformer.network.posed_hands import HandMotion
from deformer.network.sides import mirror_joints_2d
from deformer.network.transformer import MLP


class FrameRegressor(Network):
    """A network whose `encode_maps` gives vectors of `width` numbers, and which decodes every frame
    by itself."""

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        self.mano_head = MLP(config.width, *config.regressor, POSE + 2 * NUM_BETAS, gain=SMALL)
        start_open(self.mano_head)

    def regress(self, vectors: Tensor, is_left: Tensor) -> HandMotion:
        """vectors (B, T, width), is_left (B,) → their hands."""
        predicted = self.mano_head(vectors)
        rot6d, betas = predicted.split([POSE, 2 * NUM_BETAS], -1)
        return self.pose(rot6d.unflatten(-1, (-1, 6)), betas, is_left)

    def decode(self, frames: FrameFeatures, window: Window) -> HandOutput:
        """As `Network`."""
        joints_2d = mirror_joints_2d(frames.joints_2d, window.is_left)
        return HandOutput(self.regress(frames.hand, window.is_left), joints_2d)

    def losses(
        self, output: HandOutput, targets: Targets, point_loss: PointLoss
    ) -> dict[str, Tensor]:
        """Mesh, joints, pose, shape and 2D joints."""
        joints_2d = joints_2d_loss(output.joints_2d, targets.joints_2d, targets.joints_in_image)
        return hand_losses(output.hands, targets.hand, point_loss) | {"joints_2d": joints_2d}
