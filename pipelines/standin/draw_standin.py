"""Draw the stand-in hand's contact sheet, from the two npz files alone.

    python pipelines/standin/draw_standin.py --out docs/standin.png

Rays are cast with embreex; normals are smooth; the light is a key light, and ambient light where
the skin is open to it.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from deform import (
    joint_rotations_to_transforms,
    linear_blend_skinning,
    pose_feature,
    pose_to_rotations,
)
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from grasps import TOUCHES, angles_to_pose, build_skeleton, named_grasps, touch

FOLDER = Path(__file__).parents[2] / "deformer" / "hand"
SKIN, WOOD = np.array([226, 172, 142.0]), np.array([120, 150, 175.0])
TIPS = [317, 444, 673, 556, 745]  # in MANO's order of fingers
TILE_PX, OVERSAMPLE, HALF_WIDTH_M = 250, 2, 0.118
BACK, PALM, SIDE = (0, 1, 0), (0, -1, 0), (0, 0, 1)
OBLIQUE, BELOW, FRONT = (-0.6, 0.5, 0.8), (-0.35, -0.75, 0.6), (-1, 0.25, 0.35)


class Hand:
    """One side's arrays, posed as MANO is: shape, correctives, linear blending."""

    def __init__(self, side: str):
        raw = np.load(FOLDER / f"STANDIN_{side}.npz")
        self.arrays = {k: raw[k].astype(np.int64 if k == "f" else np.float64) for k in raw.files}
        self.faces = self.arrays["f"]

    def pose(self, pose, betas=(0.0,)) -> np.ndarray:
        """Vertices (778, 3) of a finger pose (45,) and the first shape coefficients."""
        a = self.arrays
        shaped = a["v_template"] + a["shapedirs"][:, :, : len(betas)] @ np.asarray(betas)
        rotations = pose_to_rotations(pose)
        transforms, _ = joint_rotations_to_transforms(rotations, a["J_regressor"] @ shaped)
        bent = shaped + a["posedirs"] @ pose_feature(rotations)
        return linear_blend_skinning(bent, a["weights"], transforms)


def render(parts, view, up=(0, 1, 0), size=TILE_PX, half_width_m=HALF_WIDTH_M, centre=None):
    """Orthographic picture (size, size, 3) RGB of [(vertices, faces, colour), …] seen from view."""
    view, up = np.asarray(view, float), np.asarray(up, float)
    if abs(view @ up) > 0.95 * np.linalg.norm(view):
        up = np.array([0.0, 0, 1])
    z = view / np.linalg.norm(view)
    x = np.cross(up, z)
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    if centre is None:
        centre = (parts[0][0].min(0) + parts[0][0].max(0)) / 2
    vertices, faces, normals, colours = _merge(parts)
    scene = EmbreeScene()
    TriangleMesh(scene, vertices[faces].astype(np.float32))
    fine = size * OVERSAMPLE
    grid = ((np.arange(fine) + 0.5) / fine * 2 - 1) * half_width_m
    right, down = np.meshgrid(grid, grid)
    origin = (centre + right[..., None] * x - down[..., None] * y + 0.5 * z).reshape(-1, 3)
    hit = scene.run(*_rays(origin, -z), output=1)
    seen = hit["primID"] >= 0
    u, v, face = hit["u"][seen], hit["v"][seen], faces[hit["primID"][seen]]
    normal = sum(
        n * w[:, None]
        for n, w in zip(normals[face].transpose(1, 0, 2), (1 - u - v, u, v), strict=True)
    )
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    inside = (normal @ z) < 0  # through the open wrist one sees the inner side
    point = origin[seen] - hit["tfar"][seen, None] * z
    key = 0.45 * x + 0.65 * y + 0.75 * z
    diffuse = np.clip(normal @ (key / np.linalg.norm(key)), 0, 1)
    open_sky = _openness(scene, point + 0.001 * normal, normal)
    light = 0.22 + 0.33 * open_sky + 0.5 * diffuse * (0.35 + 0.65 * open_sky)
    colour = colours[face[:, 0]] * light[:, None]
    colour[inside] = 70
    image = np.full((fine * fine, 3), 255.0)
    image[seen] = np.clip(colour, 0, 255)
    image = image.reshape(size, OVERSAMPLE, size, OVERSAMPLE, 3).mean((1, 3))
    return image.astype(np.uint8)


def _merge(parts):
    vertices, faces, normals, colours, count = [], [], [], [], 0
    for v, f, colour in parts:
        corner = v[f]
        across = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        normal = np.zeros_like(v)
        for k in range(3):
            np.add.at(normal, f[:, k], across)
        normals.append(normal / np.linalg.norm(normal, axis=1, keepdims=True))
        vertices.append(v)
        faces.append(f + count)
        colours.append(np.tile(colour, (len(v), 1)))
        count += len(v)
    return tuple(np.concatenate(part) for part in (vertices, faces, normals, colours))


def _rays(origin, direction):
    direction = np.broadcast_to(direction, origin.shape)
    return np.ascontiguousarray(origin, np.float32), np.ascontiguousarray(direction, np.float32)


def _openness(scene, point, normal, num_directions=24, reach_m=0.05) -> np.ndarray:
    """The share of the sky over each point that nothing near it hides (N,)."""
    k = np.arange(num_directions) + 0.5
    height, turn = 1 - 2 * k / num_directions, np.pi * (1 + 5**0.5) * k
    flat = np.sqrt(1 - height**2)
    sphere = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1)
    free, total = np.zeros(len(point)), np.zeros(len(point))
    for direction in sphere:
        weight = np.clip(normal @ direction, 0, None)
        distance = scene.run(*_rays(point, direction), query="DISTANCE")
        free += weight * (distance > reach_m)
        total += weight
    return free / total


def largest_cylinder(vertices: np.ndarray, z_range) -> tuple[np.ndarray, np.ndarray]:
    """The thickest cylinder along z that fits into a grasp: vertices, faces."""
    between = (vertices[:, 2] > z_range[0]) & (vertices[:, 2] < z_range[1])
    # Inside the grasp: between the palm and the fingertips.
    tips = vertices[TIPS].mean(0)
    xs = np.linspace(tips[0] - 0.03, tips[0] + 0.03, 61)
    ys = np.linspace(tips[1], tips[1] + 0.05, 51)
    axes = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    distance = np.linalg.norm(axes[:, None] - vertices[between, :2], axis=-1).min(1)
    (x, y), radius = axes[distance.argmax()], distance.max() - 0.0005
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    ring = np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)
    ends = [np.column_stack([ring, np.full(64, z)]) for z in (-0.095, 0.095)]
    i, j = np.arange(64), (np.arange(64) + 1) % 64
    wall = np.concatenate([np.stack([i, j, j + 64], 1), np.stack([i, j + 64, i + 64], 1)])
    fan = np.stack([np.zeros(62, int), i[1:-1], i[2:]], 1)  # own vertices keep the rim sharp
    faces = np.concatenate([wall, fan[:, ::-1] + 128, fan + 192])
    return np.concatenate([*ends, *ends]), faces


def sheet(right: Hand, left: Hand) -> np.ndarray:
    """The whole contact sheet, RGB."""
    a = right.arrays
    skeleton = build_skeleton(a["v_template"], a["J"], a["v_template"][TIPS], a["weights"])

    def grasp(name):
        angles = named_grasps()[name]
        if name in TOUCHES:
            angles = touch(angles, skeleton, name, 0.004)
        return angles_to_pose(angles, skeleton)

    def tile(label, view, pose, betas=(0.0,), more=(), hand=right):
        parts = [(hand.pose(pose, betas), hand.faces, SKIN), *more]
        picture = render(parts, view)
        return cv2.putText(
            picture, label, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (60,) * 3, 1, cv2.LINE_AA
        )

    rest = np.zeros(45)
    power = grasp("power")
    held = (*largest_cylinder(right.pose(power), (-0.05, 0.06)), WOOD)
    to_left = np.tile([1, -1, -1], 15)
    rows = [
        [
            tile("rest, back", BACK, rest),
            tile("rest, palm", PALM, rest),
            tile("rest, side", SIDE, rest),
            tile("rest, front", FRONT, rest),
            tile("left, back", BACK, rest, hand=left),
        ],
        [
            tile("fist", OBLIQUE, grasp("fist")),
            tile("fist, palm", BELOW, grasp("fist")),
            tile("pinch", SIDE, grasp("pinch")),
            tile("tripod", OBLIQUE, grasp("tripod")),
            tile("left fist", (0.6, 0.5, 0.8), grasp("fist") * to_left, hand=left),
        ],
        [
            tile("power", OBLIQUE, power, more=[held]),
            tile("power", BELOW, power, more=[held]),
            tile("point", OBLIQUE, grasp("point")),
            tile("spread", BACK, grasp("spread")),
            tile("lateral", BELOW, grasp("lateral")),
        ],
        [
            tile("hook", OBLIQUE, grasp("hook")),
            tile("sphere", BELOW, grasp("sphere")),
            tile("relaxed", FRONT, grasp("relaxed")),
            tile("pinch", BELOW, grasp("pinch")),
            tile("mean pose", OBLIQUE, a["hands_mean"]),
        ],
        [
            tile(f"beta {b + 1} = {s:+d}", BACK, rest, [0.0] * b + [s])
            for b, s in ((0, -2), (0, 2), (1, -2), (1, 2), (2, 2))
        ],
    ]
    return np.vstack([np.hstack(row) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the PNG to write")
    args = parser.parse_args()
    picture = sheet(Hand("RIGHT"), Hand("LEFT"))
    # Even grey levels halve the file and cannot be told from all levels.
    picture = np.minimum(picture // 4 * 4 + 3, 255).astype(np.uint8)
    cv2.imwrite(str(args.out), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{args.out}: {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
