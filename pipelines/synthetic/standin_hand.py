"""The stand-in hand that every synthesized sequence shows, and its random numbers."""

from functools import cache

import numpy as np

from deformer.hand.mano import HandLayer, Hands, load_hands


@cache
def standin_hands() -> tuple[Hands, HandLayer]:
    """The stand-in hand and its layer, loaded once per process."""
    hands = load_hands("standin")
    return hands, HandLayer(hands).eval()


def generator(seed: int, *names: str) -> np.random.Generator:
    """The random numbers of one named thing, whatever the order of work or number of workers."""
    return np.random.default_rng([seed, *("/".join(names)).encode()])
