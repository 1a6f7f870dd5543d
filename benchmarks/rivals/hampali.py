"""Hampali et al.: joints in the image and their directions, to which a MANO hand is fitted.

Source: Hampali, Rad, Oberweger, Lepetit, "HOnnotate: A Method for 3D Annotation of Hand and Object
Poses", CVPR 2020: its baseline for the hand in a single colour image.

Convolutions in stages, each of which sees the heatmaps of the one before, give 2D joints, and the
directions from the wrist to the other joints. Training knows these alone. A hand is then fitted
whose joints project onto the 2D joints and lie in these directions, with fingers that tend to be
straight: least squares in Gauss-Newton steps, all hands of a batch at once.

Differs from the original: stages see this project's pyramid in the hand box, not a network of their
own; 2D joints are the heatmaps' means and are supervised as such; directions are read from maps by
the heatmaps; a pull towards the open hand stands for limits of joints. The shape stays MANO's mean,
because neither 2D joints nor directions show a hand's size. The fit moves a skeleton, whose tips
are fixed to the last bones, though MANO's skin gives a little there.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from deformer.hand.conventions import (
    DATASET_TO_MANO,
    JOINT_NAMES,
    MANO_PARENTS,
    MANO_TO_DATASET,
    NUM_JOINTS,
    NUM_MANO_JOINTS,
)
from deformer.hand.mano import HandLayer, pose_joints
from deformer.hand.rotations import (
    rot6d_to_rotmat,
    rotmat_to_rot6d,
    rotmat_to_rotvec,
    rotvec_to_rotmat,
)
from deformer.network.config import DeformerConfig
from deformer.network.frames import NUM_BETAS
from deformer.network.losses import PointLoss, Targets, joints_2d_loss
from deformer.network.network import Network
from deformer.network.output import FrameFeatures, Window
from deformer.network.posed_hands import HandMotion
from deformer.network.sides import mirror_joints_2d, mirror_points
from deformer.network.transformer import soft_argmax

_STAGES = 3
_STEPS = 8
_IMAGE_M, _DIRECTION_RAD, _BEND_RAD = 0.01, 0.1, 1.0
"""Standard deviations of 2D joints, at the hand's depth, and of directions; of finger joints about
the open hand."""
_DAMPING = 1.0
"""Of a step, per rad² and m², for what nothing shows, such as depths of hands far away."""
_FARTHEST_RAD = 0.5
"""A step turns a joint at most this far about each axis."""
_LAST_BONES = (15, 3, 6, 12, 9)
"""The joints, in MANO's order, whose bones end in the tips from thumb to little finger."""


class HampaliOutput(NamedTuple):
    hands: HandMotion
    """Fitted in evaluation; while training, an open hand that is turned as the palm is: no loss
    sees it."""
    joints_2d: Tensor
    """(B, T, 21, 2) x, y in [0, 1] of the hand box, of the last stage."""
    stages_2d: Tensor
    """(B, T, stages · 21, 2), of all stages."""
    directions: Tensor
    """(B, T, 21, 3) from the wrist, about unit vectors; the wrist's own is meaningless."""


class Hampali(Network):
    """Heatmaps in stages, directions, and a fit."""

    needs_view = True
    spatial_parts = ("stages", "direction_head")
    own_weights = {"directions": 100.0}

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        width, seen = config.width, config.width + NUM_JOINTS
        self.stages = nn.ModuleList(
            _convolutions(seen if k else width, width, NUM_JOINTS) for k in range(_STAGES)
        )
        self.direction_head = _convolutions(seen, width, 3 * NUM_JOINTS)
        # Not in the state dict: it comes from the hand model
        self.register_buffer("rest_m", _rest(hand_layer, config), persistent=False)
        open_hand = functional.normalize(self.rest_m[MANO_TO_DATASET], dim=-1)
        with torch.no_grad():  # directions start at those of a hand, because a fit needs one
            self.direction_head[-1].bias.copy_(open_hand.flatten())

    def encode_maps(self, maps: Tensor) -> FrameFeatures:
        """maps (N, width, size, size) → 2D joints of all stages, and directions."""
        seen, stages = maps, []
        for stage in self.stages:
            logits = stage(seen).float()
            stages.append(soft_argmax(logits.flatten(2).transpose(1, 2), self.config.roi_size))
            heatmaps = (logits - logits.amax((2, 3), keepdim=True)).exp()  # peak 1
            seen = torch.cat([maps, heatmaps], 1)
        shares = logits.flatten(2).softmax(-1)[:, :, None]  # (N, 21, 1, size²)
        vectors = self.direction_head(seen).float().flatten(2).unflatten(1, (NUM_JOINTS, 3))
        directions = (shares * vectors).sum(-1)
        kept = [*(joints.flatten(1) for joints in stages), directions.flatten(1)]
        return FrameFeatures(torch.cat(kept, -1), stages[-1])

    def decode(self, frames: FrameFeatures, window: Window) -> HampaliOutput:
        """As `Network`."""
        stages, directions = frames.hand.split([_STAGES * 2 * NUM_JOINTS, 3 * NUM_JOINTS], -1)
        stages = mirror_joints_2d(stages.unflatten(-1, (-1, 2)), window.is_left)
        directions = directions.unflatten(-1, (NUM_JOINTS, 3))
        joints_2d = mirror_joints_2d(frames.joints_2d, window.is_left)
        rays = mirror_points(window.view.rays(joints_2d), window.is_left)  # again of right hands
        B, T = rays.shape[:2]
        with torch.no_grad(), torch.autocast(rays.device.type, enabled=False):
            steps = 0 if self.training else _STEPS
            rotmats = fit(self.rest_m, rays.flatten(0, 1), directions.flatten(0, 1), steps)
            rot6d = rotmat_to_rot6d(rotmats).unflatten(0, (B, T))
            hands = self.pose(rot6d, rot6d.new_zeros(B, T, 2 * NUM_BETAS), window.is_left)
        return HampaliOutput(hands, joints_2d, stages, mirror_points(directions, window.is_left))

    def losses(
        self, output: HampaliOutput, targets: Targets, point_loss: PointLoss
    ) -> dict[str, Tensor]:
        """2D joints of all stages, of which the fit needs all joints, and directions."""
        everywhere = torch.ones_like(targets.joints_in_image).repeat(1, 1, _STAGES)
        joints_2d = targets.joints_2d.repeat(1, 1, _STAGES, 1)
        directions = functional.normalize(targets.hand.joints_m[:, :, 1:], dim=-1)
        off = output.directions[:, :, 1:] - directions
        return {
            "joints_2d": joints_2d_loss(output.stages_2d, joints_2d, everywhere),
            "directions": off.square().sum(-1).mean(),
        }


def _convolutions(channels: int, width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, out, 1),
    )  # fmt: skip


# --------------------------------------------------------------------------------------------- fit


def _rest(hand_layer: HandLayer, config: DeformerConfig) -> Tensor:
    """(21, 3): joints of the open right hand, then tips, in MANO's order, from the wrist."""
    table = hand_layer.weights
    flat = torch.eye(3).expand(1, NUM_MANO_JOINTS, 3, 3).to(table)
    is_left = torch.zeros(1, dtype=torch.bool, device=table.device)
    joints = hand_layer(flat, table.new_zeros(1, NUM_BETAS), is_left, config.tips)[1][0]
    return (joints - joints[:1])[DATASET_TO_MANO]


def fit(rest_m: Tensor, rays: Tensor, directions: Tensor, steps: int) -> Tensor:
    """Rotations of the skeleton that fits 2D joints and directions best.

    rest_m (21, 3): joints at rest, MANO's order; rays (N, 21, 3) with z = 1, directions
    (N, 21, 3): dataset order, right hands; steps: of Gauss-Newton → (N, 16, 3, 3).
    """
    # In single precision, rounding would show where the least squares are badly conditioned
    rest_m, rays, directions = rest_m.double(), rays.double(), directions.double()
    rays = rays[:, DATASET_TO_MANO]
    directions = functional.normalize(directions[:, DATASET_TO_MANO], dim=-1)
    turn = _palm_frame(directions) @ _palm_frame(rest_m).mT
    flat = torch.eye(3, dtype=rays.dtype, device=rays.device).expand(
        len(rays), NUM_MANO_JOINTS - 1, 3, 3
    )
    rotmats, moves = torch.cat([turn[:, None], flat], 1), (_moves().to(rays) if steps else None)
    place = torch.zeros_like(rays[:, 0])  # found by the first step, as the fit is linear in it
    for _ in range(steps):
        turns, points = _posed(rotmats, rest_m)
        by_turn = _derivatives(points, moves)
        to_rays = _pull_to_rays(points + place[:, None], rays)
        to_directions = _pull_to_directions(points, directions)
        bend = (turns @ rotmat_to_rotvec(rotmats)[..., None])[..., 0]  # in the camera's axes
        change, shift = _step(by_turn, to_rays, to_directions, bend)
        change = (turns.mT @ change[..., None])[..., 0]
        rotmats, place = rotmats @ rotvec_to_rotmat(change), place + shift
    return rotmats.float()


def _palm_frame(vectors: Tensor) -> Tensor:
    """vectors (…, 21, 3) from the wrist, MANO's order → (…, 3, 3): axes of the palm."""
    index, middle, little = (
        vectors[..., DATASET_TO_MANO.tolist().index(JOINT_NAMES.index(f"{finger}_1")), :]
        for finger in ("index", "middle", "little")
    )
    return rot6d_to_rotmat(torch.cat([middle, index - little], -1))


def _moves() -> Tensor:
    """(21, 16): 1 where turning a joint moves a point."""
    moves = torch.zeros(NUM_JOINTS, NUM_MANO_JOINTS)
    for point in range(NUM_JOINTS):
        parents = (*MANO_PARENTS, *_LAST_BONES)
        joint = parents[point]
        while joint >= 0:
            moves[point, joint] = 1
            joint = parents[joint]
    return moves


def _posed(rotmats: Tensor, rest_m: Tensor) -> tuple[Tensor, Tensor]:
    """Turns (N, 16, 3, 3) and points (N, 21, 3) of the skeleton, from the wrist."""
    joints, tips = rest_m.split([NUM_MANO_JOINTS, NUM_JOINTS - NUM_MANO_JOINTS])
    posed = pose_joints(rotmats, joints.expand(len(rotmats), -1, -1))
    last = list(_LAST_BONES)
    tips = (posed.turns[:, last] @ tips[..., None])[..., 0] + posed.shifts[:, last]
    return posed.turns, torch.cat([posed.places, tips], 1)


def _derivatives(points: Tensor, moves: Tensor) -> Tensor:
    """Of points (N, 21, 3) by turns of the 16 joints about the camera's axes: (N, 63, 48)."""
    arms = (points[:, :, None] - points[:, None, :NUM_MANO_JOINTS]) * moves[..., None]
    x, y, z = arms.unbind(-1)  # (N, 21, 16)
    zero = torch.zeros_like(x)
    rows = [(zero, z, -y), (-z, zero, x), (y, -x, zero)]  # of x, y and z, by three axes
    rows = torch.stack([torch.stack(row, -1).flatten(2) for row in rows], 2)
    return rows.flatten(1, 2)


class _Pull(NamedTuple):
    """What draws points: derivatives by them of half the squared errors."""

    first: Tensor
    """(N, 21, 3)."""
    second: Tensor
    """(N, 21, 3, 3), without the curvature of the errors."""


def _pull_to_rays(points: Tensor, rays: Tensor) -> _Pull:
    """Errors are distances at the points' depth, so they are linear."""
    uv = rays[..., :2, None]
    eye = torch.eye(2).to(uv).expand(*uv.shape[:2], 2, 2)
    across = torch.cat([eye, -uv], -1) / _IMAGE_M  # (N, 21, 2, 3)
    second = across.mT @ across
    return _Pull((second @ points[..., None])[..., 0], second)


def _pull_to_directions(points: Tensor, directions: Tensor) -> _Pull:
    """Errors are differences of unit vectors; points are from the wrist, which has no error."""
    lengths = points.norm(dim=-1)[..., None].clamp(min=1e-3)
    now = points / lengths
    aside = (
        torch.eye(3, dtype=now.dtype, device=now.device) - now[..., None] * now[..., None, :]
    ) / _DIRECTION_RAD**2
    aside = torch.cat([torch.zeros_like(aside[:, :1]), aside[:, 1:]], 1)
    first = (aside @ (now - directions)[..., None])[..., 0] / lengths
    return _Pull(first, aside / lengths[..., None] ** 2)


def _step(
    by_turn: Tensor, to_rays: _Pull, to_directions: _Pull, bend: Tensor
) -> tuple[Tensor, Tensor]:
    """A Gauss-Newton step: turns (N, 16, 3) about the camera's axes, and a shift (N, 3). bend
    (N, 16, 3): rotations of the joints now."""
    straight = torch.full_like(bend, _BEND_RAD**-2)
    straight[:, 0] = 0  # any turn of the whole hand is as likely
    moved = (to_rays.second + to_directions.second) @ by_turn.unflatten(1, (-1, 3))
    turn_turn = by_turn.mT @ moved.flatten(1, 2) + torch.diag_embed(straight.flatten(1))
    turn_shift = by_turn.mT @ to_rays.second.flatten(1, 2)  # directions do not see shifts
    upper = torch.cat([turn_turn, turn_shift], 2)
    lower = torch.cat([turn_shift.mT, to_rays.second.sum(1)], 2)
    hessian = torch.cat([upper, lower], 1)
    hessian = hessian + _DAMPING * torch.eye(hessian.shape[-1]).to(hessian)
    by_turns = by_turn.mT @ (to_rays.first + to_directions.first).flatten(1)[..., None]
    by_turns = by_turns[..., 0] + (straight * bend).flatten(1)
    gradient = torch.cat([by_turns, to_rays.first.sum(1)], 1)
    factor = torch.linalg.cholesky_ex(hessian)[0]  # unlike cholesky, never waits for the device
    step = -torch.cholesky_solve(gradient[..., None], factor)[..., 0]
    turns = step[:, :-3].clamp(-_FARTHEST_RAD, _FARTHEST_RAD)
    return turns.unflatten(1, (-1, 3)), step[:, -3:]
