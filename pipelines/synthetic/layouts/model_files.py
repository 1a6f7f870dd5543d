"""The models folder: `<class>/textured_simple.obj`, its material and texture, and `points.xyz`."""

from pathlib import Path

import cv2
import numpy as np

from deformer.files.whole import write_whole
from pipelines.synthetic.paint.textures import linear_to_srgb, paint_object
from pipelines.synthetic.things.objects import SceneObject, surface_samples_m
from pipelines.synthetic.things.ycb import YCB_OBJECTS

_TEXTURE_NAME = "texture_map.png"
_POINT_COUNT = 2621  # as in YCB-Video's models


def write_models(root: Path) -> None:
    """Write all 21 classes under `root/models`. The same bytes every time."""
    for thing in YCB_OBJECTS.values():
        folder = root / "models" / thing.name
        texture = paint_object(thing.paints, np.random.default_rng(thing.class_id))
        image = np.round(linear_to_srgb(texture) * 255).astype(np.uint8)[..., ::-1]
        # OpenCV silently writes no file if its path is not UTF-8
        write_whole(folder / _TEXTURE_NAME, cv2.imencode(".png", image)[1].tobytes())
        write_whole(folder / "textured_simple.obj.mtl", _material())
        write_whole(folder / "textured_simple.obj", _wavefront(thing))
        points = _points(thing)
        lines = (f"{x:.6f} {y:.6f} {z:.6f}" for x, y, z in points)
        write_whole(folder / "points.xyz", "\n".join(lines) + "\n")


def _points(thing: SceneObject) -> np.ndarray:
    samples = surface_samples_m(thing, 0.004)
    rng = np.random.default_rng(thing.class_id)
    return samples[rng.choice(len(samples), _POINT_COUNT, replace=len(samples) < _POINT_COUNT)]


def _material() -> str:
    return (
        "newmtl material_0\nKa 0.200000 0.200000 0.200000\nKd 1.000000 1.000000 1.000000\n"
        f"Ks 0.100000 0.100000 0.100000\nNs 12.000000\nd 1.000000\nmap_Kd {_TEXTURE_NAME}\n"
    )


def _wavefront(thing: SceneObject) -> str:
    """One object, one material; vertex, texture and normal share their number."""
    mesh = thing.mesh
    lines = ["mtllib textured_simple.obj.mtl", f"o {thing.name}"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in mesh.vertices_m]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in mesh.uv]
    lines += [f"vn {x:.5f} {y:.5f} {z:.5f}" for x, y, z in mesh.normals]
    lines.append("usemtl material_0")
    lines += ["f " + " ".join(f"{i}/{i}/{i}" for i in face) for face in (mesh.faces + 1).tolist()]
    return "\n".join(lines) + "\n"
