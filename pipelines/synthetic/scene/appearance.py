"""A person's appearance: shape of the hands, skin and sleeves."""

from dataclasses import dataclass

import numpy as np

from pipelines.synthetic.paint.lighting import draw_skin
from pipelines.synthetic.paint.patterns import colour, texture
from pipelines.synthetic.paint.textures import linear_rgb, srgb_to_linear


@dataclass(frozen=True, eq=False)
class Appearance:
    """One person. skin (3,): linear RGB; mottle, roughness, freckles, gloss: strengths; cloth: a
    linear RGB texture of the sleeves, which begin sleeve_from_m from the wrist; band: linear RGB of
    a band round the wrist, or None."""

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


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """Draw any person with any sleeves."""
    skin = draw_skin(rng)
    sleeve = rng.choice([rng.uniform(0.0, 0.05), rng.uniform(0.05, 0.25), 0.9], p=[0.42, 0.2, 0.38])
    cloth = texture(rng, 128, 128)
    if rng.random() < 0.45:  # plain, often white or dark
        cloth = texture(rng, 128, 128, str(rng.choice(["grey", "wall", "hue"])), 0.25)
    band = None
    if rng.random() < 0.22:
        band = srgb_to_linear(colour(rng)[::-1] / 255)
    return Appearance(
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
