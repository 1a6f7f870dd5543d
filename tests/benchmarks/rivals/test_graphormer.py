"""MeshGraphormer: its coarse mesh, its graph convolution, and a mesh that no pose gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components

from benchmarks.evaluation.predictions import read_predictions
from benchmarks.evaluation.result import find_evaluations
from benchmarks.evaluation.scored import load_scored
from benchmarks.evaluation.truth import read_truth, true_meshes
from benchmarks.figures.catalogue import draw_run
from benchmarks.rivals import RIVALS
from benchmarks.rivals.graphormer import GraphLayer, MeshGraphormer, coarse_mesh
from deformer.hand.align import align_procrustes, point_errors_mm
from deformer.hand.mano import HandLayer
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.network.losses import Targets, mse
from deformer.network.network import HandOutput
from deformer.network.output import FrameFeatures
from deformer.network.posed_hands import HandMotion
from tests.benchmarks.untrained import evaluated, save_untrained
from tests.deformer.small_runs import VERY_SMALL, make_stream

CONFIG = VERY_SMALL.model


@pytest.fixture(scope="module")
def mesh(hands):
    return coarse_mesh(hands.right)


@pytest.fixture(scope="module")
def model(hands):
    return MeshGraphormer(CONFIG, HandLayer(hands, vertex_stride=778)).eval()


def test_the_coarse_mesh_covers_the_hand(hands, mesh):
    assert len(set(mesh.vertices.tolist())) == 195
    assert np.array_equal(mesh.cell[mesh.vertices], np.arange(195))  # each lies in its own cell
    template = hands.right.v_template
    apart = np.linalg.norm(template[mesh.vertices][mesh.cell] - template, axis=-1)
    assert apart.max() < 0.015
    assert np.array_equal(mesh.adjacency, mesh.adjacency.T)
    assert connected_components(mesh.adjacency)[0] == 1
    neighbours = (mesh.adjacency > 0).sum(1) - 1
    assert 4 < neighbours.mean() < 8  # of a mesh of triangles: near 6


def test_graph_convolution_reaches_neighbours_alone(mesh):
    layer = GraphLayer(16, 2, 16, torch.from_numpy(mesh.adjacency))
    torch.nn.init.zeros_(layer.attention.out.weight)
    tokens, vertex = torch.randn(1, 21 + 195 + 64, 16), 50
    other = tokens.clone()
    other[:, 21 + vertex] = torch.randn(16)
    moved = (layer.attend(other, torch.zeros(16)) - layer.attend(tokens, torch.zeros(16)))[0]
    reached = (moved.abs().amax(-1) > 0).nonzero()[:, 0] - 21
    assert reached.tolist() == np.flatnonzero(mesh.adjacency[vertex]).tolist()
    assert len(reached) > 1


def test_checkpoints_hold_nothing_of_the_hand_model(hands):
    right = replace(hands.right, v_template=hands.right.v_template[::-1] * 1.1)
    states = []
    for model in (hands, replace(hands, right=right)):
        torch.manual_seed(0)
        states.append(MeshGraphormer(CONFIG, HandLayer(model)).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_untrained_it_gives_the_hand_at_rest_and_its_mirror_image(model, hands):
    maps = torch.randn(1, CONFIG.width, CONFIG.roi_size, CONFIG.roi_size)
    with torch.no_grad():
        frame = FrameFeatures(*(value[:, None] for value in model.encode_maps(maps)))
        right, left = (model.decode_windows(frame, torch.tensor([side])) for side in (False, True))
    vertices, mirrored = right.hands.vertices_m, left.hands.vertices_m
    assert vertices.shape == (1, 1, 778, 3)  # though its hand layer computes fingertips alone
    assert torch.equal(mirrored, vertices * torch.tensor([-1.0, 1, 1]))
    template = hands.right.v_template - hands.right.wrist_m(np.zeros(10))
    assert np.abs(vertices[0, 0].numpy() - template).max() < 0.03


def test_vertices_that_targets_lack_are_not_supervised(hands, layer):
    some = MeshGraphormer(CONFIG, HandLayer(hands, vertex_stride=100))
    rotmats = rotvec_to_rotmat(0.3 * torch.randn(2, 16, 3))
    (every, joints), (kept, _) = (
        which(rotmats, torch.randn(2, 10, generator=torch.Generator().manual_seed(0)),
              torch.tensor([False, True]))
        for which in (layer, some.hand_layer)
    )  # fmt: skip
    every, joints, kept = (value[:, None] for value in (every, joints, kept))
    joints_2d = torch.rand(2, 1, 21, 2)
    true = HandMotion(None, None, kept, joints)
    targets = Targets(true, joints_2d, torch.ones(2, 1, 21, dtype=torch.bool), *[None] * 3)

    def loss(moved: int) -> float:
        vertices = every.clone()
        vertices[:, :, moved] += 0.1
        output = HandOutput(HandMotion(None, None, vertices, joints), joints_2d)
        return some.losses(output, targets, mse)["vertices"].item()

    assert loss(101) < 1e-10 and loss(100) > 1e-5


def test_a_width_that_the_last_encoder_cannot_have_is_refused(hands):
    with pytest.raises(ValueError, match="width is 12, .* must be a multiple of 8, 4 times"):
        MeshGraphormer(replace(CONFIG, width=12), HandLayer(hands))


def test_its_mesh_is_evaluated_and_drawn(data, hands, tmp_path):
    experiment = RIVALS["graphormer"].applied_to(replace(VERY_SMALL, vertex_stride=8))
    run = save_untrained(tmp_path / "run", make_stream(data, experiment), hands, experiment)
    out = tmp_path / "results" / "mine"
    evaluation, said = evaluated(data, out, checkpoint=run, mesh=True, vertices=True)
    assert "mesh is not scored" not in said
    predictions = read_predictions(out / "predictions.parquet")
    assert not {"pose_rotvec", "betas", "weights"} & predictions.keys()
    vertices = predictions["vertices_m"].reshape(-1, 778, 3)
    truth = read_truth(data, "s0_train")
    at = np.flatnonzero(truth.frames["valid"].to_numpy())
    true = true_meshes(truth, at, hands)
    error = point_errors_mm(align_procrustes(vertices.astype(float), true), true).mean()
    assert evaluation.metrics["all"]["pa_mpvpe_mm"]["mean"] == pytest.approx(error, abs=1e-3)
    is_left = truth.is_left[at]  # at rest, fingers of right hands point along −x
    assert is_left.any() and (vertices.mean((1, 2))[~is_left] < 0).all()
    assert np.array_equal(vertices[..., 0].mean(1) > 0, is_left)
    scored, problems = load_scored(find_evaluations(out.parent), out.parent, [data])
    drawn = list(draw_run(scored[0], None, problems))
    assert problems == {} and [d.name for d in drawn] == ["mine/hands"]
