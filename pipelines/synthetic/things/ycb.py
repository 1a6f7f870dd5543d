"""The 21 objects of DexYCB, modelled from simple shapes at their real sizes.

Class numbers and names are DexYCB's. Frames are like those of the YCB-Video models: origin in the
middle of the object, z up as it stands or lies on a table.
"""

import numpy as np

from pipelines.datasets.dexycb import YCB_CLASSES
from pipelines.synthetic.things.objects import Grip, SceneObject, Shape
from pipelines.synthetic.things.shapes import Box, Lathe, Tube

# fmt: off


def _can(diameter: float, height: float) -> Lathe:
    r, h, rim = diameter / 2, height / 2, 0.0015
    return Lathe(((0, -h), (r - rim, -h), (r, -h + rim), (r, h - rim), (r - rim, h),
                  (r - 2 * rim, h - rim), (0, h - rim)))


def _bottle(width: float, depth: float, height: float, neck: float, cap: float) -> Lathe:
    r, h = width / 2, height / 2
    profile = ((0, -h), (0.9 * r, -h), (r, -h + 0.1 * r), (0.97 * r, -0.1 * h), (r, 0.25 * h),
               (0.82 * r, 0.52 * h), (1.5 * neck, 0.68 * h), (neck, 0.74 * h), (neck, h - cap),
               (0.8 * neck, h - cap), (0.6 * neck, h), (0, h))
    return Lathe(profile, aspect=depth / width, crease_rad=0.8)


def _vessel(r_bottom: float, r_top: float, height: float, wall: float) -> Lathe:
    h, r = height / 2, 0.5 * (r_bottom + r_top)
    return Lathe(((0, -h), (r_bottom, -h), (r, 0.1 * h), (r_top, h), (r_top - wall, h),
                  (r - wall, 0.1 * h), (r_bottom - wall, -h + wall), (0, -h + wall)))


def _cup(r_bottom: float, r_top: float, height: float) -> Lathe:
    """A vessel filled to the brim."""
    h, r = height / 2, 0.5 * (r_bottom + r_top)
    return Lathe(((0, -h), (r_bottom, -h), (r, 0.1 * h), (r_top, h), (0, h)))


def _bowl(radius: float, height: float, wall: float) -> Lathe:
    angles = np.linspace(0.25, 1.0, 6) * np.pi / 2
    rise = np.cos(angles) / np.cos(angles[0])
    outer = list(zip(radius * np.sin(angles), height / 2 - height * rise, strict=True))
    inner = [(r - wall, max(z, -height / 2 + wall)) for r, z in reversed(outer)]
    inner[-1] = (inner[-1][0], -height / 2 + wall)
    return Lathe(((0.0, -height / 2), *outer, *inner, (0.0, -height / 2 + wall)), num_sides=40)


def _arc(center, radius, start, stop, steps, plane="xz"):
    angles = np.linspace(start, stop, steps)
    c, s, zero = radius * np.cos(angles), radius * np.sin(angles), np.zeros(steps)
    columns = {"xz": (c, zero, s), "xy": (c, s, zero)}[plane]
    return tuple(map(tuple, np.stack(columns, 1) + center))


def _ring(center, radius, thickness) -> Tube:
    path = _arc(center, radius, 0, 2 * np.pi * 11 / 12, 12, "xy")
    return Tube(path, (thickness,) * 12, num_sides=8, closed=True)


def _rod(*points, radius, end_radius=None, flatten=1.0) -> Tube:
    radii = np.linspace(radius, end_radius or radius, len(points))
    return Tube(points, tuple(radii), flatten_z=flatten)


def _clamp(s: float) -> tuple[Shape, ...]:
    jaws = [
        _rod((-0.095 * s, 0.05 * s * k, 0), (-0.03 * s, 0.022 * s * k, 0),
             (0.03 * s, 0.02 * s * k, 0), (0.07 * s, 0.008 * s * k, 0),
             radius=0.011 * s, end_radius=0.008 * s, flatten=1.3)
        for k in (1, -1)
    ]
    return (*jaws, _rod((0, -0.026 * s, 0), (0, 0.026 * s, 0), radius=0.009 * s))


_X, _Y = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
_BANANA = Tube(_arc((0.0, -0.095, 0.0), 0.1, 0.62, np.pi - 0.62, 9, "xy"),
               (0.008, 0.014, 0.017, 0.018, 0.018, 0.018, 0.0165, 0.013, 0.006), num_sides=12)
_PITCHER = (
    _vessel(0.054, 0.066, 0.242, 0.005),
    _rod((0.06, 0, 0.085), (0.095, 0, 0.08), (0.107, 0, 0.02), (0.098, 0, -0.05),
         (0.055, 0, -0.07), radius=0.0095),
)
_MUG = (_vessel(0.040, 0.0465, 0.081, 0.0055),
        Tube(_arc((0.046, 0, 0), 0.026, -np.pi / 2, np.pi / 2, 9), (0.0055,) * 9))
_DRILL = (
    Lathe(((0, -0.09), (0.02, -0.09), (0.027, -0.075), (0.028, 0.03), (0.022, 0.06),
           (0.012, 0.066), (0.011, 0.095), (0, 0.095)), along="x", center_m=(0.0, 0.06, 0.0)),
    Tube(((-0.045, 0.04, 0.0), (-0.05, -0.01, 0.0), (-0.055, -0.055, 0.0)),
         (0.021, 0.0185, 0.021), num_sides=14),
    Box((0.085, 0.034, 0.054), (-0.045, -0.075, 0.0), bevel_m=0.006),
)
_SCISSORS = (
    _rod((0.02, 0.0, 0), (-0.02, 0.05, 0), (-0.008, 0.105, 0), radius=0.006, end_radius=0.003),
    _rod((-0.02, 0.0, 0), (0.02, 0.05, 0), (0.008, 0.105, 0), radius=0.006, end_radius=0.003),
    _ring((0.024, -0.052, 0), 0.021, 0.006), _ring((-0.024, -0.052, 0), 0.021, 0.006),
    _rod((0.02, 0.0, 0), (0.022, -0.03, 0), radius=0.006),
    _rod((-0.02, 0.0, 0), (-0.022, -0.03, 0), radius=0.006),
)
_MARKER = Lathe(((0, -0.0605), (0.0085, -0.0605), (0.0092, -0.055), (0.0092, 0.02),
                 (0.0098, 0.021), (0.0098, 0.056), (0.006, 0.0605), (0, 0.0605)),
                along="x", num_sides=14)
_CLAMP_PAINTS = ("plain:#28292b,#3a3b3e", "plain:#28292b,#3a3b3e", "plain:#d86a1c,#b45413")
_SCISSORS_PAINTS = ("plain:#b9bcc0,#8e9196",) * 2 + ("plain:#d2691e,#b35414",) * 4


def _ycb(class_id: int, *parts_and_more) -> SceneObject:
    return SceneObject(class_id, YCB_CLASSES[class_id - 1], *parts_and_more)


_THINGS = (  # class, parts, paints, grips, tall, solid
    _ycb(1, (_can(0.102, 0.140),), ("label:#1f3f8f,#d9d4c8",), (Grip("side", None),)),
    _ycb(2, (Box((0.072, 0.164, 0.213)),), ("carton:#b8201d,#f1e7d6",),
         (Grip("top", _X, (0, 0, 0.06)),), True),
    _ycb(3, (Box((0.049, 0.094, 0.176)),), ("carton:#e9c12c,#f4f1e6",),
         (Grip("side", _X), Grip("top", _X, (0, 0, 0.045))), True),
    _ycb(4, (_can(0.0677, 0.102),), ("label:#bd2622,#f2ede4",),
         (Grip("side", None), Grip("top", None, (0, 0, 0.015)))),
    _ycb(5, (_bottle(0.096, 0.058, 0.191, 0.016, 0.03),), ("label:#e5b117,#7d1410",),
         (Grip("side", _Y),), True),
    _ycb(6, (_can(0.0855, 0.0335),), ("label:#3d63a8,#d7d9dc",), (Grip("top", None),)),
    _ycb(7, (Box((0.119, 0.089, 0.038)),), ("carton:#6b3a20,#e8d9b5",), (Grip("top", _Y),)),
    _ycb(8, (Box((0.089, 0.073, 0.029)),), ("carton:#c8283c,#f3e3dc",), (Grip("top", _Y),)),
    _ycb(9, (Box((0.101, 0.058, 0.083), bevel_m=0.012),), ("carton:#274a8e,#d6c46a",),
         (Grip("top", _Y),)),
    _ycb(10, (_BANANA,), ("fruit:#e3c437,#5d4a1c",), (Grip("pinch", _Y),)),
    _ycb(11, _PITCHER, ("plain:#3566b0,#2a5596",) * 2,
         (Grip("side", _Y, (0.104, 0, 0.015)),), True, (_cup(0.054, 0.066, 0.242),)),
    _ycb(12, (_bottle(0.102, 0.067, 0.25, 0.019, 0.035),), ("label:#eceae2,#2d55a5",),
         (Grip("side", _Y),), True),
    _ycb(13, (_bowl(0.0805, 0.055, 0.006),), ("plain:#b3251f,#8f1c18",),
         (Grip("rim", _X, (-0.0785, 0, 0.022)),)),
    _ycb(14, _MUG, ("plain:#b9302a,#d8d2c5", "plain:#b9302a,#a32822"),
         (Grip("top", _Y, (0.0, 0, 0.01)),), False, (_cup(0.040, 0.0465, 0.081),)),
    _ycb(15, _DRILL, ("plain:#c94f1b,#2b2b2c", "plain:#2f2f31,#3b3b3d", "plain:#2b2b2c,#c94f1b"),
         (Grip("pinch", _X, (-0.05, -0.01, 0.0)), Grip("pinch", _Y, (0.0, 0.06, 0.0)))),
    _ycb(16, (Box((0.085, 0.085, 0.2)),), ("wood:#c79a5f,#9c6f3d",),
         (Grip("side", _X), Grip("top", _X, (0, 0, 0.055))), True),
    _ycb(17, _SCISSORS, _SCISSORS_PAINTS, (Grip("pinch", _X),)),
    _ycb(18, (_MARKER,), ("label:#e6e6e2,#1c1c1e",), (Grip("pinch", _Y),)),
    _ycb(19, _clamp(0.9), _CLAMP_PAINTS, (Grip("pinch", _Y, (-0.02, 0, 0)),)),
    _ycb(20, _clamp(1.15), _CLAMP_PAINTS, (Grip("pinch", _Y, (-0.03, 0, 0)),)),
    _ycb(21, (Box((0.051, 0.078, 0.051), bevel_m=0.003),), ("plain:#a8352b,#8d2b23",),
         (Grip("top", _X),)),
)

# fmt: on

YCB_OBJECTS = {thing.class_id: thing for thing in _THINGS}
"""DexYCB's class number → object."""

CLASS_IDS = {thing.name: thing.class_id for thing in _THINGS}
"""Class name → DexYCB's class number."""
