"""Whose hands a wide scene shows, and in which light."""

from dataclasses import dataclass

import numpy as np

from pipelines.synthetic.render.lighting import Light, draw_any_skin
from pipelines.synthetic.render.patterns import colour, texture
from pipelines.synthetic.render.textures import srgb_to_linear


@dataclass(frozen=True, eq=False)
class Looks:
    """Of a person. skin linear RGB (3,); mottle, roughness, freckles, gloss: strengths; cloth: a
    linear RGB texture of the sleeves, which begin sleeve_from_m from the wrist; band: linear RGB of
    something round the wrist, or None."""

    betas: np.ndarray
    skin: np.ndarray
    mottle: float
    roughness: float
    freckles: float
    gloss: float
    cloth: np.ndarray
    sleeve_from_m: float
    sleeve_bulge_m: float
    band: np.ndarray | None


def draw_looks(rng: np.random.Generator) -> Looks:
    """Anybody, in any sleeves."""
    skin = draw_any_skin(rng)
    sleeve = rng.choice([rng.uniform(0.0, 0.05), rng.uniform(0.05, 0.25), 0.9], p=[0.42, 0.2, 0.38])
    cloth = texture(rng, 128, 128)
    if rng.random() < 0.45:  # plain, often white or dark
        cloth = texture(rng, 128, 128, str(rng.choice(["grey", "wall", "hue"])), 0.25)
    band = None
    if rng.random() < 0.22:
        band = srgb_to_linear(colour(rng)[::-1] / 255)
    return Looks(
        betas=np.clip(rng.normal(0, 0.9, 10), -2.2, 2.2),
        skin=skin,
        mottle=rng.uniform(0, 0.09),
        roughness=rng.uniform(0.05, 0.65),
        freckles=rng.choice([0.0, rng.uniform(0.1, 0.45)], p=[0.75, 0.25]),
        gloss=rng.uniform(0.01, 0.1) if rng.random() < 0.75 else rng.uniform(0.1, 0.3),
        cloth=linear_rgb(cloth),
        sleeve_from_m=float(sleeve),
        sleeve_bulge_m=rng.uniform(0.002, 0.02),
        band=band,
    )


def linear_rgb(image_bgr: np.ndarray) -> np.ndarray:
    """8-bit sRGB BGR → linear RGB float32."""
    table = srgb_to_linear(np.arange(256) / 255)
    return table[image_bgr[..., ::-1]]


def draw_light(rng: np.random.Generator) -> Light:
    """A lamp or the sun anywhere above, hard or soft, of any usual colour, or hardly there."""
    azimuth, height = rng.uniform(0, 2 * np.pi), np.arcsin(rng.uniform(0.05, 1.0))
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
