"""What a scene may be made of, and how it is filmed: everything, unless a benchmark says less."""

from dataclasses import dataclass

from pipelines.synthetic.ycb import YCB_OBJECTS


@dataclass(frozen=True)
class Setting:
    """The pools that a sequence draws from. Colours are "#rrggbb"."""

    classes: tuple[int, ...] = tuple(YCB_OBJECTS)
    """YCB classes that stand about."""
    table_hues: tuple[str, ...] = (
        "#1d1d20",
        "#2b3442",
        "#59616b",
        "#7a7f78",
        "#a89f8f",
        "#c9c5bb",
        "#6b4f3a",
        "#3d5a4a",
    )
    table_woods: tuple[str, ...] = ("#b98c5a", "#8a5e38", "#d2b184", "#5e4330")
    walls: tuple[str, ...] = ("#8d8f92", "#b9b2a6", "#4d5560", "#d0d2d4", "#6d6259")
    clothes: tuple[str, ...] = ("#23262b", "#7d8389", "#2f4468", "#7b2e2e", "#39523c", "#b9b3a6")
    shutter: tuple[float, float] = (0.15, 0.55)
    """Range of the share of the time between frames during which light is gathered: motion blur."""
    screens: int = 0
    """How many piles of objects stand between the hand's way and cameras."""

    def __post_init__(self) -> None:
        for name, pool in vars(self).items():
            if isinstance(pool, tuple) and not pool:
                raise ValueError(f"a setting's {name} is empty: it needs at least one to draw from")
        low, high = self.shutter
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"shutter {self.shutter}: shares of a frame's time, 0 ≤ low ≤ high ≤ 1"
            )


EVERYTHING = Setting()
