"""One varied scene: a person, moving hands, objects around them and light.

World: z up, metres, the first hand near the origin. Time is in frames of 1/30 s. Each frame has two
moments, its own and one 1/30 s later, which give the speed (`frame_times`).
"""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from pipelines.synthetic.hand.free_poses import add_personal_variation, finger_motion
from pipelines.synthetic.hand.grasp import Grasp, find_grasp, grasp_directions
from pipelines.synthetic.hand.kinematics import HandRig
from pipelines.synthetic.hand.motion import smooth_noise
from pipelines.synthetic.paint.lighting import draw_light
from pipelines.synthetic.paint.patterns import texture
from pipelines.synthetic.paint.textures import linear_rgb, paint_object
from pipelines.synthetic.scene.appearance import draw_appearance
from pipelines.synthetic.scene.clutter import Placed, place_upright
from pipelines.synthetic.scene.scene import HandTrack, Held, Scene
from pipelines.synthetic.things.household import HOUSEHOLD
from pipelines.synthetic.things.objects import SceneObject, surface_samples_m
from pipelines.synthetic.things.ycb import YCB_OBJECTS

_FOREARM_M = 0.57  # from the wrist straight to the arm's end
_PLACEMENTS, _HOLD_TRIES, _SUNK_M = 10, 3, 0.006


def frame_times(num_frames: int, stride: int) -> np.ndarray:
    """The times of frames 0 … F − 1, then the times 1/30 s later, (2F,)."""
    times = np.arange(num_frames) * float(stride)
    return np.concatenate([times, times + 1])


def draw_thing(rng: np.random.Generator) -> SceneObject:
    """Draw an object to hold or to put on the ground."""
    pool = HOUSEHOLD if rng.random() < 0.6 else tuple(YCB_OBJECTS.values())
    return pool[int(rng.integers(len(pool)))]


def draw_scene(rng: np.random.Generator, hands, layer, times: np.ndarray) -> Scene:
    """Draw everything but the camera, at times (T,)."""
    appearance = draw_appearance(rng)
    sides = ["right", "left"] if rng.random() < 0.5 else ["left", "right"]
    rigs = [HandRig(hands, layer, side, appearance.betas) for side in sides]
    on_table = rng.random() < 0.6
    holds = rng.random() < 0.5
    liveliness = np.exp(rng.uniform(np.log(0.25), np.log(1.6)))
    if holds:
        first = _holding(rng, rigs[0], times, liveliness, on_table)
    else:
        first = _free(rng, rigs[0], times, liveliness, on_table)
    tracks = [first]
    if rng.random() < 0.4:
        second = _free(rng, rigs[1], times, liveliness, on_table, beside=first)
        tracks.append(_put_beside(rng, first, second))
    ground, still = None, []
    if on_table:
        points = np.concatenate([_points(track).reshape(-1, 3) for track in tracks])
        gap = rng.choice([0.0, rng.exponential(0.06)], p=[0.45, 0.55])
        ground = float(points[:, 2].min() - gap)
        still = _still(rng, points, ground)
    body = _body(tracks) if rng.random() < 0.85 else None
    return Scene(appearance, tracks, ground, still, draw_light(rng), body)


def _body(tracks: list[HandTrack]) -> tuple[np.ndarray, float]:
    """The chest's middle (3,) and where it faces (radians), from the first shoulder."""
    elbow, shoulder = tracks[0].elbow, tracks[0].shoulder_m
    facing = np.arctan2(-elbow[1], -elbow[0]) if np.hypot(*elbow[:2]) > 0.2 else 0.3
    right = np.array([np.sin(facing), -np.cos(facing), 0])
    sign = 1 if tracks[0].side == "right" else -1
    return shoulder - 0.17 * sign * right - [0, 0, 0.24], float(facing)


def _points(track: HandTrack) -> np.ndarray:
    """Points that a hand sweeps, (T, N, 3): on its skin and on the object that it holds."""
    vertices, _ = track.posed
    parts = [vertices[:, ::6]]
    if track.held is not None:
        held = track.held
        samples = surface_samples_m(held.thing, 0.02)
        parts.append(np.einsum("tij,sj->tsi", held.rotation, samples) + held.position_m[:, None])
    return np.concatenate(parts, 1)


def _elbow(rng, rig: HandRig, rotation: np.ndarray) -> np.ndarray:
    """The direction from a hand turned by rotation (3, 3) to its elbow, within a wrist's range."""
    flexion, deviation = np.clip(rng.normal(0, [0.42, 0.16]), [-1.1, -0.4], [1.1, 0.4])
    f, p, a = rig.axes
    bent = -f * np.cos(flexion) + p * np.sin(flexion)
    return rotation @ (bent * np.cos(deviation) + a * np.sin(deviation))


def _free(rng, rig, times, liveliness, on_table, beside: HandTrack | None = None) -> HandTrack:
    """An empty hand at any orientation. Over a table its arm does not come from below; beside
    another hand it mostly comes from the same direction."""
    candidates = []
    for _ in range(16):
        rotation = Rotation.from_quat(rng.standard_normal(4)).as_matrix()
        candidates.append((rotation, _elbow(rng, rig, rotation)))
    if on_table:
        flat = rng.random() < 0.6
        candidates.sort(key=lambda c: max(0, -c[1][2]) + flat * max(0, abs(c[1][2] - 0.25) - 0.35))
        candidates = candidates[:5]
    if beside is not None and rng.random() < 0.7:
        candidates.sort(key=lambda c: -(c[1] @ beside.elbow))
    rotation, elbow = candidates[0]
    turn = Rotation.from_rotvec(smooth_noise(rng, times, 3, 28 / liveliness) * 0.3)
    drift = smooth_noise(rng, times, 3, 24 / liveliness) * rng.uniform(0.01, 0.05)
    return HandTrack(
        rig,
        np.ones(len(times), bool),
        (turn * Rotation.from_matrix(rotation)).as_rotvec(),
        finger_motion(rng, rig, times, liveliness),
        drift,
        drift.mean(0) + elbow * _FOREARM_M,
        None,
    )


def _hold(rng, rig: HandRig) -> tuple[SceneObject, np.ndarray, Grasp]:
    """An object, its rotation (3, 3), and a grasp that sinks little into it."""
    best = None
    for _ in range(_HOLD_TRIES):
        thing = draw_thing(rng)
        grip = thing.grips[rng.integers(len(thing.grips))]
        approach, fingers, yaw = grasp_directions(rng, rig.side, grip)
        start = place_upright(thing, yaw, np.zeros(3)).rotation
        wished = start.T @ approach, start.T @ fingers
        grasp = find_grasp(rig, thing, grip, *wished, rng, _PLACEMENTS, num_tables=1)
        if best is None or grasp.penetration_m < best[2].penetration_m:
            best = thing, start, grasp
        if grasp.penetration_m < _SUNK_M:
            break
    return best


def _holding(rng, rig, times, liveliness, on_table) -> HandTrack:
    """A hand that holds an object, or will take it."""
    thing, start, grasp = _hold(rng, rig)
    spin = Rotation.from_rotvec([0, 0, rng.uniform(-np.pi, np.pi)])
    tilt = Rotation.from_rotvec(rng.normal(0, 0.35, 3))
    if not on_table and rng.random() < 0.5:
        tilt = Rotation.from_quat(rng.standard_normal(4))
    still = on_table and rng.random() < 0.3
    if still:
        tilt = Rotation.identity()
    strength = 0.0 if still else 1.0
    turn = Rotation.from_rotvec(smooth_noise(rng, times, 3, 26 / liveliness) * 0.35 * strength)
    rotation = (turn * spin * tilt).as_matrix() @ start
    position = smooth_noise(rng, times, 3, 24 / liveliness) * rng.uniform(0.01, 0.06) * strength
    # 0: holds the object; 1: opened, some centimetres away
    away = np.zeros(len(times))
    if rng.random() < 0.3:
        away = np.clip(rng.uniform(-0.2, 0.5) + 0.6 * smooth_noise(rng, times, 1, 20)[:, 0], 0, 1)
    bend = grasp.closed.towards(grasp.open, np.clip(2 * away, 0, 1)[:, None])
    wrist = grasp.wrist_m - grasp.approach * away[:, None] * rng.uniform(0.02, 0.08)
    hand = rotation @ grasp.rotation
    base = rotation[0] @ grasp.rotation
    options = [_elbow(rng, rig, base) for _ in range(8)]
    elbow = max(options, key=lambda e: min(e[2], 0.1)) if on_table else options[0]
    paint, gloss = _draw_paint(rng, thing), rng.uniform(0.01, 0.35)
    never = np.zeros(len(times), bool)
    wrist = np.einsum("tij,tj->ti", rotation, wrist) + position
    return HandTrack(
        rig,
        ~never,
        Rotation.from_matrix(hand).as_rotvec(),
        _add_slight_variation(rng, rig.finger_rotvec(bend)),
        wrist,
        wrist.mean(0) + elbow * _FOREARM_M,
        Held(thing, rotation, position, never, paint, gloss),
    )


def _add_slight_variation(rng, finger_rotvec: np.ndarray) -> np.ndarray:
    """A quarter of `add_personal_variation`, so that the hand still holds."""
    return finger_rotvec + 0.25 * (add_personal_variation(rng, finger_rotvec) - finger_rotvec)


def _put_beside(rng, first: HandTrack, second: HandTrack) -> HandTrack:
    """The second hand moved near the first, without overlap."""
    target = _points(first)
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    gap = rng.choice([0.004, rng.uniform(0.01, 0.16)], p=[0.4, 0.6])
    shared = (first.wrist_m - first.wrist_m.mean(0)) * rng.choice([0.0, 1.0])
    own, moments = _points(second), range(0, len(target), 2)
    to_first = shared + target.mean((0, 1)) - own.mean((0, 1))
    own = own + to_first[:, None]
    for distance in np.arange(0.02, 0.5, 0.015):
        shifted = own + direction * distance
        nearest = min(_nearest_m(target[t][::2], shifted[t][::2]) for t in moments)
        if nearest > gap:
            break
    return second.moved(to_first + direction * distance)


def _nearest_m(a: np.ndarray, b: np.ndarray) -> float:
    """The smallest distance between two sets of points (N, 3)."""
    square = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
    return float(np.sqrt(max(square.min(), 0)))


def _still(rng, points: np.ndarray, ground: float) -> list[Placed]:
    """Objects on the ground, clear of all points."""
    found, sample = [], points[:: max(1, len(points) // 400)]
    middle = points.mean(0)
    for _ in range(int(rng.integers(0, 6))):
        thing = draw_thing(rng)
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.06, 0.45)
        spot = [middle[0] + far * np.cos(angle), middle[1] + far * np.sin(angle)]
        new = place_upright(
            thing, rng.uniform(0, 2 * np.pi), np.array([*spot, ground - thing.bottom_m])
        )
        local = (sample - new.position_m) @ new.rotation
        others = [
            np.linalg.norm(o.position_m[:2] - new.position_m[:2])
            - 0.7 * (_reach(o.thing) + _reach(thing))
            for o in found
        ]
        if thing.signed_distance_m(local).min() > 0.008 and min(others, default=1) > 0:
            found.append(replace(new, texture=_draw_paint(rng, thing)))
    return found


def _reach(thing: SceneObject) -> float:
    return float(np.linalg.norm(thing.mesh.vertices_m[:, :2], axis=1).max())


def _draw_paint(rng: np.random.Generator, thing: SceneObject) -> np.ndarray:
    """A texture, linear RGB: the object's own (of DexYCB's), every part in one colour, or any."""
    kind = rng.choice(["own", "plain", "any"], p=[0.3, 0.4, 0.3])
    if kind == "own" and thing.class_id in YCB_OBJECTS:
        return paint_object(thing.paints, rng)
    if kind == "any":
        return linear_rgb(texture(rng, 128, 192))
    tiles = [texture(rng, 96, 96, "any", 0.12) for _ in thing.parts]
    same = rng.random() < 0.5
    return linear_rgb(np.concatenate([tiles[0] if same else tile for tile in tiles], 1))
