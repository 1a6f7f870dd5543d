"""Light: one soft key light, a fill light, and a sky over a floor that reflects colour."""

from dataclasses import dataclass

import numpy as np

from pipelines.rays import dot, unit
from pipelines.synthetic.paint.textures import hex_to_linear


@dataclass(frozen=True, eq=False)
class Light:
    """Linear RGB throughout; positions in the world frame, metres.

    key_m (3,) a lamp of radius key_radius_m; key, sky, ground, fill (3,) their colours;
    fill_direction (3,) unit.
    """

    key_m: np.ndarray
    key_radius_m: float
    key: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    fill: np.ndarray
    fill_direction: np.ndarray

    def key_samples_m(self, count: int) -> np.ndarray:
        """Points on the lamp, (count, 3): a disc seen from below, always the same ones."""
        k = np.arange(count)
        radius = self.key_radius_m * np.sqrt((k + 0.5) / count)
        angle = k * 2.399963
        disc = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * k], 1)
        return self.key_m + disc


def draw_light(rng: np.random.Generator, lowest: float = 0.05) -> Light:
    """A lamp or the sun above, hard or soft, of any usual colour, sometimes faint.

    lowest: sine of its least height over the horizon.
    """
    azimuth, height = rng.uniform(0, 2 * np.pi), np.arcsin(rng.uniform(lowest, 1.0))
    away = np.array(
        [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)]
    )
    warm, sky = rng.normal(0, 0.6), rng.uniform(0.2, 0.7)
    tint = np.array([1 + 0.16 * warm, 1.0, 1 - 0.22 * warm]).clip(0.4, 1.6)
    cool = np.array([1 - 0.08 * warm, 1.0, 1 + 0.12 * warm]).clip(0.4, 1.6)
    key, fill = rng.uniform(0.05, 1.1), rng.uniform(0.0, 0.4)
    level = rng.uniform(0.6, 1.15) / (0.75 * key + sky + 0.3 * fill)
    beside = rng.standard_normal(3)
    beside[2] = abs(beside[2]) * 0.5
    return Light(
        key_m=away * rng.uniform(0.9, 2.5),
        key_radius_m=rng.choice([rng.uniform(0.0, 0.06), rng.uniform(0.06, 0.5)]),
        key=key * level * tint,
        sky=sky * level * cool,
        ground=sky * level * rng.uniform(0.25, 0.9) * rng.uniform(0.75, 1.1, 3),
        fill=fill * level * cool,
        fill_direction=beside / np.linalg.norm(beside),
    )


def shade(
    light: Light,
    albedo: np.ndarray,
    normals: np.ndarray,
    points_m: np.ndarray,
    view: np.ndarray,
    lit: np.ndarray,
    gloss: np.ndarray | float,
    open_sky: np.ndarray | float = 1.0,
    softness: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Colour of surface points, linear RGB (3, N).

    albedo, normals, points_m (3, N); view (3, N) unit, towards the camera; lit (N,) share of the
    key light that arrives; gloss: strength of the highlight; open_sky (N,): share of the
    surroundings that the point sees; softness > 0 lets light creep round the edge of the shadow
    and reddens it there, as in skin.
    """
    key, sky, ground, fill = (
        x.astype(np.float32)[:, None] for x in (light.key, light.sky, light.ground, light.fill)
    )
    to_key = unit(light.key_m.astype(np.float32)[:, None] - points_m)
    facing = dot(normals, to_key)
    up = 0.5 + 0.5 * normals[2]
    radiance = ground + (sky - ground) * up
    radiance += fill * np.maximum(light.fill_direction.astype(np.float32) @ normals, 0)
    radiance *= open_sky
    radiance += key * (np.maximum(facing, 0) * lit)
    if np.any(softness):
        rim = np.clip(1 - np.abs(facing) / 0.35, 0, 1) * (0.35 + 0.65 * lit)
        radiance += np.array([[0.22], [0.05], [0.03]], np.float32) * (softness * rim)
    shine = np.maximum(dot(normals, unit(to_key + view)), 0)
    square = shine * shine
    shine = square * square
    shine *= shine * shine  # to the 12th power: a soft, wide highlight
    return albedo * radiance + key * (gloss * shine * lit)


_SKIN_TONES = (
    "#fbe9df", "#f6d5c8", "#f3c9b4", "#eccdb8", "#e2b79c", "#d4a384", "#c08d6d", "#a37456",
    "#835a44", "#624234", "#4a3128", "#33211b",
)  # fmt: skip


def draw_skin(rng: np.random.Generator) -> np.ndarray:
    """Skin from pale pink to very dark, linear RGB (3,)."""
    position = rng.uniform(0, len(_SKIN_TONES) - 1)
    lighter, darker = (hex_to_linear(_SKIN_TONES[int(position) + k]) for k in (0, 1))
    skin = lighter + (darker - lighter) * (position % 1)
    skin = skin * rng.uniform(0.85, 1.15)
    skin = skin * (1 + rng.uniform(-0.4, 1.0) * np.array([0.04, -0.1, -0.08]))  # pale or red
    return np.clip(skin, 0.01, 0.9)
