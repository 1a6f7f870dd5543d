"""Everyday things besides DexYCB's: kettles, mugs by the handle, bars, pans, glasses, phones.

Frames are as in `ycb.py`: the origin in the middle, z up as it stands on a table.
"""

import numpy as np

from pipelines.synthetic.things.objects import Grip, SceneObject, Shape
from pipelines.synthetic.things.shapes import Box, Lathe, Tube

_X, _Y = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
_FIRST_ID = 101


def _solid(*profile: tuple[float, float], **options) -> Lathe:
    """A body of revolution through (radius, z), closed at both ends."""
    return Lathe(((0, profile[0][1]), *profile, (0, profile[-1][1])), **options)


def _bow(x: float, reach: float, half: float, radius: float) -> Tube:
    """A handle at a wall that stands at x: out, along z, and back."""
    path = [(x, 0, half), (x + 0.8 * reach, 0, half), (x + reach, 0, 0.7 * half),
            (x + reach, 0, -0.7 * half), (x + 0.8 * reach, 0, -half), (x, 0, -half)]  # fmt: skip
    return Tube(tuple(path), (radius,) * len(path))


def _mug(radius: float, half: float, reach: float, thick: float) -> tuple[Shape, ...]:
    wall = 0.005
    outer = (0, -half), (0.92 * radius, -half), (radius, 0), (radius, half)
    inner = (radius - wall, half), (radius - wall, -half + wall), (0, -half + wall)
    cup = Lathe((*outer, *inner))
    return cup, _bow(radius - 0.002, reach, 0.62 * half, thick)


def _kettle(wide: float, half: float) -> tuple[Shape, ...]:
    body = _solid((wide, -half), (wide, -0.8 * half), (0.62 * wide, 0.8 * half), (0.4 * wide, half))
    spout = Tube(
        ((-0.8 * wide, 0, -0.3 * half), (-1.3 * wide, 0, -0.1 * half), (-1.5 * wide, 0, 0.6 * half),
         (-2.0 * wide, 0, half)),
        (0.009, 0.008, 0.006, 0.005),
    )  # fmt: skip
    return body, spout, _bow(0.62 * wide, 0.055, 0.6 * half, 0.0115)


def _bar(half: float, radius: float) -> tuple[Shape, ...]:
    return (_solid((radius, -half), (1.1 * radius, 0), (radius, half)),)


def _rail(half: float, radius: float) -> tuple[Shape, ...]:
    return (Tube(((-half, 0, 0), (0, 0, 0), (half, 0, 0)), (radius,) * 3),)


def _pan(wide: float, reach: float) -> tuple[Shape, ...]:
    dish = _solid((0.85 * wide, -0.02), (wide, 0.02), center_m=(-0.5 * reach, 0.0, 0.0))
    start = wide - 0.5 * reach - 0.01
    handle = Tube(((start, 0, 0.01), (start + 0.4 * reach, 0, 0.02), (start + reach, 0, 0.02)),
                  (0.009, 0.011, 0.012))  # fmt: skip
    return dish, handle


def _ball(radius: float, squeeze: float) -> tuple[Shape, ...]:
    angles = np.linspace(-np.pi / 2, np.pi / 2, 11)[1:-1]
    points = ((radius * np.cos(a), squeeze * radius * np.sin(a)) for a in angles)
    return (_solid(*points),)


def _flask(radius: float, half: float, neck: float) -> tuple[Shape, ...]:
    return (_solid((radius, -half), (radius, 0.35 * half), (neck, 0.65 * half), (neck, half)),)


_SHAPES: tuple[tuple[str, tuple[Shape, ...], tuple[Grip, ...]], ...] = (
    ("kettle", _kettle(0.07, 0.09), (Grip("side", _Y, (0.098, 0, 0)),)),
    ("small_kettle", _kettle(0.055, 0.07), (Grip("side", _Y, (0.089, 0, 0)),)),
    ("mug", _mug(0.042, 0.048, 0.034, 0.006), (Grip("side", _Y, (0.074, 0, 0)),)),
    ("big_mug", _mug(0.047, 0.055, 0.04, 0.0075), (Grip("side", _Y, (0.085, 0, 0)),)),
    ("cup", _mug(0.038, 0.032, 0.026, 0.0045), (Grip("pinch", _Y, (0.06, 0, 0)),)),
    ("cup_by_its_body", _mug(0.039, 0.045, 0.03, 0.006), (Grip("side", _Y, (0, 0, 0)),)),
    ("thin_bar", _bar(0.16, 0.008), (Grip("side", None),)),
    ("bar", _bar(0.2, 0.014), (Grip("side", None), Grip("side", None, (0, 0, 0.08)))),
    ("thick_bar", _bar(0.22, 0.021), (Grip("side", None), Grip("side", None, (0, 0, -0.05)))),
    ("post", _bar(0.3, 0.03), (Grip("side", None, (0, 0, 0.1)),)),
    ("rail", _rail(0.25, 0.013), (Grip("top", _Y),)),
    ("thick_rail", _rail(0.25, 0.02), (Grip("top", _Y),)),
    ("pan", _pan(0.1, 0.18), (Grip("top", _Y, (0.12, 0, 0.02)),)),
    ("ladle", (*_ball(0.03, 0.6), _rail(0.13, 0.006)[0]), (Grip("pinch", _Y, (0.09, 0, 0)),)),
    ("glass", (_solid((0.03, -0.06), (0.036, 0.06)),), (Grip("side", None),)),
    ("tumbler", (_solid((0.036, -0.09), (0.043, 0.09)),), (Grip("side", None, (0, 0, 0.03)),)),
    ("flask", _flask(0.034, 0.115, 0.013), (Grip("side", None, (0, 0, -0.03)),)),
    ("flask_by_its_neck", _flask(0.036, 0.13, 0.015), (Grip("side", None, (0, 0, 0.11)),)),
    ("ball", _ball(0.037, 1.0), (Grip("top", None),)),
    ("fruit", _ball(0.045, 0.85), (Grip("side", None), Grip("top", None))),
    ("egg", _ball(0.024, 1.3), (Grip("pinch", _Y),)),
    ("phone", (Box((0.074, 0.009, 0.15), bevel_m=0.003),), (Grip("side", _X),)),
    ("card", (Box((0.086, 0.002, 0.054), bevel_m=0.0008),), (Grip("pinch", _Y, (0, 0, 0.01)),)),
    ("book", (Box((0.14, 0.022, 0.2)),), (Grip("top", _Y, (0, 0, 0.06)),)),
    ("box", (Box((0.12, 0.05, 0.06)),), (Grip("top", _Y),)),
    ("pen", (_solid((0.001, -0.07), (0.0045, -0.055), (0.0045, 0.07)),), (Grip("pinch", _Y),)),
)

HOUSEHOLD = tuple(
    SceneObject(_FIRST_ID + k, name, parts, ("plain:#808080,#707070",) * len(parts), grips)
    for k, (name, parts, grips) in enumerate(_SHAPES)
)


def bare(name: str, *parts: Shape) -> SceneObject:
    """A thing that nobody holds."""
    return SceneObject(0, name, parts, (), ())


CHEST = bare(
    "chest",
    Lathe(
        ((0, -0.45), (0.2, -0.45), (0.19, 0.1), (0.21, 0.22), (0.12, 0.31), (0.05, 0.33),
         (0.045, 0.40), (0, 0.40)),
        aspect=0.62,
        crease_rad=1.2,
    ),
)  # fmt: skip
"""A person's chest, broad along x."""

HEAD_M = 0.47
"""From the chest's middle to the head's."""

_ANGLES = np.linspace(-np.pi / 2, np.pi / 2, 9)
HEAD = bare("head", Lathe(tuple((max(0.088 * np.cos(a), 0.0), 0.115 * np.sin(a)) for a in _ANGLES)))
