"""What a scene may be made of, and the exposure time; a benchmark may restrict them."""

from dataclasses import dataclass

from pipelines.synthetic.things.ycb import YCB_OBJECTS


def _colours(digits: str) -> tuple[str, ...]:
    return tuple(digits.split())


@dataclass(frozen=True)
class Setting:
    """The pools that a sequence draws from. Colours are "rrggbb"."""

    classes: tuple[int, ...] = tuple(YCB_OBJECTS)
    """YCB classes of the objects around the grasped one."""
    table_hues: tuple[str, ...] = _colours(
        "1d1d20 2b3442 59616b 7a7f78 a89f8f c9c5bb 6b4f3a 3d5a4a"
        " 8a2f2a 4a5d8a c4a24a 35302b 5f7f8c d8d2c0 6f7a45 8c6f86"
    )
    table_woods: tuple[str, ...] = _colours(
        "b98c5a 8a5e38 d2b184 5e4330 a3754a c79c6d 7a4a2c e0c59c"
        " 9c7b56 6b3f2a b0825c 4c382a cfa878 84664a d9b48f 704f35"
    )
    walls: tuple[str, ...] = _colours(
        "8d8f92 b9b2a6 4d5560 d0d2d4 6d6259 a7b5a0 c8a98c 7b8ca3"
        " e2dccb 5a6b58 b08f8a 3f4348 9fb3bf d6c27a 74605f 9a93a8"
    )
    clothes: tuple[str, ...] = _colours(
        "23262b 7d8389 2f4468 7b2e2e 39523c b9b3a6 8a7442 4b3a5c"
        " d4d6d9 a85a3a 3b7080 5a4636 6c8a5a c07f8a 1f3b3a 9d97b5"
    )
    shutter: tuple[float, float] = (0.15, 0.55)
    """Range of the exposure time, as a share of the time between frames: it makes motion blur."""
    piles: int = 0
    """Number of piles of objects between the hand's path and cameras."""
    max_objects: int = 6
    """Largest number of objects in a scene, with the grasped one."""
    most_hidden: float = 1.0
    """Largest share of the hand's path on which still objects may hide almost all of it from a
    camera."""
    camera_room_m: float = 0.25
    """Smallest distance of still objects from cameras."""


EVERYTHING = Setting()
