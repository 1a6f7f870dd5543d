"""MeshGraphormer: the vertices of a hand as tokens of a transformer, with graph convolution.

Source: Lin, Wang, Liu, "Mesh Graphormer", ICCV 2021.

Each joint, and each vertex of a coarse mesh, is a query: what is seen in the whole image, beside
its place in a hand at rest. Three transformer encoders, each narrower than the last, read the
queries together with a grid of image features. In the last, every layer has a residual block of
graph convolution over the edges of the coarse mesh, between attention and feed-forward. A linear
layer that all three coordinates share takes the coarse mesh to the full one. There is no MANO in
the result: neither pose nor shape.

Differs from the original: the coarse mesh, of as many vertices, is made by farthest-point sampling;
each encoder is half as wide as the one before, instead of a quarter; the grid is 8², not 7²; points
are predicted as moves from the hand at rest, and the linear layer corrects a mesh whose vertices
lie at their coarse ones, because trainings here are short; the joints of the result are those of
the queries, fingertips as in training, not regressed from the mesh; their places in the image are
read off the same tokens, without a camera; the coarse mesh is supervised by the full one alone; no
queries are masked in training, because all that is random in a step comes from its stream.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from torch import Tensor, nn
from torch.nn import functional

from deformer.hand.conventions import NUM_JOINTS, NUM_MANO_JOINTS, NUM_VERTICES
from deformer.hand.mano import HandArrays, HandLayer
from deformer.network.config import DeformerConfig
from deformer.network.frames import SMALL
from deformer.network.losses import PointLoss, Targets, joints_2d_loss
from deformer.network.network import HandOutput, Network
from deformer.network.output import FrameFeatures, Window
from deformer.network.posed_hands import HandMotion
from deformer.network.sides import mirror_joints_2d, mirror_points
from deformer.network.transformer import MLP, Encoder, EncoderLayer

_COARSE = 195
_POINTS = NUM_JOINTS + _COARSE
_GRID = 8
_REDUCTIONS = (1, 2, 4)
_UNIT_M = 0.3
"""Lengths inside the network are about 1."""


class CoarseMesh(NamedTuple):
    """C of the hand's vertices, and cells of all vertices around them."""

    vertices: np.ndarray
    """(C,) numbers of the chosen vertices."""
    cell: np.ndarray
    """(778,) the chosen vertex that is nearest along the edges, 0 to C−1."""
    adjacency: np.ndarray
    """(C, C) float32: cells that share an edge, and each cell with itself, D^-½ A D^-½."""


def coarse_mesh(hand: HandArrays, num_vertices: int = _COARSE) -> CoarseMesh:
    """Farthest-point sampling along the edges of the hand at rest, from vertex 0."""
    edges = np.unique(np.sort(hand.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)), axis=0)
    lengths_m = np.linalg.norm(np.diff(hand.v_template[edges], axis=1)[:, 0], axis=-1)
    graph = csr_array((lengths_m, edges.T), (NUM_VERTICES, NUM_VERTICES))
    vertices = [0]
    away_m = [dijkstra(graph, directed=False, indices=0)]  # of all vertices from each chosen one
    nearest_m = away_m[0]
    while len(vertices) < num_vertices:
        vertices.append(int(nearest_m.argmax()))
        away_m.append(dijkstra(graph, directed=False, indices=vertices[-1]))
        nearest_m = np.minimum(nearest_m, away_m[-1])
    cell = np.argmin(away_m, 0)
    adjacency = np.eye(num_vertices, dtype=np.float32)
    one, other = cell[edges].T
    adjacency[one, other] = adjacency[other, one] = 1
    degree = adjacency.sum(1)
    return CoarseMesh(np.array(vertices), cell, adjacency / np.sqrt(np.outer(degree, degree)))


class GraphLayer(EncoderLayer):
    """With graph convolution of the vertices between attention and feed-forward."""

    def __init__(self, width: int, heads: int, ffn: int, adjacency: Tensor) -> None:
        super().__init__(width, heads, ffn)
        half = width // 2
        self.norm_graph = nn.LayerNorm(width)
        self.narrow, self.mix = nn.Linear(width, half), nn.Linear(half, half)
        self.widen = nn.Linear(half, width)
        self.register_buffer("adjacency", adjacency, persistent=False)

    def attend(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """As `EncoderLayer`."""
        tokens = super().attend(tokens, positions)
        joints, vertices, grid = tokens.split([NUM_JOINTS, _COARSE, _GRID**2], 1)
        mixed = self.mix(self.narrow(self.norm_graph(vertices)).relu())
        vertices = vertices + self.widen((self.adjacency @ mixed).relu())
        return torch.cat([joints, vertices, grid], 1)


class Block(nn.Module):
    """An encoder, and before it a linear layer to its width. Each token has a learned position."""

    def __init__(self, fan_in: int, encoder: Encoder, width: int) -> None:
        super().__init__()
        self.reduce, self.encoder = nn.Linear(fan_in, width), encoder
        self.positions = nn.Parameter(torch.randn(_POINTS + _GRID**2, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (N, L, fan_in) → (N, L, width)."""
        return self.encoder(self.reduce(tokens) + self.positions, self.positions)


class MeshGraphormer(Network):
    """Tokens are the joints in dataset order, the vertices of the coarse mesh, the grid."""

    spatial_parts = ("to_queries", "blocks", "to_points", "to_joints_2d")

    def __init__(self, config: DeformerConfig, hand_layer: HandLayer) -> None:
        super().__init__(config, hand_layer)
        width, heads, last = config.width, config.heads, max(_REDUCTIONS)
        if width % (last * heads):
            raise ValueError(
                f"width is {width}, for MeshGraphormer it must be a multiple of {last * heads}, "
                f"{last} times the heads, because its last encoder is {last} times narrower"
            )
        mesh = coarse_mesh(hand_layer.right)
        # Derived from the hand model, so none of it is in checkpoints
        self.register_buffer("rest_m", _at_rest(hand_layer, mesh), persistent=False)
        self.register_buffer("nearest", torch.eye(_COARSE)[mesh.cell], persistent=False)
        self.to_queries = nn.Linear(width + 3, width)
        self.blocks = nn.ModuleList()
        fan_in = width
        for by in _REDUCTIONS:
            shape = (width // by, heads, max(1, config.ffn // by))
            encoder = Encoder(*shape, config.layers)
            if by == last:
                adjacency = torch.from_numpy(mesh.adjacency)
                layers = (GraphLayer(*shape, adjacency) for _ in range(config.layers))
                encoder.layers = nn.ModuleList(layers)
            self.blocks.append(Block(fan_in, encoder, width // by))
            fan_in = width // by
        self.to_points = MLP(fan_in, 3, gain=SMALL)
        self.to_joints_2d = MLP(fan_in, 2, gain=SMALL)
        self.upsample = nn.Linear(_COARSE, NUM_VERTICES, bias=False)
        nn.init.zeros_(self.upsample.weight)

    def encode_maps(self, maps: Tensor) -> FrameFeatures:
        """maps (N, width, size, size) → places of the 21 joints and 195 vertices of a right hand,
        (N, 216·3) m, and 2D joints."""
        grid = functional.adaptive_avg_pool2d(maps, _GRID).flatten(2).transpose(1, 2)
        seen = maps.mean((2, 3))[:, None].expand(-1, _POINTS, -1)  # (N, 216, width)
        rest = (self.rest_m / _UNIT_M).to(maps).expand(len(maps), -1, -1)
        tokens = torch.cat([self.to_queries(torch.cat([seen, rest], -1)), grid], 1)
        for block in self.blocks:
            tokens = block(tokens)
        points, joints_2d = self.to_points(tokens[:, :_POINTS]), tokens[:, :NUM_JOINTS]
        points_m = self.rest_m + _UNIT_M * points.float()
        return FrameFeatures(points_m.flatten(1), 0.5 + self.to_joints_2d(joints_2d).float())

    def decode(self, frames: FrameFeatures, window: Window) -> HandOutput:
        """As `Network`; the mesh has all 778 vertices, whatever the hand layer computes."""
        with torch.autocast(frames.hand.device.type, enabled=False):
            points = frames.hand.float().unflatten(-1, (_POINTS, 3))
            points = points - points[:, :, :1]
            joints, coarse = points.split([NUM_JOINTS, _COARSE], 2)
            vertices = (self.nearest + self.upsample.weight) @ coarse  # (B, T, 778, 3)
        vertices, joints = (mirror_points(value, window.is_left) for value in (vertices, joints))
        hands = HandMotion(None, None, vertices, joints)
        return HandOutput(hands, mirror_joints_2d(frames.joints_2d, window.is_left))

    def losses(
        self, output: HandOutput, targets: Targets, point_loss: PointLoss
    ) -> dict[str, Tensor]:
        """The vertices that targets have, joints and 2D joints."""
        vertices_m = output.hands.vertices_m.index_select(2, self.hand_layer.kept)
        return {
            "vertices": point_loss(vertices_m, targets.hand.vertices_m).mean(),
            "joints": point_loss(output.hands.joints_m, targets.hand.joints_m).mean(),
            "joints_2d": joints_2d_loss(
                output.joints_2d, targets.joints_2d, targets.joints_in_image
            ),
        }


def _at_rest(hand_layer: HandLayer, mesh: CoarseMesh) -> Tensor:
    """Joints and coarse vertices of the right hand without pose and shape, (216, 3) m from the
    wrist."""
    unbent = torch.eye(3).expand(1, NUM_MANO_JOINTS, 3, 3)
    _, joints = hand_layer(unbent, torch.zeros(1, 10), torch.zeros(1, dtype=torch.bool))
    vertices = torch.from_numpy(hand_layer.right.v_template[mesh.vertices])
    return torch.cat([joints[0], vertices]) - joints[0, :1]
