"""An animated scene (glTF 2.0, binary): a node per track that moves, turns and bends in time.

A track's mesh is the hand of its first frame in MANO's axes, wrist at 0, and the main directions in
which the others differ from it: morph targets, as many as bring every vertex of every frame within
`_TOLERANCE_M`. So a long video is no heavier to show than a short one. x right, y up, z towards the
camera, metres; the scene holds the video's camera, at the origin, looking along -z.
"""

import json
import struct
from dataclasses import asdict
from math import atan2
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.transform import Rotation

from deformer.files.whole import write_whole
from deformer.video.export.clip import Y_UP, Clip, Track
from deformer.video.hands_file import HandsInfo

_TOLERANCE_M = 2e-4
_AT_ONCE = 64
"""Shapes that new directions are made from."""
_COLOURS_RGB = ((0.89, 0.47, 0.38), (0.31, 0.55, 0.85), (0.42, 0.71, 0.42), (0.85, 0.69, 0.27))
"""Of tracks, in turn; linear."""
_FLOAT, _UINT16 = 5126, 5123
_VERTICES, _FACES = 34962, 34963


def write(clip: Clip, out: Path) -> list[Path]:
    """Write `<stem>.hands.glb`. A video without hands gives a scene with a camera alone."""
    scene = _Scene()
    channels = []
    for track in clip.tracks:
        channels += _add_track(scene, clip, track)
    path = out / f"{clip.stem}.hands.glb"
    write_whole(path, scene.to_bytes(clip, channels))
    return [path]


class _Scene:
    """The JSON and the binary part of a file in the making."""

    def __init__(self) -> None:
        self.binary = bytearray()
        self.lists: dict[str, list] = {
            name: [] for name in ("bufferViews", "accessors", "materials", "meshes", "nodes")
        }

    def add(self, kind: str, content: dict) -> int:
        self.lists[kind].append(content)
        return len(self.lists[kind]) - 1

    def store(self, values: np.ndarray, target: int | None = None, bounds: bool = False) -> int:
        """An accessor of values (n,), (n, 3) or (n, 4); its index. bounds: state min and max."""
        values = np.ascontiguousarray(values, np.uint16 if target == _FACES else np.float32)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": values.nbytes}
        self.binary += values.tobytes() + b"\0" * (-values.nbytes % 4)
        accessor = {
            "bufferView": self.add("bufferViews", view | ({"target": target} if target else {})),
            "componentType": _UINT16 if target == _FACES else _FLOAT,
            "count": len(values),
            "type": "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}",
        }
        if bounds:
            rows = values.reshape(len(values), -1)
            accessor |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        return self.add("accessors", accessor)

    def to_bytes(self, clip: Clip, channels: list["_Channel"]) -> bytes:
        """The file: header, JSON, binary part."""
        camera = self.add("nodes", {"name": "camera", "camera": 0})
        content = {
            "asset": {"version": "2.0", "generator": "deformer-hands", "extras": asdict(clip.info)},
            "scene": 0,
            "scenes": [{"nodes": list(range(camera + 1))}],
            "cameras": [_camera(clip)],
        } | {name: values for name, values in self.lists.items() if values}  # none may be empty
        if channels:
            samplers = [
                {"input": c.times, "output": c.values, "interpolation": c.way} for c in channels
            ]
            moves = [
                {"sampler": k, "target": {"node": c.node, "path": c.path}}
                for k, c in enumerate(channels)
            ]
            content["animations"] = [{"name": "hands", "samplers": samplers, "channels": moves}]
            content["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps(content).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        if self.binary:
            chunks += struct.pack("<I4s", len(self.binary), b"BIN\0") + self.binary
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


class _Channel(NamedTuple):
    """What an animation changes: accessors of times and values, and where they go."""

    times: int
    values: int
    node: int
    path: str
    way: str = "LINEAR"


def _camera(clip: Clip) -> dict:
    """It has no principal point: that is taken to be the middle."""
    across, down = clip.info.width / clip.K[0, 0], clip.info.height / clip.K[1, 1]
    lens = {"yfov": 2 * atan2(down, 2), "aspectRatio": across / down}
    return {"type": "perspective", "perspective": lens | {"znear": 0.01}}


def _add_track(scene: _Scene, clip: Clip, track: Track) -> list[_Channel]:
    """Add a track's material, mesh and node; the channels that animate it."""
    hands = track.hands
    to_camera = Rotation.from_rotvec(hands.pose_rotvec[:, :3])
    from_wrist = clip.vertices(hands) - hands.wrist_cam_m[:, None]
    shapes = np.einsum("nij,nvi->nvj", to_camera.as_matrix(), from_wrist)  # inverse of the turn
    faces = clip.model_of(track).faces
    weights, targets = main_directions(shapes)
    normals = vertex_normals(shapes, faces)
    # the best for these weights
    bends = np.tensordot(np.linalg.pinv(weights), normals - normals[:1], 1)

    def attributes(points: np.ndarray, normals: np.ndarray) -> dict:
        place = scene.store(points, _VERTICES, bounds=True)
        return {"POSITION": place, "NORMAL": scene.store(normals, _VERTICES)}

    colour = _COLOURS_RGB[int(hands.track[0]) % len(_COLOURS_RGB)]
    skin = {"baseColorFactor": [*colour, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.7}
    primitive = {
        "attributes": attributes(shapes[0], normals[0]),
        "indices": scene.store(faces.reshape(-1), _FACES),
        "material": scene.add("materials", {"name": track.name, "pbrMetallicRoughness": skin}),
    }
    mesh = {"name": track.name, "primitives": [primitive]}
    if len(targets):
        primitive["targets"] = [attributes(*pair) for pair in zip(targets, bends, strict=True)]
        mesh["weights"] = [0.0] * len(targets)
    turns = Rotation.from_matrix(np.diag(Y_UP)) * to_camera
    node = {
        "name": track.name,
        "mesh": scene.add("meshes", mesh),
        "translation": (hands.wrist_cam_m[0] * Y_UP).tolist(),
        "rotation": turns[0].as_quat().tolist(),
    }
    place = scene.add("nodes", node)
    times = scene.store(hands.time_s, bounds=True)
    found = [
        _Channel(times, scene.store(hands.wrist_cam_m * Y_UP), place, "translation"),
        _Channel(times, scene.store(_without_jumps(turns.as_quat())), place, "rotation"),
    ]
    if len(targets):
        found.append(_Channel(times, scene.store(weights.reshape(-1)), place, "weights"))
    switched, is_there = _presence(track, clip.info)
    scales = scene.store(np.repeat(is_there[:, None], 3, 1))
    found.append(_Channel(scene.store(switched, bounds=True), scales, place, "scale", "STEP"))
    return found


def main_directions(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shapes (N, V, 3) as the first one plus weighted directions: weights (N, K) in [-1, 1], 0 for
    the first shape, and directions (K, V, 3), with all vertices within `_TOLERANCE_M`.

    Directions are added where the worst shapes need them. That takes a few more of them than one
    decomposition of all shapes, which would take minutes for a video of minutes.
    """
    N, V, _ = shapes.shape
    rest = (shapes - shapes[:1]).reshape(N, -1)  # orthogonal to all directions so far
    weights, directions = [np.zeros((N, 0))], [np.zeros((0, 3 * V))]
    while True:
        errors = np.square(rest).reshape(N, V, 3).sum(-1).max(1)
        if errors.max() <= _TOLERANCE_M**2:
            break
        worst = np.argsort(errors)[-_AT_ONCE:]
        _, sizes, found = np.linalg.svd(rest[worst], full_matrices=False)
        found = found[: min(_AT_ONCE // 8, (sizes > 1e-3 * sizes[0]).sum())]
        along = rest @ found.T
        rest -= along @ found
        reach = np.abs(along).max(0)
        weights.append(along / reach)
        directions.append(reach[:, None] * found)
    return np.concatenate(weights, 1), np.concatenate(directions).reshape(-1, V, 3)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N, V, 3) of unit length: the mean of the faces around a vertex, by area."""
    N, V, _ = vertices.shape
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    of_faces = np.cross(b - a, c - a).swapaxes(0, 1).reshape(len(faces), -1)
    around = csr_array(
        (np.ones(faces.size), (faces.T.reshape(-1), np.tile(np.arange(len(faces)), 3))),
        (V, len(faces)),
    )
    normals = (around @ of_faces).reshape(V, N, 3).swapaxes(0, 1)
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def _without_jumps(quaternions: np.ndarray) -> np.ndarray:
    """The same rotations (N, 4), each with the sign that is nearer to the one before."""
    is_far = (quaternions[1:] * quaternions[:-1]).sum(1) < 0
    signs = np.cumprod(np.concatenate([[1], np.where(is_far, -1, 1)]))
    return quaternions * signs[:, None]


def _presence(track: Track, info: HandsInfo) -> tuple[np.ndarray, np.ndarray]:
    """Times from which a hand is there (1) and from which it is not (0): a gap hides it."""
    times_s = track.hands.time_s
    begins = np.array([times_s[run.start] for run in track.runs])
    ends = np.array([times_s[run.stop - 1] for run in track.runs])
    hidden = ends + 1 / info.fps
    hidden[:-1] = np.minimum(hidden[:-1], (ends[:-1] + begins[1:]) / 2)  # frames may be nearer
    switched = np.stack([begins, hidden], 1).reshape(-1)
    if track.hands.frame[-1] == info.num_frames - 1:  # a player that stops there shows the hand
        switched = switched[:-1]
    is_there = 1.0 - np.arange(len(switched)) % 2
    if switched[0] > 0:
        switched, is_there = np.append(0.0, switched), np.append(0.0, is_there)
    return switched, is_there
